// What the system allows a process that reads large files into large memory. Files are read below `root`, which has
// proc/ and sys/; what is missing or makes no sense is "unknown".
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace sluice::engine {

struct LockableMemory {
  uint64_t limit_bytes = 0;  // RLIMIT_MEMLOCK of this process; the largest number for no limit
  bool is_exempt = false;    // may lock more than the limit (CAP_IPC_LOCK)
};
LockableMemory read_lockable_memory(const std::filesystem::path& root = "/");

enum class HugePages { Unknown, Never, OnRequest, Always };
// The setting for transparent huge pages of anonymous memory.
HugePages read_huge_pages(const std::filesystem::path& root = "/");

struct IoUring {
  bool is_allowed = false;
  int error = 0;                        // errno of the try when it is not
  std::optional<int> disabled_setting;  // /proc/sys/kernel/io_uring_disabled: 0 for all, 1 for a group, 2 for none
};
// Tries it: the settings of the system do not tell of filters on system calls, which containers have.
IoUring try_io_uring(const std::filesystem::path& root = "/");

}  // namespace sluice::engine
