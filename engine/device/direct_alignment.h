// What reading a file past the page cache (O_DIRECT) needs.
#pragma once

#include <cstdint>

namespace sluice::engine {

// What addresses, offsets and lengths of direct reads are multiples of, in bytes; powers of two.
struct DirectAlignment {
  bool is_supported = true;      // false: the file system refuses direct reads of this file
  bool is_told = false;          // by the kernel (STATX_DIOALIGN, Linux 6.1); false: 4096, which serves nearly all
  uint32_t memory_bytes = 4096;  // of buffers
  uint32_t offset_bytes = 4096;  // of offsets and lengths in the file
};
// For an open file. More than a mebibyte is misunderstood, and taken for not told.
DirectAlignment direct_alignment(int descriptor);

}  // namespace sluice::engine
