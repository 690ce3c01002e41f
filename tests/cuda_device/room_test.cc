// How VRAM is divided: nearly all of it is used, no more than is allowed, as the plan says it, and experts give way to longer contexts.

#include "engine/forward/forward.h"
#include "engine/session/planning.h"
#include "engine/session/session_memory.h"
#include "tests/cuda_device/fixture.h"
#include "tests/engine/small_machine.h"

using namespace sluice;
using engine::DeviceKind;
using engine::GroupRole;

namespace {

constexpr const char* kModel = "qwen3moe";

uint64_t used_vram(const engine::Model& model) {
  const engine::DeviceMemory memory = model.device_memory();  // by the runtime's own count
  return memory.total_bytes - memory.free_bytes;
}

engine::ModelOptions gpu_options(uint64_t vram_bytes = 0) {
  engine::ModelOptions options = tests::options_for(DeviceKind::Cuda);
  options.vram_bytes = vram_bytes;
  options.promotion.has_thread = false;
  options.promotion.now = [seconds = 0.0]() mutable { return seconds += 0.01; };
  return options;
}

struct Sizes {
  uint64_t weights = 0, experts = 0;  // as VRAM has them
  engine::SessionMemory session;

  // VRAM for all but a share of the experts.
  uint64_t with(double share_of_experts) const {
    return weights - experts + session.shared_bytes() +
           static_cast<uint64_t>(share_of_experts * static_cast<double>(experts));
  }
};

Sizes sizes_of(const char* name) {
  tests::fresh_gpu();
  const auto model = engine::Model::open(tests::fixture_path(name), gpu_options());
  Sizes sizes;
  sizes.weights = used_vram(*model);
  for (const engine::WeightGroup& group : model->work().groups)
    if (group.role == GroupRole::RoutedExperts) sizes.experts += group.unit_file_bytes() * group.n_units;
  const engine::ForwardContext& context = model->forward_context();
  sizes.session =
      engine::session_memory(model->spec(), context.weights, context.latent_attention, gpu_options().session);
  return sizes;
}

constexpr uint64_t kContextBytes = uint64_t{400} << 20;  // of the driver, as plans have it

}  // namespace

TEST_CASE("sessions that grow get VRAM from the experts, until none is left, and all give the same logits") {
  int n_shrunk = 0;
  for (const char* name : {kModel, "deepseek2-r1-ud"}) {
    CAPTURE(std::string(name));
    const tests::Golden golden = tests::read_golden(name);
    const std::span<const int32_t> tokens = std::span(golden.tokens).first(6);
    const auto cpu = tests::answer(tests::fixture_path(name), tests::options_for(DeviceKind::Cpu), tokens, 3, 3);
    const Sizes sizes = sizes_of(name);
    tests::fresh_gpu();
    const uint64_t vram_bytes = sizes.with(0.7);
    auto options = gpu_options(vram_bytes);
    options.promotion.has_thread = std::string(name) != kModel;
    const auto model = engine::Model::open(tests::fixture_path(name), options);
    uint64_t n_slots = model->vram_statistics().n_slots;
    CHECK(n_slots > 0);
    CHECK(n_slots < model->vram_statistics().n_experts);
    std::vector<engine::Session> sessions;
    int n_without_slots = 0;
    for (int i = 0; i < 400 && model->device_memory().host_bytes == 0; ++i) {
      CAPTURE(i);
      sessions.emplace_back(model, options.session);
      tests::check_same(cpu, tests::answer(sessions.back(), tokens, 3, 3), golden.n_vocabulary);
      CHECK(used_vram(*model) <= vram_bytes);
      const engine::VramStatistics now = model->vram_statistics();
      CHECK(now.n_slots <= n_slots);
      n_shrunk += now.n_slots < n_slots;
      n_slots = now.n_slots;
      if (n_slots > 0)
        CHECK(model->device_memory().host_bytes == 0);  // while experts can give way, nothing lies in RAM
      n_without_slots += n_slots == 0;
    }
    CHECK(n_without_slots > 0);
    CHECK(model->device_memory().host_bytes > 0);
    CHECK(model->vram_statistics().slot_bytes == 0);
    // A saved sequence comes back where there is no room for it.
    engine::Session again(model, options.session);
    again.restore(sessions.front().snapshot());
    CHECK(std::ranges::equal(again.logits(), sessions.front().logits()));
  }
  CHECK(n_shrunk >= 3);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE(
    "over a store on the disk too a session may be longer than the model was opened for, as far as experts give way") {
  const tests::Golden golden = tests::read_golden(kModel);
  const Sizes sizes = sizes_of(kModel);
  auto options = gpu_options(sizes.with(0.7));
  options.store.storage = engine::Storage::Disk;
  options.store.store_bytes = uint64_t{64} << 20;
  tests::fresh_gpu();
  const auto model = engine::Model::open(tests::fixture_path(kModel), options);
  REQUIRE(model->store_statistics().reads_disk);
  engine::SessionOptions longer = options.session;
  while (longer.n_context <= 2 * options.session.n_context) longer.n_context += 64;
  const auto cpu = tests::answer(tests::fixture_path(kModel), tests::options_for(DeviceKind::Cpu), golden.tokens, 2, 3);
  engine::Session session(model, longer);
  CHECK(session.n_context() == longer.n_context);
  tests::check_same(cpu, tests::answer(session, golden.tokens, 2, 3), golden.n_vocabulary);
  longer.n_context = 1 << 20;
  CHECK_THROWS_WITH_AS(engine::Session(model, longer), doctest::Contains("can be had of experts"), engine::Error);
}

TEST_CASE("contexts that are restored take their room from the experts at once") {
  const Sizes sizes = sizes_of(kModel);
  std::vector<int32_t> tokens(240);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i % 50 + 3);
  const auto cpu_options = tests::options_for(DeviceKind::Cpu);
  engine::Session on_cpu(engine::Model::open(tests::fixture_path(kModel), cpu_options), cpu_options.session);
  on_cpu.append(tokens);
  const std::vector<std::byte> saved = on_cpu.snapshot();
  on_cpu.append(std::span(tokens).first(1));
  tests::fresh_gpu();
  // The experts there take more than the context that is restored, so one of them or another always can give way.
  const auto options = gpu_options(sizes.with(0.95));
  const auto model = engine::Model::open(tests::fixture_path(kModel), options);
  const uint64_t n_first = model->vram_statistics().n_slots;
  std::vector<engine::Session> sessions;
  for (int i = 0; i < 400 && model->vram_statistics().n_slots == n_first; ++i) {
    sessions.emplace_back(model, options.session);
    sessions.back().restore(saved);
    CHECK(model->device_memory().host_bytes == 0);
  }
  CHECK(model->vram_statistics().n_slots < n_first);
  CHECK(model->vram_statistics().n_slots_given_back == n_first - model->vram_statistics().n_slots);
  for (engine::Session* session : {&sessions.front(), &sessions.back()}) {
    session->append(std::span(tokens).first(1));
    engine::LogitsComparison same;
    same.add(on_cpu.logits(), session->logits());
    CHECK(same.largest_kl < 1e-3);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("no more VRAM is used than --vram allows, by the GPU's own count") {
  for (const char* name : {"llama", kModel, "deepseek2-v3"}) {
    const Sizes sizes = sizes_of(name);
    const tests::Golden golden = tests::read_golden(name);
    for (const uint64_t vram_bytes :
         {uint64_t{1}, uint64_t{1} << 16, sizes.weights / 2, sizes.weights, sizes.with(-0.5), sizes.with(0.0),
          sizes.with(0.5), sizes.weights + sizes.session.gpu_bytes()}) {
      CAPTURE(std::string(name));
      CAPTURE(vram_bytes);
      tests::fresh_gpu();
      const auto options = gpu_options(vram_bytes);
      const auto model = engine::Model::open(tests::fixture_path(name), options);
      CHECK(used_vram(*model) <= vram_bytes);
      engine::Session session(model, options.session);
      for (size_t n_rows : {1, 7, 20, 1}) {
        session.append(std::span(golden.tokens).first(std::min(n_rows, golden.tokens.size())));
        CHECK(used_vram(*model) <= vram_bytes);
      }
    }
  }
}

TEST_CASE("of a GPU that is too small for the model nearly all is used") {
  for (const char* name : {kModel, "llama-mixtral", "deepseek2-v2-lite", "deepseek2-v3", "deepseek2-r1-ud"}) {
    const Sizes sizes = sizes_of(name);
    for (const double share : {0.3, 0.6, 0.9}) {
      CAPTURE(std::string(name));
      CAPTURE(share);
      simt::GpuOptions gpu;
      const uint64_t wanted = sizes.with(share);
      gpu.devices[0].memory_bytes = wanted + wanted / 39;  // and the margin
      tests::fresh_gpu(gpu);
      const auto model = engine::Model::open(tests::fixture_path(name), gpu_options());
      CHECK(model->vram_statistics().n_slots > 0);
      CHECK(model->vram_statistics().n_slots < model->vram_statistics().n_experts);
      const uint64_t total = gpu.devices[0].memory_bytes, free = total - engine::vram_margin(total);
      const uint64_t used = used_vram(*model) + sizes.session.first_bytes();
      CHECK(static_cast<double>(used) >= 0.97 * static_cast<double>(free));
      CHECK(used <= free);
    }
  }
}

TEST_CASE("a run puts into VRAM what its plan says") {
  int n_compared = 0, n_split_dense = 0, n_split_experts = 0, n_over_pcie = 0;
  for (const char* name : tests::kFixtures) {
    const Sizes sizes = sizes_of(name);
    const uint64_t dense = sizes.weights - sizes.experts;
    const engine::PlannedModel planned(tests::fixture_path(name));
    for (const double share : {-1.0, -0.75, -0.5, -0.25, 0.0, 0.2, 0.5, 0.9, 2.0}) {
      if (share > 0 && share < 1 && sizes.experts == 0) continue;
      CAPTURE(std::string(name));
      CAPTURE(share);
      // Below 0: of what is no expert.
      uint64_t wanted = kContextBytes + (share < 0 ? sizes.session.shared_bytes() + dense -
                                                         static_cast<uint64_t>(-share * static_cast<double>(dense))
                                                   : sizes.with(share));
      if (share > 1) wanted += sizes.experts + sizes.session.gpu_bytes();
      simt::GpuOptions gpu;
      gpu.devices[0].memory_bytes = wanted + wanted / 39;
      gpu.devices[0].context_bytes = kContextBytes;
      tests::fresh_gpu(gpu);
      engine::ModelOptions run_options = gpu_options();
      run_options.latent_attention = engine::LatentAttention::Automatic;  // as plans have it
      const auto model = engine::Model::open(tests::fixture_path(name), run_options);
      engine::PlanOptions options;
      options.n_context = model->options().session.n_context;
      options.n_batch = model->options().session.n_batch;
      const engine::Plan plan = planned.plan(tests::with_gpu(gpu.devices[0].memory_bytes), options);
      REQUIRE(plan.places.size() == model->places().size());
      for (size_t i = 0; i < plan.places.size(); ++i) {
        const engine::WeightGroup& group = plan.work.groups[i];
        CAPTURE(std::string(engine::role_name(group.role)));
        CAPTURE(group.layer);
        const uint32_t in_plan = plan.places[i].n_vram, in_run = model->places()[i].n_vram;
        if (group.role == GroupRole::RoutedExperts)
          CHECK(std::max(in_plan, in_run) - std::min(in_plan, in_run) <= 1);
        else
          CHECK(in_plan == in_run);
        ++n_compared;
        n_split_experts += group.role == GroupRole::RoutedExperts && in_run > 0 && in_run < group.n_units;
        n_split_dense += group.role != GroupRole::RoutedExperts && group.role != GroupRole::Embedding && in_run == 0;
        n_over_pcie += group.role == GroupRole::Attention && in_run == 0;
      }
    }
  }
  CHECK(n_compared > 1000);
  CHECK(n_split_dense > 100);
  CHECK(n_split_experts > 50);
  CHECK(n_over_pcie > 10);
}

TEST_CASE("after a run it is known what was in VRAM, and who waited for whom") {
  const Sizes sizes = sizes_of(kModel);
  tests::fresh_gpu();
  const auto options = gpu_options(sizes.with(0.5));
  auto with_machine = options;
  with_machine.machine = tests::with_gpu(uint64_t{8} << 30);
  const auto model = engine::Model::open(tests::fixture_path(kModel), with_machine);
  engine::Session session(model, options.session);
  engine::GenerateOptions generate;
  generate.max_tokens = 12;
  generate.ignore_end = true;
  const tests::Golden golden = tests::read_golden(kModel);
  const engine::Generation made =
      engine::generate(session, std::span(golden.tokens).first(5), generate, engine::GenerateCallbacks{});
  const engine::Usage& decode = made.statistics.decode;
  CHECK(decode.vram.n_hits + decode.vram.n_misses > 0);
  CHECK(decode.vram.hit_rate() > 0);
  CHECK(decode.vram.hit_rate() < 1);
  CHECK(decode.vram.n_hits + decode.vram.n_misses <
        model->vram_statistics().n_hits + model->vram_statistics().n_misses);
  CHECK(decode.device.waited_seconds > 0);
  CHECK(decode.device.host_seconds > 0);
  CHECK(decode.device.host_waited_seconds > 0);
  CHECK(decode.gpu_busy() + decode.gpu_waited() + decode.gpu_idle() == doctest::Approx(1).epsilon(0.02));
  CHECK(decode.host_busy() + decode.host_waited() <= 1);
  CHECK(engine::limit_of(decode, 2) != engine::Limit::None);
  const engine::RunComparison comparison = engine::compare_with_prediction(*model, made.statistics);
  CHECK(comparison.decode.predicted.seconds > 0);
  CHECK(comparison.decode.actual_over_predicted > 0);
  CHECK(comparison.prefill.predicted.seconds > 0);
  // The prediction is of the experts that were found, not of equally likely ones.
  const double uniform = engine::uniform_shares(model->work(), model->places()).vram;
  engine::Machine machine = *with_machine.machine;
  machine.n_cores = model->n_threads();
  const auto of = [&](double share) {
    return engine::predict_decode(model->work(), model->places(), machine, 5 + 12 / 2.0, {share, 1 - share})
        .tokens_per_second();
  };
  CHECK(comparison.decode.predicted.tokens_per_second() == doctest::Approx(of(decode.vram.hit_rate())));
  CHECK(of(uniform) != doctest::Approx(of(decode.vram.hit_rate())));
}
