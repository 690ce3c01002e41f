#include "tools/conversation.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tools/exit_codes.h"
#include "tools/input.h"
#include "tools/text_format.h"

namespace sluice::tools {

using tokenizer::Message;
using tokenizer::Role;

static constexpr std::array kRoleNames = {"system", "user", "assistant"};  // in the order of Role

std::string Conversation::system() const {
  bool has_one = !messages_.empty() && messages_.front().role == Role::System;
  return has_one ? messages_.front().content : std::string();
}

void Conversation::set_system(std::string text) {
  if (!messages_.empty() && messages_.front().role == Role::System) messages_.erase(messages_.begin());
  if (!text.empty()) messages_.insert(messages_.begin(), Message{Role::System, std::move(text)});
}

void Conversation::add_user(std::string text) {
  messages_.push_back({Role::User, std::move(text)});
}
void Conversation::add_assistant(std::string text) {
  messages_.push_back({Role::Assistant, std::move(text)});
}

bool Conversation::ends_with(Role role) const {
  return !messages_.empty() && messages_.back().role == role;
}

void Conversation::clear() {
  std::string kept = system();
  messages_.clear();
  set_system(kept);
}

void Conversation::save(const std::filesystem::path& path, const std::string& model_name) const {
  nlohmann::ordered_json json;
  json["model"] = model_name;
  json["messages"] = nlohmann::ordered_json::array();
  for (const Message& message : messages_) {
    json["messages"].push_back({{"role", kRoleNames[static_cast<size_t>(message.role)]}, {"content", message.content}});
  }
  // Written beside and renamed, so that a full disk does not cost the file that was there.
  std::filesystem::path beside = path;
  beside += ".part";
  std::ofstream file(beside, std::ios::binary | std::ios::trunc);
  file << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  file.close();
  std::error_code failure;
  if (file) std::filesystem::rename(beside, path, failure);
  if (!file || failure) {
    std::string reason = failure ? failure.message() : std::strerror(errno);
    std::filesystem::remove(beside, failure);
    throw UsageError("cannot write " + printable(path.string()) + ": " + reason +
                     "; expected a place for a new file; choose another name");
  }
}

[[noreturn]] static void refuse(const std::filesystem::path& path, const std::string& found) {
  throw UsageError(printable(path.string()) + " is not a saved conversation; found " + found +
                   ", expected the JSON that /save writes; choose another file");
}

static std::vector<Message> parse_messages(const std::filesystem::path& path, const nlohmann::json& json) {
  if (!json.is_object() || !json.contains("messages") || !json["messages"].is_array()) {
    refuse(path, "no list \"messages\"");
  }
  std::vector<Message> messages;
  for (const nlohmann::json& entry : json["messages"]) {
    std::string place = "in message " + std::to_string(messages.size() + 1);
    bool complete = entry.is_object() && entry.contains("role") && entry["role"].is_string() &&
                    entry.contains("content") && entry["content"].is_string();
    if (!complete) refuse(path, "no \"role\" and \"content\" " + place);
    std::string name = entry["role"];
    size_t role = 0;
    while (role < kRoleNames.size() && name != kRoleNames[role]) role++;
    if (role == kRoleNames.size()) refuse(path, "the role '" + printable(name, 40) + "' " + place);
    bool first = messages.empty() || messages.back().role == Role::System;
    Role expected = first ? Role::User : messages.back().role == Role::User ? Role::Assistant : Role::User;
    bool system_first = messages.empty() && static_cast<Role>(role) == Role::System;
    if (static_cast<Role>(role) != expected && !system_first) {
      refuse(path, "the role '" + name + "' out of turn " + place);
    }
    messages.push_back({static_cast<Role>(role), entry["content"]});
  }
  return messages;
}

void Conversation::load(const std::filesystem::path& path) {
  nlohmann::json json = nlohmann::json::parse(read_text(path), nullptr, false);
  if (json.is_discarded()) refuse(path, "text that is no JSON");
  messages_ = parse_messages(path, json);
}

}  // namespace sluice::tools
