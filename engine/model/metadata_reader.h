// Reads an architecture's hyperparameters with names, ranges and messages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/error.h"
#include "gguf/file.h"

namespace sluice::engine {

// Keys are given without the architecture's prefix: "block_count" reads "llama.block_count". Every getter throws
// Error(BadFile) when a needed key is missing or its value is out of range.
class MetadataReader {
 public:
  MetadataReader(const gguf::File& file, std::string architecture);

  const gguf::File& file() const { return file_; }
  const std::string& architecture() const { return architecture_; }

  bool contains(std::string_view key) const;
  // A count or size in [1, 2^31), or `fallback` when the key is absent.
  int64_t count(std::string_view key) const;
  int64_t count(std::string_view key, int64_t fallback) const;
  // A count that may be 0.
  int64_t count_or_zero(std::string_view key) const;
  // A finite number.
  float number(std::string_view key, float fallback) const;
  float number(std::string_view key) const;
  bool flag(std::string_view key, bool fallback) const;
  std::string text(std::string_view key, std::string_view fallback) const;

  [[noreturn]] void refuse(std::string_view key, std::string_view why) const;

 private:
  std::string full_key(std::string_view key) const;

  const gguf::File& file_;
  std::string architecture_;
};

}  // namespace sluice::engine
