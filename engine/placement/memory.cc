#include "engine/placement/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>

#include "kernels/cpu/control_groups.h"

namespace sluice::engine {
namespace {

using Path = std::filesystem::path;
using kernels::ControlGroup;

// The first word of a file as a number. "max", which version 2 writes for no limit, is none.
std::optional<uint64_t> read_number(const Path& path) {
  std::ifstream file(path);
  std::string word;
  if (!(file >> word) || word.find_first_not_of("0123456789") != std::string::npos || word.size() > 20) return {};
  uint64_t value = 0;
  for (const char digit : word) {
    const auto add = static_cast<uint64_t>(digit - '0');
    if (value > (kNoLimit - add) / 10) return {};
    value = value * 10 + add;
  }
  return value;
}

// The sum of the named lines "NAME NUMBER" of a file.
uint64_t sum_of_lines(const Path& path, std::initializer_list<std::string_view> names) {
  std::ifstream file(path);
  uint64_t sum = 0;
  for (std::string line; std::getline(file, line);) {
    const size_t blank = line.find(' ');
    if (blank == std::string::npos || std::ranges::find(names, line.substr(0, blank)) == names.end()) continue;
    uint64_t value = 0;
    if (std::from_chars(line.data() + blank + 1, line.data() + line.size(), value).ec != std::errc()) continue;
    sum = value < kNoLimit - sum ? sum + value : kNoLimit;
  }
  return sum;
}

void read_machine(const Path& root, AvailableMemory& memory) {
  std::ifstream meminfo(root / "proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    std::istringstream words(line);
    std::string key;
    uint64_t kilobytes = 0;
    if (!(words >> key >> kilobytes) || kilobytes > kNoLimit / 1024) continue;
    if (key == "MemTotal:") memory.total_bytes = kilobytes * 1024;
    if (key == "MemAvailable:") memory.machine_bytes = kilobytes * 1024;
  }
}

// Version 1 has no word for "no limit" but the largest number of whole pages; no machine has 2^60 bytes.
std::optional<uint64_t> limit_of_group(const ControlGroup& group) {
  constexpr uint64_t kLeastWithoutMeaning = uint64_t{1} << 60;
  std::optional<uint64_t> limit;
  // Above memory.high a process is slowed down to a crawl while its memory is taken back.
  constexpr const char* kVersion1[] = {"memory.limit_in_bytes"};
  constexpr const char* kVersion2[] = {"memory.max", "memory.high"};
  for (const char* name : group.version_2 ? std::span<const char* const>(kVersion2) : kVersion1) {
    const auto bytes = read_number(group.folder / name);
    if (bytes && *bytes < kLeastWithoutMeaning) limit = std::min(limit.value_or(kNoLimit), *bytes);
  }
  return limit;
}

std::optional<uint64_t> use_of_group(const ControlGroup& group) {
  return read_number(group.folder / (group.version_2 ? "memory.current" : "memory.usage_in_bytes"));
}

// Both versions count the groups below, too.
uint64_t cache_of_group(const ControlGroup& group) {
  const Path statistics = group.folder / "memory.stat";
  return group.version_2 ? sum_of_lines(statistics, {"inactive_file", "active_file"})
                         : sum_of_lines(statistics, {"total_inactive_file", "total_active_file"});
}

// In version 1 a group may leave those below it alone.
bool limits_us(const ControlGroup& group) {
  return group.version_2 || group.is_own || read_number(group.folder / "memory.use_hierarchy") != 0;
}

struct ResidentPages {
  uint64_t all = 0, of_files = 0;
};

ResidentPages read_resident_pages(const Path& root) {
  std::ifstream statm(root / "proc/self/statm");
  uint64_t mapped = 0;
  ResidentPages resident;
  if (!(statm >> mapped >> resident.all >> resident.of_files)) return {};
  return resident;
}

uint64_t page_bytes() {
  return static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

uint64_t AvailableMemory::bytes() const {
  return std::min({machine_bytes, group_bytes, total_bytes > 0 ? total_bytes : kNoLimit});
}

AvailableMemory read_available_memory(const Path& root) {
  AvailableMemory memory;
  read_machine(root, memory);
  for (const ControlGroup& group : kernels::control_groups(root, "memory")) {
    const auto limit = limit_of_group(group), use = use_of_group(group);
    if (!limit || !use || !limits_us(group)) continue;
    const uint64_t held = *use - std::min(*use, cache_of_group(group));
    const uint64_t left = *limit - std::min(*limit, held);
    if (memory.group.empty() || left < memory.group_bytes) {
      memory.group_bytes = left;
      memory.group_limit_bytes = *limit;
      memory.group = group.folder;
    }
  }
  return memory;
}

uint64_t available_memory_bytes() {
  return read_available_memory().bytes();
}

MemoryUse read_memory_use(const Path& root) {
  const ResidentPages resident = read_resident_pages(root);
  MemoryUse use{resident.all * page_bytes(), resident.of_files * page_bytes(), 0, 0};
  for (const ControlGroup& group : kernels::control_groups(root, "memory")) {
    const auto bytes = group.is_own ? use_of_group(group) : std::nullopt;
    if (!bytes) continue;
    use.cgroup_bytes = *bytes;
    use.cgroup_cache_bytes = std::min(*bytes, cache_of_group(group));
    break;  // memory is controlled in one hierarchy
  }
  return use;
}

uint64_t resident_bytes() {
  return read_resident_pages("/").all * page_bytes();
}

void forget_pages(const std::byte* data, uint64_t bytes) {
  const auto page = static_cast<uintptr_t>(page_bytes());
  const auto begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // advice: failing is no error
}

}  // namespace sluice::engine
