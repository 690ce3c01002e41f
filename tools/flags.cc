#include "tools/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>

#include "tools/exit_codes.h"
#include "tools/text_format.h"

namespace sluice::tools {

static std::string range_text(double least, double most) {
  bool open_above = most >= 1e9;
  if (open_above) return least <= -1e9 ? "any finite number" : format("%.10g or more", least);
  return format("%.10g to %.10g", least, most);
}

[[noreturn]] static void refuse(std::string_view name, std::string_view text, const char* kind, double least,
                                double most) {
  throw UsageError(format("%s cannot be '%s'; expected %s, %s; give a value in that range", std::string(name).c_str(),
                          printable(text, 60).c_str(), kind, range_text(least, most).c_str()));
}

int64_t parse_integer(std::string_view name, std::string_view text, int64_t least, int64_t most) {
  int64_t value = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool whole = failure == std::errc() && end == text.data() + text.size();
  if (!whole || value < least || value > most) {
    refuse(name, text, "a whole number", static_cast<double>(least), static_cast<double>(most));
  }
  return value;
}

double parse_number(std::string_view name, std::string_view text, double least, double most) {
  double value = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool whole = failure == std::errc() && end == text.data() + text.size();
  if (!whole || !std::isfinite(value) || value < least || value > most) refuse(name, text, "a number", least, most);
  return value;
}

// How many bytes a unit stands for: "", "B", or one of KMGTPE, alone or followed by "B" or "iB". 0 for another word.
static double unit_bytes(std::string_view unit) {
  constexpr std::string_view kPrefixes = "kmgtpe";
  std::string word;
  for (const char c : unit) word += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (word.empty() || word == "b") return 1;
  const size_t prefix = kPrefixes.find(word[0]);
  const std::string rest = word.substr(1);
  if (prefix == std::string_view::npos || (!rest.empty() && rest != "b" && rest != "ib")) return 0;
  return std::exp2(10 * static_cast<double>(prefix + 1));
}

uint64_t parse_bytes(std::string_view name, std::string_view text) {
  constexpr uint64_t kMost = uint64_t{1} << 63;  // half of what the type holds, more than any machine has
  const char* const end = text.data() + text.size();
  uint64_t whole = 0;  // read apart: a double does not hold every large one
  const auto [whole_end, whole_failure] = std::from_chars(text.data(), end, whole);
  if (whole_failure == std::errc() && whole_end == end && whole >= 1 && whole <= kMost) return whole;
  double number = 0;
  const auto [number_end, failure] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  std::string_view unit = text.substr(static_cast<size_t>(number_end - text.data()));
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  const double bytes = number * unit_bytes(unit);
  if (failure == std::errc() && bytes >= 1 && bytes <= static_cast<double>(kMost)) return static_cast<uint64_t>(bytes);
  throw UsageError(
      format("%s cannot be '%s'; expected a size of at least one byte, in bytes or with a unit of 1024s (K, M, "
             "G, T: G and GiB are 1073741824 bytes); give for example 2147483648, 512M or 1.5G",
             std::string(name).c_str(), printable(text, 60).c_str()));
}

template <class Value, class Parse>
static std::vector<Value> parse_list(std::string_view text, const Parse& parse) {
  std::vector<Value> values;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    values.push_back(parse(text.substr(begin, comma - begin)));
    begin = comma + 1;
  }
  return values;
}

std::vector<uint64_t> parse_sizes(std::string_view name, std::string_view text) {
  return parse_list<uint64_t>(text, [&](std::string_view part) { return parse_bytes(name, part); });
}

std::vector<int64_t> parse_integers(std::string_view name, std::string_view text, int64_t least, int64_t most) {
  return parse_list<int64_t>(text, [&](std::string_view part) { return parse_integer(name, part, least, most); });
}

const Flag& Flag::group(const std::string& name) const {
  option_->group(name);
  return *this;
}
const Flag& Flag::default_text(const std::string& text) const {
  option_->default_str(text);
  return *this;
}
const Flag& Flag::required() const {
  option_->required();
  return *this;
}
const Flag& Flag::excludes(const std::string& name) const {
  option_->excludes(name);
  return *this;
}

Flag add_flag_with_value(CLI::App& app, const std::string& names, const std::string& value_name,
                         std::function<void(const std::string&)> set, const std::string& help) {
  return Flag(app.add_option_function<std::string>(names, set, help)->type_name(value_name));
}
Flag add_text(CLI::App& app, const std::string& names, const std::string& value_name, std::string& text,
              const std::string& help) {
  return add_flag_with_value(
      app, names, value_name, [&text](const std::string& typed) { text = typed; }, help);
}
Flag add_positional(CLI::App& app, const std::string& name, std::function<void(const std::string&)> set,
                    const std::string& help) {
  return add_flag_with_value(app, name, "", std::move(set), help);
}
Flag add_positional(CLI::App& app, const std::string& name, std::string& text, const std::string& help) {
  return add_text(app, name, "", text, help);
}
Flag add_switch(CLI::App& app, const std::string& names, bool& is_on, const std::string& help) {
  return Flag(app.add_flag(names, is_on, help));
}
Flag add_switch(CLI::App& app, const std::string& names, std::function<void()> set, const std::string& help) {
  return Flag(app.add_flag_callback(names, std::move(set), help));
}

Flag add_choice(CLI::App& app, const std::string& names, std::vector<std::string> choices,
                std::function<void(size_t index)> set, const std::string& help) {
  std::string listed;
  for (const std::string& choice : choices) listed += (listed.empty() ? "" : "|") + choice;
  std::string name = names.substr(names.find("--"));
  auto pick = [=](const std::string& text) {
    for (size_t i = 0; i < choices.size(); i++) {
      if (choices[i] == text) return set(i);
    }
    throw UsageError(format("%s cannot be '%s'; expected %s; give one of these", name.c_str(),
                            printable(text, 60).c_str(), listed.c_str()));
  };
  return Flag(app.add_option_function<std::string>(names, pick, help)->type_name(listed));
}

Flag add_repeated(CLI::App& app, const std::string& names, const std::string& value_name,
                  std::function<void(const std::string&)> add, const std::string& help) {
  // A vector of CLI11 would read "[END]" as a list; a callback a value does not.
  return Flag(app.add_option_function<std::string>(names, add, help)
                  ->type_name(value_name)
                  ->trigger_on_parse()
                  ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast));
}

void set_notes(CLI::App& app, const std::string& notes) {
  app.footer(notes);
}
bool was_given(const CLI::App& app, const std::string& name) {
  return app.count(name) > 0;
}

}  // namespace sluice::tools
