#include "engine/session/copied_pages.h"

#include <algorithm>

#include "engine/placement/memory.h"

namespace sluice::engine {

// As many bytes as the system brings around one that is missing.
static constexpr uint64_t kAround = uint64_t{64} << 10;

CopiedPages::CopiedPages(const gguf::File& file) {
  for (uint32_t shard = 0; shard < file.shards().size(); ++shard) {
    const std::byte *begin = nullptr, *end = nullptr;
    for (const gguf::Tensor& tensor : file.tensors()) {
      if (tensor.shard != shard || tensor.data == nullptr) continue;
      begin = begin == nullptr ? tensor.data : std::min(begin, tensor.data);
      end = std::max(end, tensor.data + tensor.bytes);
    }
    if (begin != nullptr) shards_.emplace_back(begin, end);
  }
}

void CopiedPages::copied(const std::byte* data, uint64_t bytes) const {
  for (const std::span<const std::byte> shard : shards_) {
    const std::byte* const last = shard.data() + shard.size();
    if (data < shard.data() || data >= last) continue;
    const auto before = std::min<uint64_t>(kAround, static_cast<uint64_t>(data - shard.data()));
    const auto behind = std::min<uint64_t>(kAround + bytes, static_cast<uint64_t>(last - data));
    forget_pages(data - before, before + behind);
  }
}

void CopiedPages::forget_all() const {
  for (const std::span<const std::byte> shard : shards_) forget_pages(shard.data(), shard.size());
}

}  // namespace sluice::engine
