// How much memory this process may still use, and how much it uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>

namespace sluice::engine {

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// What the machine has and what the control groups (version 1 and 2) leave of it, in bytes.
struct AvailableMemory {
  uint64_t total_bytes = 0;               // the machine's RAM; 0 when it cannot be told
  uint64_t machine_bytes = kNoLimit;      // free, and page cache that can be dropped; kNoLimit when it cannot be told
  uint64_t group_bytes = kNoLimit;        // what the tightest of the process's groups leaves
  uint64_t group_limit_bytes = kNoLimit;  // that group's limit
  std::filesystem::path group;            // that group's folder; empty when no group has a limit

  // What may still be used: the least of them, and no more than the machine's RAM.
  uint64_t bytes() const;
};

// From the files below `root`, which has proc/ and sys/. A group's use is counted without the page cache that it can
// drop: the pages of files on its lists, which mapped models are part of. A file that is missing or makes no sense is
// no limit.
AvailableMemory read_available_memory(const std::filesystem::path& root = "/");

// read_available_memory().bytes(): the most that an allocation may count on now. Others may take it first.
uint64_t available_memory_bytes();

// What this process holds, in bytes; 0 where it cannot be told. Reading it takes some tenths of a millisecond.
struct MemoryUse {
  uint64_t resident_bytes = 0;       // resident set, mapped files included
  uint64_t resident_file_bytes = 0;  // of it, pages of mapped files and shared memory: the rest is memory of its own
  uint64_t cgroup_bytes = 0;         // that its own control group for memory is charged with, page cache included
  uint64_t cgroup_cache_bytes = 0;   // of it, page cache that can be dropped
};
MemoryUse read_memory_use(const std::filesystem::path& root = "/");

// read_memory_use().resident_bytes alone, faster.
uint64_t resident_bytes();

// Lets the system take back the pages of a mapped file, whole ones inside the range: they can be read again.
void forget_pages(const std::byte* data, uint64_t bytes);

}  // namespace sluice::engine
