#include <doctest/doctest.h>

#include <string>

#include "tokenizer/utf8.h"
#include "tokenizer/utf8_stream.h"

using namespace sluice::tokenizer;

namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";

std::string streamed(std::string_view bytes, size_t step) {
  Utf8Stream stream;
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += step) {
    const std::string part = stream.push(bytes.substr(i, step));
    CHECK(valid_utf8_prefix(part) == part.size());
    text += part;
  }
  return text + stream.flush();
}

}  // namespace

TEST_CASE("a valid text comes out of the stream unchanged, however it is cut") {
  const std::string text = "a é ß 中文 🦙👨‍👩‍👧‍👦 \x7F end";
  for (size_t step = 1; step <= text.size(); ++step) CHECK(streamed(text, step) == text);
}

TEST_CASE("an incomplete character is held back until it is complete") {
  Utf8Stream stream;
  CHECK(stream.push("x\xF0\x9F").empty() == false);
  CHECK(stream.push("\xA6") == "");
  CHECK(stream.push("\x99y") == "\xF0\x9F\xA6\x99y");
  CHECK(stream.flush() == "");
}

TEST_CASE("each maximal invalid prefix becomes one replacement character") {
  const std::string r = kReplacement;
  const struct {
    std::string bytes, text;
  } cases[] = {
      {"\x80", r},
      {"a\xC0\xAF"
       "b",
       "a" + r + r + "b"},                  // overlong
      {"\xE0\x80\x80", r + r + r},          // overlong
      {"\xED\xA0\x80", r + r + r},          // surrogate
      {"\xF4\x90\x80\x80", r + r + r + r},  // above U+10FFFF
      {"\xF0\x9F\xA6", r},                  // cut at the end
      {"\xF0\x9F\xA6"
       "a",
       r + "a"},  // cut by another character
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
       "A",
       r + r + r + r + "A"},  // the standard's example
      {"\xFF\xFE", r + r},
      {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},  // U+10FFFF is valid
      {std::string("\0", 1), std::string("\0", 1)},
  };
  for (const auto& each : cases) {
    CAPTURE(each.bytes);
    for (size_t step = 1; step <= each.bytes.size(); ++step) CHECK(streamed(each.bytes, step) == each.text);
  }
}

TEST_CASE("a bad byte shows as soon as it is known to be bad") {
  Utf8Stream stream;
  CHECK(stream.push("\xE0") == "");
  CHECK(stream.push("\x80") == std::string(kReplacement) + kReplacement);
  CHECK(stream.push("\xE4\xB8") == "");
  CHECK(stream.flush() == kReplacement);
  CHECK(stream.push("ok") == "ok");
}

TEST_CASE("characters and CJK characters are counted") {
  const struct {
    const char* text;
    size_t all, cjk;
  } cases[] = {{"", 0, 0},         {"abc", 3, 0}, {"é ß", 3, 0}, {"中文", 2, 2}, {"ひらカナ", 4, 4}, {"한국", 2, 2},
               {"，。「」", 4, 4}, {"！", 1, 1},  {"𠀀a", 2, 1}, {"🦙", 1, 0}, {"привет", 6, 0}};
  for (const auto& each : cases) {
    CAPTURE(each.text);
    const CharacterCount count = count_characters(each.text);
    CHECK(count.all == each.all);
    CHECK(count.cjk == each.cjk);
  }
}
