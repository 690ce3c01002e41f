#include "tokenizer/utf8_stream.h"

#include <algorithm>
#include <array>

#include "tokenizer/utf8.h"

namespace sluice::tokenizer {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Range {
  char32_t first;
  char32_t last;
};

// Blocks of East Asian scripts, in order.
constexpr std::array kCjk = {
    Range{0x1100, 0x11FF},    // Hangul Jamo
    Range{0x2E80, 0x2FDF},    // CJK and Kangxi radicals
    Range{0x2FF0, 0x303F},    // description characters, CJK symbols and punctuation
    Range{0x3040, 0x30FF},    // Hiragana, Katakana
    Range{0x3100, 0x31FF},    // Bopomofo, Hangul compatibility Jamo, strokes, Katakana extensions
    Range{0x3200, 0x33FF},    // enclosed CJK letters, CJK compatibility
    Range{0x3400, 0x4DBF},    // ideographs, extension A
    Range{0x4E00, 0x9FFF},    // unified ideographs
    Range{0xA960, 0xA97F},    // Hangul Jamo extended A
    Range{0xAC00, 0xD7FF},    // Hangul syllables, Jamo extended B
    Range{0xF900, 0xFAFF},    // compatibility ideographs
    Range{0xFE30, 0xFE4F},    // compatibility forms
    Range{0xFF00, 0xFFEF},    // half-width and full-width forms
    Range{0x1AFF0, 0x1B16F},  // Kana extensions and supplement
    Range{0x20000, 0x3FFFF},  // ideographs, extension B and after
};

bool is_cjk(char32_t code_point) {
  if (code_point < kCjk.front().first) return false;
  return std::any_of(kCjk.begin(), kCjk.end(),
                     [&](Range range) { return code_point >= range.first && code_point <= range.last; });
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  held_.append(bytes);
  std::string text;
  text.reserve(held_.size());
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Utf8Step step = next_utf8(rest);
    if (step.incomplete) break;
    text += step.valid ? rest.substr(0, step.bytes) : kReplacement;
    rest.remove_prefix(step.bytes);
  }
  held_.erase(0, held_.size() - rest.size());
  return text;
}

std::string Utf8Stream::flush() {
  if (held_.empty()) return {};
  held_.clear();
  return std::string(kReplacement);
}

CharacterCount count_characters(std::string_view utf8) {
  CharacterCount count;
  while (!utf8.empty()) {
    const Utf8Step step = next_utf8(utf8);
    ++count.all;
    if (step.valid && is_cjk(step.code_point)) ++count.cjk;
    utf8.remove_prefix(step.bytes);
  }
  return count;
}

}  // namespace sluice::tokenizer
