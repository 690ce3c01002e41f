#include "tokenizer/byte_level.h"

#include <array>

#include "tokenizer/utf8.h"

namespace sluice::tokenizer {
namespace {

constexpr size_t kAlphabetEnd = 0x144;  // one past the largest code point

struct Alphabet {
  std::array<std::string, 256> character;  // byte -> UTF-8
  std::array<int16_t, kAlphabetEnd> byte;  // code point -> byte, or -1

  Alphabet() {
    byte.fill(-1);
    uint16_t next = 0x100;
    for (uint16_t value = 0; value < 256; ++value) {
      const bool printable =
          (value >= '!' && value <= '~') || (value >= 0xA1 && value <= 0xAC) || (value >= 0xAE && value <= 0xFF);
      const uint16_t code_point = printable ? value : next++;
      byte[code_point] = static_cast<int16_t>(value);
      std::string& utf8 = character[value];
      if (code_point < 0x80) {
        utf8.push_back(static_cast<char>(code_point));
      } else {
        utf8.push_back(static_cast<char>(0xC0 | (code_point >> 6)));
        utf8.push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
      }
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

std::string_view byte_character(uint8_t byte) {
  return alphabet().character[byte];
}

std::string spell_bytes(std::string_view bytes) {
  std::string spelling;
  spelling.reserve(bytes.size() * 2);
  for (const char byte : bytes) spelling += byte_character(static_cast<uint8_t>(byte));
  return spelling;
}

std::optional<std::string> unspell_bytes(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  while (!spelling.empty()) {
    const Utf8Step step = next_utf8(spelling);
    if (!step.valid || step.code_point >= kAlphabetEnd) return std::nullopt;
    const int16_t byte = alphabet().byte[step.code_point];
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
    spelling.remove_prefix(step.bytes);
  }
  return bytes;
}

}  // namespace sluice::tokenizer
