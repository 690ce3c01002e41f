// What a generation used of the machine, where its weights came from, and what limited it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "engine/engine.h"

namespace sluice::tools {

// Further lines of the report, each beginning with a newline.
std::string usage_lines(const engine::Statistics& statistics, uint32_t n_threads);

// What each GPU holds and has done, where there are several; each line begins with a newline.
std::string gpu_lines(std::span<const engine::GpuUse> gpus);
nlohmann::ordered_json gpus_json(std::span<const engine::GpuUse> gpus);

nlohmann::ordered_json usage_json(const engine::Usage& usage, uint32_t n_threads);

}  // namespace sluice::tools
