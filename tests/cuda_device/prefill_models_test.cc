// Whole models on the emulated GPU whose prompts are long enough that a sequence's rows attend together (engine/device/attention_choice.h). Their contexts
// are split: prompts of 65 rows have few thread blocks.
//
// Queries, the weights of the softmax and, of latent attention's expanded form, keys and values are rounded to 16 bits there. What attention
// makes is then off by some 2^-12 of itself, and goes on in 8 bits, whose steps are 2^-7 of the largest: so about one code in thirty falls to
// its other side, and now and then a router chooses another expert for it. Without that, positions were within 3e-6 nats, with it at up to 3e-3;
// models_test.cc has the bounds for float sums.

#include <algorithm>
#include <cmath>
#include <random>

#include "engine/device/attention_choice.h"
#include "engine/device/cpu_device.h"
#include "engine/device/cuda_device.h"
#include "engine/forward/latent_cost.h"
#include "tests/cuda_device/fixture.h"

using namespace sluice;
using engine::CacheType;
using engine::DeviceKind;
using engine::LatentAttention;

namespace {

size_t count_kernels(const std::vector<simt::Span>& trace, std::string_view name) {
  return static_cast<size_t>(std::count_if(
      trace.begin(), trace.end(), [&](const simt::Span& span) { return span.name.find(name) != std::string::npos; }));
}

struct Case {
  const char* name;
  CacheType cache = CacheType::F16;
  LatentAttention latent = LatentAttention::Automatic;
  size_t n_passes = 1;  // of 65 rows; the second passes the end of a page
};

}  // namespace

TEST_CASE("prompts whose rows attend together give the CPU's logits") {
  for (const Case& one :
       {Case{"llama", CacheType::Q8_0}, Case{"deepseek2-v3", CacheType::F16, LatentAttention::Expanded, 2},
        Case{"deepseek2-v2-lite-split", CacheType::Q8_0, LatentAttention::Expanded},
        Case{"deepseek2-v2", CacheType::F16, LatentAttention::Absorbed}}) {
    CAPTURE(std::string(one.name));
    tests::fresh_gpu();
    const tests::Golden golden = tests::read_golden(one.name);
    std::vector<int32_t> tokens;
    while (tokens.size() < one.n_passes * 65) tokens.insert(tokens.end(), golden.tokens.begin(), golden.tokens.end());
    tokens.resize(one.n_passes * 65);
    tests::Answer answers[2];
    for (const DeviceKind device : {DeviceKind::Cpu, DeviceKind::Cuda}) {
      engine::ModelOptions options = tests::options_for(device, one.cache);
      options.latent_attention = one.latent;
      simt::take_trace();
      answers[device == DeviceKind::Cuda] = tests::answer(tests::fixture_path(one.name), options, tokens, 1, 65);
    }
    // Once a layer in every pass of the prompt, and never after.
    const auto model = engine::Model::open(tests::fixture_path(one.name), tests::options_for(DeviceKind::Cpu));
    const std::vector<simt::Span> trace = simt::take_trace();
    const size_t n_layers = model->spec().layers.size();
    CHECK(count_kernels(trace, "attend_tiles") == one.n_passes * n_layers);
    CHECK(count_kernels(trace, "attend_page") == n_layers);
    CHECK(count_kernels(trace, "join_pieces") == (one.n_passes + 1) * n_layers);
    size_t n_positions = 0, n_far = 0;
    for (size_t at = 0; at < answers[0].logits.size(); at += golden.n_vocabulary, ++n_positions) {
      engine::LogitsComparison position;
      position.add(std::span(answers[0].logits).subspan(at, golden.n_vocabulary),
                   std::span(answers[1].logits).subspan(at, golden.n_vocabulary));
      n_far += position.largest_kl > 1e-4;
      CHECK(position.largest_kl < 1e-2);
    }
    CHECK(n_positions == tokens.size() + 1);
    CHECK(n_far * 20 <= n_positions);
    CHECK(answers[0].greedy == answers[1].greedy);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("a sequence attends as it does alone, whoever shares the pass") {
  const engine::AttentionShape shape{32, 8, 128, 128, 1};
  const void* const pages[] = {nullptr};
  const void* const other_pages[] = {nullptr};
  engine::CacheView views[4];
  for (engine::CacheView& view : views) view = {pages, other_pages, 128, CacheType::F16};
  std::vector<const engine::CacheView*> rows;
  for (const size_t n : {1, 23, 24, 1})
    rows.insert(rows.end(), n, &views[rows.empty() ? 0 : rows.size() < 2 ? 1 : rows.size() < 40 ? 2 : 3]);
  const engine::AttentionParts parts = engine::attention_parts(shape, rows);
  REQUIRE(parts.split.size() == 1);
  CHECK(parts.whole.empty());
  CHECK(parts.split[0].first_row == 24);
  CHECK(parts.split[0].n_rows == 24);
  REQUIRE(parts.one_by_one.size() == 2);
  CHECK(parts.one_by_one[0].n_rows == 24);
  CHECK(parts.one_by_one[1].first_row == 48);
  CHECK(!parts.is_one_call());
  // Of few heads many rows are needed, of many heads few; caches of floats have no other way.
  CHECK(!engine::attends_together(63, 4));
  CHECK(engine::attends_together(64, 1));
  CHECK(engine::attends_together(6, 128));
  CHECK(!engine::attends_together(5, 128));
  views[2].type = CacheType::F32;
  const engine::AttentionParts of_floats = engine::attention_parts(shape, rows);
  CHECK(of_floats.split.empty());
  REQUIRE(of_floats.one_by_one.size() == 1);
  CHECK(of_floats.is_one_call());
  // Rows enough to fill a GPU are not split.
  const std::vector<const engine::CacheView*> many(257, &views[0]);
  const engine::AttentionParts filling = engine::attention_parts(shape, many);
  CHECK(filling.split.empty());
  CHECK(filling.whole.size() == 1);
  CHECK(!filling.is_one_call());
}

TEST_CASE("heads that share a latent row attend together from one row on, and their context is split") {
  const void* const pages[] = {nullptr};
  engine::CacheView view{pages, pages, 128, CacheType::F16}, other = view;
  const std::vector<const engine::CacheView*> rows{&view, &other, &other};
  const engine::AttentionShape r1{128, 1, 576, 512, 1};
  const engine::AttentionParts parts = engine::attention_parts(r1, rows);
  CHECK(parts.split.size() == 2);
  CHECK(parts.is_one_call());
  CHECK(engine::attention_parts({8, 1, 576, 512, 1}, rows).split.size() == 2);
  CHECK(engine::attention_parts({7, 1, 576, 512, 1}, rows).one_by_one.size() == 1);
  for (const CacheType type : {CacheType::F32, CacheType::BF16}) {
    view.type = other.type = type;
    CHECK(engine::attention_parts(r1, rows).split.empty());
  }
  // Room for as many pieces as pages, one run behind the other.
  for (const int64_t n_pages : {4, 16, 64}) {
    const std::vector<kernels::cuda::AttentionRun> runs = engine::split_runs(r1, parts.split, n_pages);
    REQUIRE(runs.size() == 2);
    CHECK(runs[0].n_pieces == std::min<int64_t>(n_pages, 32));
    CHECK(runs[1].n_pieces == std::min<int64_t>(n_pages, 16));
    CHECK(runs[1].first_piece == 128 * runs[0].n_pieces);
    CHECK(engine::split_scratch_bytes(r1, runs) ==
          static_cast<uint64_t>(128 * runs[0].n_pieces + 2 * 128 * runs[1].n_pieces) * 520 * sizeof(float));
  }
}

TEST_CASE("sequences of a token and of many share a pass, each attended in its way") {
  constexpr int64_t kHeads = 32, kKvHeads = 8, kSize = 16, kPage = 128, kRowBytes = kSize * 2;
  struct Sequence {
    int64_t n_rows, n_positions;
  };
  const Sequence sequences[] = {{1, 130}, {3, 5}, {24, 140}, {1, 7}, {30, 30}};
  std::vector<float> results[2];
  for (const DeviceKind kind : {DeviceKind::Cpu, DeviceKind::Cuda}) {
    tests::fresh_gpu({}, true);
    const auto device =
        kind == DeviceKind::Cpu ? engine::make_cpu_device(1, false, true) : engine::make_cuda_device({});
    const auto stream = device->make_stream();
    std::vector<std::unique_ptr<engine::Buffer>> buffers;
    uint32_t seed = 1;
    const auto rows = [&](int64_t n_rows, int64_t n_columns) {
      std::vector<float> values(static_cast<size_t>(n_rows * n_columns));
      std::mt19937 generator(seed++);
      for (float& value : values) value = std::normal_distribution<float>()(generator);
      buffers.push_back(device->allocate(values.size() * sizeof(float)));
      device->copy_to_device(*stream, buffers.back()->data(), values.data(), values.size() * sizeof(float));
      return engine::Rows{static_cast<float*>(buffers.back()->data()), n_rows, n_columns, n_columns};
    };
    std::vector<std::vector<const void*>> tables;
    std::vector<engine::CacheView> views;
    int64_t n_rows = 0;
    for (const Sequence& sequence : sequences) {
      for (int table = 0; table < 2; ++table) {
        tables.emplace_back();
        for (int64_t first = 0; first < sequence.n_positions; first += kPage) {
          const int64_t n = std::min(kPage, sequence.n_positions - first);
          const engine::Rows values = rows(n, kKvHeads * kSize);
          buffers.push_back(device->allocate(kKvHeads * kPage * kRowBytes));
          tables.back().push_back(buffers.back()->data());
          device->store(*stream, values, kKvHeads, CacheType::F16, buffers.back()->data(), kRowBytes,
                        kPage * kRowBytes);
        }
      }
      n_rows += sequence.n_rows;
    }
    for (size_t i = 0; i < std::size(sequences); ++i)
      views.push_back({tables[2 * i].data(), tables[2 * i + 1].data(), kPage, CacheType::F16, kRowBytes, kRowBytes,
                       kPage * kRowBytes, kPage * kRowBytes});
    std::vector<const engine::CacheView*> row_views;
    std::vector<int32_t> n_visible;
    for (size_t i = 0; i < std::size(sequences); ++i)
      for (int64_t row = 0; row < sequences[i].n_rows; ++row) {
        row_views.push_back(&views[i]);
        n_visible.push_back(static_cast<int32_t>(sequences[i].n_positions - sequences[i].n_rows + row + 1));
      }
    const engine::Rows q = rows(n_rows, kHeads * kSize), out = rows(n_rows, kHeads * kSize);
    simt::take_trace();
    device->attention(*stream, {kHeads, kKvHeads, kSize, kSize, 0.25f}, q, row_views, n_visible, out);
    std::vector<float>& result = results[kind == DeviceKind::Cuda];
    result.resize(static_cast<size_t>(n_rows * kHeads * kSize));
    device->copy_to_host(*stream, result.data(), out.data, result.size() * sizeof(float));
    device->synchronize(*stream);
  }
  const std::vector<simt::Span> trace = simt::take_trace();
  CHECK(count_kernels(trace, "attend_tiles") == 1);
  // Sequences of few rows, before the first of many and between the two.
  CHECK(count_kernels(trace, "attend_page") == 2);
  CHECK(count_kernels(trace, "join_pieces") == 3);
  size_t at = 0;
  for (const Sequence& sequence : sequences) {
    const size_t end = at + static_cast<size_t>(sequence.n_rows * kHeads * kSize);
    float largest = 0, worst = 0;
    for (; at < end; ++at) {
      largest = std::max(largest, std::abs(results[0][at]));
      worst = std::max(worst, std::abs(results[0][at] - results[1][at]));
    }
    CHECK(worst < (sequence.n_rows < 24 ? 3e-6f : 1e-3f) * largest);
    CHECK((worst > 1e-5f * largest) == (sequence.n_rows >= 24));  // 16 bits leave their mark
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("latent attention is expanded where making keys and values costs less than longer rows") {
  engine::LatentSpec r1;
  r1.latent_rank = 512;
  r1.rope_size = 64;
  r1.nope_size = r1.value_size = 128;
  const engine::LatentAttentionCosts equal{1, 1};
  // 512 * 256 / (1088 - 320) = 171 rows, however long the context.
  for (const int64_t n_positions : {4096, 65536}) {
    CHECK(!engine::expanding_is_cheaper(r1, 160, n_positions, equal));
    CHECK(engine::expanding_is_cheaper(r1, 180, n_positions, equal));
  }
  CHECK(!engine::expanding_is_cheaper(r1, 1, 2, equal));
  // Dearer rows of the one form are made less of, of the other more.
  CHECK(!engine::expanding_is_cheaper(r1, 180, 4096, {1.5, 1}));
  CHECK(engine::expanding_is_cheaper(r1, 80, 4096, {1.2, 2}));
  CHECK(engine::expanding_is_cheaper(r1, 512, 4096, engine::kCudaLatentAttentionCosts));
  CHECK(!engine::expanding_is_cheaper(r1, 100, 4096, engine::kCudaLatentAttentionCosts));
  // What must be stored is not made for a few rows, though it be cheaper.
  CHECK(engine::expanding_is_cheaper(r1, 1, 1, equal));
  CHECK(!engine::expanding_is_cheaper(r1, 1, 1, {1, 1, CacheType::F16}));
}
