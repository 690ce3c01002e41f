// Files with known bytes, memory that notices strays, and a disk that does what a test says.
#pragma once

#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/store/loader.h"
#include "tests/scratch_folder.h"

namespace sluice::tests {

// The byte that stands at a place of a file; no two stretches are alike.
inline std::byte known_byte(uint32_t file, uint64_t offset) {
  uint64_t bits = (offset + 1) * 0x9e3779b97f4a7c15 ^ (file + 1) * 0xc2b2ae3d27d4eb4f;
  bits ^= bits >> 29;
  bits *= 0xbf58476d1ce4e5b9;
  return static_cast<std::byte>(bits >> 56);
}

inline bool holds_known_bytes(const std::byte* data, const engine::Extent& extent) {
  for (uint64_t i = 0; i < extent.bytes; ++i)
    if (data[i] != known_byte(extent.file, extent.offset + i)) return false;
  return true;
}

// Files of known bytes, opened as the store opens them.
class KnownFiles {
 public:
  explicit KnownFiles(const std::vector<uint64_t>& sizes,
                      const std::filesystem::path& parent = std::filesystem::temp_directory_path())
      : folder_(parent) {
    for (uint32_t file = 0; file < sizes.size(); ++file) {
      paths_.push_back(folder_.path() / (std::to_string(file) + ".bytes"));
      std::string bytes(sizes[file], '\0');
      for (uint64_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(known_byte(file, i));
      std::ofstream(paths_.back(), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
      if (std::filesystem::file_size(paths_.back()) != sizes[file]) throw std::runtime_error("cannot write test files");
    }
    opened_ = std::make_unique<engine::DiskFiles>(paths_);
  }

  const engine::DiskFiles& files() const { return *opened_; }
  const std::filesystem::path& path(uint32_t file) const { return paths_[file]; }

 private:
  ScratchFolder folder_;
  std::vector<std::filesystem::path> paths_;
  std::unique_ptr<engine::DiskFiles> opened_;
};

// Block-aligned memory between two blocks that nobody may write.
class GuardedMemory {
 public:
  explicit GuardedMemory(uint64_t bytes, uint64_t block_bytes = 4096)
      : bytes_(bytes), block_bytes_(block_bytes), memory_(allocate(bytes + 2 * block_bytes, block_bytes), &::free) {
    std::memset(memory_.get(), kUntouched, bytes_ + 2 * block_bytes_);
  }
  std::byte* data() const { return memory_.get() + block_bytes_; }
  std::span<std::byte> span() const { return {data(), bytes_}; }
  bool guards_are_whole() const {
    return is_untouched(memory_.get(), block_bytes_) && is_untouched(data() + bytes_, block_bytes_);
  }
  bool is_untouched() const { return is_untouched(data(), bytes_); }

 private:
  static constexpr int kUntouched = 0xa5;
  static std::byte* allocate(uint64_t bytes, uint64_t block_bytes) {
    return static_cast<std::byte*>(::aligned_alloc(block_bytes, bytes));
  }
  static bool is_untouched(const std::byte* data, uint64_t bytes) {
    return std::all_of(data, data + bytes, [](std::byte byte) { return byte == std::byte{kUntouched}; });
  }

  uint64_t bytes_, block_bytes_;
  std::unique_ptr<std::byte, void (*)(void*)> memory_;
};

// An extent with memory of its own.
struct Target {
  engine::Extent extent;
  GuardedMemory memory;

  explicit Target(const engine::Extent& what, uint64_t block_bytes = 4096)
      : extent(what), memory(engine::LoadPart::padded_bytes(what, block_bytes), block_bytes) {}
  engine::LoadPart part() const { return {extent, memory.data()}; }
  bool has_come(uint64_t block_bytes = 4096) const {
    return memory.guards_are_whole() && holds_known_bytes(part().data(block_bytes), extent);
  }
};

// What a ScriptedDisk has been asked for, and what it is to answer. Lives as long as anybody looks at it.
class DiskScript {
 public:
  // With an answer, a read is done as soon as it is started: the answer is its result, and none is the known bytes. Without, it
  // is done when finish() says so.
  using Answer = std::function<std::optional<int64_t>(const engine::DiskRead& read)>;
  explicit DiskScript(unsigned depth, Answer answer = {}) : depth_(depth), answer_(std::move(answer)) {}

  // Waits until so many reads have been started, ever, and gives the last of them. Throws when none comes.
  engine::DiskRead started(size_t n) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(20), [&] { return started_.size() >= n; }))
      throw std::runtime_error("a read that was expected has not been started");
    return started_[n - 1];
  }
  size_t n_started() const {
    const std::lock_guard lock(mutex_);
    return started_.size();
  }
  size_t most_in_flight() const {
    const std::lock_guard lock(mutex_);
    return most_in_flight_;
  }
  std::vector<engine::DiskRead> all_started() const {
    const std::lock_guard lock(mutex_);
    return {started_.begin(), started_.end()};
  }

  // The n-th read (from 1) brings the known bytes: all of them, or so many.
  void serve(size_t n, uint64_t bytes = ~uint64_t{0}) {
    const engine::DiskRead read = started(n);
    finish(n, fill(read, bytes));
  }
  void finish(size_t n, int64_t result) {
    const engine::DiskRead read = started(n);
    const std::lock_guard lock(mutex_);
    done_.push_back({read.id, result});
    changed_.notify_all();
  }

 private:
  friend class ScriptedDisk;

  static int64_t fill(const engine::DiskRead& read, uint64_t bytes) {
    uint64_t at = 0;
    for (const iovec& part : read.to)
      for (size_t i = 0; i < part.iov_len && at < bytes; ++i, ++at)
        static_cast<std::byte*>(part.iov_base)[i] = known_byte(read.file, read.offset + at);
    return static_cast<int64_t>(at);
  }

  const unsigned depth_;
  const Answer answer_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<engine::DiskRead> started_;
  std::deque<engine::DiskCompletion> done_;
  size_t n_in_flight_ = 0, most_in_flight_ = 0;
  bool is_woken_ = false;
};

class ScriptedDisk : public engine::Disk {
 public:
  explicit ScriptedDisk(std::shared_ptr<DiskScript> script) : script_(std::move(script)) {}
  std::string_view name() const override { return "scripted"; }
  unsigned depth() const override { return script_->depth_; }

  void start(engine::DiskRead read) override {
    const std::optional<int64_t> answer = script_->answer_ ? script_->answer_(read) : std::nullopt;
    const std::lock_guard lock(script_->mutex_);
    script_->most_in_flight_ = std::max(script_->most_in_flight_, ++script_->n_in_flight_);
    if (script_->answer_) script_->done_.push_back({read.id, answer ? *answer : DiskScript::fill(read, ~uint64_t{0})});
    script_->started_.push_back(std::move(read));
    script_->changed_.notify_all();
  }
  size_t wait(std::span<engine::DiskCompletion> completions) override {
    std::unique_lock lock(script_->mutex_);
    script_->changed_.wait(lock, [&] { return !script_->done_.empty() || script_->is_woken_; });
    script_->is_woken_ = false;
    size_t n = 0;
    for (; n < completions.size() && !script_->done_.empty(); ++n) {
      completions[n] = script_->done_.front();
      script_->done_.pop_front();
      --script_->n_in_flight_;
    }
    return n;
  }
  void wake() override {
    const std::lock_guard lock(script_->mutex_);
    script_->is_woken_ = true;
    script_->changed_.notify_all();
  }

 private:
  std::shared_ptr<DiskScript> script_;
};

// The sentence of what wait() throws; empty when all is well.
inline std::string failure_of(engine::Loader& loader, engine::Load& load) {
  try {
    loader.wait(load);
  } catch (const engine::Error& error) {
    CHECK(error.kind() == engine::Error::Kind::BadFile);
    return error.what();
  }
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Numbers that are the same at every run.
class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  uint64_t below(uint64_t n) { return engine_() % n; }
  uint64_t between(uint64_t least, uint64_t most) { return least + below(most - least + 1); }
  bool chance(unsigned percent) { return below(100) < percent; }
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace sluice::tests
