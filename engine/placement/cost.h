// What parts of a pass cost on a machine, for predictions: seconds of each resource, and what they go to.
#pragma once

#include <array>

#include "engine/placement/machine.h"
#include "engine/placement/model_work.h"
#include "engine/placement/prediction.h"

namespace sluice::engine {

// Seconds, by what they go to.
struct Sums {
  std::array<double, 7> seconds{};

  void add(Bound bound, double more) { seconds[static_cast<size_t>(bound)] += more; }
  void add(const Sums& other);
  void add(const Sums& other, double times);
  double of(Bound bound) const { return seconds[static_cast<size_t>(bound)]; }
  double cpu() const { return of(Bound::CpuMemory) + of(Bound::CpuArithmetic); }
  // With what it reads of the host's memory.
  double gpu() const { return of(Bound::GpuMemory) + of(Bound::GpuArithmetic) + of(Bound::Pcie); }
};

// The work of CPU and GPU on one thing.
struct Sides {
  Sums cpu, gpu;
};

// How many products a group's units have on a side, and how often one of them is read.
struct ProductCount {
  double n_inputs = 0, n_reads = 0;
};
// Without products on the GPU that may be null.
Sides multiply_group(const WeightGroup& group, const Machine& machine, const Gpu* gpu, const ProductCount& on_cpu,
                     const ProductCount& on_gpu);

// The machine as its CPU has it while a link reads memory for its GPU.
Machine beside_link(const Machine& machine, const Gpu& gpu);

// Multiply-adds of scores and values over all layers, and bytes of cache.
struct AttentionCount {
  double multiply_adds = 0, cache_bytes = 0;
  bool is_row_by_row = false;  // on a GPU, which has another kernel for that
};
// Of a pass of n_rows rows that end at n_positions, each of which sees those before it. Latent attention in the form that is less.
AttentionCount attention_of_pass(const ModelWork& work, double n_rows, double n_positions);
// Of one token after n_positions others.
AttentionCount attention_of_token(const ModelWork& work, double n_positions);
Sums attend_on_cpu(const Machine& machine, const AttentionCount& count);
Sums attend_on_gpu(const Gpu& gpu, const AttentionCount& count);

}  // namespace sluice::engine
