// Stepping through bytes that may or may not be UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::tokenizer {

// What stands at the start of some bytes.
struct Utf8Step {
  char32_t code_point = 0;  // only when valid
  size_t bytes = 0;         // of the character, or of the maximal invalid prefix; 0 only for empty input
  bool valid = false;
  bool incomplete = false;  // invalid so far, but more bytes could complete it
};

// Overlong forms, surrogates and code points above U+10FFFF are invalid.
Utf8Step next_utf8(std::string_view bytes);

// The length of the longest valid beginning of the bytes.
size_t valid_utf8_prefix(std::string_view bytes);

}  // namespace sluice::tokenizer
