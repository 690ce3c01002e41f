// Turns a conversation into the prompt format of a model family.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace sluice::tokenizer {

enum class Role { System, User, Assistant };

struct Message {
  Role role = Role::User;
  std::string content;
};

// One family's prompt format. A value; copying is cheap.
class ChatTemplate {
 public:
  // By name: "chatml", "llama2", "llama3", "deepseek2" (V2), "deepseek3" (V3, R1), ...; nothing when unknown.
  static std::optional<ChatTemplate> by_name(std::string_view name);
  // By the text of the file's own `tokenizer.chat_template`; nothing when no known family is recognised.
  static std::optional<ChatTemplate> detect(std::string_view template_text);
  static std::vector<std::string> known_names();

  std::string_view name() const;

  // The whole conversation; with `open_assistant` the prompt ends where the assistant's answer begins. History drops an
  // assistant message's thinking (all up to </think>) where the family's template does. BOS is not part of the result
  // when the tokenizer adds it (encode() below takes care of one BOS only).
  std::vector<Segment> render(std::span<const Message> messages, bool open_assistant) const;

  // Renders and encodes, with BOS exactly once where the vocabulary wants it.
  std::vector<TokenId> encode(const Tokenizer& tokenizer, std::span<const Message> messages, bool open_assistant) const;

 private:
  explicit ChatTemplate(int family) : family_(family) {}
  int family_;
};

}  // namespace sluice::tokenizer
