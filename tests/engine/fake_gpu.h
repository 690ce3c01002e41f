// A device with memory of its own that holds and copies and does nothing else: what a tier of experts and its thread need, without CUDA.
#pragma once

#include <atomic>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "engine/device/device.h"

namespace sluice::tests {

class FakeGpu : public engine::Device {
 public:
  using Stream = engine::Stream;
  using Rows = engine::Rows;

  explicit FakeGpu(uint64_t bytes) : left_(bytes) {}

  std::atomic<int64_t> copies_until_failure = -1;  // the copy that makes it zero throws; below 0: none does
  std::atomic<uint64_t> n_copies = 0, n_abandoned = 0;

  std::string_view name() const override { return "fake"; }
  std::unique_ptr<engine::Buffer> allocate(uint64_t bytes) override { return std::make_unique<Memory>(bytes); }
  std::unique_ptr<engine::Buffer> allocate_own(uint64_t bytes, uint64_t keep_free) override {
    if (bytes > room(keep_free)) return nullptr;
    left_ -= bytes;
    return allocate(bytes);
  }
  // Buffers that were freed: it does not see that itself.
  void has_again(uint64_t bytes) { left_ += bytes; }
  uint64_t room(uint64_t keep_free) const override { return left_ - std::min(left_, keep_free); }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<FakeStream>(*this); }
  void synchronize(Stream&) override {}
  void copy_to_device(Stream&, void* to, const void* host, uint64_t bytes) override { copy(to, host, bytes); }
  void copy_to_host(Stream&, void* host, const void* from, uint64_t bytes) override { copy(host, from, bytes); }
  void copy(Stream&, void* to, const void* from, uint64_t bytes) override { copy(to, from, bytes); }

  std::vector<engine::ResidentOffer> resident_offers(const engine::LinearStack&, bool) override { return {}; }
  engine::MeasuredRates measured_rates(gguf::TensorType) override { return {}; }
  void make_resident(Stream&, engine::LinearStack&, const engine::ResidentOffer&, std::byte*,
                     const std::function<void(uint64_t done)>&) override {
    refuse();
  }
  void make_resident_in_place(Stream&, engine::Linear&, const engine::ResidentOffer&, std::byte*) override { refuse(); }
  void touch_weights(const std::byte*, int64_t, uint64_t) override { refuse(); }
  void embed(Stream&, const engine::Linear&, std::span<const int32_t>, Rows) override { refuse(); }
  void rms_norm(Stream&, Rows, const engine::Vector&, float, Rows) override { refuse(); }
  std::unique_ptr<engine::Input> prepare(Stream&, Rows) override { refuse(); }
  void multiply(Stream&, std::span<const engine::Product>) override { refuse(); }
  void multiply_transposed(Stream&, std::span<const engine::TransposedProduct>) override { refuse(); }
  void rope_angles(Stream&, const kernels::reference::Rope&, std::span<const int32_t>, Rows, Rows) override {
    refuse();
  }
  void rope(Stream&, Rows, int64_t, int64_t, kernels::reference::RopePairs, Rows, Rows) override { refuse(); }
  void swiglu(Stream&, Rows, Rows) override { refuse(); }
  void copy_rows(Stream&, Rows, Rows) override { refuse(); }
  void add(Stream&, Rows, Rows) override { refuse(); }
  void store(Stream&, Rows, int64_t, kernels::CacheType, void*, int64_t, int64_t) override { refuse(); }
  void load(Stream&, kernels::CacheType, const void*, int64_t, Rows) override { refuse(); }
  void attention(Stream&, const engine::AttentionShape&, Rows, std::span<const engine::CacheView* const>,
                 std::span<const int32_t>, Rows) override {
    refuse();
  }
  void route(Stream&, const kernels::reference::RouterRule&, Rows, const engine::Vector*, std::span<int32_t>,
             std::span<float>) override {
    refuse();
  }
  void weighted_sum(Stream&, Rows, std::span<const int32_t>, std::span<const float>, int64_t, Rows) override {
    refuse();
  }

 private:
  struct Memory : engine::Buffer {
    explicit Memory(uint64_t n) : bytes_of(n) {}
    void* data() const override { return const_cast<std::byte*>(bytes_of.data()); }
    uint64_t bytes() const override { return bytes_of.size(); }
    std::vector<std::byte> bytes_of;
  };
  struct FakeStream : Stream {
    explicit FakeStream(FakeGpu& owner) : gpu(owner) {}
    void abandon() noexcept override { ++gpu.n_abandoned; }
    FakeGpu& gpu;
  };

  void copy(void* to, const void* from, uint64_t bytes) {
    if (copies_until_failure >= 0 && copies_until_failure-- == 0) throw std::runtime_error("The copy failed.");
    ++n_copies;
    std::memcpy(to, from, bytes);
  }
  [[noreturn]] static void refuse() { throw std::logic_error("The fake GPU computes nothing."); }

  uint64_t left_;
};

}  // namespace sluice::tests
