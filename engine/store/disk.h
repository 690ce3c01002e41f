// Reading a model's files past the page cache: several reads in flight, straight into the memory where weights stay.
//
// This is the seam between the store and the machine: io_uring, threads that call pread(), the tests' disks that fail, and the
// simulator's disk, which has a clock of its own.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/options.h"

namespace sluice::engine {

// A stretch of one of the files.
struct Extent {
  uint32_t file = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;

  uint64_t end() const { return offset + bytes; }
};

// The opened files of a model. Closes them.
class DiskFiles {
 public:
  // Opens them for direct reads, and where the file system has none for ordinary ones. Throws Error(BadFile).
  explicit DiskFiles(std::span<const std::filesystem::path> paths);
  ~DiskFiles();
  DiskFiles(const DiskFiles&) = delete;
  DiskFiles& operator=(const DiskFiles&) = delete;

  int descriptor(uint32_t file) const { return files_[file].descriptor; }
  const std::filesystem::path& path(uint32_t file) const { return files_[file].path; }
  bool are_direct() const { return are_direct_; }
  // What offsets, sizes and addresses of direct reads are multiples of; a power of two, at least 4096.
  uint64_t block_bytes() const { return block_bytes_; }

 private:
  struct File {
    std::filesystem::path path;
    int descriptor = -1;
  };
  std::vector<File> files_;
  bool are_direct_ = true;
  uint64_t block_bytes_ = 4096;
};

// One read. Offset, addresses and sizes are multiples of the block; the memory is the reader's until the read is completed.
struct DiskRead {
  uint64_t id = 0;
  uint32_t file = 0;
  uint64_t offset = 0;
  std::vector<iovec> to;  // one behind the other
};

struct DiskCompletion {
  uint64_t id = 0;
  int64_t result = 0;  // bytes that came, fewer at the end of the file; or an error number below zero
};

// One thread starts and waits; wake() is for any other.
class Disk {
 public:
  virtual ~Disk() = default;
  virtual std::string_view name() const = 0;
  virtual unsigned depth() const = 0;  // reads in flight at most
  virtual void start(DiskRead read) = 0;
  // Waits for a completion or for wake(), and takes as many completions as there are and fit. Returns how many.
  virtual size_t wait(std::span<DiskCompletion> completions) = 0;
  virtual void wake() = 0;
};

// The disk reads from `files`, which must outlive it. Throws Error(Device) when io_uring is asked for and not to be had.
std::unique_ptr<Disk> open_disk(const DiskFiles& files, DiskAccess access);

// Its two kinds. make_uring_disk() returns null where the system or the build has no io_uring.
std::unique_ptr<Disk> make_uring_disk(const DiskFiles& files);
std::unique_ptr<Disk> make_pread_disk(const DiskFiles& files);

}  // namespace sluice::engine
