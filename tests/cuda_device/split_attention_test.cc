// Heads of a latent cache on the emulated GPU, which attend together with their context split (engine/device/attention_choice.h): whole models, and
// sequences that share a pass.

#include <cmath>
#include <random>

#include "engine/device/cuda_device.h"
#include "engine/synthetic/model.h"
#include "engine/synthetic/shape.h"
#include "tests/cuda_device/fixture.h"
#include "tests/scratch_folder.h"

using namespace sluice;
using engine::CacheType;
using engine::DeviceKind;

namespace {

size_t count_launches(const std::vector<simt::Span>& trace, std::string_view name) {
  return static_cast<size_t>(std::count_if(
      trace.begin(), trace.end(), [&](const simt::Span& span) { return span.name.find(name) != std::string::npos; }));
}

// As R1, but small, and without experts, between which random routers choose by the last bits: 16 heads share a latent row of 96 and 16 columns.
std::filesystem::path write_latent_model(const tests::ScratchFolder& folder) {
  using namespace engine::synthetic;
  Shape shape = find_preset("r1-ud-iq1s")->shape;
  shape.n_vocabulary = 320;
  shape.n_embedding = shape.n_hidden = shape.n_expert_hidden = 256;
  shape.n_layers = 3;
  shape.n_dense_layers = 3;
  shape.n_heads = shape.n_kv_heads = 16;
  shape.head_size = 16;
  shape.query_rank = 128;
  shape.latent_rank = 96;
  shape.rope_size = 16;
  shape.n_experts = 8;
  shape.n_experts_used = 2;
  TypeRules types;
  types.add("all=Q8_0");
  const std::filesystem::path path = folder.path() / "latent.gguf";
  write_model(shape, plan_tensors(shape, types), 7, path, [](uint64_t) {});
  return path;
}

// A device with latent caches of some sequences in it, for attention alone.
class LatentCaches {
 public:
  static constexpr int64_t kHeads = 16, kKeySize = 96, kValueSize = 64, kPage = 128, kRowBytes = kKeySize * 2;

  static constexpr int64_t kMostRows = 8;

  explicit LatentCaches(const std::vector<int64_t>& n_positions, bool graphs = true)
      : device_(engine::make_cuda_device({0, graphs})) {
    stream_ = device_->make_stream();
    queries_ = device_->allocate(kMostRows * kHeads * kKeySize * sizeof(float));
    out_ = device_->allocate(kMostRows * kHeads * kValueSize * sizeof(float));
    views_.resize(n_positions.size());
    for (size_t i = 0; i < n_positions.size(); ++i) {
      pages_.emplace_back();
      for (int64_t first = 0; first < n_positions[i]; first += kPage) {
        buffers_.push_back(device_->allocate(kPage * kRowBytes));
        pages_.back().push_back(buffers_.back()->data());
        const engine::Rows keys = rows(std::min(kPage, n_positions[i] - first), kKeySize,
                                       static_cast<uint32_t>(1000 * n_positions[i] + first));
        device_->store(*stream_, keys, 1, CacheType::F16, const_cast<void*>(pages_.back().back()), kRowBytes,
                       kPage * kRowBytes);
      }
    }
    for (size_t i = 0; i < views_.size(); ++i)
      views_[i] = {pages_[i].data(),  pages_[i].data(), kPage, CacheType::F16, kRowBytes, kRowBytes,
                   kPage * kRowBytes, kPage * kRowBytes};
  }

  struct Row {
    size_t sequence;
    int32_t n_visible;
  };
  // Queries of a row follow from what it sees.
  std::vector<float> attend(const std::vector<Row>& wanted) {
    std::vector<float> queries;
    std::vector<const engine::CacheView*> views;
    std::vector<int32_t> n_visible;
    for (const Row& row : wanted) {
      const std::vector<float> own = random(kHeads * kKeySize, static_cast<uint32_t>(row.n_visible));
      queries.insert(queries.end(), own.begin(), own.end());
      views.push_back(&views_[row.sequence]);
      n_visible.push_back(row.n_visible);
    }
    const auto n_rows = static_cast<int64_t>(wanted.size());
    // In the same places every time, as a model's passes have them.
    const engine::Rows q{static_cast<float*>(queries_->data()), n_rows, kHeads * kKeySize, kHeads * kKeySize};
    const engine::Rows out{static_cast<float*>(out_->data()), n_rows, kHeads * kValueSize, kHeads * kValueSize};
    device_->copy_to_device(*stream_, q.data, queries.data(), queries.size() * sizeof(float));
    device_->synchronize(*stream_);
    device_->attention(*stream_, {kHeads, 1, kKeySize, kValueSize, 0.2f}, q, views, n_visible, out);
    std::vector<float> result(static_cast<size_t>(n_rows * kHeads * kValueSize));
    device_->copy_to_host(*stream_, result.data(), out.data, result.size() * sizeof(float));
    device_->synchronize(*stream_);
    return result;
  }

 private:
  static std::vector<float> random(int64_t n, uint32_t seed) {
    std::vector<float> values(static_cast<size_t>(n));
    std::mt19937 generator(seed);
    for (float& value : values) value = std::normal_distribution<float>()(generator);
    return values;
  }
  engine::Rows rows(int64_t n_rows, int64_t n_columns, uint32_t seed) {
    const std::vector<float> values = random(n_rows * n_columns, seed);
    buffers_.push_back(device_->allocate(values.size() * sizeof(float)));
    device_->copy_to_device(*stream_, buffers_.back()->data(), values.data(), values.size() * sizeof(float));
    device_->synchronize(*stream_);
    return {static_cast<float*>(buffers_.back()->data()), n_rows, n_columns, n_columns};
  }

  std::unique_ptr<engine::Device> device_;
  std::unique_ptr<engine::Stream> stream_;
  std::unique_ptr<engine::Buffer> queries_, out_;
  std::vector<std::unique_ptr<engine::Buffer>> buffers_;
  std::vector<std::vector<const void*>> pages_;
  std::vector<engine::CacheView> views_;
};

}  // namespace

TEST_CASE("a model whose many heads share latent rows gives the CPU's logits token by token, past a page's end") {
  const tests::ScratchFolder folder;
  const std::filesystem::path path = write_latent_model(folder);
  constexpr size_t kVocabulary = 320, kLayers = 3, kTogether = 122, kSingle = 14, kPasses = 2 + kSingle;
  std::vector<int32_t> tokens(kTogether + kSingle);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>((i * 37 + 11) % kVocabulary);
  for (const CacheType cache : {CacheType::F16, CacheType::Q8_0, CacheType::F32}) {
    tests::fresh_gpu();
    std::vector<float> logits[2];
    for (const DeviceKind device : {DeviceKind::Cpu, DeviceKind::Cuda}) {
      simt::take_trace();
      const engine::ModelOptions options = tests::options_for(device, cache);
      const auto model = engine::Model::open(path, options);
      engine::Session session(model, options.session);
      std::vector<float>& all = logits[device == DeviceKind::Cuda];
      all = tests::answer(session, std::span(tokens).first(kTogether), 0, kTogether / 2).logits;
      const auto single = tests::answer(session, std::span(tokens).subspan(kTogether), 0, 1).logits;
      all.insert(all.end(), single.begin(), single.end());
    }
    const std::vector<simt::Span> trace = simt::take_trace();
    CHECK(count_launches(trace, "attend_tiles") == (cache == CacheType::F32 ? 0 : kPasses * kLayers));
    CHECK(count_launches(trace, "attend_page") == (cache == CacheType::F32 ? kPasses * kLayers : 0));
    CHECK(count_launches(trace, "join_pieces") == kPasses * kLayers);
    const engine::LogitsComparison all = tests::compare({logits[0], {}}, {logits[1], {}}, kVocabulary);
    CHECK(all.n_positions == tokens.size());
    // Random weights make much of a code of 8 bits that falls to its other side: without 16-bit floats 2e-4 nats on average, with them 2e-3.
    CHECK(all.mean_kl < (cache == CacheType::F32 ? 5e-4 : 4e-3));
    CHECK(all.largest_kl < (cache == CacheType::F32 ? 5e-3 : 2e-2));
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("sequences that share a pass have the bits that they have alone, however much of the context others see") {
  tests::fresh_gpu({}, true);
  LatentCaches caches({130, 2100, 7});
  const std::vector<LatentCaches::Row> all{{0, 130}, {1, 2098}, {1, 2099}, {1, 2100}, {2, 7}};
  const std::vector<float> together = caches.attend(all);
  const size_t row_size = LatentCaches::kHeads * LatentCaches::kValueSize;
  for (const auto& [first, n] : {std::pair<size_t, size_t>{0, 1}, {1, 3}, {4, 1}}) {
    const std::vector<float> alone =
        caches.attend({all.begin() + static_cast<long>(first), all.begin() + static_cast<long>(first + n)});
    CHECK(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<long>(first * row_size)));
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("launches that are the same from token to token serve a context that grows over pages and pieces") {
  tests::fresh_gpu();
  LatentCaches graphs({900}), launches({900}, false);
  std::vector<float> before;
  for (int32_t n = 100; n <= 900; n += 50) {
    const std::vector<float> grown = graphs.attend({{0, n}});
    CHECK(grown == launches.attend({{0, n}}));
    CHECK(grown != before);
    CHECK(std::ranges::all_of(grown, [](float value) { return std::isfinite(value); }));
    before = grown;
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}
