#include "engine/device/direct_alignment.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

namespace sluice::engine {

DirectAlignment direct_alignment(int descriptor) {
  // As statx(2) and STATX_DIOALIGN are documented; headers older than Linux 6.1 do not have it.
  constexpr uint32_t kDirectAlignment = 0x2000;
  constexpr size_t kMaskAt = 0, kMemoryAt = 0x98, kOffsetAt = 0x9c;
  alignas(8) std::array<std::byte, 256> answer{};
  DirectAlignment alignment;
  if (syscall(SYS_statx, descriptor, "", AT_EMPTY_PATH, kDirectAlignment, answer.data()) != 0) return alignment;
  const auto word = [&](size_t at) {
    uint32_t value = 0;
    std::memcpy(&value, answer.data() + at, sizeof(value));
    return value;
  };
  if ((word(kMaskAt) & kDirectAlignment) == 0) return alignment;
  const uint32_t memory = word(kMemoryAt), offset = word(kOffsetAt);
  if (memory == 0 || offset == 0) return {false, true, 0, 0};
  if (!std::has_single_bit(memory) || !std::has_single_bit(offset) || std::max(memory, offset) > 1 << 20)
    return alignment;
  return {true, true, memory, offset};
}

}  // namespace sluice::engine
