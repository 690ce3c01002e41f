// Puts GGUF files together byte by byte, right or wrong, as the writer never would.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"
#include "gguf/tensor_type.h"

namespace sluice::gguf::testing {

class RawGguf {
 public:
  // Begins with the header.
  RawGguf(uint64_t n_tensors, uint64_t n_keys, uint32_t version = 3);

  RawGguf& u8(uint8_t value) { return number(value); }
  RawGguf& u16(uint16_t value) { return number(value); }
  RawGguf& u32(uint32_t value) { return number(value); }
  RawGguf& i32(int32_t value) { return number(value); }
  RawGguf& u64(uint64_t value) { return number(value); }
  RawGguf& f32(float value) { return number(std::bit_cast<uint32_t>(value)); }
  RawGguf& text(std::string_view value);  // without a length
  RawGguf& string(std::string_view value);

  // The name and type of a metadata entry; the value must follow.
  RawGguf& key(std::string_view name, ValueType type);
  RawGguf& key(std::string_view name, uint32_t type_number);

  // A description of a tensor; `offset` counts from the start of the data.
  RawGguf& tensor(std::string_view name, const std::vector<uint64_t>& dims, TensorType type, uint64_t offset);
  RawGguf& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type_number, uint64_t offset);

  // Zeros to a multiple of 32, then `bytes` bytes of data.
  RawGguf& data(uint64_t bytes);

  const std::string& bytes() const { return bytes_; }
  operator std::string() const { return bytes_; }

 private:
  template <class T>
  RawGguf& number(T value) {
    for (size_t i = 0; i < sizeof value; ++i)
      bytes_ += static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xff);
    return *this;
  }

  std::string bytes_;
};

}  // namespace sluice::gguf::testing
