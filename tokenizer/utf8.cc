#include "tokenizer/utf8.h"

#include <cstring>

namespace sluice::tokenizer {

Utf8Step next_utf8(std::string_view bytes) {
  Utf8Step step;
  if (bytes.empty()) return step;
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = at(0);
  step.bytes = 1;
  if (lead < 0x80) {
    step.code_point = lead;
    step.valid = true;
    return step;
  }
  // The second byte's range depends on the lead byte; that excludes overlong forms, surrogates and too large values.
  size_t length = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return step;
  }
  char32_t code_point = lead & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) {
      step.incomplete = true;
      return step;
    }
    if (at(i) < low || at(i) > high) return step;
    low = 0x80;
    high = 0xBF;
    code_point = (code_point << 6) | (at(i) & 0x3Fu);
    step.bytes = i + 1;
  }
  step.code_point = code_point;
  step.valid = true;
  return step;
}

size_t valid_utf8_prefix(std::string_view bytes) {
  size_t position = 0;
  while (position < bytes.size()) {
    // Eight ASCII bytes at once.
    uint64_t word = 0;
    if (bytes.size() - position >= sizeof(word)) {
      std::memcpy(&word, bytes.data() + position, sizeof(word));
      if ((word & 0x8080808080808080u) == 0) {
        position += sizeof(word);
        continue;
      }
    }
    const Utf8Step step = next_utf8(bytes.substr(position));
    if (!step.valid) break;
    position += step.bytes;
  }
  return position;
}

}  // namespace sluice::tokenizer
