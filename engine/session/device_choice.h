// Which device a model runs on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/device/cuda_device.h"
#include "engine/device/device.h"
#include "engine/engine.h"

namespace sluice::engine {

struct ChosenDevice {
  std::unique_ptr<Device> device;
  std::string name;  // "CPU", or the GPU's
  bool is_gpu = false;
  std::string why_no_gpu;  // a sentence; empty when it is the GPU, or when the CPU was asked for
};

// gpu_bytes: what the GPU would have to hold alone, weights and a session. Where nobody asked for either device and that does not fit,
// why_not_shared says why both together should not run the model; empty: they do. Throws Error(Device) when the GPU was asked for and there is
// none, and Error(Usage) when it was asked for together with something that it cannot do.
ChosenDevice choose_device(const ModelOptions& options, uint32_t n_threads, uint64_t gpu_bytes,
                           const std::function<std::string(const CudaGpu& gpu)>& why_not_shared);

}  // namespace sluice::engine
