#include "bench/virtual_time/timed_gpu.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "kernels/cuda/float_products.h"
#include "kernels/cuda/gemm_shape.h"
#include "kernels/format.h"

namespace sluice::bench {

using namespace engine;

namespace {

constexpr uint64_t kMargin = uint64_t{256} << 20;  // as of large GPUs (engine/device/cuda)
constexpr int64_t kFewRows = 12;                   // below it products read their matrix and little else

struct TimedBuffer : Buffer {
  TimedBuffer(uintptr_t address, uint64_t n, uint64_t& account) : address_(address), bytes_(n), account_(account) {
    account_ += n;
  }
  ~TimedBuffer() override { account_ -= bytes_; }
  TimedBuffer(const TimedBuffer&) = delete;
  TimedBuffer& operator=(const TimedBuffer&) = delete;
  void* data() const override { return reinterpret_cast<void*>(address_); }
  uint64_t bytes() const override { return bytes_; }

 private:
  uintptr_t address_;
  uint64_t bytes_;
  uint64_t& account_;
};

struct TimedStream : Stream {
  double until = 0;
  bool computes = false;
};
struct TimedMoment : Moment {
  double when = 0;
};

double& until(Stream& stream) {
  return static_cast<TimedStream&>(stream).until;
}

double values_of(Rows x) {
  return static_cast<double>(x.n_rows) * static_cast<double>(x.n_cols);
}

}  // namespace

TimedGpuRates rates_of_rtx4090(const Gpu& gpu, const ReachedShares& shares) {
  // A multiprocessor and cycle: on tensor cores with 8-bit numbers and with 16-bit floats.
  constexpr double kMultiprocessors = 128, kClock = 2.52e9, kWhole = 1024, kHalves = 256;
  TimedGpuRates rates;
  rates.whole_multiply_adds = shares.tiles * kMultiprocessors * kClock * kWhole;
  rates.attention_multiply_adds = shares.attention * kMultiprocessors * kClock * kHalves;
  rates.float_multiply_adds = shares.floats * kMultiprocessors * kClock * kHalves;
  rates.bytes = shares.memory * 1008e9;
  rates.link_bytes = gpu.pcie_bytes_per_second;
  return rates;
}

std::unique_ptr<Buffer> TimedGpu::allocate(uint64_t bytes) {
  const uintptr_t address = next_address_;
  next_address_ += (bytes + 4095) / 4096 * 4096;
  return std::make_unique<TimedBuffer>(address, bytes, bytes <= room(0) ? used_ : elsewhere_);
}
std::unique_ptr<Buffer> TimedGpu::allocate_own(uint64_t bytes, uint64_t keep_free) {
  return bytes <= room(keep_free) ? allocate(bytes) : nullptr;
}
uint64_t TimedGpu::room(uint64_t keep_free) const {
  return vram_bytes_ - std::min(vram_bytes_, used_ + keep_free + kMargin);
}
DeviceMemory TimedGpu::memory() const {
  return {used_, elsewhere_, vram_bytes_ - used_, vram_bytes_};
}
std::unique_ptr<Stream> TimedGpu::make_stream() {
  return std::make_unique<TimedStream>();
}

double TimedGpu::compute(Stream& stream, double seconds, int n_launches) {
  host_ += n_launches * rates_.launch;
  static_cast<TimedStream&>(stream).computes = true;
  const double took = seconds + n_launches * rates_.gap;
  until(stream) = std::max(until(stream), host_) + took;
  gpu_.computing += took;
  return took;
}
void TimedGpu::pass_over(Stream& stream, Rows x, double values_each) {
  compute(stream, values_of(x) * sizeof(float) * values_each / rates_.bytes);
}

void TimedGpu::synchronize(Stream& stream) {
  host_ = std::max(host_, until(stream));
}
void TimedGpu::copy_to_device(Stream& stream, void*, const void*, uint64_t bytes) {
  host_ += rates_.copy;
  const double seconds = static_cast<double>(bytes) / rates_.link_bytes;
  link_free_ = until(stream) = std::max({until(stream), host_, link_free_}) + seconds;
  link_busy_ += seconds;
}
void TimedGpu::copy_to_host(Stream& stream, void*, const void*, uint64_t bytes) {
  host_ += rates_.copy;
  until(stream) = std::max(until(stream), host_) + static_cast<double>(bytes) / rates_.link_bytes;
}
void TimedGpu::copy(Stream& stream, void*, const void*, uint64_t bytes) {
  compute(stream, 2 * static_cast<double>(bytes) / rates_.bytes);
}
void TimedGpu::follow(Stream& later, Stream& earlier) {
  until(later) = std::max(until(later), until(earlier));
}
std::unique_ptr<Moment> TimedGpu::moment(Stream& stream) {
  auto moment = std::make_unique<TimedMoment>();
  moment->when = until(stream);
  return moment;
}
void TimedGpu::begin_after(Stream& later, const Moment& earlier) {
  const double wait = static_cast<const TimedMoment&>(earlier).when - std::max(until(later), host_);
  if (wait > 0 && static_cast<TimedStream&>(later).computes) gpu_.waiting_for_copies += wait;
  until(later) = std::max(until(later), static_cast<const TimedMoment&>(earlier).when);
}

double TimedGpu::product_seconds(const Linear& weights, int64_t n_rows) const {
  const double read = static_cast<double>(weights.bytes()) / rates_.bytes;
  if (n_rows < kFewRows) return read;
  const int n_products = kernels::cuda::float_products(weights.type);
  const double rate = n_products > 0 ? rates_.float_multiply_adds / n_products : rates_.whole_multiply_adds;
  return std::max(read, static_cast<double>(n_rows) * static_cast<double>(weights.n_outputs) *
                            static_cast<double>(weights.n_inputs) / rate);
}

void TimedGpu::embed(Stream& stream, const Linear&, std::span<const int32_t>, Rows out) {
  pass_over(stream, out, 2);
}
void TimedGpu::rms_norm(Stream& stream, Rows x, const Vector&, float, Rows) {
  pass_over(stream, x, 2);
}
std::unique_ptr<Input> TimedGpu::prepare(Stream& stream, Rows x) {
  pass_over(stream, x, 1.6);  // read, and written in two forms of bytes
  return std::make_unique<Input>();
}
void TimedGpu::multiply(Stream& stream, std::span<const Product> products) {
  double seconds = 0;
  for (const Product& product : products) seconds += product_seconds(*product.weights, product.output.n_rows);
  compute(stream, seconds);  // equal ones are one launch
}
void TimedGpu::multiply_transposed(Stream& stream, std::span<const TransposedProduct> products) {
  double seconds = 0;
  for (const TransposedProduct& product : products) seconds += product_seconds(*product.weights, product.output.n_rows);
  compute(stream, seconds);
}
void TimedGpu::rope_angles(Stream& stream, const kernels::reference::Rope&, std::span<const int32_t>, Rows cosines,
                           Rows) {
  pass_over(stream, cosines, 4);
}
void TimedGpu::rope(Stream& stream, Rows x, int64_t, int64_t, kernels::reference::RopePairs, Rows, Rows) {
  pass_over(stream, x, 2);
}
void TimedGpu::swiglu(Stream& stream, Rows gate, Rows) {
  pass_over(stream, gate, 3);
}
void TimedGpu::copy_rows(Stream& stream, Rows from, Rows) {
  pass_over(stream, from, 2);
}
void TimedGpu::add(Stream& stream, Rows x, Rows) {
  pass_over(stream, x, 3);
}
void TimedGpu::store(Stream& stream, Rows x, int64_t, kernels::CacheType, void*, int64_t, int64_t) {
  pass_over(stream, x, 1.5);
}
void TimedGpu::load(Stream& stream, kernels::CacheType, const void*, int64_t, Rows x) {
  pass_over(stream, x, 1.5);
}
void TimedGpu::attention(Stream& stream, const AttentionShape& shape, Rows, std::span<const CacheView* const>,
                         std::span<const int32_t> n_visible, Rows) {
  const double pairs = std::accumulate(n_visible.begin(), n_visible.end(), 0.0);
  const double multiply_adds = pairs * static_cast<double>(shape.n_heads * (shape.key_size + shape.value_size));
  gpu_.of_attention += compute(stream, multiply_adds / rates_.attention_multiply_adds, 2);
}
void TimedGpu::route(Stream&, const kernels::reference::RouterRule&, Rows, const Vector*, std::span<int32_t>,
                     std::span<float>) {
  throw std::logic_error("A choice was asked for that was not made.");
}

// As kernels/cuda/gemm_experts.cu: sorted, gate and up, rounded, and down and its sums, as many columns at a time as an expert is wide. Rows
// choose all experts alike.
void TimedGpu::multiply_experts(Stream& stream, const RoutedExperts& experts) {
  const int64_t n_rows = experts.logits.n_rows, n_used = experts.rule->n_chosen, n_experts = experts.rule->n_experts;
  const double pairs_each = static_cast<double>(n_rows * n_used) / static_cast<double>(n_experts);
  int64_t tile = kernels::cuda::kGemmWarpInputs;
  while (tile < kernels::cuda::kGemmWarpInputs * kernels::cuda::kGemmMostWarps &&
         2 * static_cast<double>(tile) < 3 * pairs_each)
    tile *= 2;
  const double multiplied = std::ceil(pairs_each / static_cast<double>(tile)) * static_cast<double>(tile);
  const Linear& gate = experts.gate->first;
  const double weights = 3 * static_cast<double>(gate.n_outputs) * static_cast<double>(gate.n_inputs);
  const double hidden = static_cast<double>(n_rows * n_used) * static_cast<double>(gate.n_outputs) * sizeof(float);
  const double output = values_of(experts.output) * sizeof(float);
  const int n_turns = static_cast<int>((experts.output.n_cols + gate.n_outputs - 1) / gate.n_outputs);
  const auto some = [&](int64_t n_here, bool is_added) {
    const double here = static_cast<double>(n_here) / static_cast<double>(n_experts);
    const double products = static_cast<double>(n_here) * multiplied * weights / rates_.whole_multiply_adds;
    // hidden is written and rounded of all pairs, down's products of those here; the sums are written and perhaps added.
    const double bytes = hidden * 2.6 + 2 * here * n_turns * hidden + output * (is_added ? 4 : 1);
    gpu_.of_experts += compute(stream, products + bytes / rates_.bytes, 4 + 2 * n_turns);
  };
  if (experts.work || !held_) throw std::logic_error("A pass of few rows is not timed here.");
  some(held_(gate.data), false);
  if (experts.parts == nullptr) return;
  for (auto places = experts.parts->next(); !places.empty(); places = experts.parts->next())
    some(std::ranges::count_if(places, [](const ExpertPlace& place) { return place.gate != nullptr; }), true);
}
void TimedGpu::weighted_sum(Stream& stream, Rows y, std::span<const int32_t>, std::span<const float>, int64_t, Rows) {
  pass_over(stream, y, 2);
}

}  // namespace sluice::bench
