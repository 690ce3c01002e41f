// Bytes in as tokens come, whole UTF-8 characters out.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::tokenizer {

// Holds back the bytes of a character that is not complete yet. Bytes that can never become valid are replaced by
// U+FFFD as soon as that is known (one replacement for each maximal invalid prefix, as the Unicode standard
// recommends).
class Utf8Stream {
 public:
  // The text that is certain after these bytes.
  std::string push(std::string_view bytes);
  // Ends the stream: what was held back comes out as U+FFFD.
  std::string flush();

 private:
  std::string held_;  // at most 3 bytes: a valid beginning of a character
};

// Characters (code points) of a valid UTF-8 text, and of these the CJK ones (ideographs, kana, hangul, and CJK
// punctuation).
struct CharacterCount {
  size_t all = 0;
  size_t cjk = 0;
};
CharacterCount count_characters(std::string_view utf8);

}  // namespace sluice::tokenizer
