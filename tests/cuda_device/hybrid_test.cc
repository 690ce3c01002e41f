// Models that do not fit in VRAM: the GPU multiplies what it holds, the CPU the rest, on the same token; and experts come and go.

#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/placement/plan.h"
#include "engine/session/session_memory.h"
#include "tests/cuda_device/fixture.h"

using namespace sluice;
using engine::DeviceKind;
using engine::GroupRole;

namespace {

// How a model lies in VRAM as a whole.
struct Sizes {
  uint64_t all = 0;  // weights, and what is kept free for a session that GPU and CPU share
  uint64_t experts = 0, host_candidates = 0;
  uint64_t n_experts = 0, one_expert = 0;
};

Sizes sizes_of(const char* name) {
  tests::fresh_gpu();
  const auto model = engine::Model::open(tests::fixture_path(name), tests::options_for(DeviceKind::Cuda));
  CHECK(model->host_dense_bytes() == 0);
  Sizes sizes;
  const engine::ForwardContext& context = model->forward_context();
  const engine::SessionMemory memory = engine::session_memory(model->spec(), context.weights, context.latent_attention,
                                                              tests::options_for(DeviceKind::Cuda).session);
  sizes.all = model->device_memory().device_bytes + memory.shared_bytes();
  for (const engine::WeightGroup& group : model->work().groups) {
    const uint64_t bytes = group.unit_file_bytes() * group.n_units;
    if (group.role == GroupRole::RoutedExperts) {
      sizes.experts += bytes;
      sizes.n_experts += group.n_units;
      sizes.one_expert = std::max(sizes.one_expert, group.unit_file_bytes());
    } else if (group.role == GroupRole::SharedExperts || group.role == GroupRole::DenseFfn ||
               group.role == GroupRole::Output) {
      sizes.host_candidates += bytes;
    }
  }
  return sizes;
}

// VRAM for a share of the experts, or of what else may be left to the CPU when that is below 0: -1 is none of either.
uint64_t vram_for(const Sizes& sizes, double share) {
  if (share < 0)
    return sizes.all - sizes.experts - static_cast<uint64_t>(-share * static_cast<double>(sizes.host_candidates));
  // What a slot is larger than its expert, and the table of places.
  const auto n_slots = static_cast<uint64_t>(share * static_cast<double>(sizes.n_experts));
  return sizes.all - sizes.experts + n_slots * (sizes.one_expert + 3 * 255) + 24 * sizes.n_experts + 512;
}

struct Shared {
  tests::Answer answer;
  engine::VramStatistics vram;
  uint64_t host_dense_bytes = 0;
  bool has_host_side = false;
};

engine::ModelOptions shared_options(uint64_t vram_bytes) {
  engine::ModelOptions options = tests::options_for(DeviceKind::Cuda);
  options.vram_bytes = vram_bytes;
  options.promotion.must_pay = false;    // what is tested is how they come, not whether
  options.promotion.has_thread = false;  // so that each run is like the other
  options.promotion.now = [seconds = 0.0]() mutable { return seconds += 0.01; };
  return options;
}

Shared shared_answer(const char* name, const engine::ModelOptions& options, std::span<const int32_t> tokens,
                     size_t rows_a_pass, size_t n_generated = 4) {
  const auto model = engine::Model::open(tests::fixture_path(name), options);
  engine::Session session(model, options.session);
  Shared shared;
  shared.answer = tests::answer(session, tokens, n_generated, rows_a_pass);
  shared.vram = model->vram_statistics();
  shared.host_dense_bytes = model->host_dense_bytes();
  shared.has_host_side = model->forward_context().host != nullptr;
  return shared;
}

}  // namespace

TEST_CASE(
    "every model gives the CPU's logits with none, one, some and nearly all of its experts in VRAM, and with less than "
    "its dense weights") {
  size_t n_dense_on_host = 0, n_with_slots = 0, n_promoted = 0;
  for (const char* name : tests::kFixtures) {
    const tests::Golden golden = tests::read_golden(name);
    const std::span<const int32_t> tokens = std::span(golden.tokens).first(10);
    const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 4, 3);
    const Sizes sizes = sizes_of(name);
    for (const double share : {0.8, 0.4, 0.1, 0.0, -0.5, -1.0}) {
      if (share >= 0 && sizes.n_experts == 0) continue;
      tests::fresh_gpu();
      const Shared shared = shared_answer(name, shared_options(vram_for(sizes, share)), tokens, 3);
      CAPTURE(name);
      CAPTURE(share);
      CAPTURE(shared.vram.n_slots);
      CHECK(shared.has_host_side);
      CHECK(shared.vram.n_slots < std::max<uint64_t>(1, sizes.n_experts));
      if (share > 0.3) CHECK(shared.vram.n_slots > 0);
      if (share < 0) CHECK(shared.host_dense_bytes > 0);
      n_dense_on_host += shared.host_dense_bytes > 0;
      n_with_slots += shared.vram.n_slots > 0;
      n_promoted += shared.vram.n_promotions;
      tests::check_same(cpu, shared.answer, golden.n_vocabulary);
    }
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
  CHECK(n_dense_on_host >= 40);
  CHECK(n_with_slots >= 26);
  CHECK(n_promoted > 50);
}

namespace {

constexpr const char* kModel = "deepseek2-v2-lite";

struct Scheduled {
  tests::Answer answer;
  engine::VramStatistics vram;
  std::vector<std::string> findings;
};

Scheduled scheduled(const char* name, const simt::GpuOptions& gpu, engine::PolicyKind policy, double share) {
  const tests::Golden golden = tests::read_golden(name);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(6);
  const Sizes sizes = sizes_of(name);
  tests::fresh_gpu(gpu, true);
  Scheduled result;
  {
    engine::ModelOptions options = shared_options(vram_for(sizes, share));
    options.store.policy = policy;
    // Slots in pinned memory, which copies need not be brought to first: that would wait for the copies before.
    options.store.storage = engine::Storage::Disk;
    options.store.store_bytes = uint64_t{64} << 20;
    options.sharing.reads_host = false;
    const Shared shared = shared_answer(name, options, tokens, 1, 3);
    result.answer = shared.answer;
    result.vram = shared.vram;
  }
  result.findings = simt::take_findings();
  return result;
}

}  // namespace

TEST_CASE("experts that come and go change nothing in any schedule, and nobody reads a slot while it is written") {
  const Scheduled eager = scheduled(kModel, {}, engine::PolicyKind::Hybrid, 0.4);
  CHECK(eager.vram.n_promotions >= 5);
  CHECK(eager.findings == std::vector<std::string>());
  for (const auto effects : {simt::Effects::Lazy, simt::Effects::Seeded})
    for (const uint64_t seed : {1, 2, 3}) {
      simt::GpuOptions gpu;
      gpu.effects = effects;
      gpu.seed = seed;
      const Scheduled other = scheduled(kModel, gpu, engine::PolicyKind::Hybrid, 0.4);
      CHECK(other.findings == std::vector<std::string>());
      CHECK(other.answer.logits == eager.answer.logits);
      CHECK(other.vram.n_promotions == eager.vram.n_promotions);
    }
}

TEST_CASE(
    "an order of streams that is forgotten is found: a slot is written while kernels may read it, or read before it is "
    "written") {
  // The first to wait is the stream of copies, for the pass that may read the slots; the other waits for newcomers before kernels read them.
  for (const bool of_copies : {true, false}) {
    size_t n_found = 0;
    for (const uint64_t seed : {1, 2, 3}) {
      simt::GpuOptions gpu;
      gpu.effects = simt::Effects::Seeded;
      gpu.seed = seed;
      gpu.forgets_wait = [of_copies, first = uintptr_t{0}](uintptr_t stream) mutable {
        if (first == 0) first = stream;
        return (stream == first) == of_copies;
      };
      // Slots that a pass has read are written after it, and newcomers are needed at once.
      for (const auto& [name, policy, share] : {std::tuple(kModel, engine::PolicyKind::Lru, 0.26),
                                                std::tuple("deepseek2-kimi-k2", engine::PolicyKind::Lfu, 0.5)})
        n_found += !scheduled(name, gpu, policy, share).findings.empty();
    }
    CAPTURE(of_copies);
    CHECK(n_found > 0);
  }
}

TEST_CASE("copies on a thread of their own bring experts as well") {
  const tests::Golden golden = tests::read_golden(kModel);
  const Sizes sizes = sizes_of(kModel);
  const auto cpu = tests::answer(tests::fixture_path(kModel), tests::options_for(DeviceKind::Cpu), golden.tokens, 8, 1);
  tests::fresh_gpu();
  engine::ModelOptions options = shared_options(vram_for(sizes, 0.5));
  options.promotion.has_thread = true;
  const Shared shared = shared_answer(kModel, options, golden.tokens, 1, 8);
  CHECK(shared.vram.n_promotions > 0);
  CHECK(shared.vram.n_hits + shared.vram.n_misses > 0);
  tests::check_same(cpu, shared.answer, golden.n_vocabulary);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("what the routers chose in a shared pass is told") {
  const char* const name = "qwen3moe";
  const tests::Golden golden = tests::read_golden(name);
  const Sizes sizes = sizes_of(name);
  std::vector<uint16_t> chosen[2];
  for (const DeviceKind device : {DeviceKind::Cpu, DeviceKind::Cuda}) {
    tests::fresh_gpu();
    engine::ModelOptions options = tests::options_for(device);
    if (device == DeviceKind::Cuda) options.vram_bytes = vram_for(sizes, 0.4);
    engine::Session session(engine::Model::open(tests::fixture_path(name), options), options.session);
    session.record_routing([&](const engine::traces::Pass& pass) {
      std::vector<uint16_t>& all = chosen[device == DeviceKind::Cuda];
      all.insert(all.end(), pass.expert_ids.begin(), pass.expert_ids.end());
    });
    session.append(golden.tokens);
  }
  CHECK(chosen[0] == chosen[1]);
  CHECK(!chosen[0].empty());
}

TEST_CASE("a GPU that fails in a shared pass gives a sentence and no hang, and the next session works") {
  using simt::FaultPoint;
  const tests::Golden golden = tests::read_golden(kModel);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(3);
  const Sizes sizes = sizes_of(kModel);
  tests::fresh_gpu();
  const auto expected = shared_answer(kModel, shared_options(vram_for(sizes, 0.5)), tokens, 1, 1).answer.logits;
  size_t n_errors = 0;
  for (const FaultPoint point : {FaultPoint::Copy, FaultPoint::Launch, FaultPoint::GraphInstantiate,
                                 FaultPoint::KernelExecution, FaultPoint::Malloc, FaultPoint::HostAlloc})
    for (const uint64_t nth : {uint64_t{1}, uint64_t{9}, uint64_t{40}, uint64_t{200}}) {
      CAPTURE(static_cast<int>(point));
      CAPTURE(nth);
      simt::GpuOptions gpu;
      gpu.host_functions_may_wait = true;  // where streams cannot wait by themselves, because asking for it failed
      tests::fresh_gpu(gpu);
      simt::inject_fault({point, nth, point == FaultPoint::Malloc || point == FaultPoint::HostAlloc ? 2 : 719, 1});
      try {
        shared_answer(kModel, shared_options(vram_for(sizes, 0.5)), tokens, 1, 1);
      } catch (const engine::Error& error) {
        ++n_errors;
        CHECK(std::string(error.what()).size() > 20);
      }
    }
  CHECK(n_errors > 6);
  tests::fresh_gpu();
  CHECK(shared_answer(kModel, shared_options(vram_for(sizes, 0.5)), tokens, 1, 1).answer.logits == expected);
}

TEST_CASE(
    "deferred experts change the logits, but not those of models in which no layer with experts follows another") {
  struct Case {
    const char* name;
    double share;
    bool changes;
  };
  for (const Case& one : {Case{"qwen3moe", 0.4, true}, Case{"qwen3moe", 1, false}, Case{kModel, 0.4, false}}) {
    CAPTURE(one.name);
    CAPTURE(one.share);
    const tests::Golden golden = tests::read_golden(one.name);
    const std::span<const int32_t> tokens = std::span(golden.tokens).first(8);
    const Sizes sizes = sizes_of(one.name);
    engine::ModelOptions options = shared_options(one.share < 1 ? vram_for(sizes, one.share) : 0);
    tests::fresh_gpu();
    const tests::Answer plain = shared_answer(one.name, options, tokens, 1).answer;
    options.sharing.defers = true;
    tests::fresh_gpu();
    const tests::Answer deferred = shared_answer(one.name, options, tokens, 1).answer;
    CHECK((plain.logits != deferred.logits) == one.changes);
    // All is added in the end: the first token's norm of logits stays what it is about.
    const auto norm = [&](const tests::Answer& answer) {
      double sum = 0;
      for (size_t i = 0; i < golden.n_vocabulary; ++i) sum += answer.logits[i] * answer.logits[i];
      return std::sqrt(sum);
    };
    CHECK(norm(deferred) == doctest::Approx(norm(plain)).epsilon(0.5));
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}
