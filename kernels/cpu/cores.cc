#include "kernels/cpu/cores.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>

#include "kernels/cpu/control_groups.h"

namespace sluice::kernels {
namespace {

using Path = std::filesystem::path;

constexpr int kMostCpus = 1 << 16;

std::vector<std::string> read_lines(const Path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// "0-3,8,10-11": the form in which the kernel lists CPUs. Empty when the file is missing or says something else.
std::vector<int> read_cpu_list(const Path& path) {
  const std::vector<std::string> lines = read_lines(path);
  std::vector<int> cpus;
  if (lines.empty()) return cpus;
  std::istringstream list(lines[0]);
  for (std::string range; std::getline(list, range, ',');) {
    const char* const end = range.data() + range.size();
    int first = -1, last = -1;
    auto [rest, failure] = std::from_chars(range.data(), end, first);
    last = first;
    if (failure == std::errc() && rest != end && *rest == '-') {
      const auto second = std::from_chars(rest + 1, end, last);
      rest = second.ptr;
      failure = second.ec;
    }
    if (failure != std::errc() || rest != end || first < 0 || last < first || last >= kMostCpus) return {};
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

// The NUMA node of each logical CPU that a node lists.
std::map<int, int> read_nodes(const Path& root) {
  std::map<int, int> node_of_cpu;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(root / "sys/devices/system/node", failure)) {
    const std::string name = entry.path().filename().string();
    int node = 0;
    if (!name.starts_with("node")) continue;
    const auto [rest, error] = std::from_chars(name.data() + 4, name.data() + name.size(), node);
    if (error != std::errc() || rest != name.data() + name.size()) continue;
    for (const int cpu : read_cpu_list(entry.path() / "cpulist")) node_of_cpu[cpu] = node;
  }
  return node_of_cpu;
}

// A number that stands for the physical core of a logical CPU: the first of its threads.
int first_thread_of_core(const Path& root, int cpu) {
  const Path topology = root / "sys/devices/system/cpu" / ("cpu" + std::to_string(cpu)) / "topology";
  std::vector<int> threads = read_cpu_list(topology / "core_cpus_list");
  if (threads.empty()) threads = read_cpu_list(topology / "thread_siblings_list");  // its name before Linux 5.3
  return std::ranges::find(threads, cpu) != threads.end() ? std::ranges::min(threads) : cpu;
}

std::vector<Core> physical_cores(const Path& root, std::span<const int> cpus) {
  const std::map<int, int> node_of_cpu = read_nodes(root);
  std::map<int, int> cpu_of_core;
  for (const int cpu : cpus) {
    const auto [known, is_new] = cpu_of_core.try_emplace(first_thread_of_core(root, cpu), cpu);
    if (!is_new) known->second = std::min(known->second, cpu);
  }
  std::map<int, std::vector<Core>> by_node;
  for (const auto& [core, cpu] : cpu_of_core) {
    const auto node = node_of_cpu.find(cpu);
    const int number = node == node_of_cpu.end() ? 0 : node->second;
    by_node[number].push_back({cpu, number});
  }
  std::vector<Core> cores;
  for (size_t turn = 0; cores.size() < cpu_of_core.size(); ++turn)
    for (const auto& [number, of_node] : by_node)
      if (turn < of_node.size()) cores.push_back(of_node[turn]);
  return cores;
}

// CPUs' worth of time that one group allows, or 0 for no limit. Version 2 has "QUOTA PERIOD" or "max PERIOD" in one
// file, version 1 a file for each with -1 for no limit.
double limit_of_group(const Path& group, bool version_2) {
  double quota = 0, period = 0;
  if (version_2) {
    std::ifstream(group / "cpu.max") >> quota >> period;  // "max" leaves the quota at 0
  } else {
    std::ifstream(group / "cpu.cfs_quota_us") >> quota;
    std::ifstream(group / "cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

// The least of what the process's groups and all groups above them allow.
double read_quota(const Path& root) {
  double least = 0;
  for (const ControlGroup& group : control_groups(root, "cpu")) {
    const double limit = limit_of_group(group.folder, group.version_2);
    if (limit > 0) least = least > 0 ? std::min(least, limit) : limit;
  }
  return least;
}

std::vector<int> cpus_of_affinity_mask() {
  std::vector<int> cpus;
  for (int n_cpus = 1024; n_cpus <= kMostCpus; n_cpus *= 2) {
    const size_t bytes = CPU_ALLOC_SIZE(n_cpus);
    std::vector<cpu_set_t> mask((bytes + sizeof(cpu_set_t) - 1) / sizeof(cpu_set_t));
    if (sched_getaffinity(0, bytes, mask.data()) != 0) continue;  // a machine with more CPUs asks for a larger mask
    for (int cpu = 0; cpu < n_cpus; ++cpu)
      if (CPU_ISSET_S(cpu, bytes, mask.data())) cpus.push_back(cpu);
    break;
  }
  for (int cpu = 0; cpus.empty() && cpu < static_cast<int>(std::thread::hardware_concurrency()); ++cpu)
    cpus.push_back(cpu);
  return cpus;
}

}  // namespace

uint32_t UsableCores::default_threads() const {
  const auto n_cores = static_cast<uint32_t>(std::max<size_t>(1, cores.size()));
  if (quota <= 0 || quota >= n_cores) return n_cores;
  return std::max(1u, static_cast<uint32_t>(std::lround(quota)));
}

UsableCores read_usable_cores(const std::filesystem::path& root, std::span<const int> cpus) {
  UsableCores usable{physical_cores(root, cpus), read_quota(root)};
  if (usable.cores.empty()) usable.cores.push_back({});
  return usable;
}

UsableCores usable_cores() {
  return read_usable_cores("/", cpus_of_affinity_mask());
}

}  // namespace sluice::kernels
