// Makes the bytes of one shard from what its metadata should claim.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sluice::gguf::testing {

struct ShardMaker {
  std::optional<int32_t> number;     // split.no, from 0
  std::optional<int32_t> count;      // split.count; written as u16 unless negative
  std::optional<int32_t> n_tensors;  // split.tensors.count
  std::vector<std::string> tensors;  // each of 8 floats
  std::string architecture = {};     // written unless empty

  std::string make() const;
};

}  // namespace sluice::gguf::testing
