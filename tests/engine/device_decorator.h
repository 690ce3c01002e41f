// A device that hands everything on to another one. Tests derive from it to watch or replace an operation.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/device/device.h"

namespace sluice::tests {

class DeviceDecorator : public engine::Device {
 public:
  explicit DeviceDecorator(std::unique_ptr<engine::Device> inner) : inner_(std::move(inner)) {}

  using Stream = engine::Stream;
  using Rows = engine::Rows;

  std::string_view name() const override { return inner_->name(); }
  std::unique_ptr<engine::Buffer> allocate(uint64_t bytes) override { return inner_->allocate(bytes); }
  std::unique_ptr<Stream> make_stream() override { return inner_->make_stream(); }
  void synchronize(Stream& stream) override { inner_->synchronize(stream); }
  void copy_to_device(Stream& stream, void* to, const void* host, uint64_t bytes) override {
    inner_->copy_to_device(stream, to, host, bytes);
  }
  void copy_to_host(Stream& stream, void* host, const void* from, uint64_t bytes) override {
    inner_->copy_to_host(stream, host, from, bytes);
  }
  void copy(Stream& stream, void* to, const void* from, uint64_t bytes) override {
    inner_->copy(stream, to, from, bytes);
  }
  std::vector<engine::ResidentOffer> resident_offers(const engine::LinearStack& stack, bool measured) override {
    return inner_->resident_offers(stack, measured);
  }
  engine::MeasuredRates measured_rates(gguf::TensorType type) override { return inner_->measured_rates(type); }
  void make_resident(Stream& stream, engine::LinearStack& stack, const engine::ResidentOffer& offer, std::byte* to,
                     const std::function<void(uint64_t done)>& on_bytes) override {
    inner_->make_resident(stream, stack, offer, to, on_bytes);
  }
  void make_resident_in_place(Stream& stream, engine::Linear& matrix, const engine::ResidentOffer& offer,
                              std::byte* to) override {
    inner_->make_resident_in_place(stream, matrix, offer, to);
  }
  void touch_weights(const std::byte* matrices, int64_t n_matrices, uint64_t matrix_bytes) override {
    inner_->touch_weights(matrices, n_matrices, matrix_bytes);
  }
  void embed(Stream& stream, const engine::Linear& table, std::span<const int32_t> ids, Rows out) override {
    inner_->embed(stream, table, ids, out);
  }
  void rms_norm(Stream& stream, Rows x, const engine::Vector& weight, float epsilon, Rows out) override {
    inner_->rms_norm(stream, x, weight, epsilon, out);
  }
  std::unique_ptr<engine::Input> prepare(Stream& stream, Rows x) override { return inner_->prepare(stream, x); }
  void multiply(Stream& stream, std::span<const engine::Product> products) override {
    inner_->multiply(stream, products);
  }
  void multiply_transposed(Stream& stream, std::span<const engine::TransposedProduct> products) override {
    inner_->multiply_transposed(stream, products);
  }
  void rope_angles(Stream& stream, const kernels::reference::Rope& rope, std::span<const int32_t> positions,
                   Rows cosines, Rows sines) override {
    inner_->rope_angles(stream, rope, positions, cosines, sines);
  }
  void rope(Stream& stream, Rows x, int64_t n_heads, int64_t head_stride, kernels::reference::RopePairs pairs,
            Rows cosines, Rows sines) override {
    inner_->rope(stream, x, n_heads, head_stride, pairs, cosines, sines);
  }
  void swiglu(Stream& stream, Rows gate, Rows up) override { inner_->swiglu(stream, gate, up); }
  void copy_rows(Stream& stream, Rows from, Rows to) override { inner_->copy_rows(stream, from, to); }
  void add(Stream& stream, Rows x, Rows y) override { inner_->add(stream, x, y); }
  void store(Stream& stream, Rows x, int64_t n_heads, kernels::CacheType type, void* to, int64_t row_bytes,
             int64_t head_bytes) override {
    inner_->store(stream, x, n_heads, type, to, row_bytes, head_bytes);
  }
  void load(Stream& stream, kernels::CacheType type, const void* from, int64_t row_bytes, Rows x) override {
    inner_->load(stream, type, from, row_bytes, x);
  }
  void attention(Stream& stream, const engine::AttentionShape& shape, Rows q,
                 std::span<const engine::CacheView* const> caches, std::span<const int32_t> n_visible,
                 Rows out) override {
    inner_->attention(stream, shape, q, caches, n_visible, out);
  }
  void route(Stream& stream, const kernels::reference::RouterRule& rule, Rows logits, const engine::Vector* bias,
             std::span<int32_t> ids, std::span<float> weights) override {
    inner_->route(stream, rule, logits, bias, ids, weights);
  }
  void weighted_sum(Stream& stream, Rows y, std::span<const int32_t> places, std::span<const float> weights,
                    int64_t n_used, Rows out) override {
    inner_->weighted_sum(stream, y, places, weights, n_used, out);
  }

 private:
  std::unique_ptr<engine::Device> inner_;
};

}  // namespace sluice::tests
