#include "gguf/file.h"

#include <unordered_map>
#include <utility>

#include "gguf/directory.h"
#include "gguf/mapping.h"
#include "gguf/message.h"
#include "gguf/shards.h"

namespace sluice::gguf {

struct File::State {
  uint32_t version = 0;
  uint64_t alignment = 0;
  Metadata metadata;
  std::vector<Shard> shards;
  std::vector<FileMapping> mappings;  // one a shard with tensors
  std::vector<Tensor> tensors;
  std::unordered_map<std::string_view, size_t> index;  // the names lie in `tensors`

  void add_shard(const InputFile& file, Directory directory, Mapping mapping);
  void build_index();
};

// One file's head, and the file still open for mapping it.
struct OpenedShard {
  explicit OpenedShard(const std::filesystem::path& path) : file(path), directory(read_directory(file)) {}
  InputFile file;
  Directory directory;
};

void File::State::add_shard(const InputFile& file, Directory directory, Mapping mapping) {
  auto shard = static_cast<uint32_t>(shards.size());
  shards.push_back({file.path(), file.bytes(), directory.data_offset});
  const std::byte* base = nullptr;
  if (mapping == Mapping::Map && !directory.tensors.empty()) base = mappings.emplace_back(file).data();
  for (Tensor& tensor : directory.tensors) {
    tensor.shard = shard;
    tensor.data = base ? base + tensor.file_offset : nullptr;
    tensors.push_back(std::move(tensor));
  }
  if (shard == 0) {
    version = directory.version;
    alignment = directory.alignment;
    metadata = std::move(directory.metadata);
  }
}

void File::State::build_index() {
  index.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    auto [place, is_new] = index.try_emplace(tensors[i].name, i);
    if (!is_new)
      fail(shards[tensors[i].shard].path, "The tensor ", in_quotes(tensors[i].name), " stands in this shard and in ",
           shards[tensors[place->second].shard].path.string(),
           " too. Shards of different models are mixed up; download them all from one place.");
  }
}

File File::open(const std::filesystem::path& path, Mapping mapping) {
  OpenedShard opened(path);
  SplitKeys keys = read_split_keys(opened.directory.metadata);
  auto state = std::make_unique<State>();
  // A merged file may keep split.count as 0.
  if (keys.count < 2) {
    state->add_shard(opened.file, std::move(opened.directory), mapping);
  } else {
    ShardName name = locate_shard(path, keys);
    const Metadata opened_metadata = opened.directory.metadata;
    for (uint32_t i = 0; i < name.count; ++i) {
      if (i == name.index) {
        state->add_shard(opened.file, std::move(opened.directory), mapping);
        continue;
      }
      std::filesystem::path shard = shard_path(name.prefix, i, name.count);
      std::error_code ignored;
      if (!std::filesystem::exists(shard, ignored))
        fail(path, "Shard ", i + 1, " of ", name.count, " is missing: there is no ", shard.string(),
             ". Download it into the same folder.");
      OpenedShard other(shard);
      check_shard(shard, i, other.directory.metadata, path, opened_metadata);
      state->add_shard(other.file, std::move(other.directory), mapping);
    }
  }
  state->build_index();
  if (keys.n_tensors && *keys.n_tensors != state->tensors.size())
    fail(path, "The model should have ", counted(*keys.n_tensors, "tensor"), " (split.tensors.count), but ",
         state->shards.size() == 1 ? std::string("this file has ")
                                   : joined("its ", state->shards.size(), " shards together have "),
         state->tensors.size(), ". Download all its files again.");
  return File(std::move(state));
}

File::File(std::unique_ptr<State> state) : state_(std::move(state)) {}
File::File(File&&) noexcept = default;
File& File::operator=(File&&) noexcept = default;
File::~File() = default;

uint32_t File::version() const {
  return state_->version;
}
uint64_t File::alignment() const {
  return state_->alignment;
}
const Metadata& File::metadata() const {
  return state_->metadata;
}
const std::vector<Tensor>& File::tensors() const {
  return state_->tensors;
}
const std::vector<Shard>& File::shards() const {
  return state_->shards;
}
std::vector<std::filesystem::path> File::shard_paths() const {
  std::vector<std::filesystem::path> paths;
  for (const Shard& shard : shards()) paths.push_back(shard.path);
  return paths;
}
uint64_t File::tensor_bytes() const {
  uint64_t total = 0;
  for (const Tensor& tensor : tensors()) total += tensor.bytes;
  return total;
}

const Tensor* File::find_tensor(std::string_view name) const {
  auto found = state_->index.find(name);
  return found == state_->index.end() ? nullptr : &state_->tensors[found->second];
}

}  // namespace sluice::gguf
