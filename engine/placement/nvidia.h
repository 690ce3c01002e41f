// NVIDIA's GPUs, driver and compiler, as the system's files tell: no library of theirs is needed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::engine {

struct NvidiaGpus {
  size_t n_found = 0;               // on the PCI bus, with or without a driver
  std::string driver_version;       // "550.54.14"; empty: no driver is loaded
  std::vector<std::string> models;  // that the driver runs: "NVIDIA GeForce RTX 4090"
};
// Read below `root`, which has proc/ and sys/.
NvidiaGpus read_nvidia_gpus(const std::filesystem::path& root = "/");

// The compiler nvcc in the folders of `search_path` (as PATH writes them: "A:B"), else in /usr/local/cuda/bin below
// `root`; empty when there is none.
std::filesystem::path find_nvcc(std::string_view search_path, const std::filesystem::path& root = "/");

// Runs `nvcc --version` and returns "12.4.131"; empty when it does not tell. May throw std::system_error where no
// process can be started.
std::string nvcc_version(const std::filesystem::path& nvcc);
// The version in what it prints.
std::string parse_nvcc_version(std::string_view printed);

}  // namespace sluice::engine
