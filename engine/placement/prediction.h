// How fast a model runs with its weights where a plan has them: bytes and multiplications against what the machine can do.
// docs/placement.md has the model in words, and where its constants come from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/placement/machine.h"
#include "engine/placement/model_work.h"

namespace sluice::engine {

// How many units of a group live where: in memory of the GPU, in RAM, or on the disk only, from where they are read when they
// are used.
struct GroupPlace {
  uint32_t n_vram = 0, n_ram = 0, n_disk = 0;
  // Which of the machine's GPUs computes the group's layer and holds what lies in VRAM of it: the same for all groups of a layer.
  uint32_t gpu = 0;
};

enum class Bound { CpuMemory, CpuArithmetic, Disk, GpuMemory, GpuArithmetic, Pcie, Overhead };
std::string_view bound_name(Bound bound);  // "memory bandwidth", "disk" ...

// Of a token in decode, of a batch in prefill.
struct Prediction {
  double seconds = 0;
  double n_tokens = 1;
  Bound bound = Bound::CpuMemory;
  double cpu_seconds = 0;  // the CPU multiplies or waits for memory
  double gpu_seconds = 0;
  double disk_seconds = 0;
  double pcie_seconds = 0;
  double overhead_seconds = 0;  // launches, barriers, small operations
  double disk_bytes = 0;

  double tokens_per_second() const { return seconds > 0 ? n_tokens / seconds : 0; }
};

// Of the experts that tokens choose, how many are in VRAM and how many in RAM; the others are read.
struct ExpertShares {
  double vram = 0, ram = 0;
};
// When every expert is chosen equally often: as the places have them.
ExpertShares uniform_shares(const ModelWork& work, std::span<const GroupPlace> places);

// The same for the layers of each GPU: what one GPU holds more of than another it holds more of at any share. By the places' gpu.
std::vector<ExpertShares> shares_by_gpu(const ModelWork& work, std::span<const GroupPlace> places,
                                        const ExpertShares& shares);

// How GPU and CPU share the experts of a token that VRAM does not hold.
struct MissSharing {
  // The GPU multiplies some of them where they lie in RAM, which is pinned: as many as makes both sides end together.
  bool reads_host = false;
};

// One token after n_positions others. The experts' shares are the same in every layer of a GPU.
Prediction predict_decode(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                          double n_positions, const ExpertShares& shares, const MissSharing& sharing = {});

// A pass of many tokens. Each weight that it needs is read once.
struct PassShape {
  double n_rows = 1;
  double n_positions = 1;    // of the context, with them
  bool wants_logits = true;  // of the last row
  // All experts that VRAM does not hold come to the GPUs, which multiply alone; else the CPU multiplies by them.
  bool is_streamed = false;
};
// shares: of the layers of each GPU. only_gpu: the part of it that this one has, without what goes from one to another.
Prediction predict_pass(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                        const PassShape& pass, std::span<const ExpertShares> shares,
                        std::optional<uint32_t> only_gpu = {});

// The parts that these are sums of. One unit of the group by n_inputs tokens, its weights read once:
double cpu_seconds_of_unit(const WeightGroup& group, const Machine& machine, double n_inputs = 1);
double gpu_seconds_of_unit(const WeightGroup& group, const Gpu& gpu, double n_inputs = 1);
// One token's attention over n_positions, all layers:
double cpu_attention_seconds(const ModelWork& work, const Machine& machine, double n_positions);
double gpu_attention_seconds(const ModelWork& work, const Gpu& gpu, double n_positions);
// Launches, barriers and small operations of a layer:
double layer_overhead_seconds(bool on_gpu);
// n_rows rows that go from one GPU to another, over the host:
struct Handover {
  double fixed_seconds = 0, link_seconds = 0;
  double seconds() const { return fixed_seconds + link_seconds; }
};
Handover handover_of(const ModelWork& work, const Machine& machine, uint32_t from, uint32_t to, double n_rows);

}  // namespace sluice::engine
