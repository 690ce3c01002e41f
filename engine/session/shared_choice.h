// Whether GPUs that do not hold a whole model help with it: by a plan, before anything is loaded.
#pragma once

#include <span>
#include <string>

#include "engine/device/cuda_device.h"
#include "engine/engine.h"
#include "engine/model/spec.h"
#include "engine/placement/budget.h"
#include "engine/session/device_choice.h"
#include "gguf/file.h"

namespace sluice::engine {

// The numbers of a GPU that no machine file describes. Only its memory is known; decode asks it for little else.
Gpu described_gpu(const CudaGpu& gpu);

// Why the CPU alone should run the model, in part of a sentence; empty where both together are faster. They can share it when attention,
// routers and the caches of one session fit in VRAM. `machine` has the CPU's numbers, and may have GPUs', in the same order.
std::string why_not_shared(std::span<const WantedGpu> gpus, const gguf::File& file, const ModelSpec& spec,
                           const SessionMemory& session, uint32_t n_context, const ModelOptions& options,
                           Machine machine);

}  // namespace sluice::engine
