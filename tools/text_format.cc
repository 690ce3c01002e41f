#include "tools/text_format.h"

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>

namespace sluice::tools {

std::string format(const char* pattern, ...) {
  va_list arguments;
  va_start(arguments, pattern);
  va_list again;
  va_copy(again, arguments);
  int length = std::vsnprintf(nullptr, 0, pattern, arguments);
  va_end(arguments);
  std::string text(length > 0 ? static_cast<size_t>(length) : 0, '\0');
  std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  return text;
}

std::string format_bytes(uint64_t bytes) {
  static constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return format("%d B", static_cast<int>(bytes));
  double size = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (size >= 1023.95 && unit + 1 < kUnits.size()) {
    size /= 1024;
    unit++;
  }
  return format("%.1f %s", size, kUnits[unit]);
}

std::string format_seconds(double seconds) {
  if (seconds < 0.1) return format("%.1f ms", seconds * 1e3);
  if (seconds < 100) return format("%.2f s", seconds);
  auto whole = static_cast<long long>(seconds + 0.5);
  return format("%lld min %lld s", whole / 60, whole % 60);
}

std::string format_count(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t place = digits.size(); place > 3;) {
    place -= 3;
    digits.insert(place, 1, ',');
  }
  return digits;
}

// The length of the UTF-8 character at the start of the text and its code point; length 0 when the bytes are not valid.
struct Character {
  size_t bytes = 0;
  uint32_t code_point = 0;
};

static Character first_character(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned lead = byte(0);
  if (lead < 0x80) return {1, lead};
  size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  uint32_t code_point = lead & (0x7FU >> bytes);
  for (size_t i = 1; i < bytes; i++) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  static constexpr std::array<uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (code_point < kLeast[bytes] || code_point > 0x10FFFF || surrogate) return {};
  return {bytes, code_point};
}

// Characters that move the cursor, reorder the line or start an escape sequence.
static bool unsafe_on_terminal(uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF;
}

std::string printable(std::string_view text, size_t max_characters) {
  std::string out;
  for (size_t n_characters = 0; !text.empty(); n_characters++) {
    if (n_characters == max_characters) return out + format(" ... (%zu bytes more)", text.size());
    Character c = first_character(text);
    if (c.bytes == 0) {
      out += format("\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(text[0])));
      c.bytes = 1;
    } else if (c.code_point == '\n') {
      out += "\\n";
    } else if (c.code_point == '\t') {
      out += "\\t";
    } else if (c.code_point == '\r') {
      out += "\\r";
    } else if (unsafe_on_terminal(c.code_point)) {
      out += format(c.code_point < 0x80 ? "\\x%02x" : "\\u%04x", static_cast<unsigned>(c.code_point));
    } else {
      out += text.substr(0, c.bytes);
    }
    text.remove_prefix(c.bytes);
  }
  return out;
}

// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
static size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); i++) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); j++) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); i++) {
    for (size_t j = 1; j <= b.size(); j++) {
      size_t replaced = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({replaced, cost[i - 1][j] + 1, cost[i][j - 1] + 1});
      bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t least = std::max<size_t>(word.size() / 3, 1) + 1;
  if (word.size() > 40) return nearest;
  for (const std::string& candidate : candidates) {
    size_t distance = edit_distance(word, candidate);
    bool begins_with_it = word.size() >= 2 && candidate.starts_with(word);
    if (begins_with_it) distance = 1;
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace sluice::tools
