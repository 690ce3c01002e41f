#include "engine/placement/prediction.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/forward/miss_split.h"
#include "engine/placement/cost.h"
#include "engine/placement/vram_plan.h"

namespace sluice::engine {
namespace {

// What a pass adds up to.
struct Total {
  Sums critical;  // what the next step waits for
  Sums cpu, gpu;  // all of it
  // Both sides run at a time: the longer one counts, with its reasons.
  void add_beside(const Sides& sides, double times = 1) {
    critical.add(sides.cpu.cpu() > sides.gpu.gpu() ? sides.cpu : sides.gpu, times);
    count(sides, times);
  }
  // One after the other.
  void add_in_turn(const Sides& sides) {
    critical.add(sides.cpu);
    critical.add(sides.gpu);
    count(sides);
  }

 private:
  void count(const Sides& sides, double times = 1) {
    cpu.add(sides.cpu, times);
    gpu.add(sides.gpu, times);
  }
};

void finish(Prediction& prediction, const Total& total, const Machine& machine) {
  const Sums& critical = total.critical;
  prediction.cpu_seconds = total.cpu.cpu();
  prediction.gpu_seconds = total.gpu.gpu();
  prediction.overhead_seconds = critical.of(Bound::Overhead);
  prediction.disk_seconds = prediction.disk_bytes / machine.disk_bytes_per_second;
  double computing = 0;
  for (const double seconds : critical.seconds) computing += seconds;
  // While the disk reads, the CPU has a share of its rate.
  const double slowed =
      computing + (1 - machine.cpu_share_beside_disk) * std::min(prediction.disk_seconds, critical.cpu());
  prediction.seconds = std::max({slowed, prediction.disk_seconds, prediction.pcie_seconds});
  if (prediction.seconds == prediction.disk_seconds)
    prediction.bound = Bound::Disk;
  else if (prediction.seconds == prediction.pcie_seconds)
    prediction.bound = Bound::Pcie;
  else
    prediction.bound = static_cast<Bound>(std::ranges::max_element(critical.seconds) - critical.seconds.begin());
}

// A GPU that has anything has all caches, and does all but the products of what it leaves to the CPU.
bool has_gpu(std::span<const GroupPlace> places) {
  return std::ranges::any_of(places, [](const GroupPlace& place) { return place.n_vram > 0; });
}

// Attention and routers are not left to the CPU: what VRAM does not hold of them the GPU reads over PCIe, while nothing else can happen.
bool is_read_over_pcie(const WeightGroup& group, const GroupPlace& place, bool gpu_runs) {
  return gpu_runs && place.n_vram == 0 && is_always_gpus(group.role);
}

double link_seconds_of_unit(const WeightGroup& group, const Gpu& gpu) {
  return static_cast<double>(group.unit_file_bytes()) / gpu.pcie_bytes_per_second;
}

void read_over_pcie(Prediction& prediction, Total& total, const WeightGroup& group, const GroupPlace& place,
                    const Machine& machine) {
  const double seconds = link_seconds_of_unit(group, gpu_of(machine, place.gpu));
  prediction.pcie_seconds += seconds;
  prediction.disk_bytes += place.n_disk * static_cast<double>(group.unit_file_bytes());
  total.critical.add(Bound::Pcie, seconds);
}

// The GPU of each layer that has attention, in their order.
std::vector<uint32_t> gpus_of_layers(const ModelWork& work, std::span<const GroupPlace> places) {
  std::vector<uint32_t> gpus;
  for (size_t i = 0; i < work.groups.size(); ++i)
    if (work.groups[i].role == GroupRole::Attention) gpus.push_back(places[i].gpu);
  if (gpus.empty()) gpus.push_back(0);
  return gpus;
}

// All layers' attention, each with an equal part of it, and what comes beside all products: launches, and rows that go from GPU to GPU. Or
// of only one GPU's layers.
void add_layers(Prediction& prediction, Total& total, const ModelWork& work, std::span<const GroupPlace> places,
                const Machine& machine, const AttentionCount& attention, double n_rows,
                std::optional<uint32_t> only_gpu = {}) {
  const bool gpu_runs = has_gpu(places);
  if (!only_gpu) total.critical.add(Bound::Overhead, work.n_layers * layer_overhead_seconds(gpu_runs));
  Sides sides;
  if (!gpu_runs) {
    sides.cpu = attend_on_cpu(machine, attention);
    return total.add_in_turn(sides);
  }
  const std::vector<uint32_t> gpus = gpus_of_layers(work, places);
  for (uint32_t gpu = 0; gpu < machine.gpus.size(); ++gpu) {
    const auto n_layers = std::ranges::count(gpus, gpu);
    if (n_layers == 0 || (only_gpu && gpu != *only_gpu)) continue;
    if (only_gpu) total.critical.add(Bound::Overhead, static_cast<double>(n_layers) * layer_overhead_seconds(true));
    const double share = static_cast<double>(n_layers) / static_cast<double>(gpus.size());
    sides.gpu.add(attend_on_gpu(machine.gpus[gpu], attention), share);
  }
  total.add_in_turn(sides);
  for (size_t layer = 1; layer < gpus.size(); ++layer) {
    if (only_gpu || gpus[layer] == gpus[layer - 1]) continue;
    const Handover handover = handover_of(work, machine, gpus[layer - 1], gpus[layer], n_rows);
    total.critical.add(Bound::Overhead, handover.fixed_seconds);
    total.critical.add(Bound::Pcie, handover.link_seconds);
    prediction.pcie_seconds += handover.link_seconds;
  }
}

const Gpu* gpu_or_none(const Machine& machine, const GroupPlace& place) {
  return machine.gpus.empty() ? nullptr : &gpu_of(machine, place.gpu);
}

// A layer's experts where the GPU reads some that it misses over the link, while the CPU multiplies the others: how many of how many misses
// is MissSplit's choice, in whole numbers, so each number of misses counts by how likely it is. The reads are in one launch with the hits. What
// the link reads the CPU cannot have of the memory's bandwidth meanwhile.
void add_with_reads(Prediction& prediction, Total& total, const WeightGroup& group, const Machine& machine,
                    const Gpu& gpu, const ExpertShares& shares, const Sides& shared) {
  const auto n_used = static_cast<int64_t>(std::lround(group.uses * group.n_units));
  const Machine beside = beside_link(machine, gpu);
  const Sums alone = multiply_group(group, machine, &gpu, {1, 1}, {}).cpu;
  const Sums slowed = multiply_group(group, beside, &gpu, {1, 1}, {}).cpu;
  const Sums hit = multiply_group(group, machine, &gpu, {}, {1, 1}).gpu;
  const double link = link_seconds_of_unit(group, gpu), miss_chance = std::clamp(1 - shares.vram, 0.0, 1.0);
  const double in_ram = miss_chance > 0 ? std::min(1.0, shares.ram / miss_chance) : 1;
  MissSplit split(n_used);
  split.took(1, slowed.cpu());
  const std::span<const uint32_t> counts = split.counts(link);
  double ways = 1;  // to miss so many
  for (int64_t n_missed = 0; n_missed <= n_used; ++n_missed) {
    const auto missed = static_cast<double>(n_missed), hits = static_cast<double>(n_used - n_missed);
    const double chance = ways * std::pow(miss_chance, missed) * std::pow(1 - miss_chance, hits);
    const double n_read = in_ram * counts[static_cast<size_t>(n_missed)];
    Sides sides = shared;
    sides.cpu.add(n_read > 0 ? slowed : alone, missed - n_read);
    if (n_read * link > hits * hit.gpu())
      sides.gpu.add(Bound::Pcie, n_read * link);
    else
      sides.gpu.add(hit, hits);
    total.add_beside(sides, chance);
    prediction.pcie_seconds += chance * n_read * link;
    ways *= hits / (missed + 1);
  }
}

// Of the experts of a layer, how many a batch of tokens chooses at least once, when all are equally likely.
double touched_share(const WeightGroup& group, double n_tokens) {
  return 1 - std::pow(1 - std::min(group.uses, 1.0), n_tokens);
}

}  // namespace

std::string_view bound_name(Bound bound) {
  switch (bound) {
    case Bound::CpuMemory:
      return "memory bandwidth";
    case Bound::CpuArithmetic:
      return "CPU arithmetic";
    case Bound::Disk:
      return "disk";
    case Bound::GpuMemory:
      return "VRAM bandwidth";
    case Bound::GpuArithmetic:
      return "GPU arithmetic";
    case Bound::Pcie:
      return "PCIe";
    case Bound::Overhead:
      return "launches and barriers";
  }
  return "unknown";
}

ExpertShares uniform_shares(const ModelWork& work, std::span<const GroupPlace> places) {
  double chosen = 0;
  ExpertShares shares;
  for (size_t i = 0; i < work.groups.size(); ++i) {
    const WeightGroup& group = work.groups[i];
    if (group.role != GroupRole::RoutedExperts) continue;
    chosen += group.uses * group.n_units;
    shares.vram += group.uses * places[i].n_vram;
    shares.ram += group.uses * places[i].n_ram;
  }
  if (chosen == 0) return {};
  return {shares.vram / chosen, shares.ram / chosen};
}

std::vector<ExpertShares> shares_by_gpu(const ModelWork& work, std::span<const GroupPlace> places,
                                        const ExpertShares& shares) {
  struct Held {
    double n_chosen = 0, n_vram = 0;
  };
  std::vector<Held> of_gpu;
  Held all;
  for (size_t i = 0; i < work.groups.size(); ++i) {
    const WeightGroup& group = work.groups[i];
    if (places[i].gpu >= of_gpu.size()) of_gpu.resize(places[i].gpu + 1);
    if (group.role != GroupRole::RoutedExperts) continue;
    for (Held* held : {&of_gpu[places[i].gpu], &all}) {
      held->n_chosen += group.uses * group.n_units;
      held->n_vram += group.uses * places[i].n_vram;
    }
  }
  const auto n_used = std::ranges::count_if(of_gpu, [](const Held& held) { return held.n_chosen > 0; });
  if (n_used < 2) return std::vector<ExpertShares>(of_gpu.size(), shares);
  const double uniform = all.n_vram / all.n_chosen;
  std::vector<ExpertShares> by_gpu;
  for (const Held& held : of_gpu) {
    const double own = held.n_chosen > 0 ? held.n_vram / held.n_chosen : 0;
    ExpertShares now;
    if (shares.vram <= uniform)
      now.vram = uniform > 0 ? own * shares.vram / uniform : 0;
    else
      now.vram = own + (1 - own) * (shares.vram - uniform) / (1 - uniform);
    now.ram = shares.vram < 1 ? (1 - now.vram) * shares.ram / (1 - shares.vram) : 1 - now.vram;
    by_gpu.push_back(now);
  }
  return by_gpu;
}

Prediction predict_decode(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                          double n_positions, const ExpertShares& all_shares, const MissSharing& sharing) {
  Prediction prediction;
  Total total;
  Sides shared;  // the layer's shared experts, which run beside its routed ones
  const bool gpu_runs = has_gpu(places);
  const std::vector<ExpertShares> by_gpu = shares_by_gpu(work, places, all_shares);
  for (size_t i = 0; i < work.groups.size(); ++i) {
    const WeightGroup& group = work.groups[i];
    if (group.role == GroupRole::Embedding) continue;
    if (is_read_over_pcie(group, places[i], gpu_runs)) {
      read_over_pcie(prediction, total, group, places[i], machine);
      continue;
    }
    const bool is_routed = group.role == GroupRole::RoutedExperts;
    const ExpertShares& shares = by_gpu[places[i].gpu];
    const double n_used = group.uses * group.n_units;
    const double on_gpu = n_used * (is_routed ? shares.vram : places[i].n_vram);
    const double on_cpu = n_used - on_gpu;
    const double from_disk = n_used * (is_routed ? 1 - shares.vram - shares.ram : places[i].n_disk);
    prediction.disk_bytes += std::max(from_disk, 0.0) * static_cast<double>(group.unit_file_bytes());
    Sides sides = multiply_group(group, machine, gpu_or_none(machine, places[i]), {on_cpu, on_cpu}, {on_gpu, on_gpu});
    if (group.role == GroupRole::SharedExperts) {
      shared = sides;
      continue;
    }
    if (is_routed && sharing.reads_host && gpu_runs) {
      add_with_reads(prediction, total, group, machine, gpu_of(machine, places[i].gpu), shares,
                     std::exchange(shared, {}));
      continue;
    }
    if (is_routed) {
      sides.cpu.add(shared.cpu);
      sides.gpu.add(shared.gpu);
      shared = {};
    }
    total.add_beside(sides);
  }
  add_layers(prediction, total, work, places, machine, attention_of_token(work, n_positions), 1);
  finish(prediction, total, machine);
  return prediction;
}

Prediction predict_pass(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                        const PassShape& pass, std::span<const ExpertShares> by_gpu, std::optional<uint32_t> only_gpu) {
  const double n = pass.n_rows;
  const bool gpu_runs = has_gpu(places);
  Prediction prediction;
  prediction.n_tokens = n;
  Total total;
  double streamed_seconds = 0;
  for (size_t i = 0; i < work.groups.size(); ++i) {
    const WeightGroup& group = work.groups[i];
    if (group.role == GroupRole::Embedding || (group.role == GroupRole::Output && !pass.wants_logits)) continue;
    if (only_gpu && places[i].gpu != *only_gpu) continue;
    if (is_read_over_pcie(group, places[i], gpu_runs)) {
      read_over_pcie(prediction, total, group, places[i], machine);
      continue;
    }
    const bool is_routed = group.role == GroupRole::RoutedExperts;
    const ExpertShares& shares = by_gpu[places[i].gpu];
    const Gpu* const gpu = gpu_or_none(machine, places[i]);
    // Of all units together. The output is needed for the last token only.
    const double n_inputs = group.role == GroupRole::Output ? 1 : n * group.uses * group.n_units;
    const bool is_streamed = pass.is_streamed && is_routed;
    // Streams do not wait for routers: every expert comes.
    const double n_reads = is_routed && !is_streamed ? touched_share(group, n) * group.n_units : group.n_units;
    const double in_vram = is_routed ? shares.vram : places[i].n_vram;
    const double on_disk = is_routed ? 1 - shares.vram - shares.ram : places[i].n_disk;
    prediction.disk_bytes += std::max(on_disk, 0.0) * n_reads * static_cast<double>(group.unit_file_bytes());
    // Tiers exchange the blocks of the file.
    if (is_streamed) streamed_seconds += (1 - in_vram) * group.n_units * link_seconds_of_unit(group, *gpu);
    const double on_gpu = is_streamed ? 1 : in_vram;
    total.add_beside(multiply_group(group, machine, gpu, {(1 - on_gpu) * n_inputs, (1 - on_gpu) * n_reads},
                                    {on_gpu * n_inputs, on_gpu * n_reads}));
  }
  add_layers(prediction, total, work, places, machine, attention_of_pass(work, n, pass.n_positions), n, only_gpu);
  prediction.pcie_seconds += streamed_seconds;
  finish(prediction, total, machine);
  return prediction;
}

}  // namespace sluice::engine
