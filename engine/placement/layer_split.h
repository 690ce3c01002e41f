// Which layers lie on which GPU, where a machine has several.
//
// A layer lies on one GPU as a whole: its attention with the caches, its dense parts and the experts that VRAM holds of it; a GPU has a range
// of layers, and a token goes from one GPU to the next. So a token takes the sum over all layers, whatever lies where.
//
// - A layer takes as long as the slower of two sides: the GPU by the experts in VRAM, the CPU by the others. As more of a layer's experts are
//   in VRAM, its time falls and then no longer falls: it is convex in their share. All splits that fill all VRAM have the same experts there in
//   sum, so the best of them gives each layer the same share.
// - A GPU has fixed costs (memory for passes, rows handed on to the next), so the fewest are taken that hold everything.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice::engine {

struct GpuRoom {
  uint64_t bytes = 0;                // for weights, caches and passes
  double vram_bytes_per_second = 0;  // at which it reads them
};

// What a layer takes of VRAM.
struct LayerCost {
  uint64_t dense_bytes = 0;   // of what should be there as a whole
  uint64_t state_bytes = 0;   // its caches
  uint64_t expert_bytes = 0;  // all of its routed experts
};

// The end of each GPU's range of layers: GPU g has those from the end of g - 1 (from 0, the first) up to its own; equal to the one before, it
// has none. The last end is the number of layers; empty only without GPUs. The order of the GPUs is kept, so the fastest should be first.
//
// first_bytes lie with the first layer, last_bytes with the last one, pass_bytes on each GPU that has layers. If everything fits on the first
// GPUs, those take it, the fewest, each as many layers as it holds. Else that layer which is worst off shall have as much as possible: its
// caches, then its dense parts, then the largest share of its experts. Of the splits that are equal in this, the one whose GPUs read the dense
// parts in the least time, and of those the most even one. Any sizes are allowed: where not even passes fit, the layers are somewhere.
std::vector<uint32_t> split_layers(std::span<const LayerCost> layers, uint64_t first_bytes, uint64_t last_bytes,
                                   uint64_t pass_bytes, std::span<const GpuRoom> gpus);

}  // namespace sluice::engine
