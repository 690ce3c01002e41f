#include "bench/virtual_time/timed_cpu.h"

#include <algorithm>
#include <stdexcept>

#include "bench/virtual_time/forwarding_device.h"
#include "bench/virtual_time/skeleton.h"
#include "engine/placement/model_work.h"
#include "engine/placement/prediction.h"
#include "kernels/resident.h"
#include "tests/simt/cudart/emulated_gpu.h"

namespace sluice::bench {

using namespace engine;

namespace {

// Steps in which memory is shared with copies.
constexpr double kStepSeconds = 50e-6;

class TimedCpu : public ForwardingDevice {
 public:
  TimedCpu(std::unique_ptr<Device> cpu, CpuCharge& charge)
      : ForwardingDevice(*cpu), cpu_(std::move(cpu)), charge_(charge) {}

  std::unique_ptr<Input> prepare(Stream& stream, Rows x) override {
    charge_.operation();
    return ForwardingDevice::prepare(stream, x);
  }
  std::unique_ptr<Input> swiglu_and_prepare(Stream& stream, Rows gate, Rows up) override {
    charge_.operation();
    return ForwardingDevice::swiglu_and_prepare(stream, gate, up);
  }
  void multiply(Stream& stream, std::span<const Product> products) override {
    charge_.products(products);
    ForwardingDevice::multiply(stream, products);
  }
  void add(Stream& stream, Rows x, Rows y) override {
    charge_.operation();
    ForwardingDevice::add(stream, x, y);
  }
  void weighted_sum(Stream& stream, Rows y, std::span<const int32_t> places, std::span<const float> weights,
                    int64_t n_used, Rows out) override {
    charge_.operation();
    ForwardingDevice::weighted_sum(stream, y, places, weights, n_used, out);
  }

  // The GPU does the rest of a pass.
  void make_resident(Stream&, LinearStack&, const ResidentOffer&, std::byte*,
                     const std::function<void(uint64_t done)>&) override {
    not_timed("make_resident");
  }
  void make_resident_in_place(Stream&, Linear&, const ResidentOffer&, std::byte*) override {
    not_timed("make_resident_in_place");
  }
  void embed(Stream&, const Linear&, std::span<const int32_t>, Rows) override { not_timed("embed"); }
  void rms_norm(Stream&, Rows, const Vector&, float, Rows) override { not_timed("rms_norm"); }
  void multiply_transposed(Stream&, std::span<const TransposedProduct>) override { not_timed("multiply_transposed"); }
  void rope_angles(Stream&, const kernels::reference::Rope&, std::span<const int32_t>, Rows, Rows) override {
    not_timed("rope_angles");
  }
  void rope(Stream&, Rows, int64_t, int64_t, kernels::reference::RopePairs, Rows, Rows) override { not_timed("rope"); }
  void swiglu(Stream&, Rows, Rows) override { not_timed("swiglu"); }
  void copy_rows(Stream&, Rows, Rows) override { not_timed("copy_rows"); }
  void store(Stream&, Rows, int64_t, kernels::CacheType, void*, int64_t, int64_t) override { not_timed("store"); }
  void load(Stream&, kernels::CacheType, const void*, int64_t, Rows) override { not_timed("load"); }
  void attention(Stream&, const AttentionShape&, Rows, std::span<const CacheView* const>, std::span<const int32_t>,
                 Rows) override {
    not_timed("attention");
  }
  void route(Stream&, const kernels::reference::RouterRule&, Rows, const Vector*, std::span<int32_t>,
             std::span<float>) override {
    not_timed("route");
  }

 private:
  [[noreturn]] static void not_timed(const char* what) {
    throw std::logic_error(std::string("The CPU beside the GPU was asked for ") + what +
                           ", which has no predicted time (bench/virtual_time/timed_cpu.cc).");
  }

  std::unique_ptr<Device> cpu_;
  CpuCharge& charge_;
};

}  // namespace

void CpuCharge::know(const ModelWeights& weights) {
  stacks_.clear();
  for (const LayerWeights& layer : weights.layers)
    if (const auto* experts = std::get_if<ExpertsWeights>(&layer.ffn))
      for (const LinearStack* stack : {&experts->gate, &experts->up, &experts->down})
        stacks_[stack->first.data] = {stack->first.data + stack->stride_bytes * static_cast<uint64_t>(stack->count),
                                      stack->first.type};
}

CpuCharge::Cost CpuCharge::cost_of(gguf::TensorType type) const {
  MatrixWork matrix;
  matrix.type = type;
  matrix.weights = kRealExpertWeights;
  matrix.file_bytes = matrix.bytes = real_expert_matrix_bytes(type);
  if (const auto* form = options_.uses_forms ? kernels::resident_form(type) : nullptr) {
    matrix.bytes = form->bytes(kRealExpertHidden, kRealEmbedding);
    matrix.is_in_form = true;
  }
  WeightGroup group;
  group.matrices = {matrix};
  Machine machine = options_.machine;
  machine.ram_bytes_per_second = 1e30;  // what its memory takes is counted beside
  return {static_cast<double>(matrix.bytes), cpu_seconds_of_unit(group, machine) / options_.cpu_scale};
}

// What copies leave now.
double CpuCharge::memory_rate() const {
  const double rate = options_.machine.ram_bytes_per_second;
  if (!copies_) return rate;
  const double now = simt::host_seconds();
  const bool is_copying =
      std::ranges::any_of(copies_(), [&](const CopySpan& copy) { return copy.start <= now && now < copy.end; });
  return is_copying || now < reads_end_ ? rate - options_.copy_bytes_per_second : rate;
}

void CpuCharge::products(std::span<const Product> products) {
  Cost all;
  for (const Product& product : products) {
    auto found = stacks_.upper_bound(product.weights->data);
    if (found == stacks_.begin() || product.weights->data >= (--found)->second.first)
      throw std::logic_error("The CPU multiplies a matrix that is none of an expert.");
    if (product.output.n_rows != 1) throw std::logic_error("The CPU multiplies more rows than one by an expert.");
    const Cost one = cost_of(found->second.second);
    all.bytes += one.bytes;
    all.arithmetic_seconds += one.arithmetic_seconds;
  }
  times_.n_experts += products.size();  // matrices; three an expert
  if (n_reads_) {
    const uint64_t n = n_reads_();
    if (n > n_seen_reads_) reads_end_ = simt::host_seconds() + static_cast<double>(n - n_seen_reads_) * read_seconds_;
    n_seen_reads_ = n;
  }
  if (options_.is_free) return;
  double elapsed = 0;
  while (all.bytes > 0) {
    const double rate = memory_rate(), step = std::min(kStepSeconds, all.bytes / rate);
    simt::advance_host(step);
    elapsed += step;
    all.bytes -= rate * step;
    if (all.bytes < 1) all.bytes = 0;
  }
  if (elapsed < all.arithmetic_seconds)
    simt::advance_host(all.arithmetic_seconds - elapsed);
  else
    times_.memory_bound_seconds += elapsed;
  times_.seconds += std::max(elapsed, all.arithmetic_seconds);
  operation();
}

void CpuCharge::operation() {
  if (options_.is_free) return;
  simt::advance_host(options_.barrier_seconds);
  times_.barrier_seconds += options_.barrier_seconds;
}

std::unique_ptr<Device> make_timed_cpu(std::unique_ptr<Device> cpu, CpuCharge& charge) {
  return std::make_unique<TimedCpu>(std::move(cpu), charge);
}

}  // namespace sluice::bench
