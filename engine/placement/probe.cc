#include "engine/placement/probe.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <limits>
#include <string>

namespace sluice::engine {

using Path = std::filesystem::path;

static std::string first_line(const Path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The line "CapEff:\t000001ffffffffff": a bit for each capability.
static bool has_capability(const Path& root, int bit) {
  std::ifstream status(root / "proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("CapEff:")) continue;
    const size_t begin = line.find_first_not_of(" \t", 7);
    uint64_t capabilities = 0;
    if (begin == std::string::npos) return false;
    const auto parsed = std::from_chars(line.data() + begin, line.data() + line.size(), capabilities, 16);
    return parsed.ec == std::errc() && (capabilities >> bit & 1) != 0;
  }
  return false;
}

LockableMemory read_lockable_memory(const Path& root) {
  constexpr int kMayLockMemory = 14;  // CAP_IPC_LOCK
  rlimit limit{};
  LockableMemory lockable;
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0)
    lockable.limit_bytes = limit.rlim_cur == RLIM_INFINITY ? std::numeric_limits<uint64_t>::max() : limit.rlim_cur;
  lockable.is_exempt = has_capability(root, kMayLockMemory);
  return lockable;
}

HugePages read_huge_pages(const Path& root) {
  // "always [madvise] never": the chosen one stands in brackets.
  const std::string line = first_line(root / "sys/kernel/mm/transparent_hugepage/enabled");
  if (line.find("[always]") != std::string::npos) return HugePages::Always;
  if (line.find("[madvise]") != std::string::npos) return HugePages::OnRequest;
  if (line.find("[never]") != std::string::npos) return HugePages::Never;
  return HugePages::Unknown;
}

IoUring try_io_uring(const Path& root) {
  IoUring ring;
  const std::string line = first_line(root / "proc/sys/kernel/io_uring_disabled");
  int setting = 0;
  const auto parsed = std::from_chars(line.data(), line.data() + line.size(), setting);
  if (parsed.ec == std::errc() && parsed.ptr == line.data() + line.size()) ring.disabled_setting = setting;
  // The structure of parameters (linux/io_uring.h) has 120 bytes, all 0 for the defaults.
  constexpr long kSetup = 425;  // of all architectures, missing in old headers
  alignas(8) std::array<std::byte, 120> parameters{};
  const long descriptor = syscall(kSetup, 1, parameters.data());
  ring.is_allowed = descriptor >= 0;
  if (ring.is_allowed)
    close(static_cast<int>(descriptor));
  else
    ring.error = errno;
  return ring;
}

}  // namespace sluice::engine
