// Options whose values are checked here, so that each wrong one gets a message of its own. They are CLI11's, behind functions of
// ours: its header takes a compiler longer than most commands do, so only flags.cc and main.cc read it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/choices.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace sluice::tools {

// Read the whole text as a number in [least, most]; `name` is for the message. Throw UsageError.
int64_t parse_integer(std::string_view name, std::string_view text, int64_t least, int64_t most);
double parse_number(std::string_view name, std::string_view text, double least, double most);
// A size in bytes, 1 or more: "2147483648", or a number with a unit of 1024s: "512M", "1.5G", "2GiB", "2 gb". A part of a
// byte is dropped. Throws UsageError.
uint64_t parse_bytes(std::string_view name, std::string_view text);
// Several of them, with commas between. Throw UsageError.
std::vector<uint64_t> parse_sizes(std::string_view name, std::string_view text);
std::vector<int64_t> parse_integers(std::string_view name, std::string_view text, int64_t least, int64_t most);

// An option that was added, to say more of it.
class Flag {
 public:
  explicit Flag(CLI::Option* option) : option_(option) {}
  const Flag& group(const std::string& name) const;         // under which the help lists it
  const Flag& default_text(const std::string& text) const;  // that the help shows
  const Flag& required() const;
  const Flag& excludes(const std::string& name) const;

 private:
  CLI::Option* option_;
};

// `names` as CLI11 takes them: "-c,--ctx-size". `set` gets the text as it was typed.
Flag add_flag_with_value(CLI::App& app, const std::string& names, const std::string& value_name,
                         std::function<void(const std::string&)> set, const std::string& help);
// The same where the text is taken as it is.
Flag add_text(CLI::App& app, const std::string& names, const std::string& value_name, std::string& text,
              const std::string& help);
// Given without a name, by its place.
Flag add_positional(CLI::App& app, const std::string& name, std::function<void(const std::string&)> set,
                    const std::string& help);
Flag add_positional(CLI::App& app, const std::string& name, std::string& text, const std::string& help);
// On when it is given.
Flag add_switch(CLI::App& app, const std::string& names, bool& is_on, const std::string& help);
Flag add_switch(CLI::App& app, const std::string& names, std::function<void()> set, const std::string& help);
// One of several words. Throws UsageError for another one, listing them.
Flag add_choice(CLI::App& app, const std::string& names, std::vector<std::string> choices,
                std::function<void(size_t index)> set, const std::string& help);
template <typename Value, size_t n>
Flag add_choice(CLI::App& app, const std::string& names, const Words<Value, n>& words, Value& value,
                const std::string& help) {
  return add_choice(
      app, names, all_words(words), [&words, &value](size_t i) { value = words[i].second; }, help);
}
// May be given several times, one value each.
Flag add_repeated(CLI::App& app, const std::string& names, const std::string& value_name,
                  std::function<void(const std::string&)> add, const std::string& help);

// Text below the options of the help.
void set_notes(CLI::App& app, const std::string& notes);
bool was_given(const CLI::App& app, const std::string& name);

}  // namespace sluice::tools
