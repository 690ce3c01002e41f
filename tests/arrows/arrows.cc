#include "tests/arrows/arrows.h"

#include <algorithm>
#include <cctype>
#include <regex>

namespace sluice::arrows {
namespace {

const Arrow* arrow_of(const Rules& rules, std::string_view path) {
  const Arrow* longest = nullptr;
  for (const Arrow& arrow : rules.arrows)
    if (path.starts_with(arrow.from) && (longest == nullptr || arrow.from.size() > longest->from.size()))
      longest = &arrow;
  return longest;
}

std::string join(const std::vector<std::string_view>& names) {
  std::string joined;
  for (std::string_view name : names) joined.append(joined.empty() ? "" : ", ").append(name);
  return joined.empty() ? "nothing of ours" : joined;
}

// What is wrong with one include, or nothing.
std::string breach_of_include(const Rules& rules, std::string_view path, const std::string& target) {
  const Arrow* arrow = arrow_of(rules, path);
  if (arrow == nullptr) return "no rule says what a file here may include; add its room to the rules";
  if (target.find("..") != std::string::npos || arrow_of(rules, target) == nullptr)
    return "\"" + target + "\" is not written from the root of the repository";
  if (std::ranges::any_of(arrow->to, [&](std::string_view to) { return target.starts_with(to); })) return {};
  return "\"" + target + "\" points the wrong way; " + std::string(arrow->from) + " may include " + join(arrow->to);
}

bool is_excepted(const Rules& rules, std::string_view path, std::string_view pattern) {
  return std::ranges::any_of(rules.exceptions, [&](const Exception& exception) {
    return exception.path == path && exception.pattern == pattern && !exception.reason.empty();
  });
}

}  // namespace

std::string without_comments_and_strings(std::string_view text) {
  std::string out(text);
  size_t i = 0;
  const auto at = [&](size_t k) { return k < text.size() ? text[k] : '\0'; };
  const auto blank_until = [&](size_t end) {
    for (end = std::min(end, text.size()); i < end; ++i)
      if (out[i] != '\n') out[i] = ' ';
  };
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  const auto include_line = [&](size_t quote) {
    const size_t line = text.rfind('\n', quote) + 1;  // npos + 1 is the beginning
    static const std::regex directive(R"(\s*#\s*include\s*)");
    return std::regex_match(text.begin() + static_cast<std::ptrdiff_t>(line),
                            text.begin() + static_cast<std::ptrdiff_t>(quote), directive);
  };
  while (i < text.size()) {
    if (at(i) == '/' && at(i + 1) == '/') {
      blank_until(std::min(text.find('\n', i), text.size()));
    } else if (at(i) == '/' && at(i + 1) == '*') {
      const size_t end = text.find("*/", i + 2);
      blank_until(end == std::string_view::npos ? text.size() : end + 2);
    } else if (at(i) == 'R' && at(i + 1) == '"' && (i == 0 || !is_word(text[i - 1]))) {
      const size_t open = text.find('(', i);
      if (open == std::string_view::npos) break;
      const std::string close = ")" + std::string(text.substr(i + 2, open - i - 2)) + "\"";
      const size_t end = text.find(close, open);
      blank_until(end == std::string_view::npos ? text.size() : end + close.size());
    } else if (at(i) == '"' && include_line(i)) {
      i = std::min(text.find('\n', i), text.size());
    } else if (at(i) == '"' || (at(i) == '\'' && (i == 0 || !is_word(text[i - 1])))) {  // 1'000 is a number
      size_t end = i + 1;
      while (end < text.size() && text[end] != text[i] && text[end] != '\n') end += text[end] == '\\' ? 2 : 1;
      blank_until(end + 1);
    } else {
      ++i;
    }
  }
  return out;
}

std::vector<std::string> check_source(const Rules& rules, std::string_view path, std::string_view text) {
  std::vector<std::string> breaches;
  const bool quiet =
      std::ranges::any_of(rules.quiet_rooms, [&](std::string_view room) { return path.starts_with(room); });
  static const std::regex include_directive(R"re(^\s*#\s*include\s*"([^"]*)")re");

  std::vector<std::pair<std::regex, const Ban*>> bans;
  if (quiet)
    for (const Ban& ban : rules.bans)
      if (!is_excepted(rules, path, ban.pattern)) bans.emplace_back(std::string(ban.pattern), &ban);

  const std::string code = without_comments_and_strings(text);
  size_t number = 0;
  for (size_t begin = 0; begin < code.size();) {
    const size_t end = std::min(code.find('\n', begin), code.size());
    const std::string line = code.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    const auto report = [&](const std::string& what) {
      breaches.push_back(std::string(path) + ":" + std::to_string(number) + ": " + what);
    };
    std::smatch match;
    if (std::regex_search(line, match, include_directive))
      if (const std::string breach = breach_of_include(rules, path, match[1]); !breach.empty()) report(breach);
    for (const auto& [pattern, ban] : bans)
      if (std::regex_search(line, match, pattern)) report("'" + match.str() + "': " + std::string(ban->why));
  }
  return breaches;
}

}  // namespace sluice::arrows
