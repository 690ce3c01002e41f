// Which room may include which, and which calls a library must not make: the house rules as data, and their check.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::arrows {

// Files whose path begins with `from` may include files whose path begins with one of `to`. The longest `from` that
// fits a file is its rule. Paths are from the root of the repository; a name that ends in '/' is a folder.
struct Arrow {
  std::string_view from;
  std::vector<std::string_view> to;
};

// A file of a quiet room must not contain `pattern` (a regular expression, matched outside of comments and strings).
struct Ban {
  std::string_view pattern;
  std::string_view why;
};

// A file that may break a ban, and the reason.
struct Exception {
  std::string_view path;
  std::string_view pattern;
  std::string_view reason;
};

struct Rules {
  std::vector<Arrow> arrows;
  std::vector<std::string_view> quiet_rooms;  // where the bans hold
  std::vector<Ban> bans;
  std::vector<Exception> exceptions;
};

// The rules of this repository.
const Rules& house_rules();

// One line a breach: path:line: what is wrong. `path` is from the root, `text` the file's contents.
std::vector<std::string> check_source(const Rules& rules, std::string_view path, std::string_view text);

// The text with comments and the insides of string and character literals blanked, line ends kept. The names of
// #include
// "..." stay.
std::string without_comments_and_strings(std::string_view text);

}  // namespace sluice::arrows
