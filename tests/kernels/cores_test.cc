// Which cores a process may use: machines made of files.

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cpu/cores.h"
#include "tests/scratch_folder.h"

using namespace sluice;
using kernels::Core;
using kernels::UsableCores;
using File = tests::TextFile;

namespace {

struct Machine {
  const char* what;
  std::vector<File> files;
  std::vector<int> allowed;
  std::vector<Core> cores;
  double quota;
  uint32_t threads;
};

// The topology files of CPUs 0, 1, ..., each with the list of its siblings.
std::vector<File> siblings(const std::vector<const char*>& lists, const char* name = "core_cpus_list") {
  std::vector<File> files;
  for (size_t cpu = 0; cpu < lists.size(); ++cpu)
    files.push_back(
        {"sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/" + name, std::string(lists[cpu]) + "\n"});
  return files;
}

std::vector<File> operator+(std::vector<File> a, const std::vector<File>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const std::vector<File> kFourPlain = siblings({"0", "1", "2", "3"});
const std::vector<Core> kFourCores = {{0, 0}, {1, 0}, {2, 0}, {3, 0}};

const char* const kMountVersion2 =
    "24 1 0:22 / /proc rw - proc proc rw\n30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 "
    "rw,nsdelegate\n";
const char* const kMountVersion1 =
    "33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "35 24 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";

}  // namespace

TEST_CASE("physical cores are counted once, as the mask and the control groups allow") {
  const Machine machines[] = {
      {"no files at all", {}, {0, 1, 2}, {{0, 0}, {1, 0}, {2, 0}}, 0, 3},
      {"nothing allowed", {}, {}, {{0, 0}}, 0, 1},
      {"one thread a core", kFourPlain, {0, 1, 2, 3}, kFourCores, 0, 4},
      {"a mask", kFourPlain, {1, 3}, {{1, 0}, {3, 0}}, 0, 2},
      {"two threads a core, siblings far apart",
       siblings({"0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"}),
       {0, 1, 2, 3, 4, 5, 6, 7},
       kFourCores,
       0,
       4},
      {"two threads a core, siblings side by side",
       siblings({"0-1", "0-1", "2-3", "2-3"}),
       {0, 1, 2, 3},
       {{0, 0}, {2, 0}},
       0,
       2},
      {"the second thread of a core alone", siblings({"0-1", "0-1", "2-3", "2-3"}), {1, 2, 3}, {{1, 0}, {2, 0}}, 0, 2},
      {"the name of the list in old kernels",
       siblings({"0,2", "1,3", "0,2", "1,3"}, "thread_siblings_list"),
       {0, 1, 2, 3},
       {{0, 0}, {1, 0}},
       0,
       2},
      {"lists that make no sense", siblings({"", "x", "3-1", "2,99999999999"}), {0, 1, 2, 3}, kFourCores, 0, 4},
      {"two nodes take turns",
       kFourPlain + std::vector<File>{{"sys/devices/system/node/node0/cpulist", "0-1\n"},
                                      {"sys/devices/system/node/node1/cpulist", "2-3\n"},
                                      {"sys/devices/system/node/online", "0-1\n"},
                                      {"sys/devices/system/node/nodeX/cpulist", "0-3\n"}},
       {0, 1, 2, 3},
       {{0, 0}, {2, 1}, {1, 0}, {3, 1}},
       0,
       4},
      {"a node without memory of ours, and one with a hole",
       kFourPlain + std::vector<File>{{"sys/devices/system/node/node2/cpulist", "0,2-3\n"},
                                      {"sys/devices/system/node/node5/cpulist", "\n"}},
       {0, 2, 3},
       {{0, 2}, {2, 2}, {3, 2}},
       0,
       3},
      {"version 2, no limit",
       kFourPlain + std::vector<File>{{"proc/self/mountinfo", kMountVersion2},
                                      {"proc/self/cgroup", "0::/user.slice\n"},
                                      {"sys/fs/cgroup/user.slice/cpu.max", "max 100000\n"}},
       {0, 1, 2, 3},
       kFourCores,
       0,
       4},
      {"version 2, a limit of the group above",
       kFourPlain + std::vector<File>{{"proc/self/mountinfo", kMountVersion2},
                                      {"proc/self/cgroup", "0::/a/b/c\n"},
                                      {"sys/fs/cgroup/a/cpu.max", "210000 100000\n"},
                                      {"sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
                                      {"sys/fs/cgroup/a/b/c/cpu.max", "350000 100000\n"}},
       {0, 1, 2, 3},
       kFourCores,
       2.1,
       2},
      {"version 2 in a container that sees its own group as the root",
       kFourPlain + std::vector<File>{{"proc/self/mountinfo", kMountVersion2},
                                      {"proc/self/cgroup", "0::/\n"},
                                      {"sys/fs/cgroup/cpu.max", "50000 100000\n"}},
       {0, 1, 2, 3},
       kFourCores,
       0.5,
       1},
      {"version 1, in a container whose mount shows its own group",
       kFourPlain + std::vector<File>{{"proc/self/mountinfo",
                                       "33 24 0:29 /docker/ab /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n"},
                                      {"proc/self/cgroup", "5:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n"},
                                      {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n"},
                                      {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}},
       {0, 1, 2, 3},
       kFourCores,
       2.5,
       3},
      {"version 1, no limit, and other controllers' groups",
       kFourPlain + std::vector<File>{{"proc/self/mountinfo", kMountVersion1},
                                      {"proc/self/cgroup", "8:cpuset:/q\n4:cpu,cpuacct:/jobs/one\n0::/\n"},
                                      {"sys/fs/cgroup/cpu,cpuacct/jobs/one/cpu.cfs_quota_us", "-1\n"},
                                      {"sys/fs/cgroup/cpu,cpuacct/jobs/one/cpu.cfs_period_us", "100000\n"},
                                      {"sys/fs/cgroup/cpuset/q/cpu.cfs_quota_us", "100\n"}},
       {0, 1, 2, 3},
       kFourCores,
       0,
       4},
      {"both versions: the smaller limit",
       kFourPlain + std::vector<File>{{"proc/self/mountinfo", std::string(kMountVersion1) + kMountVersion2},
                                      {"proc/self/cgroup", "4:cpu,cpuacct:/j\n0::/k\n"},
                                      {"sys/fs/cgroup/cpu,cpuacct/j/cpu.cfs_quota_us", "120000\n"},
                                      {"sys/fs/cgroup/cpu,cpuacct/j/cpu.cfs_period_us", "100000\n"},
                                      {"sys/fs/cgroup/k/cpu.max", "300000 100000\n"}},
       {0, 1, 2, 3},
       kFourCores,
       1.2,
       1},
      {"limits that make no sense",
       kFourPlain + std::vector<File>{{"proc/self/mountinfo", std::string("x\n\n- \n") + kMountVersion2},
                                      {"proc/self/cgroup", "nonsense\n0::/../..\n"},
                                      {"sys/fs/cgroup/cpu.max", "-5 0\n"}},
       {0, 1, 2, 3},
       kFourCores,
       0,
       4},
      {"a limit above the cores",
       kFourPlain + std::vector<File>{{"proc/self/mountinfo", kMountVersion2},
                                      {"proc/self/cgroup", "0::/\n"},
                                      {"sys/fs/cgroup/cpu.max", "6400000 100000\n"}},
       {0, 1, 2, 3},
       kFourCores,
       64,
       4},
  };
  for (const Machine& machine : machines) {
    CAPTURE(std::string(machine.what));
    const tests::ScratchFolder folder(machine.files);
    const UsableCores usable = kernels::read_usable_cores(folder.path(), machine.allowed);
    CHECK(usable.cores == machine.cores);
    CHECK(usable.quota == doctest::Approx(machine.quota));
    CHECK(usable.default_threads() == machine.threads);
  }
}

TEST_CASE("this machine has at least one core") {
  const UsableCores usable = kernels::usable_cores();
  CHECK(usable.default_threads() >= 1);
  CHECK(usable.default_threads() <= usable.cores.size());
}
