// Memory of the host that was pinned after it was made: copies to and from it need no staging, and kernels can read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace sluice::engine::cuda {

// May be asked from any thread.
class PinnedRanges {
 public:
  // Memory is pinned in pieces of so many bytes, so that a system that does not pin all of it pins some.
  // ordinals: of the GPUs that are to find it at the same address; empty: of the one that the calling thread is on.
  explicit PinnedRanges(uint64_t piece_bytes = uint64_t{1} << 30, std::vector<int> ordinals = {})
      : piece_bytes_(piece_bytes), ordinals_(std::move(ordinals)) {}
  ~PinnedRanges();  // unpins what is left
  PinnedRanges(const PinnedRanges&) = delete;
  PinnedRanges& operator=(const PinnedRanges&) = delete;

  // Pins as much from the beginning as the system allows, and says whether that was all. Nothing of it may be pinned already.
  bool pin(void* memory, uint64_t bytes);
  // What pin() was given. Waits for the GPU.
  void unpin(const void* memory) noexcept;

  // Of so many bytes from `memory` on, how many lie in the same piece of pinned memory; 0: not pinned there.
  uint64_t pinned_bytes(const void* memory, uint64_t bytes) const;
  // Where kernels find it; what follows in memory follows there as well. Null where it is not pinned.
  const std::byte* device_address(const std::byte* memory) const;

 private:
  struct Piece {
    const void* owner = nullptr;  // what pin() was given
    uint64_t bytes = 0;
    const std::byte* device = nullptr;
  };
  const Piece* find(const std::byte* memory, const std::byte** begin) const;

  const std::byte* address_of_all(std::byte* memory) const;

  uint64_t piece_bytes_;
  std::vector<int> ordinals_;
  mutable std::mutex mutex_;
  std::map<const std::byte*, Piece> pieces_;  // by where they begin
};

}  // namespace sluice::engine::cuda
