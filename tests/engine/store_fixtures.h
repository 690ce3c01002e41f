// Models opened with a store of a set size on a disk that may misbehave.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/architecture.h"
#include "engine/store/disk.h"
#include "engine/store/store_plan.h"
#include "tests/engine/fixtures.h"

namespace sluice::tests {

// The least store of a fixture, and one that holds everything.
struct StoreSizes {
  uint64_t least = 0;
  uint64_t all = 0;
};

inline StoreSizes store_sizes(const std::filesystem::path& path, uint32_t n_batch) {
  const gguf::File file = gguf::File::open(path);
  const engine::ModelSpec spec = engine::describe_model(file);
  engine::ModelWeights weights = engine::bind_weights(file, spec);
  constexpr uint64_t kBlock = 4096, kSmallestPiece = uint64_t{1} << 20;
  const engine::StoreInventory inventory = engine::take_inventory(weights, file, kSmallestPiece);
  StoreSizes sizes;
  sizes.least = engine::least_store_bytes(inventory, n_batch, kBlock);
  sizes.all = sizes.least + engine::dense_bytes(inventory, kBlock);
  for (const engine::ExpertTensors& experts : inventory.experts)
    for (const engine::ExpertTensor& part : experts.parts)
      sizes.all += static_cast<uint64_t>(experts.n_experts) * (part.matrix_bytes + 2 * kBlock);
  return sizes;
}

// Hands on to another disk, and lets a test change what comes back.
class MeddlingDisk : public engine::Disk {
 public:
  // Told of each completion with its read; what it returns is what the reader sees. What has not come by that is overwritten, so
  // that nobody gets it all the same.
  using Meddle = std::function<int64_t(const engine::DiskRead& read, int64_t result)>;
  MeddlingDisk(std::unique_ptr<engine::Disk> inner, Meddle meddle)
      : inner_(std::move(inner)), meddle_(std::move(meddle)) {}

  std::string_view name() const override { return inner_->name(); }
  unsigned depth() const override { return inner_->depth(); }
  void start(engine::DiskRead read) override {
    reads_[read.id] = read;
    inner_->start(std::move(read));
  }
  size_t wait(std::span<engine::DiskCompletion> completions) override {
    const size_t n = inner_->wait(completions);
    for (size_t i = 0; i < n; ++i) {
      const auto read = reads_.find(completions[i].id);
      completions[i].result = meddle_(read->second, completions[i].result);
      spoil(read->second, static_cast<uint64_t>(std::max<int64_t>(0, completions[i].result)));
      reads_.erase(read);
    }
    return n;
  }
  void wake() override { inner_->wake(); }

 private:
  // All but the first bytes of what was read.
  static void spoil(const engine::DiskRead& read, uint64_t kept) {
    for (const iovec& part : read.to) {
      const uint64_t n = std::min<uint64_t>(kept, part.iov_len);
      std::memset(static_cast<std::byte*>(part.iov_base) + n, 0xEE, part.iov_len - n);
      kept -= n;
    }
  }

  std::unique_ptr<engine::Disk> inner_;
  Meddle meddle_;
  std::map<uint64_t, engine::DiskRead> reads_;
};

inline engine::ModelOptions disk_options(uint64_t store_bytes, uint32_t n_batch = 64) {
  engine::ModelOptions options;
  options.n_threads = 2;
  options.store.storage = engine::Storage::Disk;
  options.store.store_bytes = store_bytes;
  options.session.n_batch = n_batch;
  return options;
}

inline engine::ModelOptions disk_options(uint64_t store_bytes, MeddlingDisk::Meddle meddle) {
  engine::ModelOptions options = disk_options(store_bytes);
  options.store.wrap_disk = [meddle = std::move(meddle)](std::unique_ptr<engine::Disk> disk) {
    return std::make_unique<MeddlingDisk>(std::move(disk), meddle);
  };
  return options;
}

}  // namespace sluice::tests
