// The functions that write conversations; the formats name one each.
#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/chat_template.h"

namespace sluice::tokenizer {

struct ChatFormat;
using Messages = std::span<const Message>;

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

using Render = void(const ChatFormat& format, Messages messages, bool open_assistant, PromptWriter& out);

// Each message between its role's marks.
Render render_marked;

// DeepSeek Coder tells its default system text whenever no message at all is a system message.
Render render_deepseek_coder;

// DeepSeek V3 and R1: all system messages come first.
Render render_deepseek3;

// DeepSeek V3.1 without thinking: the mark of an answer stands only after a user's message.
Render render_deepseek31;

// Qwen 3: thinking stays only in answers after the last question.
Render render_qwen3;

// Llama 2: the system text stands inside the first user's message; every user's message begins with BOS.
Render render_llama2;

// Mistral: the system text stands before the first question...
Render render_mistral_system_first;

// ... or, since version 3, before the last one.
Render render_mistral_system_last;

// Llama 3.1 and after: a system message with dates always stands first. The date is the one that the template falls
// back on.
Render render_llama31;

}  // namespace sluice::tokenizer
