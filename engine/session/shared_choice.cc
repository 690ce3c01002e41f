#include "engine/session/shared_choice.h"

#include <algorithm>
#include <cstdio>

#include "engine/placement/memory.h"
#include "engine/placement/plan.h"
#include "engine/placement/vram_plan.h"

namespace sluice::engine {

Gpu described_gpu(const CudaGpu& gpu) {
  constexpr double kAssumedVram = 200e9;  // of a small card, where the driver does not tell
  // Whole numbers that a multiprocessor's tensor cores multiply a second, of the oldest kind that runs.
  constexpr double kTensorRate = 512 * 1.5e9;
  constexpr double kAssumedLink = 12e9;
  Gpu described;
  described.name = gpu.name;
  described.vram_bytes = gpu.total_vram_bytes;
  described.vram_bytes_per_second = gpu.vram_bytes_per_second > 0 ? gpu.vram_bytes_per_second : kAssumedVram;
  described.pcie_bytes_per_second = kAssumedLink;
  described.multiply_adds_per_second = kTensorRate * std::max(1, gpu.n_multiprocessors);
  return described;
}

namespace {

bool holds_what_cannot_be_shared(const Plan& plan) {
  for (size_t i = 0; i < plan.work.groups.size(); ++i) {
    const GroupRole role = plan.work.groups[i].role;
    if ((role == GroupRole::Attention || role == GroupRole::Router) && plan.places[i].n_vram == 0) return false;
  }
  return true;
}

std::string rate_text(const Plan& plan) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", plan.decode.tokens_per_second());
  return text;
}

}  // namespace

std::string why_not_shared(std::span<const WantedGpu> gpus, const gguf::File& file, const ModelSpec& spec,
                           const SessionMemory& session, uint32_t n_context, const ModelOptions& options,
                           Machine machine) {
  const std::string name = names_of(gpus);
  for (size_t i = 0; i < gpus.size(); ++i) {
    if (machine.gpus.size() == i) machine.gpus.push_back(described_gpu(gpus[i].gpu));
    machine.gpus[i].vram_bytes = vram_capacity_for(gpus[i].room());
  }
  machine.gpus.resize(gpus.size());
  machine.ram_bytes = available_memory_bytes() + resident_bytes();
  PlanOptions wanted;
  wanted.n_context = n_context;
  wanted.n_batch = options.session.n_batch;
  wanted.cache = options.session.cache;
  wanted.residency = options.residency;
  wanted.storage = options.store.storage;
  wanted.ram_bytes = options.store.ram_bytes;
  const uint64_t program_bytes = resident_bytes();
  const Plan shared = make_plan(file, spec, session, program_bytes, machine, wanted);
  if (!holds_what_cannot_be_shared(shared))
    return name + " has no room for attention, routers and the caches of a session";
  wanted.vram_bytes = {0};
  const Plan alone = make_plan(file, spec, session, program_bytes, machine, wanted);
  if (!alone.fits) return {};
  if (!shared.fits) return "with the caches of " + name + " there is too little RAM for what VRAM does not hold";
  if (shared.decode.seconds < alone.decode.seconds) return {};
  return name + " does not hold the model, and with its help it is not faster, by the plan (" + rate_text(shared) +
         " tokens/s, and " + rate_text(alone) + " by the CPU alone)";
}

}  // namespace sluice::engine
