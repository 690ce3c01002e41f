#include "engine/placement/cost.h"

#include <algorithm>

#include "kernels/cuda/float_products.h"

namespace sluice::engine {
namespace {

// Of the bandwidth of VRAM and the rate of tensor cores, what kernels are meant to reach (no GPU was measured).
constexpr double kVramShare = 0.85;
constexpr double kTensorShare = 0.6;
// Of 16-bit floats a product takes tensor cores as long as two of 8-bit numbers, and matrices of floats need several such products for one of
// theirs. Of that rate they reach the share above and more, as counted for an RTX 4090 (docs/performance.md).
constexpr double kFloatProductCost = 2;
// Of the rate of tensor cores, what attention row by row reaches, which does not use them: R1's 128 heads over 32,768 positions were counted so at
// 747 us a layer on an RTX 4090, bound by the first-level caches. GeForce cards have alike SMs; an A100 reaches a quarter.
constexpr double kRowAttentionShare = 0.074;
// A layer's launches and, where CPU and GPU share it, their meeting: the target of the design.
constexpr double kGpuLayerSeconds = 25e-6;
// Of a layer on the CPU: norms, rope, router, quantised inputs, barriers; without weights. Grows with the model's width, but a
// fixed cost is near enough beside the weights.
constexpr double kCpuLayerSeconds = 60e-6;
// From one GPU to the next: a copy to the host and one from it, each behind what the streams did before, and a wait between them. Assumed.
constexpr double kHandoverSeconds = 20e-6;

// A product of the matrix with n_inputs inputs, its weights read once.
void multiply_on_cpu(Sums& sums, const MatrixWork& matrix, const Machine& machine, const ProductCount& count) {
  const KernelRates rates = rates_for(machine, matrix.type);
  const double one_rate =
      matrix.is_in_form && rates.form_weights_per_second > 0 ? rates.form_weights_per_second : rates.weights_per_second;
  // A few inputs go through the rows one by one, from four on through tiles.
  const double per_core = count.n_inputs < 4 * count.n_reads
                              ? matrix.weights * count.n_inputs / one_rate
                              : matrix.weights * count.n_inputs / rates.multiply_adds_per_second;
  const double arithmetic = per_core / machine.n_cores;
  const double memory = count.n_reads * static_cast<double>(matrix.bytes) / machine.ram_bytes_per_second;
  sums.add(arithmetic > memory ? Bound::CpuArithmetic : Bound::CpuMemory, std::max(arithmetic, memory));
}

void multiply_on_gpu(Sums& sums, const MatrixWork& matrix, const Gpu& gpu, const ProductCount& count) {
  const double memory =
      count.n_reads * static_cast<double>(matrix.file_bytes) / (kVramShare * gpu.vram_bytes_per_second);
  const double products_each = std::max(1.0, kFloatProductCost * kernels::cuda::float_products(matrix.type));
  const double arithmetic =
      matrix.weights * count.n_inputs * products_each / (kTensorShare * gpu.multiply_adds_per_second);
  sums.add(arithmetic > memory ? Bound::GpuArithmetic : Bound::GpuMemory, std::max(arithmetic, memory));
}

}  // namespace

void Sums::add(const Sums& other) {
  add(other, 1);
}

void Sums::add(const Sums& other, double times) {
  for (size_t i = 0; i < seconds.size(); ++i) seconds[i] += times * other.seconds[i];
}

Sides multiply_group(const WeightGroup& group, const Machine& machine, const Gpu* gpu, const ProductCount& on_cpu,
                     const ProductCount& on_gpu) {
  Sides sides;
  for (const MatrixWork& matrix : group.matrices) {
    if (on_cpu.n_inputs > 0) multiply_on_cpu(sides.cpu, matrix, machine, on_cpu);
    if (on_gpu.n_inputs > 0) multiply_on_gpu(sides.gpu, matrix, *gpu, on_gpu);
  }
  return sides;
}

Machine beside_link(const Machine& machine, const Gpu& gpu) {
  Machine beside = machine;
  beside.ram_bytes_per_second =
      std::max(machine.ram_bytes_per_second / 2, machine.ram_bytes_per_second - gpu.pcie_bytes_per_second);
  return beside;
}

AttentionCount attention_of_pass(const ModelWork& work, double n_rows, double n_positions) {
  const double n_pairs = n_rows * (n_positions - n_rows) + n_rows * (n_rows + 1) / 2;
  double multiply_adds = n_pairs * work.attention_multiply_adds;
  // The pass's own rows are counted with the weights that make keys and values of them.
  if (work.expanded_multiply_adds > 0)
    multiply_adds = std::min(
        multiply_adds, n_pairs * work.expanded_multiply_adds + (n_positions - n_rows) * work.expanding_multiply_adds);
  return {multiply_adds, n_positions * static_cast<double>(work.cache_bytes_a_position)};
}

AttentionCount attention_of_token(const ModelWork& work, double n_positions) {
  return {n_positions * work.attention_multiply_adds, n_positions * static_cast<double>(work.cache_bytes_a_position),
          !work.heads_attend_together};
}

Sums attend_on_cpu(const Machine& machine, const AttentionCount& count) {
  Sums sums;
  const double arithmetic = count.multiply_adds / (machine.attention_multiply_adds_per_second * machine.n_cores);
  const double memory = count.cache_bytes / machine.ram_bytes_per_second;
  sums.add(arithmetic > memory ? Bound::CpuArithmetic : Bound::CpuMemory, std::max(arithmetic, memory));
  return sums;
}

Sums attend_on_gpu(const Gpu& gpu, const AttentionCount& count) {
  Sums sums;
  const double share = count.is_row_by_row ? kRowAttentionShare : kTensorShare;
  const double arithmetic = count.multiply_adds / (share * gpu.multiply_adds_per_second);
  const double memory = count.cache_bytes / (kVramShare * gpu.vram_bytes_per_second);
  sums.add(arithmetic > memory ? Bound::GpuArithmetic : Bound::GpuMemory, std::max(arithmetic, memory));
  return sums;
}

double cpu_seconds_of_unit(const WeightGroup& group, const Machine& machine, double n_inputs) {
  return multiply_group(group, machine, nullptr, {n_inputs, 1}, {}).cpu.cpu();
}

double gpu_seconds_of_unit(const WeightGroup& group, const Gpu& gpu, double n_inputs) {
  return multiply_group(group, {}, &gpu, {}, {n_inputs, 1}).gpu.gpu();
}

double cpu_attention_seconds(const ModelWork& work, const Machine& machine, double n_positions) {
  return attend_on_cpu(machine, attention_of_token(work, n_positions)).cpu();
}

double gpu_attention_seconds(const ModelWork& work, const Gpu& gpu, double n_positions) {
  return attend_on_gpu(gpu, attention_of_token(work, n_positions)).gpu();
}

double layer_overhead_seconds(bool on_gpu) {
  return on_gpu ? kGpuLayerSeconds : kCpuLayerSeconds;
}

Handover handover_of(const ModelWork& work, const Machine& machine, uint32_t from, uint32_t to, double n_rows) {
  const double bytes = n_rows * static_cast<double>(work.n_embedding) * sizeof(float);
  return {kHandoverSeconds,
          bytes / gpu_of(machine, from).pcie_bytes_per_second + bytes / gpu_of(machine, to).pcie_bytes_per_second};
}

}  // namespace sluice::engine
