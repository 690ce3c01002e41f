// How much memory may still be used: machines made of files.

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/device/arena.h"
#include "engine/placement/memory.h"
#include "tests/scratch_folder.h"

using namespace sluice;
using engine::kNoLimit;
using File = tests::TextFile;

namespace {

const char* const kMountVersion2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const char* const kMountVersion1 =
    "33 24 0:29 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
const char* const kMountUnified = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
// 1,000 and 600 KiB.
const File kMachine = {"proc/meminfo",
                       "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     600 kB\nHugePages: 7\n"};
constexpr uint64_t kTotal = 1000 * 1024, kAvailable = 600 * 1024;

// The files of one group.
std::vector<File> version_2(const std::string& folder, const std::string& limit, const std::string& use,
                            const std::string& statistics = "") {
  return {{folder + "/memory.max", limit + "\n"},
          {folder + "/memory.current", use + "\n"},
          {folder + "/memory.stat", statistics}};
}
std::vector<File> version_1(const std::string& folder, const std::string& limit, const std::string& use,
                            const std::string& statistics = "") {
  return {{folder + "/memory.limit_in_bytes", limit + "\n"},
          {folder + "/memory.usage_in_bytes", use + "\n"},
          {folder + "/memory.stat", statistics}};
}
std::vector<File> operator+(std::vector<File> a, const std::vector<File>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Machine {
  const char* what;
  std::vector<File> files;
  uint64_t available = kAvailable;
  uint64_t group_bytes = kNoLimit;
  uint64_t group_limit = kNoLimit;
  const char* group = "";  // folder below the root
};

std::vector<Machine> machines() {
  const std::vector<File> plain_2 = {kMachine, {"proc/self/mountinfo", kMountVersion2}};
  const std::vector<File> plain_1 = {kMachine, {"proc/self/mountinfo", kMountVersion1}};
  const auto in_group = [](const std::string& text) { return std::vector<File>{{"proc/self/cgroup", text + "\n"}}; };
  return {
      {"no files at all", {}, kNoLimit},
      {"no groups", {kMachine}},
      {"a kernel that does not tell what is available", {{"proc/meminfo", "MemTotal: 1000 kB\n"}}, kTotal},
      {"a machine that says nonsense",
       {{"proc/meminfo",
         "MemTotal: -\nx\n\nMemAvailable: 99999999999999999999 kB\nMemTotal: 18446744073709551615 kB\n"}},
       kNoLimit},
      {"more available than there is", {{"proc/meminfo", "MemTotal: 10 kB\nMemAvailable: 20 kB\n"}}, 10 * 1024},

      {"version 2, own limit", plain_2 + in_group("0::/a") + version_2("sys/fs/cgroup/a", "5000", "3000"), 2000, 2000,
       5000, "sys/fs/cgroup/a"},
      {"version 2, page cache can be dropped",
       plain_2 + in_group("0::/a") +
           version_2("sys/fs/cgroup/a", "5000", "3000",
                     "anon 900\nfile 2100\ninactive_file 700\nactive_file 800\nunevictable 5\n"),
       3500, 3500, 5000, "sys/fs/cgroup/a"},
      {"version 2, more use than limit", plain_2 + in_group("0::/a") + version_2("sys/fs/cgroup/a", "5000", "6000"), 0,
       0, 5000, "sys/fs/cgroup/a"},
      {"version 2, more cache than use",
       plain_2 + in_group("0::/a") + version_2("sys/fs/cgroup/a", "5000", "100", "active_file 200\n"), 5000, 5000, 5000,
       "sys/fs/cgroup/a"},
      {"version 2, no limit", plain_2 + in_group("0::/a/b") + version_2("sys/fs/cgroup/a/b", "max", "3000")},
      {"version 2, a limit above the machine",
       plain_2 + in_group("0::/a") + version_2("sys/fs/cgroup/a", "1000000000", "3000"), kAvailable, 999997000,
       1000000000, "sys/fs/cgroup/a"},
      {"version 2, the tight limit above",
       plain_2 + in_group("0::/a/b/c") + version_2("sys/fs/cgroup/a", "9000", "8500") +
           version_2("sys/fs/cgroup/a/b", "max", "4000") + version_2("sys/fs/cgroup/a/b/c", "5000", "3000"),
       500, 500, 9000, "sys/fs/cgroup/a"},
      {"version 2, the tight limit below",
       plain_2 + in_group("0::/a/b") + version_2("sys/fs/cgroup/a", "9000", "4000") +
           version_2("sys/fs/cgroup/a/b", "3500", "3000"),
       500, 500, 3500, "sys/fs/cgroup/a/b"},
      {"version 2, memory.high below memory.max",
       plain_2 + in_group("0::/a") + version_2("sys/fs/cgroup/a", "9000", "1000") +
           std::vector<File>{{"sys/fs/cgroup/a/memory.high", "4000\n"}},
       3000, 3000, 4000, "sys/fs/cgroup/a"},
      {"version 2, a group beside ours", plain_2 + in_group("0::/a") + version_2("sys/fs/cgroup/ab", "5000", "3000") +
                                             version_2("sys/fs/cgroup/b", "5000", "3000")},
      {"version 2, in a container that sees its own group as the root",
       plain_2 + in_group("0::/") + version_2("sys/fs/cgroup", "5000", "3000"), 2000, 2000, 5000, "sys/fs/cgroup/"},
      {"version 2, a group that is gone",
       plain_2 + in_group("0::/a/b (deleted)") + version_2("sys/fs/cgroup/a", "5000", "3000"), 2000, 2000, 5000,
       "sys/fs/cgroup/a"},
      {"version 2, a mount point with a blank",
       std::vector<File>{kMachine,
                         {"proc/self/mountinfo", "30 24 0:26 / /my\\040groups\\9 rw - cgroup2 cgroup2 rw\n"}} +
           in_group("0::/a") + version_2("my groups\\9/a", "5000", "3000"),
       2000, 2000, 5000, "my groups\\9/a"},

      {"version 1, own limit", plain_1 + in_group("4:memory:/a") + version_1("sys/fs/cgroup/memory/a", "5000", "3000"),
       2000, 2000, 5000, "sys/fs/cgroup/memory/a"},
      {"version 1, page cache of the groups below counts, too",
       plain_1 + in_group("4:memory:/a") +
           version_1("sys/fs/cgroup/memory/a", "5000", "3000",
                     "inactive_file 1\nactive_file 2\ntotal_inactive_file 300\ntotal_active_file 400\n"),
       2700, 2700, 5000, "sys/fs/cgroup/memory/a"},
      {"version 1, no limit",
       plain_1 + in_group("4:memory:/a") + version_1("sys/fs/cgroup/memory/a", "9223372036854771712", "3000")},
      {"version 1, the tight limit above",
       plain_1 + in_group("9:cpu,cpuacct:/x\n4:hugetlb,memory:/a/b\n0::/") +
           version_1("sys/fs/cgroup/memory/a", "9000", "8700") + version_1("sys/fs/cgroup/memory/a/b", "5000", "3000"),
       300, 300, 9000, "sys/fs/cgroup/memory/a"},
      {"version 1, a group above that leaves those below alone",
       plain_1 + in_group("4:memory:/a/b") + version_1("sys/fs/cgroup/memory/a", "9000", "8700") +
           std::vector<File>{{"sys/fs/cgroup/memory/a/memory.use_hierarchy", "0\n"},
                             {"sys/fs/cgroup/memory/a/b/memory.use_hierarchy", "0\n"}} +
           version_1("sys/fs/cgroup/memory/a/b", "5000", "3000"),
       2000, 2000, 5000, "sys/fs/cgroup/memory/a/b"},
      {"version 1, in a container whose mount shows its own group",
       std::vector<File>{
           kMachine,
           {"proc/self/mountinfo", "34 24 0:30 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"}} +
           in_group("4:memory:/docker/ab/c") + version_1("sys/fs/cgroup/memory", "9000", "8800") +
           version_1("sys/fs/cgroup/memory/c", "5000", "3000"),
       200, 200, 9000, "sys/fs/cgroup/memory/"},
      {"version 1, a mounted group whose name begins as ours",
       std::vector<File>{
           kMachine,
           {"proc/self/mountinfo", "34 24 0:30 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"}} +
           in_group("4:memory:/docker/abc") + version_1("sys/fs/cgroup/memory/c", "5000", "3000")},
      {"version 1, another controller's group",
       plain_1 + in_group("4:memoryless:/a\n5:cpu:/a") + version_1("sys/fs/cgroup/memory/a", "5000", "3000")},

      {"memory in version 1, the rest in version 2",
       std::vector<File>{kMachine, {"proc/self/mountinfo", std::string(kMountUnified) + kMountVersion1}} +
           in_group("4:memory:/a\n0::/b") + version_1("sys/fs/cgroup/memory/a", "5000", "3000") +
           std::vector<File>{{"sys/fs/cgroup/unified/b/cgroup.procs", "1\n"}},
       2000, 2000, 5000, "sys/fs/cgroup/memory/a"},

      {"a limit without a use",
       plain_2 + in_group("0::/a") + std::vector<File>{{"sys/fs/cgroup/a/memory.max", "5000\n"}}},
      {"numbers that make no sense", plain_2 + in_group("0::/a/b/c/d") + version_2("sys/fs/cgroup/a", "-5", "3000") +
                                         version_2("sys/fs/cgroup/a/b", "5000", "many") +
                                         version_2("sys/fs/cgroup/a/b/c", "99999999999999999999", "1") +
                                         version_2("sys/fs/cgroup/a/b/c/d", "", "1") +
                                         version_2("sys/fs/cgroup", "0x10", "1")},
      {"statistics that make no sense",
       plain_2 + in_group("0::/a") +
           version_2("sys/fs/cgroup/a", "5000", "3000",
                     std::string("inactive_file\nactive_file \nactive_file x\ninactive_file -7\n \n") + '\0' +
                         "\nactive_file 10\n"),
       2010, 2010, 5000, "sys/fs/cgroup/a"},
      {"statistics beyond all bounds",
       plain_2 + in_group("0::/a") +
           version_2("sys/fs/cgroup/a", "5000", "3000",
                     "inactive_file 18446744073709551615\nactive_file 18446744073709551615\n"),
       5000, 5000, 5000, "sys/fs/cgroup/a"},
      {"lines that make no sense",
       std::vector<File>{kMachine, {"proc/self/mountinfo", std::string("x\n\n- \n - cgroup2\n") + kMountVersion2}} +
           in_group("nonsense\n:\n0::/../..") + version_2("sys/fs/cgroup", "5000", "3000"),
       2000, 2000, 5000, "sys/fs/cgroup/"},
  };
}

}  // namespace

TEST_CASE("what may still be used is the least of what the machine and all groups leave") {
  for (const Machine& machine : machines()) {
    CAPTURE(std::string(machine.what));
    const tests::ScratchFolder folder(machine.files);
    const engine::AvailableMemory memory = engine::read_available_memory(folder.path());
    CHECK(memory.bytes() == machine.available);
    CHECK(memory.group_bytes == machine.group_bytes);
    CHECK(memory.group_limit_bytes == machine.group_limit);
    const std::string group = memory.group.empty() ? "" : memory.group.lexically_relative(folder.path()).string();
    CHECK(group == machine.group);
  }
}

TEST_CASE("what a process holds is read from its own files and its own group") {
  struct Row {
    const char* what;
    std::vector<File> files;
    uint64_t resident_pages, file_pages, group_bytes, cache_bytes;
  };
  const Row rows[] = {
      {"no files at all", {}, 0, 0, 0, 0},
      {"nonsense", {{"proc/self/statm", "10 x\n"}}, 0, 0, 0, 0},
      {"a group of version 2, not those above",
       std::vector<File>{{"proc/self/statm", "100 30 20 1 0 40 0\n"},
                         {"proc/self/mountinfo", kMountVersion2},
                         {"proc/self/cgroup", "0::/a/b\n"}} +
           version_2("sys/fs/cgroup/a", "max", "9000") +
           version_2("sys/fs/cgroup/a/b", "max", "3000", "inactive_file 100\nactive_file 200\n"),
       30, 20, 3000, 300},
      {"memory in version 1, the rest in version 2",
       std::vector<File>{{"proc/self/statm", "100 30 20 1 0 40 0\n"},
                         {"proc/self/mountinfo", std::string(kMountUnified) + kMountVersion1},
                         {"proc/self/cgroup", "4:memory:/a\n0::/b\n"}} +
           version_1("sys/fs/cgroup/memory/a", "5000", "3000", "total_inactive_file 4000\n"),
       30, 20, 3000, 3000},
  };
  const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  for (const Row& row : rows) {
    CAPTURE(std::string(row.what));
    const tests::ScratchFolder folder(row.files);
    const engine::MemoryUse use = engine::read_memory_use(folder.path());
    CHECK(use.resident_bytes == row.resident_pages * page_bytes);
    CHECK(use.resident_file_bytes == row.file_pages * page_bytes);
    CHECK(use.cgroup_bytes == row.group_bytes);
    CHECK(use.cgroup_cache_bytes == row.cache_bytes);
  }
}

TEST_CASE("memory of this process that is touched is seen, and what is given back is not") {
  constexpr uint64_t kBytes = uint64_t{64} << 20;
  const uint64_t before = engine::resident_bytes();
  REQUIRE(before > 0);
  CHECK(engine::available_memory_bytes() > 0);
  CHECK(engine::available_memory_bytes() < kNoLimit);
  {
    const engine::Arena touched(
        kBytes);  // straight from the system: an allocator, or a sanitizer, may keep what is freed
    std::fill_n(touched.data(), kBytes, std::byte{1});
    const engine::MemoryUse use = engine::read_memory_use();
    CHECK(use.resident_bytes > before + kBytes / 10 * 9);
    CHECK(use.resident_bytes - use.resident_file_bytes > kBytes / 10 * 9);
  }
  CHECK(engine::resident_bytes() < before + kBytes / 10 * 5);
}
