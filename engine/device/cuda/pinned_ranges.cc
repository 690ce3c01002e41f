#include "engine/device/cuda/pinned_ranges.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <iterator>

#include "engine/device/cuda/runtime.h"

namespace sluice::engine::cuda {

PinnedRanges::~PinnedRanges() {
  for (const auto& [begin, piece] : pieces_) cudaHostUnregister(const_cast<std::byte*>(begin));
  if (!pieces_.empty()) cudaGetLastError();
}

// Null where it has none, or another one for each.
const std::byte* PinnedRanges::address_of_all(std::byte* memory) const {
  void* first = nullptr;
  const auto ask = [&](void** address) {
    if (cudaHostGetDevicePointer(address, memory, 0) != cudaSuccess) *address = nullptr;
  };
  if (ordinals_.empty()) ask(&first);
  for (size_t i = 0; i < ordinals_.size(); ++i) {
    void* address = nullptr;
    enter_gpu(ordinals_[i]);
    ask(i == 0 ? &first : &address);
    if (i > 0 && address != first) return nullptr;
  }
  return static_cast<const std::byte*>(first);
}

bool PinnedRanges::pin(void* memory, uint64_t bytes) {
  auto* const begin = static_cast<std::byte*>(memory);
  const std::byte* first_device = nullptr;
  for (uint64_t done = 0; done < bytes; done += piece_bytes_) {
    const uint64_t now = std::min(piece_bytes_, bytes - done);
    bool is_pinned =
        cudaHostRegister(begin + done, now, cudaHostRegisterMapped | cudaHostRegisterPortable) == cudaSuccess;
    const std::byte* const device = is_pinned ? address_of_all(begin + done) : nullptr;
    if (done == 0) first_device = device;
    // A matrix may lie in two pieces: kernels must find one behind the other.
    if (is_pinned && (device == nullptr || device != first_device + done)) {
      cudaHostUnregister(begin + done);
      is_pinned = false;
    }
    if (!is_pinned) {
      cudaGetLastError();
      return false;
    }
    const std::lock_guard lock(mutex_);
    pieces_[begin + done] = {memory, now, device};
  }
  return true;
}

void PinnedRanges::unpin(const void* memory) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase_if(pieces_, [&](const auto& entry) {
    if (entry.second.owner != memory) return false;
    if (cudaHostUnregister(const_cast<std::byte*>(entry.first)) != cudaSuccess) cudaGetLastError();
    return true;
  });
}

const PinnedRanges::Piece* PinnedRanges::find(const std::byte* memory, const std::byte** begin) const {
  const auto after = pieces_.upper_bound(memory);
  if (after == pieces_.begin()) return nullptr;
  const auto& [piece_begin, piece] = *std::prev(after);
  *begin = piece_begin;
  return memory < piece_begin + piece.bytes ? &piece : nullptr;
}

uint64_t PinnedRanges::pinned_bytes(const void* memory, uint64_t bytes) const {
  const auto* const first = static_cast<const std::byte*>(memory);
  const std::lock_guard lock(mutex_);
  const std::byte* begin = nullptr;
  const Piece* const piece = find(first, &begin);
  return piece == nullptr ? 0 : std::min(bytes, piece->bytes - static_cast<uint64_t>(first - begin));
}

const std::byte* PinnedRanges::device_address(const std::byte* memory) const {
  const std::lock_guard lock(mutex_);
  const std::byte* begin = nullptr;
  const Piece* const piece = find(memory, &begin);
  return piece == nullptr ? nullptr : piece->device + (memory - begin);
}

}  // namespace sluice::engine::cuda
