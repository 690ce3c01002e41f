// The messages of a chat, and their file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tokenizer/chat_template.h"

namespace sluice::tools {

// At most one system message, at the front; then user and assistant in turn.
class Conversation {
 public:
  const std::vector<tokenizer::Message>& messages() const { return messages_; }
  std::string system() const;         // empty without one
  void set_system(std::string text);  // empty takes it away
  void add_user(std::string text);
  void add_assistant(std::string text);

  bool ends_with(tokenizer::Role role) const;
  void drop_last() { messages_.pop_back(); }
  void clear();  // all but the system message

  // One JSON object: {"model": ..., "messages": [{"role": "user", "content": ...}, ...]}. Both throw UsageError; a file
  // that cannot be read as a conversation leaves this one as it was.
  void save(const std::filesystem::path& path, const std::string& model_name) const;
  void load(const std::filesystem::path& path);

 private:
  std::vector<tokenizer::Message> messages_;
};

}  // namespace sluice::tools
