// A planned model as a simulation runs it: what each step of a token costs, and on which side.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/placement/plan.h"
#include "engine/traces/trace.h"

namespace sluice::engine {

// Seconds of a part of a layer, on the side where its weights are.
struct SimulatedWork {
  double cpu = 0, gpu = 0;
};

struct SimulatedLayer {
  uint32_t gpu = 0;              // that computes it, where one does
  SimulatedWork before_experts;  // attention and a dense feed-forward or the router
  SimulatedWork shared;
  std::vector<size_t> streamed;    // groups of it that come from the disk, in the order of need
  std::optional<uint32_t> routed;  // the layer's index in the trace
  SimulatedWork expert;            // of one
  double expert_bytes = 0;
  double link_seconds = 0;                 // of one, to the GPU
  double cpu_beside_link = 0;              // of one on the CPU, while the link reads memory too
  uint32_t vram_class = 0, ram_class = 0;  // of its experts' slots
  double overhead = 0;                     // also of rows that come from another GPU
};

struct SimulatedModel {
  std::vector<SimulatedLayer> layers;
  SimulatedWork output;
  std::vector<size_t> output_streamed;
};

// Each layer by the rates of its GPU, with half of the plan's context.
SimulatedModel simulated_model(const Plan& plan, const Machine& machine);

// Layers with experts are matched in their order: a made up trace does not know which of the model's they are. Throws Error(Usage) when there
// are others in the trace.
void check_shape(const ModelWork& work, const traces::TraceHeader& header);

}  // namespace sluice::engine
