#include "tests/gguf/memory_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>

namespace sluice::gguf::testing {

MemoryFile::MemoryFile() : descriptor_(::memfd_create("sluice-test", MFD_CLOEXEC)) {
  if (descriptor_ < 0) throw std::runtime_error("no file in memory for the tests");
}

MemoryFile::~MemoryFile() {
  ::close(descriptor_);
}

void MemoryFile::assign(const std::string& bytes) {
  if (::ftruncate(descriptor_, 0) != 0 ||
      ::pwrite(descriptor_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    throw std::runtime_error("the file in memory cannot be written");
}

std::filesystem::path MemoryFile::path() const {
  return "/proc/self/fd/" + std::to_string(descriptor_);
}

}  // namespace sluice::gguf::testing
