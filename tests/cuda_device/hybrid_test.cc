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

// Sums differ in the last places, and a rounding of the 8-bit forms may fall to the other side for it (models_test.cc).
void check_same(const tests::Answer& cpu, const tests::Answer& gpu, size_t n_vocabulary) {
  const engine::LogitsComparison all = tests::compare(cpu, gpu, n_vocabulary);
  CHECK(all.mean_kl < 1e-4);
  CHECK(all.largest_kl < 1e-3);
  CHECK(all.n_same_choice == all.n_positions);
  CHECK(gpu.greedy == cpu.greedy);
}

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
      check_same(cpu, shared.answer, golden.n_vocabulary);
    }
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
  CHECK(n_dense_on_host >= 40);
  CHECK(n_with_slots >= 26);
  CHECK(n_promoted > 50);
}
