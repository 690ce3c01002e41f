// A device that does what another does. What differs, derived classes say.
#pragma once

#include <memory>
#include <utility>

#include "engine/device/device.h"

namespace sluice::bench {

class ForwardingDevice : public engine::Device {
 public:
  // `to` must outlive this.
  explicit ForwardingDevice(engine::Device& to) : to_(to) {}

  std::string_view name() const override { return to_.name(); }
  std::unique_ptr<engine::Buffer> allocate(uint64_t bytes) override { return to_.allocate(bytes); }
  std::unique_ptr<engine::Buffer> allocate_weights(uint64_t bytes, uint64_t keep_free) override {
    return to_.allocate_weights(bytes, keep_free);
  }
  std::unique_ptr<engine::Buffer> allocate_own(uint64_t bytes, uint64_t keep_free) override {
    return to_.allocate_own(bytes, keep_free);
  }
  uint64_t room(uint64_t keep_free) const override { return to_.room(keep_free); }
  engine::DeviceMemory memory() const override { return to_.memory(); }
  std::unique_ptr<engine::Stream> make_stream() override { return to_.make_stream(); }
  void synchronize(engine::Stream& stream) override { to_.synchronize(stream); }
  void copy_to_device(engine::Stream& s, void* to, const void* host, uint64_t bytes) override {
    to_.copy_to_device(s, to, host, bytes);
  }
  void copy_to_host(engine::Stream& s, void* host, const void* from, uint64_t bytes) override {
    to_.copy_to_host(s, host, from, bytes);
  }
  void copy(engine::Stream& s, void* to, const void* from, uint64_t bytes) override { to_.copy(s, to, from, bytes); }
  std::vector<engine::ResidentOffer> resident_offers(const engine::LinearStack& stack, bool measured) override {
    return to_.resident_offers(stack, measured);
  }
  engine::MeasuredRates measured_rates(gguf::TensorType type) override { return to_.measured_rates(type); }
  void make_resident(engine::Stream& s, engine::LinearStack& stack, const engine::ResidentOffer& offer, std::byte* to,
                     const std::function<void(uint64_t done)>& on_bytes) override {
    to_.make_resident(s, stack, offer, to, on_bytes);
  }
  void make_resident_in_place(engine::Stream& s, engine::Linear& matrix, const engine::ResidentOffer& offer,
                              std::byte* to) override {
    to_.make_resident_in_place(s, matrix, offer, to);
  }
  void touch_weights(const std::byte* matrices, int64_t n, uint64_t bytes) override {
    to_.touch_weights(matrices, n, bytes);
  }
  void embed(engine::Stream& s, const engine::Linear& table, std::span<const int32_t> ids, engine::Rows out) override {
    to_.embed(s, table, ids, out);
  }
  void rms_norm(engine::Stream& s, engine::Rows x, const engine::Vector& weight, float epsilon,
                engine::Rows out) override {
    to_.rms_norm(s, x, weight, epsilon, out);
  }
  std::unique_ptr<engine::Input> prepare(engine::Stream& s, engine::Rows x) override { return to_.prepare(s, x); }
  std::unique_ptr<engine::Input> norm_and_prepare(engine::Stream& s, engine::Rows x, const engine::Rows* change,
                                                  const engine::Vector& weight, float epsilon,
                                                  engine::Rows out) override {
    return to_.norm_and_prepare(s, x, change, weight, epsilon, out);
  }
  std::unique_ptr<engine::Input> swiglu_and_prepare(engine::Stream& s, engine::Rows gate, engine::Rows up) override {
    return to_.swiglu_and_prepare(s, gate, up);
  }
  void multiply(engine::Stream& s, std::span<const engine::Product> products) override { to_.multiply(s, products); }
  void multiply_transposed(engine::Stream& s, std::span<const engine::TransposedProduct> products) override {
    to_.multiply_transposed(s, products);
  }
  void rope_angles(engine::Stream& s, const kernels::reference::Rope& rope, std::span<const int32_t> positions,
                   engine::Rows cosines, engine::Rows sines) override {
    to_.rope_angles(s, rope, positions, cosines, sines);
  }
  void rope(engine::Stream& s, engine::Rows x, int64_t n_heads, int64_t stride, kernels::reference::RopePairs pairs,
            engine::Rows cosines, engine::Rows sines) override {
    to_.rope(s, x, n_heads, stride, pairs, cosines, sines);
  }
  void swiglu(engine::Stream& s, engine::Rows gate, engine::Rows up) override { to_.swiglu(s, gate, up); }
  void copy_rows(engine::Stream& s, engine::Rows from, engine::Rows to) override { to_.copy_rows(s, from, to); }
  void add(engine::Stream& s, engine::Rows x, engine::Rows y) override { to_.add(s, x, y); }
  void store(engine::Stream& s, engine::Rows x, int64_t n_heads, kernels::CacheType type, void* to, int64_t row_bytes,
             int64_t head_bytes) override {
    to_.store(s, x, n_heads, type, to, row_bytes, head_bytes);
  }
  void load(engine::Stream& s, kernels::CacheType type, const void* from, int64_t row_bytes, engine::Rows x) override {
    to_.load(s, type, from, row_bytes, x);
  }
  void attention(engine::Stream& s, const engine::AttentionShape& shape, engine::Rows q,
                 std::span<const engine::CacheView* const> caches, std::span<const int32_t> n_visible,
                 engine::Rows out) override {
    to_.attention(s, shape, q, caches, n_visible, out);
  }
  void route(engine::Stream& s, const kernels::reference::RouterRule& rule, engine::Rows logits,
             const engine::Vector* bias, std::span<int32_t> ids, std::span<float> weights) override {
    to_.route(s, rule, logits, bias, ids, weights);
  }
  bool holds_experts() const override { return to_.holds_experts(); }
  void multiply_experts(engine::Stream& s, const engine::RoutedExperts& experts) override {
    to_.multiply_experts(s, experts);
  }
  void begin_host_work(engine::Stream& s, uint32_t layer, const engine::Input& x, engine::HostWork work) override {
    to_.begin_host_work(s, layer, x, std::move(work));
  }
  void finish_host_work(engine::Stream& s, uint32_t layer, engine::Rows out, bool replaces) override {
    to_.finish_host_work(s, layer, out, replaces);
  }
  void start(engine::Stream& stream) override { to_.start(stream); }
  void follow(engine::Stream& later, engine::Stream& earlier) override { to_.follow(later, earlier); }
  std::unique_ptr<engine::Moment> moment(engine::Stream& stream) override { return to_.moment(stream); }
  void begin_after(engine::Stream& later, const engine::Moment& earlier) override { to_.begin_after(later, earlier); }
  void weighted_sum(engine::Stream& s, engine::Rows y, std::span<const int32_t> places, std::span<const float> weights,
                    int64_t n_used, engine::Rows out) override {
    to_.weighted_sum(s, y, places, weights, n_used, out);
  }

 private:
  engine::Device& to_;
};

}  // namespace sluice::bench
