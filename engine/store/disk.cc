#include "engine/store/disk.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "engine/device/direct_alignment.h"
#include "engine/error.h"

namespace sluice::engine {
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
    const DirectAlignment alignment = direct_alignment(descriptor);
    block_bytes_ = std::max({block_bytes_, uint64_t{alignment.memory_bytes}, uint64_t{alignment.offset_bytes}});
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
