// Making the sentences that errors consist of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>

#include "gguf/error.h"

namespace sluice::gguf {

// A name from a file in single quotes, fit for a terminal: control characters are escaped and long names are cut.
// It is not named quoted() because the compiler would then prefer std::quoted for a std::string.
std::string in_quotes(std::string_view text);

// "1 byte", "2 bytes".
std::string counted(uint64_t n, std::string_view noun);

template <class... Parts>
std::string joined(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

// Throws Error "PATH: PARTS". The parts make whole sentences.
template <class... Parts>
[[noreturn]] void fail(const std::filesystem::path& path, const Parts&... parts) {
  throw Error(joined(path.string(), ": ", parts...));
}

}  // namespace sluice::gguf
