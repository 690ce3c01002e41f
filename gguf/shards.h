// Models cut into several files: PREFIX-00001-of-00003.gguf and so on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "gguf/directory.h"

namespace sluice::gguf {

struct ShardName {
  std::filesystem::path prefix;  // with the folder
  uint32_t index = 0;            // from 0
  uint32_t count = 0;
};

// The parts of a shard's path, or nothing when the path is not named like a shard.
std::optional<ShardName> parse_shard_name(const std::filesystem::path& path);

// What a file's metadata say about the split.
struct SplitKeys {
  uint64_t count = 0;                 // 0 or 1: the whole model is in this file
  std::optional<uint64_t> number;     // from 0
  std::optional<uint64_t> n_tensors;  // in all shards together

  bool operator==(const SplitKeys&) const = default;
};
SplitKeys read_split_keys(const Metadata& metadata);

// The place of this file among its shards, from its name and its metadata, which must agree. Throws Error. Only for a
// file whose SplitKeys say that there are several shards.
ShardName locate_shard(const std::filesystem::path& path, const SplitKeys& keys);

// Throws Error unless `other`, found where shard `index` should be, belongs to the same model as the shard at `opened`.
void check_shard(const std::filesystem::path& path, uint32_t index, const Metadata& other,
                 const std::filesystem::path& opened, const Metadata& opened_metadata);

}  // namespace sluice::gguf
