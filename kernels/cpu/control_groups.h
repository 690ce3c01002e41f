// The control groups that a process is in: what may limit its time and memory.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace sluice::kernels {

struct ControlGroup {
  bool version_2 = false;
  bool is_own = false;           // the process's own group, not one above it
  std::filesystem::path folder;  // of its files; need not exist
};

// The process's own group and all groups above it, as far as the mount shows them, in every mounted hierarchy that may
// hold the controller ("cpu", "memory"): version 1 where it is named, version 2 always. Read from the files below
// `root`, which has proc/ and sys/. What is missing or makes no sense is left out.
std::vector<ControlGroup> control_groups(const std::filesystem::path& root, std::string_view controller);

}  // namespace sluice::kernels
