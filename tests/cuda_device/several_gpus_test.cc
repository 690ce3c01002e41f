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
#include "tests/cuda_device/split_models.h"
#include "tests/scratch_folder.h"
#include "tools/usage_report.h"

using namespace sluice;
using engine::DeviceKind;
using engine::GroupRole;

namespace {

constexpr const char* kModel = "qwen3moe";

}  // namespace

TEST_CASE("every model that is split over two GPUs, whole or shared with the CPU, gives the CPU's logits") {
  size_t n_whole = 0, n_with_slots = 0, n_promoted = 0, n_dense_on_host = 0;
  for (const char* name : tests::kFixtures) {
    const auto path = tests::fixture_path(name);
    const tests::Golden golden = tests::read_golden(name);
    const std::span<const int32_t> tokens = std::span(golden.tokens).first(4);
    const auto cpu = tests::answer(path, tests::options_for(DeviceKind::Cpu), tokens, 1, 3);
    const tests::Sizes sizes(path, tests::split_options());
    if (sizes.layers.size() == 1) continue;
    const bool has_experts =
        std::ranges::any_of(sizes.layers, [](const auto& layer) { return layer.expert_bytes > 0; });
    const bool has_more = std::string(name) == "qwen3moe" || std::string(name) == "deepseek2-v3";
    for (const double share : {1.0, 0.4, -0.7}) {
      if (share > 0 && share < 1 && !has_experts) continue;
      if (share < 0 && has_experts && !has_more) continue;
      CAPTURE(std::string(name));
      CAPTURE(share);
      engine::ModelOptions options = tests::split_options();
      options.vram_bytes_of_gpus = tests::limits_of(sizes, share);
      // Of one whose embedding is the output as well: no GPU reads the other's memory.
      tests::fresh_gpu(tests::gpus(2), std::string(name) == "llama-factors-tied");
      const auto model = engine::Model::open(path, options);
      tests::check_parts(*model, 2);
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
  engine::ModelOptions options = tests::split_options();
  options.vram_bytes_of_gpus = limits;
  options.store.storage = engine::Storage::Disk;
  options.store.store_bytes = uint64_t{64} << 20;
  options.sharing.reads_host = false;
  tests::fresh_gpu(gpu, true);
  Scheduled result;
  try {
    const auto model = engine::Model::open(tests::fixture_path(kModel), options);
    tests::check_parts(*model, 2);
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
  const tests::Sizes sizes(tests::fixture_path(kModel), tests::split_options());
  struct Case {
    double share;
    simt::Effects effects;
    bool is_straight;
  };
  std::map<double, Scheduled> eager;
  for (const double share : {1.0, 0.4}) {
    eager[share] = scheduled(tests::gpus(2), tests::limits_of(sizes, share));
    CHECK(eager[share].findings == std::vector<std::string>());
  }
  for (const Case& one : {Case{1, simt::Effects::Eager, false}, Case{1, simt::Effects::Seeded, true},
                          Case{0.4, simt::Effects::Lazy, true}, Case{0.4, simt::Effects::Seeded, false}}) {
    CAPTURE(one.share);
    CAPTURE(static_cast<int>(one.effects));
    simt::GpuOptions gpu = tests::gpus(2);
    gpu.effects = one.effects;
    gpu.peer_access = one.is_straight;
    const Scheduled other = scheduled(gpu, tests::limits_of(sizes, one.share));
    CHECK(!other.has_failed);
    CHECK(other.findings == std::vector<std::string>());
    CHECK(other.answer.logits == eager[one.share].answer.logits);
  }
}

TEST_CASE("an order between two GPUs that is forgotten is found: rows are read before they are made") {
  const tests::Sizes sizes(tests::fixture_path(kModel), tests::split_options());
  for (const bool is_straight : {true, false}) {
    CAPTURE(is_straight);
    simt::GpuOptions gpu = tests::gpus(2);
    gpu.effects = simt::Effects::Seeded;
    gpu.peer_access = is_straight;
    // The first to wait for the other GPU is the stream to which rows come.
    gpu.forgets_wait = [first = uintptr_t{0}](uintptr_t stream) mutable {
      if (first == 0) first = stream;
      return stream == first;
    };
    const Scheduled result = scheduled(gpu, tests::limits_of(sizes, 1));
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
      simt::GpuOptions gpu = tests::gpus(2);
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
        simt::GpuOptions gpu = tests::gpus(2);
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
  tests::fresh_gpu(tests::gpus(2));
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
  const tests::Sizes sizes(path, tests::split_options());
  std::vector<std::vector<float>> logits[2];
  for (const double share : {-9.0, 0.5}) {  // the CPU first
    CAPTURE(share);
    engine::ModelOptions options = tests::options_for(DeviceKind::Cpu);
    if (share > 0) {
      options = tests::split_options();
      options.vram_bytes_of_gpus = tests::limits_of(sizes, share);
    }
    tests::fresh_gpu(tests::gpus(2));
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
    tests::check_parts(*model, 2);
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
  // Passes that take as much where all is on the GPU as where it is not: else the first has room for both layers.
  engine::ModelOptions common = tests::split_options();
  common.session.n_batch = engine::kMostSharedRows;
  const tests::Sizes sizes(path, common);
  for (const bool has_store : {false, true}) {
    CAPTURE(has_store);
    engine::ModelOptions options = common;
    options.vram_bytes_of_gpus = {sizes.of(0, 1, 1), sizes.of(1, 2, 0.4)};
    if (has_store) options.store.storage = engine::Storage::Disk;
    options.store.store_bytes = has_store ? uint64_t{64} << 20 : 0;
    tests::fresh_gpu(tests::gpus(2));
    const auto model = engine::Model::open(path, options);
    tests::check_parts(*model, 2);
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

TEST_CASE("one store on the disk lies beneath the tiers of both GPUs, and what they learn is kept together") {
  const auto path = tests::fixture_path("qwen3moe");
  const tests::Golden golden = tests::read_golden("qwen3moe");
  const auto cpu = tests::answer(path, tests::options_for(DeviceKind::Cpu), golden.tokens, 6, 1);
  const tests::ScratchFolder folder;
  engine::ModelOptions options = tests::split_options();
  const tests::Sizes sizes(path, options);
  options.vram_bytes_of_gpus = tests::limits_of(sizes, 0.4);
  options.store.storage = engine::Storage::Disk;
  options.store.heat_folder = folder.path();
  for (const uint64_t store_bytes : {uint64_t{96} << 10, uint64_t{64} << 20}) {
    CAPTURE(store_bytes);
    options.store.store_bytes = store_bytes;
    tests::fresh_gpu(tests::gpus(2));
    const auto model = engine::Model::open(path, options);
    tests::check_parts(*model, 2);
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
  tests::fresh_gpu(tests::gpus(2));
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
  const tests::Sizes sizes(path, tests::split_options());
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
    simt::GpuOptions gpu = tests::gpus(3);
    gpu.devices[1].device_bytes_per_second = 1e12;  // the fastest
    gpu.devices[2].memory_bytes = uint64_t{1} << 30;
    gpu.devices[2].device_bytes_per_second = 1e11;
    tests::fresh_gpu(gpu);
    engine::ModelOptions options = tests::split_options();
    options.gpus = c.gpus;
    options.vram_bytes = c.limit;
    options.vram_bytes_of_gpus = c.limits;
    const auto model = engine::Model::open(path, options);
    std::vector<int> used;
    for (const engine::GpuUse& part : model->gpus()) used.push_back(part.ordinal);
    if (!c.expected.empty()) CHECK(used == c.expected);
    tests::check_parts(*model, used.size());
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
    tests::fresh_gpu(tests::gpus(2));
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
  const tests::Sizes sizes(path, tests::split_options());
  const std::vector<uint64_t> limits = tests::limits_of(sizes, 1);
  for (const size_t n : {size_t{1}, size_t{2}}) {
    CAPTURE(n);
    simt::GpuOptions gpu = tests::gpus(n);
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
  const tests::Sizes sizes(tests::fixture_path(kModel), tests::split_options());
  size_t n_errors = 0, n_named[2] = {};
  for (const double share : {1.0, 0.4}) {
    engine::ModelOptions options = tests::split_options();
    options.vram_bytes_of_gpus = tests::limits_of(sizes, share);
    tests::Answer expected;
    for (const FaultPoint point : {FaultPoint::Copy, FaultPoint::Launch, FaultPoint::KernelExecution,
                                   FaultPoint::Malloc, FaultPoint::EventCreate, FaultPoint::StreamCreate})
      for (const uint64_t nth : {uint64_t{0}, uint64_t{2}, uint64_t{20}, uint64_t{60}}) {
        if (nth == 0 && point != FaultPoint::Copy) continue;  // no fault at all: what is expected
        CAPTURE(share);
        CAPTURE(static_cast<int>(point));
        CAPTURE(nth);
        simt::GpuOptions gpu = tests::gpus(2);
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
