// A GPU that computes nothing and only keeps time, for passes of many rows: what they do does not depend on what they compute, so the whole
// engine above the device runs with a model of full size, which is a file of holes. Streams have clocks; copies take the link in turn.
//
// How long operations take is stated and not counted: rates below, and a thread block's tile of experts takes as long as a full one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "engine/device/cuda_device.h"
#include "engine/device/device.h"
#include "engine/placement/machine.h"

namespace sluice::bench {

struct TimedGpuRates {
  double whole_multiply_adds = 0;  // of 8-bit numbers a second, that tiles of many rows reach
  double float_multiply_adds = 0;  // of 16-bit floats, of which matrices of floats need several for one of theirs
  double attention_multiply_adds = 0;
  double bytes = 0;        // of VRAM, read and written
  double link_bytes = 0;   // from pinned memory
  double gap = 1.2e-6;     // between two launches
  double launch = 2.5e-6;  // of the host, each
  double copy = 1.0e-6;    // of the host, each
};
// What is reached of an RTX 4090's data sheet: assumptions, but for the last two.
struct ReachedShares {
  double tiles = 0.6;      // of 8-bit multiply-adds
  double attention = 0.6;  // of multiply-adds of 16-bit floats
  double floats = 0.87;    // the same, by matrices of floats: the least that bench/gpu_counts.py --tiles has counted
  double memory = 0.92;    // bench/gpu/gpus.py
};
TimedGpuRates rates_of_rtx4090(const engine::Gpu& gpu, const ReachedShares& shares);

// What a stream of launches did.
struct GpuTime {
  double computing = 0, of_attention = 0, of_experts = 0;
  double waiting_for_copies = 0;
};

class TimedGpu : public engine::Device {
 public:
  TimedGpu(uint64_t vram_bytes, const TimedGpuRates& rates) : vram_bytes_(vram_bytes), rates_(rates) {}
  // How many of a layer's experts lie where a stack says, by the stack's first matrix.
  void set_held(std::function<int64_t(const std::byte* gate)> held) { held_ = std::move(held); }

  double now() const { return host_; }
  const GpuTime& gpu_time() const { return gpu_; }
  double link_seconds() const { return link_busy_; }
  void forget_times() { gpu_ = {}, link_busy_ = 0; }

  std::string_view name() const override { return "timed"; }
  std::unique_ptr<engine::Buffer> allocate(uint64_t bytes) override;
  std::unique_ptr<engine::Buffer> allocate_own(uint64_t bytes, uint64_t keep_free) override;
  uint64_t room(uint64_t keep_free) const override;
  engine::DeviceMemory memory() const override;
  std::unique_ptr<engine::Stream> make_stream() override;
  void synchronize(engine::Stream& stream) override;
  void copy_to_device(engine::Stream& stream, void* to, const void* host, uint64_t bytes) override;
  void copy_to_host(engine::Stream& stream, void* host, const void* from, uint64_t bytes) override;
  void copy(engine::Stream& stream, void* to, const void* from, uint64_t bytes) override;
  bool pin(void*, uint64_t) override { return true; }
  const std::byte* device_address(const std::byte* pinned) const override { return pinned; }
  void follow(engine::Stream& later, engine::Stream& earlier) override;
  std::unique_ptr<engine::Moment> moment(engine::Stream& stream) override;
  void begin_after(engine::Stream& later, const engine::Moment& earlier) override;

  std::vector<engine::ResidentOffer> resident_offers(const engine::LinearStack&, bool) override { return {}; }
  engine::MeasuredRates measured_rates(gguf::TensorType) override { return {}; }
  void make_resident(engine::Stream&, engine::LinearStack&, const engine::ResidentOffer&, std::byte*,
                     const std::function<void(uint64_t)>&) override {}
  void make_resident_in_place(engine::Stream&, engine::Linear&, const engine::ResidentOffer&, std::byte*) override {}
  void touch_weights(const std::byte*, int64_t, uint64_t) override {}

  void embed(engine::Stream& stream, const engine::Linear&, std::span<const int32_t>, engine::Rows out) override;
  void rms_norm(engine::Stream& stream, engine::Rows x, const engine::Vector&, float, engine::Rows out) override;
  std::unique_ptr<engine::Input> prepare(engine::Stream& stream, engine::Rows x) override;
  void multiply(engine::Stream& stream, std::span<const engine::Product> products) override;
  void multiply_transposed(engine::Stream& stream, std::span<const engine::TransposedProduct> products) override;
  void rope_angles(engine::Stream& stream, const kernels::reference::Rope&, std::span<const int32_t>, engine::Rows,
                   engine::Rows) override;
  void rope(engine::Stream& stream, engine::Rows x, int64_t, int64_t, kernels::reference::RopePairs, engine::Rows,
            engine::Rows) override;
  void swiglu(engine::Stream& stream, engine::Rows gate, engine::Rows up) override;
  void copy_rows(engine::Stream& stream, engine::Rows from, engine::Rows to) override;
  void add(engine::Stream& stream, engine::Rows x, engine::Rows y) override;
  void store(engine::Stream& stream, engine::Rows x, int64_t, kernels::CacheType, void*, int64_t, int64_t) override;
  void load(engine::Stream& stream, kernels::CacheType, const void*, int64_t, engine::Rows x) override;
  void attention(engine::Stream& stream, const engine::AttentionShape& shape, engine::Rows q,
                 std::span<const engine::CacheView* const> caches, std::span<const int32_t> n_visible,
                 engine::Rows out) override;
  void route(engine::Stream&, const kernels::reference::RouterRule&, engine::Rows, const engine::Vector*,
             std::span<int32_t>, std::span<float>) override;
  bool holds_experts() const override { return true; }
  engine::LatentAttentionCosts latent_attention_costs() const override { return engine::kCudaLatentAttentionCosts; }
  void multiply_experts(engine::Stream& stream, const engine::RoutedExperts& experts) override;
  void weighted_sum(engine::Stream& stream, engine::Rows y, std::span<const int32_t>, std::span<const float>, int64_t,
                    engine::Rows out) override;

 private:
  double compute(engine::Stream& stream, double seconds, int n_launches = 1);
  void pass_over(engine::Stream& stream, engine::Rows x, double values_each);
  double product_seconds(const engine::Linear& weights, int64_t n_rows) const;

  uint64_t vram_bytes_, used_ = 0, elsewhere_ = 0;
  uintptr_t next_address_ = uintptr_t{1} << 44;
  TimedGpuRates rates_;
  std::function<int64_t(const std::byte*)> held_;
  double host_ = 0, link_free_ = 0, link_busy_ = 0;
  GpuTime gpu_;
};

}  // namespace sluice::bench
