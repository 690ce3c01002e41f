#include "tools/json_file.h"

#include <cmath>
#include <fstream>
#include <sstream>

#include "tools/exit_codes.h"
#include "tools/text_format.h"

namespace sluice::tools {

using nlohmann::json;

JsonFile::JsonFile(const std::filesystem::path& path, std::string kind, std::string help)
    : path_(printable(path.string())), kind_(std::move(kind)), help_(std::move(help)) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) throw UsageError("the " + kind_ + " " + path_ + " cannot be read; " + help_);
  content_ = json::parse(text.str(), nullptr, false);
  if (!content_.is_object()) refuse("it is not a JSON object", "one");
}

void JsonFile::refuse(const std::string& what, const std::string& expected) const {
  throw UsageError(path_ + " is no " + kind_ + ": " + what + "; expected " + expected + "; " + help_);
}

const json& JsonFile::member(const json& object, const std::string& name) const {
  const auto found = object.find(name);
  if (found == object.end()) refuse("'" + printable(name, 60) + "' is missing", "it beside the others");
  return *found;
}

double JsonFile::number(const json& object, const std::string& name, double least, double most) const {
  const json& value = member(object, name);
  const double number = value.is_number() ? value.get<double>() : NAN;
  if (!(number >= least && number <= most))
    refuse(
        "'" + printable(name, 60) + "' is " + printable(value.dump(-1, ' ', true, json::error_handler_t::replace), 60),
        format("a number from %g to %g", least, most));
  return number;
}

std::string JsonFile::text(const json& object, const std::string& name) const {
  const auto found = object.find(name);
  if (found == object.end()) return {};
  if (!found->is_string()) refuse("'" + printable(name, 60) + "' is no text", "text");
  return found->get<std::string>();
}

}  // namespace sluice::tools
