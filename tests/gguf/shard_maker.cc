#include "tests/gguf/shard_maker.h"

#include "tests/gguf/raw_gguf.h"

namespace sluice::gguf::testing {

std::string ShardMaker::make() const {
  uint64_t n_keys = number.has_value() + count.has_value() + n_tensors.has_value() + !architecture.empty();
  RawGguf raw(tensors.size(), n_keys);
  if (!architecture.empty()) raw.key("general.architecture", ValueType::String).string(architecture);
  if (number) raw.key("split.no", ValueType::Uint16).u16(static_cast<uint16_t>(*number));
  if (count && *count < 0) raw.key("split.count", ValueType::Int32).i32(*count);
  if (count && *count >= 0) raw.key("split.count", ValueType::Uint16).u16(static_cast<uint16_t>(*count));
  if (n_tensors) raw.key("split.tensors.count", ValueType::Int32).i32(*n_tensors);
  uint64_t offset = 0;
  for (const std::string& name : tensors) {
    raw.tensor(name, {8}, TensorType::F32, offset);
    offset += 32;
  }
  if (!tensors.empty()) raw.data(offset);
  return raw;
}

}  // namespace sluice::gguf::testing
