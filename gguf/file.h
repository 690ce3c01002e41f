// An opened GGUF model: one file or all shards of one, mapped read-only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/error.h"
#include "gguf/metadata.h"
#include "gguf/tensor_type.h"

namespace sluice::gguf {

struct Tensor {
  std::string name;
  TensorType type = TensorType::F32;
  // Dimensions as the file lists them: dims[0] is contiguous (the length of a row), dims[1] the rows, dims[2] the
  // matrices of a stack. Dimensions past n_dims are 1.
  std::array<uint64_t, 4> dims{1, 1, 1, 1};
  uint32_t n_dims = 0;
  uint64_t n_values = 0;
  uint64_t row_bytes = 0;           // bytes of dims[0] values
  uint64_t bytes = 0;               // bytes of the whole tensor
  uint32_t shard = 0;               // index into File::shards()
  uint64_t file_offset = 0;         // where the data begins in that shard's file
  const std::byte* data = nullptr;  // in the mapping, valid while the File lives

  uint64_t n_rows() const { return dims[1] * dims[2] * dims[3]; }
};

struct Shard {
  std::filesystem::path path;
  uint64_t file_bytes = 0;
  uint64_t data_offset = 0;  // where tensor data begins
};

// How much of the file open() touches.
enum class Mapping {
  Map,            // map the tensor data: Tensor::data is set
  DirectoryOnly,  // read headers only: Tensor::data stays null (for tools that look but do not run)
};

// Every count, length, offset and alignment is checked against the file before it is used; a File that opened has
// tensors that lie inside their shard, do not overlap, and have distinct names. Movable, not copyable. Reading is
// thread-safe.
class File {
 public:
  // Opens a model by its only file or by any of its shards (NAME-00001-of-0000N.gguf). Throws Error.
  static File open(const std::filesystem::path& path, Mapping mapping = Mapping::Map);

  File(File&&) noexcept;
  File& operator=(File&&) noexcept;
  ~File();

  uint32_t version() const;    // 2 or 3, of the first shard
  uint64_t alignment() const;  // of the first shard
  // Metadata of the first shard.
  const Metadata& metadata() const;
  const std::vector<Tensor>& tensors() const;  // shard order, then file order
  const Tensor* find_tensor(std::string_view name) const;
  const std::vector<Shard>& shards() const;
  std::vector<std::filesystem::path> shard_paths() const;
  uint64_t tensor_bytes() const;  // of all tensors together

 private:
  struct State;
  explicit File(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The path of shard `index` (from 0) of `count`: PREFIX-00001-of-00003.gguf.
std::filesystem::path shard_path(const std::filesystem::path& prefix, uint32_t index, uint32_t count);

}  // namespace sluice::gguf
