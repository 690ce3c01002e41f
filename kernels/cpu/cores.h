// The cores that this process may use, as the files of the system tell.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace sluice::kernels {

struct Core {
  int cpu = 0;   // the logical CPU that stands for it: the first of its threads that the process may run on
  int node = 0;  // its NUMA node
  friend bool operator==(const Core&, const Core&) = default;
};

struct UsableCores {
  // Physical cores, each once however many threads it has (SMT), at least one. The NUMA nodes take turns, so that the
  // first n are spread over the nodes and have the memory bandwidth of all.
  std::vector<Core> cores;
  double quota = 0;  // time that the control groups allow, in CPUs; 0: no limit

  // How many threads to run when nobody says: one a core, and no more than the quota rounded to the nearest keeps
  // busy. More would stand still together for the rest of every period.
  uint32_t default_threads() const;
};

// What the affinity mask of the calling thread and the control groups (version 1 and 2) of the process leave of the
// machine.
UsableCores usable_cores();

// The same from the files below `root`, which has sys/ and proc/, and a list of logical CPUs that may be used. A file
// that is missing or makes no sense costs what it would have told: threads of one core then count as cores, all cores
// are in node 0, and there is no limit.
UsableCores read_usable_cores(const std::filesystem::path& root, std::span<const int> cpus);

}  // namespace sluice::kernels
