// Options whose values are checked here, so that each wrong one gets a message of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

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

// `names` as CLI11 takes them: "-c,--ctx-size". `set` gets the text as it was typed.
CLI::Option* add_flag_with_value(CLI::App& app, const std::string& names, const std::string& value_name,
                                 std::function<void(const std::string&)> set, const std::string& help);
// One of several words. Throws UsageError for another one, listing them.
CLI::Option* add_choice(CLI::App& app, const std::string& names, std::vector<std::string> choices,
                        std::function<void(size_t index)> set, const std::string& help);
// May be given several times, one value each.
CLI::Option* add_repeated(CLI::App& app, const std::string& names, const std::string& value_name,
                          std::function<void(const std::string&)> add, const std::string& help);

}  // namespace sluice::tools
