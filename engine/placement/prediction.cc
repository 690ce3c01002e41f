#include "engine/placement/prediction.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace sluice::engine {
namespace {

// Of the bandwidth of VRAM and the rate of tensor cores, what kernels are meant to reach (no GPU was measured).
constexpr double kVramShare = 0.85;
constexpr double kTensorShare = 0.6;
// A layer's launches and, where CPU and GPU share it, their meeting: the target of the design.
constexpr double kGpuLayerSeconds = 25e-6;
// Of a layer on the CPU: norms, rope, router, quantised inputs, barriers; without weights. Grows with the model's width, but a
// fixed cost is near enough beside the weights.
constexpr double kCpuLayerSeconds = 60e-6;

// What the time of one resource goes to, for the name of the bound.
struct Sums {
  std::array<double, 7> seconds{};
  void add(Bound bound, double more) { seconds[static_cast<size_t>(bound)] += more; }
  double of(Bound bound) const { return seconds[static_cast<size_t>(bound)]; }
  double cpu() const { return of(Bound::CpuMemory) + of(Bound::CpuArithmetic); }
  double gpu() const { return of(Bound::GpuMemory) + of(Bound::GpuArithmetic); }
  void add(const Sums& other) {
    for (size_t i = 0; i < seconds.size(); ++i) seconds[i] += other.seconds[i];
  }
};

// A product of the matrix with n_inputs inputs, its weights read once.
void multiply_on_cpu(Sums& sums, const MatrixWork& matrix, const Machine& machine, double n_inputs, double n_reads) {
  const KernelRates rates = rates_for(machine, matrix.type);
  const double one_rate =
      matrix.is_in_form && rates.form_weights_per_second > 0 ? rates.form_weights_per_second : rates.weights_per_second;
  // A few inputs go through the rows one by one, from four on through tiles.
  const double per_core = n_inputs < 4 * n_reads ? matrix.weights * n_inputs / one_rate
                                                 : matrix.weights * n_inputs / rates.multiply_adds_per_second;
  const double arithmetic = per_core / machine.n_cores;
  const double memory = n_reads * static_cast<double>(matrix.bytes) / machine.ram_bytes_per_second;
  sums.add(arithmetic > memory ? Bound::CpuArithmetic : Bound::CpuMemory, std::max(arithmetic, memory));
}

void multiply_on_gpu(Sums& sums, const MatrixWork& matrix, const Gpu& gpu, double n_inputs, double n_reads) {
  const double memory = n_reads * static_cast<double>(matrix.file_bytes) / (kVramShare * gpu.vram_bytes_per_second);
  const double arithmetic = matrix.weights * n_inputs / (kTensorShare * gpu.multiply_adds_per_second);
  sums.add(arithmetic > memory ? Bound::GpuArithmetic : Bound::GpuMemory, std::max(arithmetic, memory));
}

// The work of CPU and GPU on one thing.
struct Sides {
  Sums cpu, gpu;
};

// How many products a group's units have on a side, and how often one of them is read.
struct Share {
  double n_inputs = 0, n_reads = 0;
};
Sides multiply_group(const WeightGroup& group, const Machine& machine, const Share& on_cpu, const Share& on_gpu) {
  Sides sides;
  for (const MatrixWork& matrix : group.matrices) {
    if (on_cpu.n_inputs > 0) multiply_on_cpu(sides.cpu, matrix, machine, on_cpu.n_inputs, on_cpu.n_reads);
    if (on_gpu.n_inputs > 0) multiply_on_gpu(sides.gpu, matrix, machine.gpus.front(), on_gpu.n_inputs, on_gpu.n_reads);
  }
  return sides;
}

// What a pass adds up to.
struct Total {
  Sums critical;  // what the next step waits for
  Sums cpu, gpu;  // all of it
  // Both sides run at a time: the longer one counts, with its reasons.
  void add_beside(const Sides& sides) {
    critical.add(sides.cpu.cpu() > sides.gpu.gpu() ? sides.cpu : sides.gpu);
    count(sides);
  }
  // One after the other.
  void add_in_turn(const Sides& sides) {
    critical.add(sides.cpu);
    critical.add(sides.gpu);
    count(sides);
  }

 private:
  void count(const Sides& sides) {
    cpu.add(sides.cpu);
    gpu.add(sides.gpu);
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
  return gpu_runs && place.n_vram == 0 && (group.role == GroupRole::Attention || group.role == GroupRole::Router);
}

void read_over_pcie(Prediction& prediction, Total& total, const WeightGroup& group, const GroupPlace& place,
                    const Machine& machine) {
  const double seconds = static_cast<double>(group.unit_file_bytes()) / machine.gpus.front().pcie_bytes_per_second;
  prediction.pcie_seconds += seconds;
  prediction.disk_bytes += place.n_disk * static_cast<double>(group.unit_file_bytes());
  total.critical.add(Bound::Pcie, seconds);
}

// Of scores and values: n_pairs of a token and a position that it sees, and bytes of cache read.
Sums attend_on_cpu(const ModelWork& work, const Machine& machine, double n_pairs, double cache_bytes) {
  Sums sums;
  const double arithmetic =
      n_pairs * work.attention_multiply_adds / (machine.attention_multiply_adds_per_second * machine.n_cores);
  const double memory = cache_bytes / machine.ram_bytes_per_second;
  sums.add(arithmetic > memory ? Bound::CpuArithmetic : Bound::CpuMemory, std::max(arithmetic, memory));
  return sums;
}

Sums attend_on_gpu(const ModelWork& work, const Gpu& gpu, double n_pairs, double cache_bytes) {
  Sums sums;
  const double arithmetic = n_pairs * work.attention_multiply_adds / (kTensorShare * gpu.multiply_adds_per_second);
  const double memory = cache_bytes / (kVramShare * gpu.vram_bytes_per_second);
  sums.add(arithmetic > memory ? Bound::GpuArithmetic : Bound::GpuMemory, std::max(arithmetic, memory));
  return sums;
}

Sides attend(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine, double n_pairs,
             double cache_bytes) {
  Sides sides;
  if (has_gpu(places))
    sides.gpu = attend_on_gpu(work, machine.gpus.front(), n_pairs, cache_bytes);
  else
    sides.cpu = attend_on_cpu(work, machine, n_pairs, cache_bytes);
  return sides;
}

double overhead(const ModelWork& work, std::span<const GroupPlace> places) {
  return work.n_layers * layer_overhead_seconds(has_gpu(places));
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

Prediction predict_decode(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                          double n_positions, const ExpertShares& shares) {
  Prediction prediction;
  Total total;
  Sides shared;  // the layer's shared experts, which run beside its routed ones
  const bool gpu_runs = has_gpu(places);
  for (size_t i = 0; i < work.groups.size(); ++i) {
    const WeightGroup& group = work.groups[i];
    if (group.role == GroupRole::Embedding) continue;
    if (is_read_over_pcie(group, places[i], gpu_runs)) {
      read_over_pcie(prediction, total, group, places[i], machine);
      continue;
    }
    const bool is_routed = group.role == GroupRole::RoutedExperts;
    const double n_used = group.uses * group.n_units;
    const double on_gpu = n_used * (is_routed ? shares.vram : places[i].n_vram);
    const double on_cpu = n_used - on_gpu;
    const double from_disk = n_used * (is_routed ? 1 - shares.vram - shares.ram : places[i].n_disk);
    prediction.disk_bytes += std::max(from_disk, 0.0) * static_cast<double>(group.unit_file_bytes());
    Sides sides = multiply_group(group, machine, {on_cpu, on_cpu}, {on_gpu, on_gpu});
    if (group.role == GroupRole::SharedExperts) {
      shared = sides;
      continue;
    }
    if (is_routed) {
      sides.cpu.add(shared.cpu);
      sides.gpu.add(shared.gpu);
      shared = {};
    }
    total.add_beside(sides);
  }
  total.add_in_turn(
      attend(work, places, machine, n_positions, n_positions * static_cast<double>(work.cache_bytes_a_position)));
  total.critical.add(Bound::Overhead, overhead(work, places));
  finish(prediction, total, machine);
  return prediction;
}

Prediction predict_prefill(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                           uint32_t n_tokens, const ExpertShares& shares) {
  const double n = n_tokens;
  const bool gpu_runs = has_gpu(places);
  // Two ways for what lies in RAM: the CPU multiplies it, or it goes over PCIe and the GPU does.
  const auto predict = [&](bool streams) {
    Prediction prediction;
    prediction.n_tokens = n;
    Total total;
    double pcie_bytes = 0;
    for (size_t i = 0; i < work.groups.size(); ++i) {
      const WeightGroup& group = work.groups[i];
      if (group.role == GroupRole::Embedding) continue;
      if (!streams && is_read_over_pcie(group, places[i], gpu_runs)) {
        read_over_pcie(prediction, total, group, places[i], machine);
        continue;
      }
      const bool is_routed = group.role == GroupRole::RoutedExperts;
      // Of all units together. The output is needed for the last token only.
      const double n_inputs = group.role == GroupRole::Output ? 1 : n * group.uses * group.n_units;
      const double n_reads = is_routed ? touched_share(group, n) * group.n_units : group.n_units;
      const double in_vram = is_routed ? shares.vram : places[i].n_vram;
      const double on_disk = is_routed ? 1 - shares.vram - shares.ram : places[i].n_disk;
      // Tiers exchange the blocks of the file, whatever form they have in RAM.
      const double bytes_read = n_reads * static_cast<double>(group.unit_file_bytes());
      prediction.disk_bytes += std::max(on_disk, 0.0) * bytes_read;
      if (streams) pcie_bytes += (1 - in_vram) * bytes_read;
      const double on_gpu = streams ? 1 : in_vram;
      total.add_beside(multiply_group(group, machine, {(1 - on_gpu) * n_inputs, (1 - on_gpu) * n_reads},
                                      {on_gpu * n_inputs, on_gpu * n_reads}));
    }
    total.add_in_turn(
        attend(work, places, machine, n * (n + 1) / 2, n * static_cast<double>(work.cache_bytes_a_position)));
    total.critical.add(Bound::Overhead, overhead(work, places));
    if (pcie_bytes > 0) prediction.pcie_seconds = pcie_bytes / machine.gpus.front().pcie_bytes_per_second;
    finish(prediction, total, machine);
    return prediction;
  };
  const Prediction by_cpu = predict(false);
  if (machine.gpus.empty()) return by_cpu;
  const Prediction by_gpu = predict(true);
  return by_gpu.seconds < by_cpu.seconds ? by_gpu : by_cpu;
}

double cpu_seconds_of_unit(const WeightGroup& group, const Machine& machine, double n_inputs) {
  return multiply_group(group, machine, {n_inputs, 1}, {}).cpu.cpu();
}

double gpu_seconds_of_unit(const WeightGroup& group, const Gpu& gpu, double n_inputs) {
  Sums sums;
  for (const MatrixWork& matrix : group.matrices) multiply_on_gpu(sums, matrix, gpu, n_inputs, 1);
  return sums.gpu();
}

double cpu_attention_seconds(const ModelWork& work, const Machine& machine, double n_positions) {
  return attend_on_cpu(work, machine, n_positions, n_positions * static_cast<double>(work.cache_bytes_a_position))
      .cpu();
}

double gpu_attention_seconds(const ModelWork& work, const Gpu& gpu, double n_positions) {
  return attend_on_gpu(work, gpu, n_positions, n_positions * static_cast<double>(work.cache_bytes_a_position)).gpu();
}

double layer_overhead_seconds(bool on_gpu) {
  return on_gpu ? kGpuLayerSeconds : kCpuLayerSeconds;
}

}  // namespace sluice::engine
