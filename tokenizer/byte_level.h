// The byte-level alphabet of GPT-2: every byte is written as one printable character, so that a vocabulary of any bytes
// is a list of readable strings. The printable bytes of Latin-1 stand for themselves; the 68 others, in order, for
// U+0100 to U+0143.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::tokenizer {

// The character of a byte, as UTF-8.
std::string_view byte_character(uint8_t byte);

// Bytes to their spelling.
std::string spell_bytes(std::string_view bytes);

// A spelling back to its bytes; nothing when it holds a character that stands for no byte.
std::optional<std::string> unspell_bytes(std::string_view spelling);

}  // namespace sluice::tokenizer
