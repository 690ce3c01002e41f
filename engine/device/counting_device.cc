#include "engine/device/counting_device.h"

#include <algorithm>

namespace sluice::engine {
namespace {

// Aligned for everything, and far from where anything is.
void* const kNowhere = reinterpret_cast<void*>(uintptr_t{1} << 30);

// An input's values as bytes with scales, in rows and interleaved for tiles; for blocks of 32 and of 256 values alike.
constexpr uint64_t kInputBytesAValue = 3;

class Counted {
 public:
  Counted(CountedMemory& memory, uint64_t bytes) : memory_(memory), bytes_(bytes) { memory_.add(bytes_); }
  ~Counted() { memory_.now -= bytes_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  uint64_t bytes() const { return bytes_; }

 private:
  CountedMemory& memory_;
  uint64_t bytes_;
};

class CountedBuffer : public Buffer {
 public:
  CountedBuffer(CountedMemory& memory, uint64_t bytes) : counted_(memory, bytes) {}
  void* data() const override { return kNowhere; }
  uint64_t bytes() const override { return counted_.bytes(); }

 private:
  Counted counted_;
};

class CountedInput : public Input {
 public:
  CountedInput(CountedMemory& memory, Rows x)
      : counted_(memory, static_cast<uint64_t>(x.n_rows * x.n_cols) * kInputBytesAValue) {}

 private:
  Counted counted_;
};

class CountingDevice : public Device {
 public:
  explicit CountingDevice(CountedMemory& memory) : memory_(memory) {}

  std::string_view name() const override { return "counting"; }
  std::unique_ptr<Buffer> allocate(uint64_t bytes) override { return std::make_unique<CountedBuffer>(memory_, bytes); }
  std::unique_ptr<Input> prepare(Stream&, Rows x) override { return std::make_unique<CountedInput>(memory_, x); }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<Stream>(); }

  // Every row chooses, and together they choose all.
  void route(Stream&, const kernels::reference::RouterRule& rule, Rows, const Vector*, std::span<int32_t> ids,
             std::span<float> weights) override {
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(static_cast<int64_t>(i) % rule.n_experts);
    std::ranges::fill(weights, 1.0f);
  }

  void synchronize(Stream&) override {}
  void copy_to_device(Stream&, void*, const void*, uint64_t) override {}
  void copy_to_host(Stream&, void*, const void*, uint64_t) override {}
  void copy(Stream&, void*, const void*, uint64_t) override {}
  std::vector<ResidentOffer> resident_offers(const LinearStack&, bool) override { return {}; }
  MeasuredRates measured_rates(gguf::TensorType) override { return {}; }
  void make_resident(Stream&, LinearStack&, const ResidentOffer&, std::byte*,
                     const std::function<void(uint64_t)>&) override {}
  void make_resident_in_place(Stream&, Linear&, const ResidentOffer&, std::byte*) override {}
  void touch_weights(const std::byte*, int64_t, uint64_t) override {}
  void embed(Stream&, const Linear&, std::span<const int32_t>, Rows) override {}
  void rms_norm(Stream&, Rows, const Vector&, float, Rows) override {}
  void multiply(Stream&, std::span<const Product>) override {}
  void multiply_transposed(Stream&, std::span<const TransposedProduct>) override {}
  void rope_angles(Stream&, const kernels::reference::Rope&, std::span<const int32_t>, Rows, Rows) override {}
  void rope(Stream&, Rows, int64_t, int64_t, kernels::reference::RopePairs, Rows, Rows) override {}
  void swiglu(Stream&, Rows, Rows) override {}
  void copy_rows(Stream&, Rows, Rows) override {}
  void add(Stream&, Rows, Rows) override {}
  void store(Stream&, Rows, int64_t, kernels::CacheType, void*, int64_t, int64_t) override {}
  void load(Stream&, kernels::CacheType, const void*, int64_t, Rows) override {}
  void attention(Stream&, const AttentionShape&, Rows, std::span<const CacheView* const>, std::span<const int32_t>,
                 Rows) override {}
  void weighted_sum(Stream&, Rows, std::span<const int32_t>, std::span<const float>, int64_t, Rows) override {}

 private:
  CountedMemory& memory_;
};

}  // namespace

void CountedMemory::add(uint64_t bytes) {
  now += bytes;
  most = std::max(most, now);
}

std::unique_ptr<Device> make_counting_device(CountedMemory& memory) {
  return std::make_unique<CountingDevice>(memory);
}

}  // namespace sluice::engine
