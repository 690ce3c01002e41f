// An NVIDIA GPU as a device: the kernels of kernels/cuda on one stream.
//
// A pass is a list of launches (kernels/cuda/launch.h). Nothing starts while the executors speak; when somebody wants a result, the
// values that change from pass to pass go to the GPU in one copy, and the list is started: as a CUDA graph when it is byte for byte
// one that was seen before, which in decode it is from the third token on. Which experts were chosen, positions, and where the cache's
// pages lie are such values, so one graph serves every token.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/device/device.h"

namespace sluice::engine {

struct CudaGpu {
  bool is_usable = false;
  std::string why_not;  // one sentence, when it is not: no driver, one too old, no GPU, or a program built without CUDA
  int ordinal = 0;      // by which the driver knows it
  std::string name;     // "NVIDIA GeForce RTX 4090"
  uint64_t free_vram_bytes = 0, total_vram_bytes = 0;
  int n_multiprocessors = 0;
  double vram_bytes_per_second = 0;  // as its clock and its bus have it; 0: it does not tell
};

// Was this program built with nvcc?
bool has_cuda();
// Asks the system for its first GPU. Never throws for want of one.
CudaGpu find_cuda_gpu();
// For those with these numbers, in this order, or for all: at least one, which is not usable where the system has none.
std::vector<CudaGpu> find_cuda_gpus(std::span<const int> ordinals = {});

// On the GPU all three are matrix products on tensor cores. By counting, expanded attention gets about the part of their peak that products
// get, and absorbed attention a sixth to a third less, because such long rows leave no registers to use what is loaded twice
// (docs/performance.md, "Prefill attention, counted").
inline constexpr LatentAttentionCosts kCudaLatentAttentionCosts{1, 1.2, kernels::CacheType::F16};

struct CudaDeviceOptions {
  uint64_t vram_bytes = 0;  // not to be exceeded; 0: what is free, less a margin
  bool graphs = true;       // off: every launch by itself
  int ordinal = 0;          // of the GPU
  // Rows come from another GPU straight, where the driver lets this one read the other's memory; else through pinned RAM.
  bool reads_peers = true;
};

// One GPU. Where VRAM is full its memory is pinned RAM, which kernels read over PCIe: slower, but nothing fails. Throws Error(Device)
// when there is no such GPU to use.
std::unique_ptr<Device> make_cuda_device(const CudaDeviceOptions& options);
// Several, of which each knows what another has pinned of the host's memory.
std::vector<std::unique_ptr<Device>> make_cuda_devices(std::span<const CudaDeviceOptions> options);

}  // namespace sluice::engine
