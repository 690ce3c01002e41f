#include "gguf/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include "gguf/message.h"

namespace sluice::gguf {

static std::string system_reason(int code) {
  return std::generic_category().message(code);
}

[[noreturn]] static void refuse_to_open(const std::filesystem::path& path, int code) {
  switch (code) {
    case ENOENT:
    case ENOTDIR:
      fail(path, "No such file. Check the path, or download the model first.");
    case EACCES:
    case EPERM:
      fail(path,
           "No permission to read this file. Allow it with \"chmod +r\" (and \"chmod +x\" on its folders), or run as a "
           "user who may read it.");
    default:
      fail(path, "The file cannot be opened: ", system_reason(code), ".");
  }
}

InputFile::InputFile(const std::filesystem::path& path) : path_(path) {
  // A pipe without a writer would block open() for ever; O_NONBLOCK changes nothing for a regular file.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) refuse_to_open(path, errno);
  struct stat status {};
  int failed = ::fstat(descriptor_, &status);
  if (!failed && S_ISREG(status.st_mode)) {
    bytes_ = static_cast<uint64_t>(status.st_size);
    return;
  }
  int code = failed ? errno : 0;
  ::close(descriptor_);  // the destructor does not run when a constructor throws
  if (code) refuse_to_open(path, code);
  if (S_ISDIR(status.st_mode))
    fail(path, "This is a directory, not a model file. Give the path of a .gguf file inside it.");
  fail(path, "This is a device, a pipe or a socket, not a regular file. A model must be a file on a disk.");
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), bytes_(other.bytes_) {}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

size_t InputFile::read_at(uint64_t offset, std::span<std::byte> buffer) const {
  size_t done = 0;
  while (done < buffer.size()) {
    ssize_t n = ::pread(descriptor_, buffer.data() + done, buffer.size() - done, static_cast<off_t>(offset + done));
    if (n == 0) break;
    if (n < 0) {
      if (errno == EINTR) continue;
      fail(path_, "Reading failed at byte ", offset + done, ": ", system_reason(errno), ". Check the disk.");
    }
    done += static_cast<size_t>(n);
  }
  return done;
}

FileMapping::FileMapping(const InputFile& file) {
  if (file.bytes() > std::numeric_limits<size_t>::max())
    fail(file.path(), "The file has ", counted(file.bytes(), "byte"), ", more than this machine can address.");
  bytes_ = static_cast<size_t>(file.bytes());
  void* address = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file.descriptor_, 0);
  if (address == MAP_FAILED)
    fail(file.path(), "The file cannot be mapped into memory (", counted(bytes_, "byte"), "): ", system_reason(errno),
         ". Check \"ulimit -v\" and that the file system supports mapping.");
  data_ = static_cast<std::byte*>(address);
}

FileMapping::FileMapping(FileMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

FileMapping::~FileMapping() {
  if (data_) ::munmap(data_, bytes_);
}

}  // namespace sluice::gguf
