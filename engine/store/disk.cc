#include "engine/store/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>

#include "engine/error.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kSmallestBlock = 4096;
constexpr uint64_t kLargestBlock = 1 << 20;  // a file system that asks for more is misunderstood

// What the system says that direct reads of this file must be aligned to; the smallest block when it says nothing.
uint64_t direct_alignment(int descriptor) {
#ifdef STATX_DIOALIGN
  struct statx status {};
  if (::statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 && (status.stx_mask & STATX_DIOALIGN) != 0)
    return std::max<uint64_t>(status.stx_dio_offset_align, status.stx_dio_mem_align);
#else
  (void)descriptor;
#endif
  return kSmallestBlock;
}

}  // namespace

DiskFiles::DiskFiles(std::span<const std::filesystem::path> paths) {
  files_.reserve(paths.size());
  for (const std::filesystem::path& path : paths) {
    int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (descriptor < 0 && errno == EINVAL) {
      are_direct_ = false;
      descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    }
    if (descriptor < 0) {
      const int reason = errno;
      for (const File& file : files_) ::close(file.descriptor);  // the destructor does not run
      throw Error(Error::Kind::BadFile,
                  path.string() +
                      ": The file cannot be opened for reading weights: " + std::generic_category().message(reason) +
                      ". It was there a moment ago; check whether it is being moved or replaced.");
    }
    files_.push_back({path, descriptor});
    block_bytes_ = std::max(block_bytes_, std::min(std::bit_ceil(direct_alignment(descriptor)), kLargestBlock));
  }
  if (!are_direct_)
    for (const File& file : files_) ::posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_RANDOM);
}

DiskFiles::~DiskFiles() {
  for (const File& file : files_) ::close(file.descriptor);
}

std::unique_ptr<Disk> open_disk(const DiskFiles& files, DiskAccess access) {
  if (access != DiskAccess::Pread) {
    if (auto disk = make_uring_disk(files)) return disk;
    if (access == DiskAccess::Uring)
      throw Error(Error::Kind::Device,
                  "This system does not allow io_uring, or the program was built without liburing; read with "
                  "\"--io pread\", or allow it (sysctl kernel.io_uring_disabled=0).");
  }
  return make_pread_disk(files);
}

}  // namespace sluice::engine
