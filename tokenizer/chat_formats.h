// The prompt formats of the model families.
#pragma once

#include <string_view>
#include <vector>

#include "tokenizer/chat_renderers.h"

namespace sluice::tokenizer {

// What stands before and after a message of one role.
struct RoleMarks {
  std::string_view before;
  std::string_view after;
};

struct ChatFormat {
  std::string_view name;
  std::vector<std::string_view> aliases;
  bool begins_with_bos = false;  // the family's template writes BOS
  Render* render = nullptr;      // writes the conversation
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
