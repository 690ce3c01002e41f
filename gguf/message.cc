#include "gguf/message.h"

namespace sluice::gguf {

std::string in_quotes(std::string_view text) {
  constexpr size_t kLongest = 96;
  constexpr char kHex[] = "0123456789abcdef";
  std::string result = "'";
  for (char c : text.substr(0, kLongest)) {
    auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      result += "\\x";
      result += kHex[byte >> 4];
      result += kHex[byte & 15];
    } else {
      result += c;
    }
  }
  if (text.size() > kLongest) result += "...";
  return result + "'";
}

std::string counted(uint64_t n, std::string_view noun) {
  return joined(n, " ", noun, n == 1 ? "" : "s");
}

}  // namespace sluice::gguf
