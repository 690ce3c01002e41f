// A machine as JSON, for plans: written by `sluice doctor --measure`, or by hand (bench/machines/).
//
//   {"name": "...", "source": "where the numbers come from",
//    "ram_bytes": 124e9, "ram_bytes_per_second": 70e9, "cores": 16,
//    "disk_bytes_per_second": 7e9, "cpu_share_beside_disk": 0.95,
//    "attention_multiply_adds_per_second": 2e10,
//    "kernels": {"Q4_K": {"weights_per_second": 1e10, "form_weights_per_second": 2e10, "multiply_adds_per_second": 9e10}, ...},
//    "gpus": [{"name": "...", "vram_bytes": 48e9, "vram_bytes_per_second": 1e12, "pcie_bytes_per_second": 25e9,
//              "multiply_adds_per_second": 1.6e14}]}
//
// Bytes and seconds throughout; rates of kernels and attention are those of one core.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "engine/placement/machine.h"
#include "gguf/file.h"

namespace sluice::tools {

// Throws UsageError naming the file and what is wrong with it.
engine::Machine read_machine(const std::filesystem::path& path);
nlohmann::ordered_json machine_json(const engine::Machine& machine);

// Where `doctor --measure` leaves this machine's, and `plan` and `run` look for it: $XDG_CACHE_HOME/sluice/machine.json. Empty
// when there is no home.
std::filesystem::path own_machine_path();

// This machine: as that file has it, else measured now, in about two seconds; the disk with reads of the model's files. Throws
// UsageError, or engine::Error when the disk cannot be read.
engine::Machine this_machine(const gguf::File& model);

}  // namespace sluice::tools
