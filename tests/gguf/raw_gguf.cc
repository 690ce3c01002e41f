#include "tests/gguf/raw_gguf.h"

namespace sluice::gguf::testing {

RawGguf::RawGguf(uint64_t n_tensors, uint64_t n_keys, uint32_t version) {
  text("GGUF").u32(version).u64(n_tensors).u64(n_keys);
}

RawGguf& RawGguf::text(std::string_view value) {
  bytes_ += value;
  return *this;
}

RawGguf& RawGguf::string(std::string_view value) {
  return u64(value.size()).text(value);
}

RawGguf& RawGguf::key(std::string_view name, ValueType type) {
  return key(name, static_cast<uint32_t>(type));
}

RawGguf& RawGguf::key(std::string_view name, uint32_t type_number) {
  return string(name).u32(type_number);
}

RawGguf& RawGguf::tensor(std::string_view name, const std::vector<uint64_t>& dims, TensorType type, uint64_t offset) {
  return tensor(name, dims, static_cast<uint32_t>(type), offset);
}

RawGguf& RawGguf::tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type_number,
                         uint64_t offset) {
  string(name).u32(static_cast<uint32_t>(dims.size()));
  for (uint64_t length : dims) u64(length);
  return u32(type_number).u64(offset);
}

RawGguf& RawGguf::data(uint64_t bytes) {
  bytes_.resize((bytes_.size() + 31) / 32 * 32);
  for (uint64_t i = 0; i < bytes; ++i) bytes_ += static_cast<char>(i * 7 + 1);
  return *this;
}

}  // namespace sluice::gguf::testing
