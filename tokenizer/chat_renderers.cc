#include "tokenizer/chat_renderers.h"

#include <algorithm>

#include "tokenizer/chat_formats.h"
#include "tokenizer/utf8.h"

namespace sluice::tokenizer {
namespace {

constexpr std::string_view kThinkBegin = "<think>";
constexpr std::string_view kThinkEnd = "</think>";

// What Python's str.strip() takes for white space.
bool is_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view trimmed_at_end(std::string_view text) {
  size_t end = 0;
  for (size_t position = 0; position < text.size();) {
    const Utf8Step step = next_utf8(text.substr(position));
    position += step.bytes;
    if (!step.valid || !is_space(step.code_point)) end = position;
  }
  return text.substr(0, end);
}

std::string_view trimmed(std::string_view text) {
  for (Utf8Step step = next_utf8(text); step.valid && is_space(step.code_point); step = next_utf8(text)) {
    text.remove_prefix(step.bytes);
  }
  return trimmed_at_end(text);
}

std::string_view without_leading_newlines(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  return text;
}

std::string_view without_trailing_newlines(std::string_view text) {
  const size_t last = text.find_last_not_of('\n');
  return last == std::string_view::npos ? std::string_view() : text.substr(0, last + 1);
}

std::string_view after_last(std::string_view text, std::string_view mark) {
  const size_t found = text.rfind(mark);
  return found == std::string_view::npos ? text : text.substr(found + mark.size());
}

std::string_view after_first(std::string_view text, std::string_view mark) {
  const size_t found = text.find(mark);
  return found == std::string_view::npos ? text : text.substr(found + mark.size());
}

const RoleMarks& marks_of(const ChatFormat& format, Role role) {
  if (role == Role::System) return format.system;
  return role == Role::User ? format.user : format.assistant;
}

// The system message that the conversation begins with is taken off `messages`.
std::string_view take_system(Messages& messages) {
  if (messages.empty() || messages.front().role != Role::System) return {};
  const std::string_view system = messages.front().content;
  messages = messages.subspan(1);
  return system;
}

}  // namespace

void render_marked(const ChatFormat& format, Messages messages, bool open_assistant, PromptWriter& out) {
  const bool has_system = !messages.empty() && messages.front().role == Role::System;
  if (!has_system && !messages.empty() && !format.default_system.empty()) {
    out.mark(format.system.before).mark(format.default_system).mark(format.system.after);
  }
  for (const Message& message : messages) {
    const RoleMarks& marks = marks_of(format, message.role);
    std::string_view content = message.content;
    if (format.drops_thinking && message.role == Role::Assistant) content = after_last(content, kThinkEnd);
    if (format.trims) content = trimmed(content);
    out.mark(marks.before).content(content).mark(marks.after);
  }
  if (open_assistant) out.mark(format.open);
}

void render_deepseek_coder(const ChatFormat& format, Messages messages, bool open_assistant, PromptWriter& out) {
  const bool has_system = std::any_of(messages.begin(), messages.end(),
                                      [](const Message& message) { return message.role == Role::System; });
  if (!has_system) {
    out.mark(
        "You are an AI programming assistant, utilizing the Deepseek Coder model, developed by Deepseek Company, and "
        "you only "
        "answer questions related to computer science. For politically sensitive questions, security and privacy "
        "issues, and "
        "other non-computer science questions, you will refuse to answer\n");
  }
  render_marked(format, messages, open_assistant, out);
}

void render_deepseek3(const ChatFormat& format, Messages messages, bool open_assistant, PromptWriter& out) {
  bool is_first = true;
  for (const Message& message : messages) {
    if (message.role != Role::System) continue;
    if (!is_first) out.mark("\n\n");
    out.content(message.content);
    is_first = false;
  }
  for (const Message& message : messages) {
    if (message.role == Role::System) continue;
    const RoleMarks& marks = marks_of(format, message.role);
    const bool drops = format.drops_thinking && message.role == Role::Assistant;
    out.mark(marks.before).content(drops ? after_last(message.content, kThinkEnd) : message.content).mark(marks.after);
  }
  if (open_assistant) out.mark(format.open);
}

void render_deepseek31(const ChatFormat& format, Messages messages, bool open_assistant, PromptWriter& out) {
  bool is_first = true;
  for (const Message& message : messages) {
    if (message.role != Role::System) continue;
    if (!is_first) out.mark("\n\n");
    out.content(message.content);
    is_first = false;
  }
  bool after_user = false;
  for (const Message& message : messages) {
    if (message.role == Role::User) {
      out.mark(format.user.before).content(message.content);
      after_user = true;
    } else if (message.role == Role::Assistant) {
      if (after_user) out.mark(format.assistant.before);
      out.content(after_first(message.content, kThinkEnd)).mark(format.assistant.after);
      after_user = false;
    }
  }
  if (open_assistant && after_user) out.mark(format.open);
}

void render_qwen3(const ChatFormat& format, Messages messages, bool open_assistant, PromptWriter& out) {
  size_t last_query = messages.empty() ? 0 : messages.size() - 1;
  for (size_t i = messages.size(); i-- > 0;) {
    const std::string_view content = messages[i].content;
    if (messages[i].role == Role::User &&
        !(content.starts_with("<tool_response>") && content.ends_with("</tool_response>"))) {
      last_query = i;
      break;
    }
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const RoleMarks& marks = marks_of(format, messages[i].role);
    std::string_view content = messages[i].content;
    out.mark(marks.before);
    if (messages[i].role == Role::Assistant) {
      std::string_view reasoning;
      if (content.find(kThinkEnd) != std::string_view::npos) {
        reasoning = without_trailing_newlines(content.substr(0, content.find(kThinkEnd)));
        reasoning = without_leading_newlines(after_last(reasoning, kThinkBegin));
        content = without_leading_newlines(after_last(content, kThinkEnd));
      }
      const bool is_last = i + 1 == messages.size();
      if (i > last_query && (is_last || !reasoning.empty())) {
        out.mark("<think>\n").content(without_trailing_newlines(reasoning)).mark("\n</think>\n\n");
        content = without_leading_newlines(content);
      }
    }
    out.content(content).mark(marks.after);
  }
  if (open_assistant) out.mark(format.open);
}

void render_llama2(const ChatFormat&, Messages messages, bool, PromptWriter& out) {
  const bool has_system = !messages.empty() && messages.front().role == Role::System;
  const std::string_view system = take_system(messages);
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string_view content = messages[i].content;
    if (messages[i].role == Role::Assistant) {
      out.mark(" ").content(trimmed(content)).mark(" </s>");
      continue;
    }
    out.mark(i == 0 ? "[INST] " : "<s>[INST] ");  // the first BOS is the tokenizer's to add
    if (i == 0 && has_system) {
      // Stripping goes over the whole, so the question loses white space only at its end.
      const std::string_view question = trimmed_at_end(content);
      out.mark("<<SYS>>\n").content(system).mark(question.empty() ? "\n<</SYS>>" : "\n<</SYS>>\n\n").content(question);
    } else {
      out.content(trimmed(content));
    }
    out.mark(" [/INST]");
  }
}

void render_mistral_system_first(const ChatFormat& format, Messages messages, bool, PromptWriter& out) {
  const std::string_view system = take_system(messages);
  for (size_t i = 0; i < messages.size(); ++i) {
    const RoleMarks& marks = marks_of(format, messages[i].role);
    out.mark(marks.before);
    if (i == 0 && !system.empty()) out.content(system).mark("\n\n");
    out.content(messages[i].content).mark(marks.after);
  }
}

void render_mistral_system_last(const ChatFormat& format, Messages messages, bool, PromptWriter& out) {
  const std::string_view system = take_system(messages);
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool is_user = messages[i].role == Role::User;
    const RoleMarks& marks = marks_of(format, messages[i].role);
    out.mark(marks.before);
    if (is_user && i + 1 == messages.size() && !system.empty()) out.content(system).mark("\n\n");
    const bool trims = format.trims && !is_user;
    out.content(trims ? trimmed(messages[i].content) : messages[i].content).mark(marks.after);
  }
}

void render_llama31(const ChatFormat& format, Messages messages, bool open_assistant, PromptWriter& out) {
  const std::string_view system = take_system(messages);
  out.mark(format.system.before).mark("Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n");
  out.content(trimmed(system)).mark(format.system.after);
  render_marked(format, messages, open_assistant, out);
}

PromptWriter& PromptWriter::append(std::string_view text, Specials specials) {
  if (text.empty()) return *this;
  if (segments_.empty() || segments_.back().specials != specials) segments_.push_back({{}, specials});
  segments_.back().text += text;
  return *this;
}

}  // namespace sluice::tokenizer
