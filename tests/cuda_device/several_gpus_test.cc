// A model whose layers lie on several GPUs, through which a pass goes one after the other.

#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/device/cuda_device.h"
#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/model/bound_model.h"
#include "engine/placement/gpu_split.h"
#include "engine/session/session_memory.h"
#include "engine/store/heat_map.h"
#include "engine/synthetic/model.h"
#include "engine/synthetic/shape.h"
#include "tests/cuda_device/fixture.h"
#include "tests/scratch_folder.h"
#include "tools/usage_report.h"

using namespace sluice;
using engine::DeviceKind;
using engine::GroupRole;

namespace {

constexpr const char* kModel = "qwen3moe";

simt::GpuOptions gpus(size_t n) {
  simt::GpuOptions options;
  options.devices.resize(n);
  for (size_t i = 0; i < n; ++i) options.devices[i].name = "GPU " + std::to_string(i);
  return options;
}

engine::ModelOptions split_options(engine::CacheType cache = engine::CacheType::F16) {
  engine::ModelOptions options = tests::options_for(DeviceKind::Cuda, cache);
  options.promotion.must_pay = false;    // what is tested is how experts come, not whether
  options.promotion.has_thread = false;  // so that each run is like the other
  options.promotion.now = [seconds = 0.0]() mutable { return seconds += 0.01; };
  return options;
}

// What a model takes of VRAM.
class Sizes {
 public:
  Sizes(const std::filesystem::path& path, const engine::ModelOptions& options)
      : options_(options), file_(gguf::File::open(path)), model_(engine::describe_and_bind(path, file_)) {
    const engine::ModelWork work = engine::work_of(model_.spec, model_.weights, options.session.cache, nullptr);
    layers = engine::layer_costs(work, engine::state_bytes_of_layers(model_.spec, options.session));
    candidates_.resize(layers.size() + 1);
    for (const engine::WeightGroup& group : work.groups) {
      if (group.role == GroupRole::Output) output_ += group.unit_vram_bytes();
      if (group.role == GroupRole::SharedExperts || group.role == GroupRole::DenseFfn)
        candidates_[group.layer] += group.unit_vram_bytes();
    }
  }

  // Of layers [begin, end), with so much of their experts (1: as a whole). Below 0: without these, and without that part of what else may be
  // the host's.
  uint64_t of(uint32_t begin, uint32_t end, double share) const {
    constexpr uint64_t kTables = 16 << 10;
    const auto part = [](double of_it, uint64_t bytes) {
      return static_cast<uint64_t>(of_it * static_cast<double>(bytes));
    };
    const auto session = [&](engine::LayerRange range) {
      return engine::session_memory(model_.spec, model_.weights, options_.latent_attention, options_.session, range);
    };
    uint64_t bytes = end == layers.size() ? output_ : 0;
    if (share < 0)
      bytes += session({begin, end}).shared_pass_bytes;
    else
      bytes += kTables + (share < 1 ? session({}).shared_pass_bytes : session({}).gpu_pass_bytes);
    for (size_t i = begin; i < end; ++i) {
      bytes += layers[i].dense_bytes + layers[i].state_bytes + part(std::max(0.0, share), layers[i].expert_bytes);
      bytes -= part(std::max(0.0, -share), candidates_[i]);
    }
    return bytes;
  }
  uint64_t pass_bytes(int64_t n_rows) const {
    return engine::shared_pass_bytes(model_.spec, model_.weights, options_.latent_attention, options_.session.cache,
                                     n_rows, 2 * n_rows);
  }

  std::vector<engine::LayerCost> layers;

 private:
  engine::ModelOptions options_;
  gguf::File file_;
  engine::BoundModel model_;
  std::vector<uint64_t> candidates_;  // of each layer, to be the host's as a whole
  uint64_t output_ = 0;
};

// Limits for two GPUs, of which the first has the larger part.
std::vector<uint64_t> limits_of(const Sizes& sizes, double share_of_experts) {
  const auto n = static_cast<uint32_t>(sizes.layers.size()), first = std::max(1u, 2 * n / 3);
  return {sizes.of(0, first, share_of_experts), sizes.of(first, n, share_of_experts)};
}

void check_parts(const engine::Model& model, size_t n_gpus) {
  const std::vector<engine::GpuUse> parts = model.gpus();
  REQUIRE(parts.size() == n_gpus);
  uint32_t layer = 0;
  for (const engine::GpuUse& part : parts) {
    CHECK(part.first_layer == layer);
    CHECK(part.end_layer > layer);
    layer = part.end_layer;
  }
  CHECK(layer == model.spec().layers.size());
}

}  // namespace

TEST_CASE("every model that is split over two GPUs, whole or shared with the CPU, gives the CPU's logits") {
  size_t n_whole = 0, n_with_slots = 0, n_promoted = 0, n_dense_on_host = 0;
  for (const char* name : tests::kFixtures) {
    const auto path = tests::fixture_path(name);
    const tests::Golden golden = tests::read_golden(name);
    const std::span<const int32_t> tokens = std::span(golden.tokens).first(4);
    const auto cpu = tests::answer(path, tests::options_for(DeviceKind::Cpu), tokens, 1, 3);
    const Sizes sizes(path, split_options());
    if (sizes.layers.size() == 1) continue;
    const bool has_experts =
        std::ranges::any_of(sizes.layers, [](const auto& layer) { return layer.expert_bytes > 0; });
    const bool has_more = std::string(name) == "qwen3moe" || std::string(name) == "deepseek2-v3";
    for (const double share : {1.0, 0.4, -0.7}) {
      if (share > 0 && share < 1 && !has_experts) continue;
      if (share < 0 && has_experts && !has_more) continue;
      CAPTURE(std::string(name));
      CAPTURE(share);
      engine::ModelOptions options = split_options();
      options.vram_bytes_of_gpus = limits_of(sizes, share);
      // Of one whose embedding is the output as well: no GPU reads the other's memory.
      tests::fresh_gpu(gpus(2), std::string(name) == "llama-factors-tied");
      const auto model = engine::Model::open(path, options);
      check_parts(*model, 2);
      CHECK(model->device_name() == "GPU 0 + GPU 1");
      for (const engine::GpuUse& gpu : model->gpus()) CHECK(gpu.memory.device_bytes > 0);
      engine::Session session(model, options.session);
      tests::check_same(cpu, tests::answer(session, tokens, 1, 3), golden.n_vocabulary);
      const engine::VramStatistics vram = model->vram_statistics();
      const bool is_whole = model->most_rows() == UINT32_MAX;
      CHECK(is_whole == (share == 1));
      n_whole += is_whole;
      n_with_slots += vram.n_slots > 0 && vram.n_slots < vram.n_experts;
      n_promoted += vram.n_promotions;
      n_dense_on_host += model->host_dense_bytes() > 0;
    }
  }
  CHECK(n_whole == std::size(tests::kFixtures) - 1);
  CHECK(n_with_slots >= 9);
  CHECK(n_promoted > 10);
  CHECK(n_dense_on_host >= 8);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

namespace {

struct Scheduled {
  tests::Answer answer;
  std::vector<std::string> findings;
  bool has_failed = false;
};

// Of a model whose parts are whole, or have a share of their experts, with every access checked.
Scheduled scheduled(const simt::GpuOptions& gpu, const std::vector<uint64_t>& limits) {
  const tests::Golden golden = tests::read_golden(kModel);
  engine::ModelOptions options = split_options();
  options.vram_bytes_of_gpus = limits;
  options.store.storage = engine::Storage::Disk;
  options.store.store_bytes = uint64_t{64} << 20;
  options.sharing.reads_host = false;
  tests::fresh_gpu(gpu, true);
  Scheduled result;
  try {
    const auto model = engine::Model::open(tests::fixture_path(kModel), options);
    check_parts(*model, 2);
    engine::Session session(model, options.session);
    result.answer = tests::answer(session, std::span(golden.tokens).first(3), 0, 1);
  } catch (const engine::Error&) {  // fresh memory is full of NaN
    result.has_failed = true;
  }
  result.findings = simt::take_findings();
  return result;
}

}  // namespace

TEST_CASE("rows go from GPU to GPU in any schedule, straight or through the host, and race with nothing") {
  const Sizes sizes(tests::fixture_path(kModel), split_options());
  struct Case {
    double share;
    simt::Effects effects;
    bool is_straight;
  };
  std::map<double, Scheduled> eager;
  for (const double share : {1.0, 0.4}) {
    eager[share] = scheduled(gpus(2), limits_of(sizes, share));
    CHECK(eager[share].findings == std::vector<std::string>());
  }
  for (const Case& one : {Case{1, simt::Effects::Eager, false}, Case{1, simt::Effects::Seeded, true},
                          Case{0.4, simt::Effects::Lazy, true}, Case{0.4, simt::Effects::Seeded, false}}) {
    CAPTURE(one.share);
    CAPTURE(static_cast<int>(one.effects));
    simt::GpuOptions gpu = gpus(2);
    gpu.effects = one.effects;
    gpu.peer_access = one.is_straight;
    const Scheduled other = scheduled(gpu, limits_of(sizes, one.share));
    CHECK(!other.has_failed);
    CHECK(other.findings == std::vector<std::string>());
    CHECK(other.answer.logits == eager[one.share].answer.logits);
  }
}

TEST_CASE("an order between two GPUs that is forgotten is found: rows are read before they are made") {
  const Sizes sizes(tests::fixture_path(kModel), split_options());
  for (const bool is_straight : {true, false}) {
    CAPTURE(is_straight);
    simt::GpuOptions gpu = gpus(2);
    gpu.effects = simt::Effects::Seeded;
    gpu.peer_access = is_straight;
    // The first to wait for the other GPU is the stream to which rows come.
    gpu.forgets_wait = [first = uintptr_t{0}](uintptr_t stream) mutable {
      if (first == 0) first = stream;
      return stream == first;
    };
    const Scheduled result = scheduled(gpu, limits_of(sizes, 1));
    CHECK((result.has_failed || !result.findings.empty()));
  }
}

namespace {

// Rows that come to a GPU twice, while those that they come from change as soon as they may. Returns what arrived.
std::vector<float> receive_twice(bool reads_peers) {
  const engine::CudaDeviceOptions options[] = {{0, true, 0, reads_peers}, {0, true, 1, reads_peers}};
  const auto devices = engine::make_cuda_devices(options);
  engine::Device &from = *devices[0], &to = *devices[1];
  const auto from_stream = from.make_stream(), to_stream = to.make_stream();
  constexpr int64_t kRows = 3, kColumns = 40, kStride = 48;
  const auto rows_on = [](engine::Buffer& buffer) {
    return engine::Rows{static_cast<float*>(buffer.data()), kRows, kColumns, kStride};
  };
  std::vector<float> ones(kRows * kStride, 1.0f);
  std::vector<std::unique_ptr<engine::Buffer>> buffers;
  for (engine::Device* device : {&from, &from, &to, &to}) buffers.push_back(device->allocate(ones.size() * 4));
  for (size_t i = 0; i < 2; ++i) from.copy_to_device(*from_stream, buffers[i]->data(), ones.data(), ones.size() * 4);
  const engine::Rows x = rows_on(*buffers[0]), y = rows_on(*buffers[1]);
  for (size_t i = 2; i < 4; ++i) {
    from.add(*from_stream, x, y);
    to.receive(*to_stream, rows_on(*buffers[i]), from, *from_stream, x);
  }
  from.add(*from_stream, x, y);
  std::vector<float> arrived;
  for (size_t i = 2; i < 4; ++i)
    for (int64_t row = 0; row < kRows; ++row) {
      arrived.resize(arrived.size() + kColumns);
      to.copy_to_host(*to_stream, arrived.data() + arrived.size() - kColumns, rows_on(*buffers[i]).row(row),
                      kColumns * 4);
      to.synchronize(*to_stream);
    }
  from.synchronize(*from_stream);
  return arrived;
}

}  // namespace

TEST_CASE("rows that another GPU sends arrive as they were, and may change there at once") {
  std::vector<float> expected(2 * 3 * 40, 2.0f);
  std::fill(expected.begin() + 3 * 40, expected.end(), 3.0f);
  for (const bool reads_peers : {true, false}) {
    CAPTURE(reads_peers);
    for (const auto& [effects, seed] : {std::pair(simt::Effects::Eager, 1), std::pair(simt::Effects::Lazy, 1),
                                        std::pair(simt::Effects::Seeded, 1), std::pair(simt::Effects::Seeded, 2)}) {
      simt::GpuOptions gpu = gpus(2);
      gpu.effects = effects;
      gpu.seed = static_cast<uint64_t>(seed);
      tests::fresh_gpu(gpu, true);
      CHECK(receive_twice(reads_peers) == expected);
      CHECK(simt::take_findings() == std::vector<std::string>());
    }
    // Each of the waits in turn, of both streams.
    for (int forgotten = 0; forgotten < 3; ++forgotten) {
      CAPTURE(forgotten);
      bool is_found = false;
      for (uint64_t seed = 1; seed <= 4 && !is_found; ++seed) {
        simt::GpuOptions gpu = gpus(2);
        gpu.effects = simt::Effects::Seeded;
        gpu.seed = seed;
        gpu.forgets_wait = [forgotten, n = 0](uintptr_t) mutable { return n++ == forgotten; };
        tests::fresh_gpu(gpu, true);
        const bool is_wrong = receive_twice(reads_peers) != expected;
        is_found = is_wrong || !simt::take_findings().empty();
      }
      CHECK(is_found);
    }
  }
}

TEST_CASE("a device that knows nothing of the other one gets its rows by way of the host") {
  tests::fresh_gpu(gpus(2));
  const engine::CudaDeviceOptions options[] = {{0, true, 0}, {0, true, 1}};
  const auto devices = engine::make_cuda_devices(options);
  const auto from_stream = devices[0]->make_stream(), to_stream = devices[1]->make_stream();
  std::vector<float> values(2 * 24), back(2 * 20);
  std::iota(values.begin(), values.end(), 1.0f);
  const auto from = devices[0]->allocate(values.size() * 4), to = devices[1]->allocate(values.size() * 4);
  devices[0]->copy_to_device(*from_stream, from->data(), values.data(), values.size() * 4);
  // Rows of another stride are not one block of memory.
  const engine::Rows source{static_cast<float*>(from->data()), 2, 20, 24},
      target{static_cast<float*>(to->data()), 2, 20, 20};
  devices[1]->receive(*to_stream, target, *devices[0], *from_stream, source);
  devices[1]->copy_to_host(*to_stream, back.data(), to->data(), back.size() * 4);
  devices[1]->synchronize(*to_stream);
  for (size_t row = 0; row < 2; ++row)
    CHECK(std::equal(back.begin() + static_cast<std::ptrdiff_t>(20 * row),
                     back.begin() + static_cast<std::ptrdiff_t>(20 * row + 20),
                     values.begin() + static_cast<std::ptrdiff_t>(24 * row)));
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("a sequence that lies on two GPUs grows, forks, is cut short, saved and restored like on the CPU") {
  const auto path = tests::fixture_path("qwen3moe");
  std::vector<int32_t> tokens(150);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 7 % 50 + 3);
  const Sizes sizes(path, split_options());
  std::vector<std::vector<float>> logits[2];
  for (const double share : {-9.0, 0.5}) {  // the CPU first
    CAPTURE(share);
    engine::ModelOptions options = tests::options_for(DeviceKind::Cpu);
    if (share > 0) {
      options = split_options();
      options.vram_bytes_of_gpus = limits_of(sizes, share);
    }
    tests::fresh_gpu(gpus(2));
    const auto model = engine::Model::open(path, options);
    engine::Session session(model, options.session);
    std::vector<std::vector<float>> told;
    const auto tell = [&](const engine::Session& of) { told.emplace_back(of.logits().begin(), of.logits().end()); };
    session.append(tokens);
    tell(session);
    engine::Session fork = session.fork();
    fork.append(std::span(tokens).first(9));
    tell(fork);
    session.truncate(100);
    session.append(std::span(tokens).subspan(20, 40));
    tell(session);
    engine::Session restored(model, options.session);
    restored.restore(session.snapshot());
    CHECK(std::ranges::equal(restored.logits(), session.logits()));
    for (engine::Session* each : {&restored, &session, &fork}) {
      each->append(std::span(tokens).first(1));
      tell(*each);
    }
    CHECK(told[3] == told[4]);
    logits[share > 0 ? 1 : 0] = told;
    if (share < 0) continue;
    check_parts(*model, 2);
    for (size_t i = 0; i < told.size(); ++i) {
      engine::LogitsComparison same;
      same.add(logits[0][i], logits[1][i]);
      CHECK(same.largest_kl < 1e-3);
    }
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("of two GPUs one may have all of its layers, while the other shares its own with the CPU") {
  const auto path = tests::fixture_path(kModel);
  const tests::Golden golden = tests::read_golden(kModel);
  const auto cpu = tests::answer(path, tests::options_for(DeviceKind::Cpu), golden.tokens, 3, 5);
  const Sizes sizes(path, split_options());
  for (const bool has_store : {false, true}) {
    CAPTURE(has_store);
    engine::ModelOptions options = split_options();
    options.vram_bytes_of_gpus = {sizes.of(0, 1, 1), sizes.of(1, 2, 0.4)};
    if (has_store) options.store.storage = engine::Storage::Disk;
    options.store.store_bytes = has_store ? uint64_t{64} << 20 : 0;
    tests::fresh_gpu(gpus(2));
    const auto model = engine::Model::open(path, options);
    check_parts(*model, 2);
    const auto& stages = model->forward_context().stages;
    CHECK(stages[0].host == nullptr);
    CHECK(stages[1].host != nullptr);
    CHECK(model->most_rows() == engine::kMostSharedRows);
    engine::Session session(model, options.session);
    tests::check_same(cpu, tests::answer(session, golden.tokens, 3, 5), golden.n_vocabulary);
    const uint32_t n_experts = model->trace_header().n_experts;  // of a layer
    CHECK(model->vram_statistics().n_hits > 0);
    CHECK(model->vram_statistics().n_experts == n_experts);
    CHECK(model->store_statistics().n_experts == (has_store ? n_experts : 0));
    CHECK(model->store_statistics().n_misses == 0);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("passes of a prompt follow one another over two GPUs, which compute at the same time") {
  const tests::Golden golden = tests::read_golden(kModel);
  std::vector<int32_t> tokens;
  for (size_t i = 0; tokens.size() < 64; ++i) tokens.push_back(golden.tokens[i * 5 % golden.tokens.size()]);
  engine::ModelOptions options = split_options();
  options.session.n_batch = 8;  // eight passes
  const Sizes sizes(tests::fixture_path(kModel), options);
  options.vram_bytes_of_gpus = limits_of(sizes, 1.0);
  double seconds[2] = {};
  tests::Answer answers[2];
  for (const bool waits : {true, false}) {
    simt::GpuOptions gpu = gpus(2);
    gpu.kernel_seconds = [](const simt::KernelLaunch&) { return 1e-3; };  // beside which all else is nothing
    tests::fresh_gpu(gpu);
    const auto model = engine::Model::open(tests::fixture_path(kModel), options);
    REQUIRE(engine::can_overlap(model->forward_context()));
    engine::Session session(model, options.session);
    const double begin = simt::host_seconds();
    for (size_t at = 0; at < tokens.size(); at += waits ? 8 : tokens.size())
      session.append(std::span(tokens).subspan(at, waits ? 8 : tokens.size()));
    seconds[waits] = simt::host_seconds() - begin;
    answers[waits].logits.assign(session.logits().begin(), session.logits().end());
  }
  CHECK(answers[0].logits == answers[1].logits);
  // Of n passes over two GPUs that take as long as each other, n + 1 halves remain.
  CAPTURE(seconds[0]);
  CAPTURE(seconds[1]);
  CHECK(seconds[0] < 0.75 * seconds[1]);
  CHECK(simt::take_findings() == std::vector<std::string>());

  // Whenever what was asked for really happens. Peers may not be read: then rows pass through the same memory of the host, pass after pass.
  const auto few = std::span(tokens).first(24);
  std::vector<float> expected;
  for (const auto effects : {simt::Effects::Eager, simt::Effects::Lazy, simt::Effects::Seeded})
    for (const bool reads_peers : {true, false}) {
      CAPTURE(static_cast<int>(effects));
      CAPTURE(reads_peers);
      simt::GpuOptions gpu = gpus(2);
      gpu.effects = effects;
      gpu.peer_access = reads_peers;
      tests::fresh_gpu(gpu, true);
      const auto model = engine::Model::open(tests::fixture_path(kModel), options);
      engine::Session session(model, options.session);
      session.append(few);
      const std::vector<float> logits(session.logits().begin(), session.logits().end());
      if (expected.empty()) expected = logits;
      CHECK(logits == expected);
      CHECK(simt::take_findings() == std::vector<std::string>());
    }
}

TEST_CASE("what a failure leaves of a prompt over two GPUs are passes that were done") {
  const tests::Golden golden = tests::read_golden(kModel);
  std::vector<int32_t> tokens;
  for (size_t i = 0; tokens.size() < 20; ++i) tokens.push_back(golden.tokens[i * 5 % golden.tokens.size()]);
  engine::ModelOptions options = split_options();
  options.session.n_batch = 4;
  const Sizes sizes(tests::fixture_path(kModel), options);
  options.vram_bytes_of_gpus = limits_of(sizes, 1.0);
  std::vector<float> expected;
  size_t n_failed = 0;
  for (const uint64_t nth : {0, 1, 30, 60, 90, 120}) {
    CAPTURE(nth);
    tests::fresh_gpu(gpus(2));
    const auto model = engine::Model::open(tests::fixture_path(kModel), options);
    engine::Session session(model, options.session);
    const auto first = std::span(tokens).first(2);
    session.append(first);
    if (nth > 0) simt::inject_fault({simt::FaultPoint::Launch, nth, 999, 1});
    try {
      session.append(std::span(tokens).subspan(2));
    } catch (const engine::Error&) {
      ++n_failed;
      // None of its passes was waited for.
      CHECK(std::ranges::equal(session.tokens(), first));
      session.append(std::span(tokens).subspan(2));
    }
    if (nth == 0) expected.assign(session.logits().begin(), session.logits().end());
    CHECK(std::ranges::equal(session.logits(), expected));
  }
  CHECK(n_failed > 3);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("a long prompt is streamed to two GPUs, each of which has the experts of its layers come, each once") {
  using namespace engine::synthetic;
  const tests::ScratchFolder folder;
  const std::filesystem::path path = folder.path() / "model.gguf";
  Shape shape = find_preset("qwen3-30b-a3b")->shape;  // with experts that are large beside passes
  shape.n_vocabulary = 320;
  shape.n_embedding = 128;
  shape.n_expert_hidden = 256;
  shape.n_layers = shape.n_heads = shape.n_experts_used = 2;
  shape.n_kv_heads = 1;
  shape.head_size = 64;
  shape.n_experts = 24;
  TypeRules types;
  types.add("all=Q8_0");
  write_model(shape, plan_tensors(shape, types), 5, path, [](uint64_t) {});
  constexpr size_t kRows = 33;  // more than GPU and CPU share
  std::vector<int32_t> tokens(kRows);
  for (size_t i = 0; i < kRows; ++i) tokens[i] = static_cast<int32_t>(i * 71 % 310 + 3);
  const auto cpu = tests::answer(path, tests::options_for(DeviceKind::Cpu, engine::CacheType::F32), tokens, 1, kRows);
  engine::ModelOptions options = split_options(engine::CacheType::F32);
  options.session.n_batch = 64;
  options.promotion.promotes = false;
  options.sharing.weighs_streaming = false;
  options.store.storage = engine::Storage::Disk;
  // Slots for all experts, and for some of which both GPUs have others come from the disk through the same few.
  for (const bool has_all_in_memory : {true, false}) {
    CAPTURE(has_all_in_memory);
    options.store.store_bytes = has_all_in_memory ? uint64_t{64} << 20 : uint64_t{3} << 19;
    const Sizes sizes(path, options);
    options.vram_bytes_of_gpus = limits_of(sizes, 0.3);
    for (uint64_t& limit : options.vram_bytes_of_gpus) limit += sizes.pass_bytes(64);
    tests::fresh_gpu(gpus(2));
    const auto model = engine::Model::open(path, options);
    check_parts(*model, 2);
    for (engine::Stage& stage : model->forward_context().stages)
      stage.host->tier()->give_back(*stage.stream, sizes.pass_bytes(64));
    const engine::StoreStatistics before = model->store_statistics();
    if (!has_all_in_memory) CHECK(before.n_expert_slots < before.n_experts / 2);
    engine::Session session(model, options.session);
    tests::check_same(cpu, tests::answer(session, tokens, 1, kRows), 320);
    for (const engine::GpuUse& gpu : model->gpus()) {
      CHECK(gpu.vram.n_streamed_passes == 1);
      CHECK(gpu.vram.n_streamed >= gpu.vram.n_experts - gpu.vram.n_slots);  // fewer slots then than now
      CHECK(gpu.vram.n_streamed > 0);
      CHECK(gpu.vram.n_slots > 0);
      CHECK(gpu.vram.ring_bytes == 0);  // given back by the token
      CHECK(gpu.vram.n_slots_taken_back > 0);
      CHECK(gpu.memory.host_bytes == 0);
    }
    CHECK(model->vram_statistics().n_streamed_passes == 1);
    CHECK((engine::since(before, model->store_statistics()).bytes_read > 0) == !has_all_in_memory);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("one store on the disk lies beneath the tiers of both GPUs, and what they learn is kept together") {
  const auto path = tests::fixture_path("qwen3moe");
  const tests::Golden golden = tests::read_golden("qwen3moe");
  const auto cpu = tests::answer(path, tests::options_for(DeviceKind::Cpu), golden.tokens, 6, 1);
  const tests::ScratchFolder folder;
  engine::ModelOptions options = split_options();
  const Sizes sizes(path, options);
  options.vram_bytes_of_gpus = limits_of(sizes, 0.4);
  options.store.storage = engine::Storage::Disk;
  options.store.heat_folder = folder.path();
  for (const uint64_t store_bytes : {uint64_t{96} << 10, uint64_t{64} << 20}) {
    CAPTURE(store_bytes);
    options.store.store_bytes = store_bytes;
    tests::fresh_gpu(gpus(2));
    const auto model = engine::Model::open(path, options);
    check_parts(*model, 2);
    // An expert has a place in one tier at most: that of its layer's GPU.
    engine::Session session(model, options.session);
    tests::check_same(cpu, tests::answer(session, golden.tokens, 6, 1), golden.n_vocabulary);
    uint64_t n_experts = 0;
    for (const engine::GpuUse& gpu : model->gpus()) {
      n_experts += gpu.vram.n_experts;
      CHECK(gpu.vram.n_slots > 0);
      CHECK(gpu.vram.n_slots < gpu.vram.n_experts);
      CHECK(gpu.vram.n_hits > 0);
      // Where RAM has them all, both GPUs read some of those that they do not hold there, whoever pinned it.
      if (store_bytes > 1 << 20) CHECK(gpu.vram.n_read_from_host > 0);
    }
    CHECK(n_experts == model->vram_statistics().n_experts);
    CHECK(model->store_statistics().bytes_read > 0);
    const std::string lines = tools::gpu_lines(model->gpus());
    CAPTURE(lines);
    for (const engine::GpuUse& gpu : model->gpus()) {
      const std::string begin = "\nGPU " + std::to_string(gpu.ordinal) + "        " + gpu.name + "; layers " +
                                std::to_string(gpu.first_layer + 1) + " to " + std::to_string(gpu.end_layer) + ", ";
      CHECK(lines.find(begin) != std::string::npos);
    }
    CHECK(tools::gpu_lines(std::vector(1, model->gpus().front())).empty());
    CHECK(tools::gpus_json(model->gpus()).size() == 2);
    CHECK(tools::gpus_json(model->gpus())[1]["first_layer"] == model->gpus()[0].end_layer);
  }
  // What both have seen is written down, and the next run begins with those experts that were used most, of each layer's tier.
  const gguf::File file = gguf::File::open(path);
  const uint64_t key = engine::content_key(file, engine::DiskFiles(file.shard_paths()));
  const std::vector<float> heat = engine::read_heat(engine::heat_path(folder.path(), key), key);
  REQUIRE(heat.size() % sizes.layers.size() == 0);
  const size_t n_experts_a_layer = heat.size() / sizes.layers.size();
  for (size_t layer = 0; layer < sizes.layers.size(); ++layer) {
    const auto uses = std::span(heat).subspan(layer * n_experts_a_layer, n_experts_a_layer);
    CHECK(std::accumulate(uses.begin(), uses.end(), 0.0) > 1);  // a token
  }
  tests::fresh_gpu(gpus(2));
  options.promotion.promotes = false;
  const auto next = engine::Model::open(path, options);
  std::map<std::pair<uint32_t, int32_t>, int> n_uses;
  engine::Session session(next, options.session);
  const engine::traces::TraceHeader header = next->trace_header();
  session.record_routing([&](const engine::traces::Pass& pass) {
    for (size_t row = 0; row < pass.n_rows(); ++row)
      for (size_t index = 0; index < header.expert_layers.size(); ++index)
        for (const uint16_t id : pass.experts(header, row, index)) ++n_uses[{header.expert_layers[index], id}];
  });
  session.append(golden.tokens);
  int n_hot = 0, n_cold = 0;
  for (const engine::Stage& stage : next->forward_context().stages) {
    // Of all experts of its layers, those in VRAM were used more often than the others.
    double here = 0, elsewhere = 0, n_here = 0, n_elsewhere = 0;
    for (uint32_t layer = stage.layers.begin; layer < stage.layers.end; ++layer)
      for (int32_t id = 0; id < static_cast<int32_t>(header.n_experts); ++id) {
        const bool is_here = stage.host->tier()->holds(layer, id);
        (is_here ? here : elsewhere) += n_uses[{layer, id}];
        (is_here ? n_here : n_elsewhere) += 1;
      }
    CHECK(here / n_here > elsewhere / n_elsewhere);
    n_hot += n_here > 0;
    n_cold += n_elsewhere > 0;
  }
  CHECK(n_hot == 2);
  CHECK(n_cold == 2);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("of the GPUs that there are as few are taken as hold the model, in the order that is asked for") {
  const char* const name = "llama";
  const auto path = tests::fixture_path(name);
  const tests::Golden golden = tests::read_golden(name);
  const auto cpu = tests::answer(path, tests::options_for(DeviceKind::Cpu), golden.tokens, 2, 4);
  const Sizes sizes(path, split_options());
  const auto n = static_cast<uint32_t>(sizes.layers.size());
  REQUIRE(n == 2);
  const uint64_t all = sizes.of(0, n, 1), one = std::max(sizes.of(0, 1, 1), sizes.of(1, 2, 1));
  struct Case {
    const char* why;
    std::vector<int> gpus;
    std::vector<uint64_t> limits;
    uint64_t limit;
    std::vector<int> expected;
  };
  for (const Case& c : {Case{"all fits on the fastest", {}, {}, 0, {1}}, Case{"all fits on that one", {2}, {}, 0, {2}},
                        Case{"each holds a layer, three are there", {0, 1, 2}, {one, one, one}, 0, {0, 1}},
                        Case{"in another order", {2, 0}, {one, one}, 0, {2, 0}},
                        Case{"one limit for each of them", {}, {}, one, {1, 0}},
                        Case{"the limits are by number", {}, {one, one, all}, 0, {1, 0}},
                        Case{"the first is too small for anything", {0, 1}, {1, all}, 0, {1}},
                        Case{"more GPUs than layers, none of which holds one", {0, 1, 2}, {1, 1, 1}, 0, {}}}) {
    CAPTURE(c.why);
    simt::GpuOptions gpu = gpus(3);
    gpu.devices[1].device_bytes_per_second = 1e12;  // the fastest
    gpu.devices[2].memory_bytes = uint64_t{1} << 30;
    gpu.devices[2].device_bytes_per_second = 1e11;
    tests::fresh_gpu(gpu);
    engine::ModelOptions options = split_options();
    options.gpus = c.gpus;
    options.vram_bytes = c.limit;
    options.vram_bytes_of_gpus = c.limits;
    const auto model = engine::Model::open(path, options);
    std::vector<int> used;
    for (const engine::GpuUse& part : model->gpus()) used.push_back(part.ordinal);
    if (!c.expected.empty()) CHECK(used == c.expected);
    check_parts(*model, used.size());
    engine::Session session(model, options.session);
    tests::check_same(cpu, tests::answer(session, golden.tokens, 2, 4), golden.n_vocabulary);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("GPUs that are not there, named twice, or given sizes that are too few are told in a sentence") {
  struct Case {
    std::vector<int> gpus;
    std::vector<uint64_t> limits;
    DeviceKind device;
    engine::Error::Kind kind;
    const char* says;
  };
  for (const Case& c : {Case{{0, 2}, {}, DeviceKind::Cuda, engine::Error::Kind::Device, "there is no GPU 2"},
                        Case{{-1}, {}, DeviceKind::Automatic, engine::Error::Kind::Device, "there is no GPU -1"},
                        Case{{1, 0, 1}, {}, DeviceKind::Cuda, engine::Error::Kind::Usage, "GPU 1 is named twice"},
                        Case{{},
                             {1 << 20, 1 << 20, 1 << 20},
                             DeviceKind::Cuda,
                             engine::Error::Kind::Usage,
                             "3 sizes of VRAM (--vram) for 2 GPUs"}}) {
    CAPTURE(c.says);
    tests::fresh_gpu(gpus(2));
    engine::ModelOptions options = tests::options_for(c.device);
    options.gpus = c.gpus;
    options.vram_bytes_of_gpus = c.limits;
    try {
      engine::Model::open(tests::fixture_path("llama"), options);
      FAIL("it opened");
    } catch (const engine::Error& error) {
      CHECK(error.kind() == c.kind);
      CHECK(std::string(error.what()).find(c.says) != std::string::npos);
    }
  }
}

TEST_CASE("where nobody asks for a device, two GPUs take together what neither holds alone") {
  const auto path = tests::fixture_path("qwen3moe");
  const Sizes sizes(path, split_options());
  const std::vector<uint64_t> limits = limits_of(sizes, 1);
  for (const size_t n : {size_t{1}, size_t{2}}) {
    CAPTURE(n);
    simt::GpuOptions gpu = gpus(n);
    for (simt::DeviceModel& device : gpu.devices) device.device_bytes_per_second = 1e9;  // so that sharing does not pay
    tests::fresh_gpu(gpu);
    engine::ModelOptions options = tests::options_for(DeviceKind::Automatic);
    options.vram_bytes_of_gpus = {limits.begin(), limits.begin() + static_cast<std::ptrdiff_t>(n)};
    const auto model = engine::Model::open(path, options);
    CAPTURE(std::string(model->why_no_gpu()));
    CHECK(model->is_on_gpu() == (n == 2));
    CHECK(model->gpus().size() == (n == 2 ? 2 : 0));
  }
}

TEST_CASE(
    "a GPU of two that fails, or has no memory left, gives a sentence that names it and no hang, and the next session "
    "works") {
  using simt::FaultPoint;
  const tests::Golden golden = tests::read_golden(kModel);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(3);
  const Sizes sizes(tests::fixture_path(kModel), split_options());
  size_t n_errors = 0, n_named[2] = {};
  for (const double share : {1.0, 0.4}) {
    engine::ModelOptions options = split_options();
    options.vram_bytes_of_gpus = limits_of(sizes, share);
    tests::Answer expected;
    for (const FaultPoint point : {FaultPoint::Copy, FaultPoint::Launch, FaultPoint::KernelExecution,
                                   FaultPoint::Malloc, FaultPoint::EventCreate, FaultPoint::StreamCreate})
      for (const uint64_t nth : {uint64_t{0}, uint64_t{2}, uint64_t{20}, uint64_t{60}}) {
        if (nth == 0 && point != FaultPoint::Copy) continue;  // no fault at all: what is expected
        CAPTURE(share);
        CAPTURE(static_cast<int>(point));
        CAPTURE(nth);
        simt::GpuOptions gpu = gpus(2);
        gpu.host_functions_may_wait = true;  // where streams cannot wait by themselves, because asking for it failed
        tests::fresh_gpu(gpu);
        if (nth > 0) simt::inject_fault({point, nth, point == FaultPoint::Malloc ? 2 : 719, 1});
        try {
          const auto model = engine::Model::open(tests::fixture_path(kModel), options);
          engine::Session session(model, options.session);
          const tests::Answer told = tests::answer(session, tokens, 1, 1);
          if (nth == 0) expected = told;
          if (point != FaultPoint::Malloc) CHECK(told.logits == expected.logits);
        } catch (const engine::Error& error) {
          ++n_errors;
          CHECK(nth > 0);
          const std::string text = error.what();
          CHECK(text.size() > 20);
          CHECK(text.find("The GPU") == std::string::npos);
          for (size_t i = 0; i < 2; ++i)
            n_named[i] += text.starts_with("GPU " + std::to_string(i) + " failed ") ? 1 : 0;
        }
      }
  }
  CHECK(n_errors > 12);
  CHECK(n_named[0] > 0);
  CHECK(n_named[1] > 0);
}
