// Numbers, sizes and foreign text as people read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tools {

// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

// "512 B", "1.5 MiB", "130.6 GiB".
std::string format_bytes(uint64_t bytes);
// "0.8 ms", "2.50 s", "3 min 20 s".
std::string format_seconds(double seconds);
// "1,234,567".
std::string format_count(uint64_t count);

// Text from a file or a model made safe to print on a terminal: control characters, direction marks and invalid UTF-8
// come out as escapes. Past `max_characters` it says how much was left out.
std::string printable(std::string_view text, size_t max_characters = SIZE_MAX);

// The candidate that a mistyped word most likely meant; empty when none is near.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace sluice::tools
