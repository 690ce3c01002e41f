// Which devices a model runs on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/device/cuda_device.h"
#include "engine/device/device.h"
#include "engine/engine.h"
#include "engine/placement/layer_split.h"

namespace sluice::engine {

// A GPU that may be used, and what of its memory.
struct WantedGpu {
  CudaGpu gpu;
  uint64_t vram_bytes = 0;  // not to be exceeded; 0: what is free, less a margin

  // For weights, caches and passes.
  uint64_t room() const;
};

// Those that the options name, in this order; or all that can be used, the fastest memory first, and where there is none, one that says why.
// Throws Error(Usage) for options that contradict one another, and Error(Device) for a GPU that is named and cannot be used.
std::vector<WantedGpu> wanted_gpus(const ModelOptions& options);

struct ChosenDevice {
  std::vector<std::unique_ptr<Device>> devices;  // the CPU, or GPUs, in the order in which layers come to them
  std::vector<WantedGpu> gpus;                   // as many; empty for the CPU
  std::string name;                              // "CPU", or the GPUs'
  bool is_gpu = false;
  std::string why_no_gpu;  // a sentence; empty when it is the GPU, or when the CPU was asked for
};

// Where nobody asked for either device, and hold_all says that the GPUs do not hold the model alone, why_not_shared says why both together
// should not run it; empty: they do. Throws Error(Device) when the GPU was asked for and there is none, and Error(Usage) when it was asked for
// together with something that it cannot do.
ChosenDevice choose_device(const ModelOptions& options, uint32_t n_threads,
                           const std::function<bool(std::span<const GpuRoom> gpus)>& hold_all,
                           const std::function<std::string(std::span<const WantedGpu> gpus)>& why_not_shared);

// "NVIDIA GeForce RTX 4090 + NVIDIA GeForce RTX 3060".
std::string names_of(std::span<const WantedGpu> gpus);

}  // namespace sluice::engine
