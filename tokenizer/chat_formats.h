// The prompt formats of the model families: a table, and the functions that write them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/chat_template.h"

namespace sluice::tokenizer {

// Collects segments; neighbours of one kind become one.
class PromptWriter {
 public:
  // What the template says.
  PromptWriter& mark(std::string_view text) { return append(text, Specials::Parse); }
  // What a person or model said.
  PromptWriter& content(std::string_view text) { return append(text, Specials::AsText); }

  std::vector<Segment> take() { return std::move(segments_); }

 private:
  PromptWriter& append(std::string_view text, Specials specials);

  std::vector<Segment> segments_;
};

// What stands before and after a message of one role.
struct RoleMarks {
  std::string_view before;
  std::string_view after;
};

struct ChatFormat {
  std::string_view name;
  std::vector<std::string_view> aliases;
  bool begins_with_bos = false;  // the family's template writes BOS
  // Writes the conversation.
  void (*render)(const ChatFormat& format, std::span<const Message> messages, bool open_assistant, PromptWriter& out);
  // What the function needs; a format whose messages are only marked by role needs nothing else.
  RoleMarks system, user, assistant;
  std::string_view open;            // begins the assistant's answer
  std::string_view default_system;  // written as a system message when the conversation begins without one
  bool trims = false;               // contents lose white space at both ends
  bool drops_thinking = false;      // an assistant's message begins after its last </think>
};

// All formats; the position in the list is the family number.
const std::vector<ChatFormat>& chat_formats();

}  // namespace sluice::tokenizer
