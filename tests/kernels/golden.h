// Reading golden files, and the comparison that they are held to.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace sluice::test {

// A golden file read from its beginning to its end.
class Golden {
 public:
  explicit Golden(const std::string& name) {
    const std::string path = std::string(SLUICE_TEST_DATA) + "/" + name;
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot open " + path);
    const std::vector<char> chars{std::istreambuf_iterator<char>(file), {}};
    bytes_.resize(chars.size());
    if (!chars.empty()) std::memcpy(bytes_.data(), chars.data(), chars.size());
  }

  template <class Number>
  std::vector<Number> read(size_t n) {
    if (n > (bytes_.size() - position_) / sizeof(Number)) throw std::runtime_error("a golden file is too short");
    std::vector<Number> numbers(n);
    if (n > 0) std::memcpy(numbers.data(), bytes_.data() + position_, n * sizeof(Number));
    position_ += n * sizeof(Number);
    return numbers;
  }

  bool at_end() const { return position_ == bytes_.size(); }

 private:
  std::vector<std::byte> bytes_;
  size_t position_ = 0;
};

// Bit for bit; any NaN equals any other.
inline bool same_bits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

// The index of the first difference, or -1 when there is none.
inline int64_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return static_cast<int64_t>(a.size() < b.size() ? a.size() : b.size());
  for (size_t i = 0; i < a.size(); ++i)
    if (!same_bits(a[i], b[i])) return static_cast<int64_t>(i);
  return -1;
}

}  // namespace sluice::test
