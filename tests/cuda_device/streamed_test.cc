// Passes of many rows in which all experts come to the GPU: those that it does not hold through a ring, each once.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>

#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/forward/prefill_cost.h"
#include "engine/session/session_memory.h"
#include "tests/cuda_device/fixture.h"
#include "tests/engine/store_fixtures.h"

using namespace sluice;
using engine::DeviceKind;

namespace {

constexpr const char* kModel = "deepseek2-v2-lite";
constexpr size_t kRows = 33;  // more than GPU and CPU share

// A text longer than what was stored.
std::vector<int32_t> prompt_of(const tests::Golden& golden) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; tokens.size() < kRows; ++i) tokens.push_back(golden.tokens[i * 7 % golden.tokens.size()]);
  return tokens;
}

// A long prompt and two tokens behind it, with what the CPU makes of them.
struct Prompt {
  explicit Prompt(const char* name) : golden(tests::read_golden(name)), tokens(prompt_of(golden)) {
    cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu, engine::CacheType::F32), tokens,
                        2, kRows);
  }
  void check(engine::Session& session) const {
    tests::check_same(cpu, tests::answer(session, tokens, 2, kRows), golden.n_vocabulary);
  }

  tests::Golden golden;
  std::vector<int32_t> tokens;
  tests::Answer cpu;
};

engine::ModelOptions streaming_options() {
  // Over other caches many rows attend in 16-bit floats (prefill_models_test.cc), which would hide smaller mistakes.
  engine::ModelOptions options = tests::options_for(DeviceKind::Cuda, engine::CacheType::F32);
  options.session.n_context = options.session.n_batch = 1024;
  options.promotion.promotes = options.promotion.has_thread = false;
  options.promotion.now = [seconds = 0.0]() mutable { return seconds += 0.01; };
  options.sharing.weighs_streaming = false;
  // Slots for all experts, in pinned memory.
  options.store.storage = engine::Storage::Disk;
  options.store.store_bytes = uint64_t{64} << 20;
  return options;
}

// VRAM for all weights and for passes of 64 rows, but not for a session that has the whole model there.
uint64_t vram_bytes(const char* name) {
  tests::fresh_gpu();
  engine::ModelOptions options = streaming_options();
  options.store = {};
  const auto model = engine::Model::open(tests::fixture_path(name), options);
  REQUIRE(model->forward_context().host == nullptr);
  const engine::ForwardContext& context = model->forward_context();
  const engine::SessionMemory memory =
      engine::session_memory(model->spec(), context.weights, context.latent_attention, options.session);
  const uint64_t pass = engine::shared_pass_bytes(model->spec(), context.weights, context.latent_attention,
                                                  options.session.cache, 64, 128);
  const uint64_t wanted = model->device_memory().device_bytes + memory.shared_bytes() + pass + (uint64_t{1} << 17);
  REQUIRE(wanted < model->device_memory().device_bytes + memory.gpu_bytes());
  return wanted;
}

// With so many of its experts' slots, or a few more, left.
std::shared_ptr<const engine::Model> open(const char* name, engine::ModelOptions options, double share) {
  const auto model = engine::Model::open(tests::fixture_path(name), options);
  engine::ForwardContext& context = model->forward_context();
  REQUIRE(context.host != nullptr);
  REQUIRE(context.host->tier() != nullptr);
  const double bytes = static_cast<double>(model->vram_statistics().slot_bytes) * (1 - share);
  context.host->tier()->give_back(*context.stream, static_cast<uint64_t>(bytes));
  return model;
}

// Of the store beneath.
uint64_t least_store_bytes(const char* name, engine::ModelOptions options) {
  for (options.store.store_bytes = uint64_t{8} << 10;; options.store.store_bytes += uint64_t{4} << 10) {
    tests::fresh_gpu();
    try {
      engine::Model::open(tests::fixture_path(name), options);
      return options.store.store_bytes;
    } catch (const engine::Error&) {
      REQUIRE(options.store.store_bytes < uint64_t{64} << 20);
    }
  }
}

std::vector<bool> held(const engine::Model& model) {
  std::vector<bool> all;
  const engine::ForwardContext& context = model.forward_context();
  for (uint32_t layer = 0; layer < context.weights.layers.size(); ++layer)
    if (const auto* experts = std::get_if<engine::ExpertsWeights>(&context.weights.layers[layer].ffn))
      for (int32_t id = 0; id < experts->gate.count; ++id) all.push_back(context.host->tier()->holds(layer, id));
  return all;
}

}  // namespace

TEST_CASE(
    "in a long prompt each expert that the GPU does not hold comes to it once, and the logits of prompt and answer are "
    "the CPU's") {
  for (const char* name : {kModel, "llama-mixtral", "qwen3moe", "deepseek2-kimi-k2", "deepseek2-r1-ud"}) {
    CAPTURE(std::string(name));
    const Prompt prompt(name);
    engine::ModelOptions options = streaming_options();
    options.vram_bytes = vram_bytes(name);
    // Of one model a second prompt as well, and one without slots.
    const bool is_all = std::string(name) == "qwen3moe";
    for (const double share : {0.5, 0.0}) {
      if (share == 0 && !is_all) continue;
      CAPTURE(share);
      tests::fresh_gpu();
      const auto model = open(name, options, share);
      const engine::VramStatistics before = model->vram_statistics();
      uint64_t n_expected = 0;
      std::vector<bool> held_after_first;
      for (uint64_t n_prompts = 1; n_prompts <= (is_all ? 2 : 1); ++n_prompts) {
        engine::Session session(model, options.session);
        prompt.check(session);
        const engine::VramStatistics now = model->vram_statistics();
        n_expected += now.n_experts - static_cast<uint64_t>(std::ranges::count(held(*model), true));
        CHECK(now.n_streamed_passes == n_prompts);
        CHECK(now.n_streamed == n_expected);
        CHECK(now.streamed_bytes > 0);
        // While tokens come one by one, the memory of the ring and of the prompt's pass belongs to experts again.
        CHECK(now.ring_bytes == 0);
        CHECK(now.n_slots_taken_back > 0);
        CHECK(now.n_slots + now.n_slots_given_back ==
              before.n_slots + before.n_slots_given_back + now.n_slots_taken_back);
        if (n_prompts == 1) held_after_first = held(*model);
      }
      CHECK(held(*model) == held_after_first);
      CHECK(model->device_memory().host_bytes == 0);
    }
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE(
    "in a long prompt experts that neither the GPU nor the host's memory holds come from the disk, once, and "
    "those that memory holds stay there") {
  for (const char* name : {kModel, "qwen3moe", "deepseek2-r1-ud"}) {
    CAPTURE(std::string(name));
    const Prompt prompt(name);
    engine::ModelOptions options = streaming_options();
    options.vram_bytes = vram_bytes(name);
    // As few slots as a store may have, and more.
    const uint64_t least_bytes = least_store_bytes(name, options);
    for (const uint64_t store_bytes : {least_bytes, least_bytes + (uint64_t{48} << 10)}) {
      CAPTURE(store_bytes);
      options.store.store_bytes = store_bytes;
      tests::fresh_gpu();
      const auto model = open(name, options, 0.3);
      const uint64_t n_slots = model->store_statistics().n_expert_slots;
      CAPTURE(n_slots);
      REQUIRE(n_slots < model->store_statistics().n_experts);
      engine::Session session(model, options.session);
      for (uint64_t n_prompts = 1; n_prompts <= 2; ++n_prompts) {
        const engine::StoreStatistics before = model->store_statistics();
        const engine::VramStatistics tier_before = model->vram_statistics();
        CHECK(session.append(prompt.tokens));
        const engine::StoreStatistics now = engine::since(before, model->store_statistics());
        const engine::VramStatistics tier = model->vram_statistics();
        const auto n_missed = tier.n_experts - static_cast<uint64_t>(std::ranges::count(held(*model), true));
        CHECK(tier.n_streamed_passes == tier_before.n_streamed_passes + 1);
        CHECK(tier.n_streamed == tier_before.n_streamed + n_missed);
        // What was not read was in one of the slots.
        CHECK(now.n_misses > 0);
        CHECK(now.n_misses + now.n_hits <= n_missed);
        CHECK(now.n_misses + n_slots >= n_missed);
        // Half of the slots pass experts on at most, unless what they had is on the GPU.
        const bool is_one_class = std::string(name) == "qwen3moe";
        if (n_prompts == 2 && is_one_class) CHECK(now.n_misses + n_slots / 2 <= n_missed);
      }
      engine::Session other(model, options.session);
      prompt.check(other);
      CHECK(model->vram_statistics().n_streamed_passes == 3);
    }
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

namespace {

// Its layers with experts follow one another.
constexpr const char* kInTurn = "qwen3moe";

struct Scheduled {
  tests::Answer answer;
  uint64_t n_streamed = 0;
  std::vector<std::string> findings;
  bool has_failed = false;
};

Scheduled scheduled(const char* name, uint64_t vram, const simt::GpuOptions& gpu, bool has_all_in_memory = true) {
  const tests::Golden golden = tests::read_golden(name);
  engine::ModelOptions options = streaming_options();
  options.vram_bytes = vram;
  if (!has_all_in_memory) options.store.store_bytes = least_store_bytes(name, options);
  tests::fresh_gpu(gpu, true);
  Scheduled result;
  try {
    const auto model = open(name, options, 0.3);
    engine::Session session(model, options.session);
    result.answer = tests::answer(session, prompt_of(golden), 0, kRows);
    result.n_streamed = model->vram_statistics().n_streamed;
  } catch (const engine::Error&) {  // fresh memory is full of NaN
    result.has_failed = true;
  }
  result.findings = simt::take_findings();
  return result;
}

}  // namespace

TEST_CASE("experts that come through the ring as late as is legal, or at odd moments, race with nothing") {
  const uint64_t vram = vram_bytes(kInTurn);
  for (const bool has_all_in_memory : {true, false}) {
    CAPTURE(has_all_in_memory);
    const Scheduled eager = scheduled(kInTurn, vram, {}, has_all_in_memory);
    CHECK(eager.n_streamed > 4);  // each half of the ring is used again
    CHECK(!eager.has_failed);
    CHECK(eager.findings == std::vector<std::string>());
    for (const auto& [effects, seed] : {std::pair(simt::Effects::Lazy, 1), std::pair(simt::Effects::Seeded, 1)}) {
      simt::GpuOptions gpu;
      gpu.effects = effects;
      gpu.seed = static_cast<uint64_t>(seed);
      const Scheduled other = scheduled(kInTurn, vram, gpu, has_all_in_memory);
      CHECK(!other.has_failed);
      CHECK(other.findings == std::vector<std::string>());
      CHECK(other.answer.logits == eager.answer.logits);
    }
  }
}

TEST_CASE(
    "an order of copies and products that is forgotten is found: half a ring is read before it is filled, or filled "
    "while it is read") {
  const uint64_t vram = vram_bytes(kInTurn);
  // The first to wait is the stream of copies.
  for (const bool of_copies : {true, false}) {
    bool is_found = false;
    for (uint64_t seed = 1; seed <= 3 && !is_found; ++seed) {
      simt::GpuOptions gpu;
      gpu.effects = simt::Effects::Seeded;
      gpu.seed = seed;
      gpu.forgets_wait = [of_copies, first = uintptr_t{0}](uintptr_t stream) mutable {
        if (first == 0) first = stream;
        return (stream == first) == of_copies;
      };
      const Scheduled result = scheduled(kInTurn, vram, gpu);
      is_found = result.has_failed || !result.findings.empty();
    }
    CAPTURE(of_copies);
    CHECK(is_found);
  }
}

TEST_CASE("where experts are not in memory that copies can read, or nobody wants it, GPU and CPU share a long prompt") {
  const Prompt prompt(kModel);
  const uint64_t vram = vram_bytes(kModel);
  struct Case {
    const char* name;
    void (*change)(engine::ModelOptions& options);
    bool fails_to_pin;
  };
  for (const Case& one :
       {Case{"a mapped file", [](engine::ModelOptions& o) { o.store.storage = engine::Storage::Mapped; }, false},
        Case{"memory that is not pinned", [](engine::ModelOptions&) {}, true},
        Case{"switched off", [](engine::ModelOptions& o) { o.sharing.most_streamed_rows = 0; }, false}}) {
    CAPTURE(one.name);
    engine::ModelOptions options = streaming_options();
    options.vram_bytes = vram;
    one.change(options);
    tests::fresh_gpu();
    if (one.fails_to_pin) simt::inject_fault({simt::FaultPoint::HostRegister, 1, 2, 1000});
    const auto model = open(kModel, options, 0.3);
    engine::Session session(model, options.session);
    prompt.check(session);
    CHECK(model->vram_statistics().n_streamed_passes == 0);
    CHECK(model->vram_statistics().n_streamed == 0);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("a long prompt that is cancelled, or meets a GPU that fails, leaves a session that works") {
  const Prompt prompt(kModel);
  engine::ModelOptions options = streaming_options();
  options.vram_bytes = vram_bytes(kModel);
  tests::fresh_gpu();
  const auto model = open(kModel, options, 0.3);
  engine::Session session(model, options.session);
  for (int n_layers = 0; n_layers < 2; ++n_layers) {
    engine::Session::Progress progress;
    progress.cancelled = [n = n_layers]() mutable { return n-- == 0; };
    CHECK(!session.append(prompt.tokens, progress));
    CHECK(session.tokens().empty());
  }
  CHECK(model->vram_statistics().n_streamed_passes == 0);
  prompt.check(session);
  CHECK(model->vram_statistics().n_streamed_passes == 1);
  size_t n_errors = 0;
  for (const uint64_t nth : {1, 20}) {
    CAPTURE(nth);
    engine::Session other(model, options.session);
    simt::inject_fault({simt::FaultPoint::Copy, nth, 999, 1});
    try {
      other.append(prompt.tokens);
    } catch (const engine::Error& error) {
      ++n_errors;
      CHECK(error.kind() == engine::Error::Kind::Device);
      CHECK(other.tokens().empty());
    }
    engine::Session next(model, options.session);
    prompt.check(next);
  }
  CHECK(n_errors == 2);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("a disk that fails under a long prompt is told of, and leaves a session that works") {
  const Prompt prompt(kModel);
  engine::ModelOptions options = streaming_options();
  options.vram_bytes = vram_bytes(kModel);
  options.store.store_bytes = least_store_bytes(kModel, options);
  const auto n_until_failure = std::make_shared<std::atomic<int>>(1 << 20);
  options.store.wrap_disk = [n_until_failure](std::unique_ptr<engine::Disk> disk) {
    return std::make_unique<tests::MeddlingDisk>(std::move(disk),
                                                 [n_until_failure](const engine::DiskRead&, int64_t result) -> int64_t {
                                                   return (*n_until_failure)-- == 0 ? -EIO : result;
                                                 });
  };
  tests::fresh_gpu();
  const auto model = open(kModel, options, 0.3);
  int n_errors = 0;
  for (const int n : {0, 3, 5}) {
    CAPTURE(n);
    engine::Session session(model, options.session);
    *n_until_failure = n;
    try {
      session.append(prompt.tokens);
    } catch (const engine::Error& error) {
      ++n_errors;
      CHECK(error.kind() == engine::Error::Kind::BadFile);
      CHECK(session.tokens().empty());
    }
    *n_until_failure = 1 << 20;
    prompt.check(session);
  }
  CHECK(n_errors == 3);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("what the routers chose for a long prompt is told") {
  const tests::Golden golden = tests::read_golden("qwen3moe");
  const std::vector<int32_t> tokens = prompt_of(golden);
  std::vector<uint16_t> chosen[2];
  for (const DeviceKind device : {DeviceKind::Cpu, DeviceKind::Cuda}) {
    engine::ModelOptions options = tests::options_for(device, engine::CacheType::F32);
    if (device == DeviceKind::Cuda) {
      options = streaming_options();
      options.vram_bytes = vram_bytes("qwen3moe");
    }
    tests::fresh_gpu();
    const auto path = tests::fixture_path("qwen3moe");
    const auto model = device == DeviceKind::Cuda ? open("qwen3moe", options, 0.3) : engine::Model::open(path, options);
    engine::Session session(model, options.session);
    std::vector<uint16_t>& all = chosen[device == DeviceKind::Cuda];
    session.record_routing([&](const engine::traces::Pass& pass) {
      all.insert(all.end(), pass.expert_ids.begin(), pass.expert_ids.end());
    });
    session.append(tokens);
    if (device == DeviceKind::Cuda) CHECK(model->vram_statistics().n_streamed_passes == 1);
  }
  CHECK(!chosen[0].empty());
  CHECK(chosen[0] == chosen[1]);
}

TEST_CASE("a prompt is streamed when that is faster by what was measured") {
  const tests::Golden golden = tests::read_golden(kModel);
  const std::vector<int32_t> tokens = prompt_of(golden);
  const uint64_t vram = vram_bytes(kModel);
  for (const bool is_fast : {true, false}) {
    CAPTURE(is_fast);
    engine::ModelOptions options = streaming_options();
    options.vram_bytes = vram;
    options.sharing.weighs_streaming = true;
    options.promotion.link_bytes_per_second = is_fast ? 1e9 : 1;
    tests::fresh_gpu();
    const auto model = open(kModel, options, 0.3);
    engine::Session session(model, options.session);
    session.append(tokens);  // times the host: too few rows for what is assumed of it
    CHECK(model->vram_statistics().n_streamed_passes == 0);
    session.append(tokens);
    CHECK(model->vram_statistics().n_streamed_passes == (is_fast ? 1 : 0));
  }
}

TEST_CASE(
    "streaming costs the link's time and some a row, and the host time a row; before it was timed 128 rows decide") {
  const auto link = [](double seconds) { return engine::StreamSeconds{seconds, 0}; };
  engine::PrefillCost cost;
  CHECK(!cost.is_streaming_faster(127, link(3.0)));
  CHECK(cost.is_streaming_faster(129, link(3.0)));
  CHECK(cost.is_streaming_faster(1, link(0.0)));  // all is there
  cost.took_shared(7, 100.0);                     // tells nothing about many rows
  CHECK(cost.shared_row_seconds() == 0);
  cost.took_shared(32, 1.6);
  CHECK(cost.shared_row_seconds() == doctest::Approx(0.05));
  CHECK(!cost.is_streaming_faster(59, link(3.0)));
  CHECK(cost.is_streaming_faster(61, link(3.0)));
  cost.took_streamed(1000, 13.0, link(3.0));
  CHECK(cost.streamed_row_seconds() == doctest::Approx(0.01));
  CHECK(!cost.is_streaming_faster(74, link(3.0)));
  CHECK(cost.is_streaming_faster(76, link(3.0)));
  cost.took_streamed(1000, 1.0, link(3.0));  // the link was faster than thought
  CHECK(cost.streamed_row_seconds() == doctest::Approx(0.0075));
  cost.took_shared(32, 32 * 0.09);
  CHECK(cost.shared_row_seconds() == doctest::Approx(0.06));
}

TEST_CASE("of link and disk the slower one decides; before the host was timed a disk pays from 48 rows on") {
  engine::PrefillCost cost;
  CHECK(!cost.is_streaming_faster(47, {3.0, 20.0}));
  CHECK(cost.is_streaming_faster(49, {3.0, 20.0}));
  CHECK(!cost.is_streaming_faster(120, {20.0, 3.0}));
  cost.took_shared(32, 32.0);
  CHECK(!cost.is_streaming_faster(19, {3.0, 20.0}));
  CHECK(cost.is_streaming_faster(21, {3.0, 20.0}));
  cost.took_streamed(1000, 520.0, {3.0, 20.0});
  CHECK(cost.streamed_row_seconds() == doctest::Approx(0.5));
  engine::StreamSeconds all{1.0, 2.0};
  all += {3.0, 4.0};
  CHECK(all.at_once() == 6.0);
}
