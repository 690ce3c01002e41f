// Reading a JSON file that a user names: what is wrong with it is said with its name and what was expected.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace sluice::tools {

class JsonFile {
 public:
  // kind: "machine file"; help: what to do about a bad one. Throws UsageError when it cannot be read or is no JSON object.
  JsonFile(const std::filesystem::path& path, std::string kind, std::string help);

  const nlohmann::json& content() const { return content_; }

  // Throw UsageError.
  [[noreturn]] void refuse(const std::string& what, const std::string& expected) const;
  const nlohmann::json& member(const nlohmann::json& object, const std::string& name) const;
  double number(const nlohmann::json& object, const std::string& name, double least, double most) const;
  std::string text(const nlohmann::json& object, const std::string& name) const;  // empty when it is missing

 private:
  std::string path_, kind_, help_;
  nlohmann::json content_;
};

}  // namespace sluice::tools
