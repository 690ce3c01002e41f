// What sluice doctor found, and its telling.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/placement/disk.h"
#include "engine/placement/memory.h"
#include "engine/placement/nvidia.h"
#include "engine/placement/probe.h"

namespace sluice::tools {

struct Findings {
  uint32_t n_cores = 0;    // physical ones that may be used
  uint32_t n_threads = 0;  // by default
  double quota = 0;        // in CPUs; 0: no limit
  std::string isa;         // that is chosen
  bool isa_is_forced = false;
  std::vector<std::string> isas_found;
  engine::AvailableMemory memory;
  double bandwidth = 0;  // bytes a second, read by n_threads
  std::string disk_place;
  std::optional<engine::ReadRate> disk;  // absent: not measured, because of
  std::string disk_failure;
  uint32_t disk_reads_in_flight = 0;
  engine::LockableMemory lockable;
  engine::HugePages huge_pages = engine::HugePages::Unknown;
  engine::IoUring io_uring;
  std::string nvcc, nvcc_version;  // empty: none, or it does not tell
  engine::NvidiaGpus gpus;
};

// One line for each, with a line of advice beneath where something is off.
std::string doctor_text(const Findings& found);
// The same as numbers; null where there is no limit or nothing is known.
nlohmann::ordered_json doctor_json(const Findings& found);

}  // namespace sluice::tools
