#include "engine/device/arena.h"

#include <sys/mman.h>

#include <cerrno>
#include <limits>
#include <string>
#include <system_error>
#include <utility>

#include "engine/error.h"

namespace sluice::engine {

static constexpr uint64_t kHugePage = uint64_t{2} << 20;

Arena::Arena(uint64_t bytes, Swap swap) : bytes_((bytes + kHugePage - 1) / kHugePage * kHugePage) {
  if (bytes == 0) return;
  // One huge page more than is wanted, so that the arena can begin at one.
  const bool is_too_large = bytes > std::numeric_limits<uint64_t>::max() - 2 * kHugePage;
  errno = ENOMEM;
  void* mapped = is_too_large
                     ? MAP_FAILED
                     : ::mmap(nullptr, bytes_ + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED)
    throw Error(Error::Kind::OutOfMemory, "The system does not give " + std::to_string(bytes) + " bytes of memory (" +
                                              std::generic_category().message(errno) +
                                              "); let it have less (--ram, -c), or check \"ulimit -v\".");
  const auto address = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t begin = (address + kHugePage - 1) / kHugePage * kHugePage;
  if (begin > address) ::munmap(mapped, begin - address);
  if (begin < address + kHugePage) ::munmap(reinterpret_cast<void*>(begin + bytes_), address + kHugePage - begin);
  data_ = reinterpret_cast<std::byte*>(begin);
  ::madvise(data_, bytes_, MADV_HUGEPAGE);
#ifdef MLOCK_ONFAULT
  is_locked_ = swap == Swap::Avoid && ::mlock2(data_, bytes_, MLOCK_ONFAULT) == 0;
#endif
}

Arena::Arena(Arena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      is_locked_(std::exchange(other.is_locked_, false)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(is_locked_, other.is_locked_);
  return *this;
}

void Arena::give_back(const std::byte* begin, uint64_t bytes) const {
  constexpr uint64_t kPage = 4096;
  const auto first = (reinterpret_cast<uintptr_t>(begin) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<uintptr_t>(begin) + bytes) / kPage * kPage;
  if (first >= end) return;
  auto* address = reinterpret_cast<void*>(first);
#ifndef MADV_DONTNEED_LOCKED
  constexpr int MADV_DONTNEED_LOCKED = 24;  // Linux 5.18
#endif
  if (::madvise(address, end - first, MADV_DONTNEED) == 0 || !is_locked_) return;
  ::madvise(address, end - first, MADV_DONTNEED_LOCKED);
}

Arena::~Arena() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

}  // namespace sluice::engine
