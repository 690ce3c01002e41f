// Prompts of a model whose layers lie on several GPUs: passes that follow one another, and experts that are streamed to each.

#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/synthetic/model.h"
#include "engine/synthetic/shape.h"
#include "tests/cuda_device/split_models.h"
#include "tests/scratch_folder.h"

using namespace sluice;
using engine::DeviceKind;

namespace {

constexpr const char* kModel = "qwen3moe";

}  // namespace

TEST_CASE("passes of a prompt follow one another over two GPUs, which compute at the same time") {
  const tests::Golden golden = tests::read_golden(kModel);
  std::vector<int32_t> tokens;
  for (size_t i = 0; tokens.size() < 64; ++i) tokens.push_back(golden.tokens[i * 5 % golden.tokens.size()]);
  engine::ModelOptions options = tests::split_options();
  options.session.n_batch = 8;  // eight passes
  const tests::Sizes sizes(tests::fixture_path(kModel), options);
  options.vram_bytes_of_gpus = tests::limits_of(sizes, 1.0);
  double seconds[2] = {};
  tests::Answer answers[2];
  for (const bool waits : {true, false}) {
    simt::GpuOptions gpu = tests::gpus(2);
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
      simt::GpuOptions gpu = tests::gpus(2);
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
  engine::ModelOptions options = tests::split_options();
  options.session.n_batch = 4;
  const tests::Sizes sizes(tests::fixture_path(kModel), options);
  options.vram_bytes_of_gpus = tests::limits_of(sizes, 1.0);
  std::vector<float> expected;
  size_t n_failed = 0;
  for (const uint64_t nth : {0, 1, 30, 60, 90, 120}) {
    CAPTURE(nth);
    tests::fresh_gpu(tests::gpus(2));
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
  engine::ModelOptions options = tests::split_options(engine::CacheType::F32);
  options.session.n_batch = 64;
  options.promotion.promotes = false;
  options.sharing.weighs_streaming = false;
  options.store.storage = engine::Storage::Disk;
  // Slots for all experts, and for some of which both GPUs have others come from the disk through the same few.
  for (const uint64_t store_kib : {uint64_t{64} << 10, uint64_t{1536}, uint64_t{2200}}) {
    CAPTURE(store_kib);
    const bool has_all_in_memory = store_kib > 1 << 14, has_last_in_memory = store_kib == 2200;
    options.store.store_bytes = store_kib << 10;
    const tests::Sizes sizes(path, options);
    options.vram_bytes_of_gpus = tests::limits_of(sizes, 0.3);
    for (uint64_t& limit : options.vram_bytes_of_gpus) limit += sizes.pass_bytes(64);
    tests::fresh_gpu(tests::gpus(2));
    const auto model = engine::Model::open(path, options);
    tests::check_parts(*model, 2);
    for (engine::Stage& stage : model->forward_context().stages)
      stage.host->tier()->give_back(*stage.stream, sizes.pass_bytes(64));
    const engine::StoreStatistics before = model->store_statistics();
    if (!has_all_in_memory) CHECK(before.n_expert_slots < before.n_experts / 2);
    // The last GPU's experts are in memory then, and the first one's are not: what the one lets go of the other needs.
    if (has_last_in_memory) {
      const engine::VramTier& tier = *model->forward_context().stages.back().host->tier();
      std::vector<int32_t> ids;
      for (int32_t id = 0; id < 24 && ids.size() < before.n_expert_slots; ++id)
        if (!tier.holds(1, id)) ids.push_back(id);
      const auto request = model->forward_context().store->begin(1, ids, std::vector<int64_t>(ids.size(), 1));
      while (!request->next().empty()) {
      }
    }
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
