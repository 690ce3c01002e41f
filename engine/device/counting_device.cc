#include "engine/device/counting_device.h"

#include <algorithm>
#include <map>

#include "engine/device/attention_choice.h"
#include "engine/device/cuda_device.h"

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

// As engine/device/cuda/input.h has it.
class CountedScratch {
 public:
  explicit CountedScratch(CountedMemory& memory) : memory_(memory) {}
  void take(uint64_t bytes) {
    uint64_t& n_free = n_free_[bytes];
    if (n_free > 0)
      --n_free;
    else
      memory_.add((bytes + 511) / 512 * 512);
  }
  void give_back(uint64_t bytes) { ++n_free_[bytes]; }

 private:
  CountedMemory& memory_;
  std::map<uint64_t, uint64_t> n_free_;  // by size
};

class CountedBuffer : public Buffer {
 public:
  CountedBuffer(CountedMemory& memory, uint64_t bytes) : counted_(memory, bytes) {}
  void* data() const override { return kNowhere; }
  uint64_t bytes() const override { return counted_.bytes(); }

 private:
  Counted counted_;
};

uint64_t input_bytes(Rows x) {
  return static_cast<uint64_t>(x.n_rows * x.n_cols) * kInputBytesAValue;
}

class CountedInput : public Input {
 public:
  CountedInput(CountedMemory& memory, Rows x) : counted_(memory, input_bytes(x)) {}

 private:
  Counted counted_;
};

class CountedGpuInput : public Input {
 public:
  CountedGpuInput(CountedScratch& scratch, Rows x) : scratch_(scratch), bytes_(input_bytes(x)) {
    scratch_.take(bytes_);
  }
  ~CountedGpuInput() override { scratch_.give_back(bytes_); }
  CountedGpuInput(const CountedGpuInput&) = delete;
  CountedGpuInput& operator=(const CountedGpuInput&) = delete;

 private:
  CountedScratch& scratch_;
  uint64_t bytes_;
};

class CountingDevice : public Device {
 public:
  explicit CountingDevice(CountedMemory& memory) : memory_(memory), scratch_(memory) {}

  std::string_view name() const override { return "counting"; }
  std::unique_ptr<Buffer> allocate(uint64_t bytes) override { return std::make_unique<CountedBuffer>(memory_, bytes); }
  std::unique_ptr<Input> prepare(Stream&, Rows x) override {
    if (memory_.of_gpu) return std::make_unique<CountedGpuInput>(scratch_, x);
    return std::make_unique<CountedInput>(memory_, x);
  }
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
  // Partial sums of every piece of the context (CudaDevice::append_attention).
  void attention(Stream&, const AttentionShape& shape, Rows q, std::span<const CacheView* const> caches,
                 std::span<const int32_t> n_visible, Rows) override {
    if (!memory_.of_gpu || q.n_rows == 0) return;
    const auto visit = [&](uint64_t bytes) {
      scratch_.take(bytes);
      scratch_.give_back(bytes);
    };
    const int64_t n_pages = pages_with_room(n_visible, caches[0]->page_positions);
    const AttentionParts parts = attention_parts(shape, caches);
    if (!parts.split.empty()) visit(split_scratch_bytes(shape, split_runs(shape, parts.split, n_pages)));
    for (const AttentionRange& range : parts.one_by_one) visit(one_by_one_scratch_bytes(shape, range, n_pages));
  }
  LatentAttentionCosts latent_attention_costs() const override {
    return memory_.of_gpu ? kCudaLatentAttentionCosts : LatentAttentionCosts{};
  }
  // What is prepared is there before the partial sums are joined in it.
  std::unique_ptr<Input> attention_and_prepare(Stream& stream, const AttentionShape& shape, Rows q,
                                               std::span<const CacheView* const> caches,
                                               std::span<const int32_t> n_visible, Rows out, Rows view) override {
    auto input = prepare(stream, view);
    attention(stream, shape, q, caches, n_visible, out);
    return input;
  }
  void weighted_sum(Stream&, Rows, std::span<const int32_t>, std::span<const float>, int64_t, Rows) override {}

 private:
  CountedMemory& memory_;
  CountedScratch scratch_;
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
