// Which device a model runs on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/device/device.h"
#include "engine/engine.h"

namespace sluice::engine {

struct ChosenDevice {
  std::unique_ptr<Device> device;
  std::string name;  // "CPU", or the GPU's
  bool is_gpu = false;
  std::string why_no_gpu;  // a sentence; empty when it is the GPU, or when the CPU was asked for
};

// gpu_bytes: what the GPU would have to hold, weights and a session. Throws Error(Device) when the GPU was asked for and there is
// none, and Error(Usage) when it was asked for together with something that it cannot do.
ChosenDevice choose_device(const ModelOptions& options, uint32_t n_threads, uint64_t gpu_bytes);

}  // namespace sluice::engine
