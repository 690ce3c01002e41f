// Plans of the fixtures: everything is somewhere, nothing is above its room, and a run does what its plan says.

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "engine/placement/vram_plan.h"
#include "engine/session/planning.h"
#include "engine/session/session_memory.h"
#include "tests/engine/fixtures.h"
#include "tests/engine/small_machine.h"

using namespace sluice;
using namespace sluice::engine;
using tests::small_machine;
using tests::with_gpu;
using tests::with_gpus;

namespace {

PlanOptions small_options() {
  PlanOptions options;
  options.n_context = 64;
  options.n_batch = 16;
  return options;
}

void check_sums(const Plan& plan) {
  const bool has_gpu = plan.vram.capacity_bytes > 0;
  uint64_t vram = has_gpu ? plan.work.vector_bytes : 0, ram = has_gpu ? 0 : plan.work.vector_bytes, disk = 0;
  REQUIRE(plan.places.size() == plan.work.groups.size());
  for (size_t i = 0; i < plan.places.size(); ++i) {
    const GroupPlace& place = plan.places[i];
    CHECK(place.n_vram + place.n_ram + place.n_disk == plan.work.groups[i].n_units);
    const TierBytes bytes = bytes_by_tier(plan.work.groups[i], place);
    vram += bytes.vram, ram += bytes.ram, disk += bytes.disk;
  }
  CHECK(plan.vram.weight_bytes == vram);
  CHECK(plan.ram.weight_bytes == ram);
  CHECK(plan.disk_weight_bytes == disk);
  CHECK(plan.vram.used_bytes() + plan.vram.margin_bytes <= plan.vram.capacity_bytes);

  // Of each GPU: a range of layers, what lies there of them, and no more than there is.
  TierUse together;
  uint32_t n_layers = 0;
  for (uint32_t number = 0; number < plan.gpus.size(); ++number) {
    const GpuPlan& gpu = plan.gpus[number];
    CHECK(gpu.first_layer == n_layers);
    n_layers = gpu.end_layer;
    uint64_t weights = 0;
    for (size_t i = 0; i < plan.places.size(); ++i) {
      if (plan.places[i].gpu != number) continue;
      const WeightGroup& group = plan.work.groups[i];
      if (group.role != GroupRole::Output && group.role != GroupRole::Embedding)
        CHECK((group.layer >= gpu.first_layer && group.layer < gpu.end_layer));
      weights += bytes_by_tier(group, plan.places[i]).vram;
    }
    CHECK(gpu.use.weight_bytes >= weights);
    CHECK(gpu.use.weight_bytes <= weights + plan.work.vector_bytes);
    CHECK(gpu.use.used_bytes() + gpu.use.margin_bytes <= gpu.use.capacity_bytes);
    if (!gpu.has_layers()) CHECK(gpu.use.used_bytes() == 0);
    together.weight_bytes += gpu.use.weight_bytes;
    together.state_bytes += gpu.use.state_bytes;
    together.capacity_bytes += gpu.use.capacity_bytes;
  }
  CHECK(n_layers == (has_gpu ? plan.work.n_layers : 0));
  CHECK(together.weight_bytes == plan.vram.weight_bytes);
  CHECK(together.state_bytes == plan.vram.state_bytes);
  CHECK(together.capacity_bytes == plan.vram.capacity_bytes);
}

// VRAM for passes, a context and a share of the weights.
uint64_t vram_for(const PlannedModel& model, double share) {
  const PlanOptions options = small_options();
  const SessionMemory session =
      session_memory(model.spec(), bind_weights(model.file(), model.spec()), LatentAttention::Automatic,
                     {options.n_context, options.cache, options.n_batch});
  uint64_t weights = 0;
  for (const WeightGroup& group : model.plan(small_machine(), options).work.groups)
    weights += group.unit_vram_bytes() * group.n_units;
  return vram_capacity_for(session.shared_bytes() + static_cast<uint64_t>(share * static_cast<double>(weights)));
}

uint64_t tensor_bytes(const gguf::File& file) {
  uint64_t bytes = 0;
  for (const gguf::Tensor& tensor : file.tensors()) bytes += tensor.bytes;
  return bytes;
}

}  // namespace

TEST_CASE("the groups of every fixture are its tensors") {
  for (const char* name : tests::kFixtures) {
    CAPTURE(std::string(name));
    const PlannedModel model(tests::fixture_path(name));
    const Plan plan = model.plan(small_machine(), small_options());
    CHECK(plan.work.file_bytes() == tensor_bytes(model.file()));
    CHECK(plan.storage == Storage::Mapped);
    CHECK(plan.decode.tokens_per_second() > 0);
    CHECK(plan.prefill.tokens_per_second() > 0);
    check_sums(plan);
  }
}

TEST_CASE("as VRAM grows it holds more, the context with its attention, and decode is never slower") {
  for (const char* name : {"deepseek2-r1-ud", "deepseek2-v3-split", "llama-q8_0", "llama-mixtral"}) {
    CAPTURE(std::string(name));
    const PlannedModel model(tests::fixture_path(name));
    uint64_t before = 0;
    double rate = 0;
    constexpr uint64_t kCuda = uint64_t{430} << 20;  // and the margin of as much
    for (uint64_t more = 0; more < 4'000'000; more += 100'000) {
      const Plan plan = model.plan(with_gpu(kCuda + more), small_options());
      CAPTURE(more);
      check_sums(plan);
      CHECK(plan.vram.weight_bytes >= before);
      CHECK(plan.decode.tokens_per_second() >= rate * 0.999);
      CHECK(plan.vram.state_bytes + plan.ram.state_bytes > 0);
      before = plan.vram.weight_bytes;
      rate = plan.decode.tokens_per_second();
    }
    CHECK(before > 0);
    CHECK(decode_by_hit_rate(with_gpu(kCuda + 4'000'000), model.plan(with_gpu(kCuda + 4'000'000), small_options()))
              .empty());
  }
}

TEST_CASE("over several GPUs each has its layers with its share of their experts, and hands rows on") {
  int n_divided = 0, n_alone = 0;
  for (const char* name : {"deepseek2-r1-ud", "deepseek2-v3-split", "qwen3moe", "llama-q8_0", "llama-mixtral"}) {
    CAPTURE(std::string(name));
    const PlannedModel model(tests::fixture_path(name));
    for (int part = 2; part < 14; ++part) {
      CAPTURE(part);
      const uint64_t bytes = vram_for(model, part / 10.0);
      const Plan one = model.plan(with_gpu(bytes), small_options());
      const Plan two = model.plan(with_gpus({bytes, bytes}), small_options());
      check_sums(two);
      if (two.gpus.empty() || !two.gpus[0].has_layers() || !two.gpus[1].has_layers()) {
        n_alone += !two.gpus.empty();
        CHECK(two.decode.seconds == doctest::Approx(one.decode.seconds));
        continue;
      }
      ++n_divided;
      CHECK(two.vram.weight_bytes > one.vram.weight_bytes);
      // Half of the context's caches each.
      CHECK(two.vram.state_bytes == one.vram.state_bytes);
      // The share of a layer's experts differs by no more than what one expert is of them.
      for (const GpuPlan& gpu : two.gpus) {
        double least = 1, most = 0;
        for (size_t i = 0; i < two.places.size(); ++i) {
          const WeightGroup& group = two.work.groups[i];
          if (group.role != GroupRole::RoutedExperts || group.layer < gpu.first_layer || group.layer >= gpu.end_layer)
            continue;
          const double share = static_cast<double>(two.places[i].n_vram) / group.n_units;
          least = std::min(least, share), most = std::max(most, share);
          CHECK(most - least <= 1.0 / group.n_units + 1e-9);
        }
      }
    }
  }
  CHECK(n_divided > 10);
  CHECK(n_alone > 10);
}

TEST_CASE("attention and routers that VRAM has no room for are read over PCIe, not left to the CPU") {
  int n_split = 0;
  for (const char* name : {"llama-q8_0", "deepseek2-v3", "qwen3moe"}) {
    CAPTURE(std::string(name));
    const PlannedModel model(tests::fixture_path(name));
    PlanOptions options = small_options();
    options.storage = Storage::Mapped;  // or the link brings experts as well
    const SessionMemory session =
        session_memory(model.spec(), bind_weights(model.file(), model.spec()), LatentAttention::Automatic,
                       {options.n_context, options.cache, options.n_batch});
    uint64_t own_bytes = 0;
    for (const WeightGroup& group : model.plan(small_machine(), options).work.groups)
      if (group.role == GroupRole::Attention || group.role == GroupRole::Router) own_bytes += group.unit_vram_bytes();
    for (int part = 1; part < 8; ++part) {
      CAPTURE(part);
      const uint64_t wanted = (uint64_t{400} << 20) + session.shared_bytes() + own_bytes * part / 8;
      const Plan plan = model.plan(with_gpu(wanted + wanted / 39), options);
      check_sums(plan);
      double seconds = 0;
      int n_there = 0, n_elsewhere = 0;
      for (size_t i = 0; i < plan.places.size(); ++i) {
        const WeightGroup& group = plan.work.groups[i];
        if (group.role != GroupRole::Attention && group.role != GroupRole::Router) continue;
        ++(plan.places[i].n_vram > 0 ? n_there : n_elsewhere);
        if (plan.places[i].n_vram == 0) seconds += static_cast<double>(group.unit_file_bytes()) / 10e9;
      }
      CHECK(plan.vram.state_bytes == session.state_bytes);
      CHECK(n_elsewhere > 0);
      n_split += n_there > 0;
      if (n_there == 0) continue;
      CHECK(1e9 * plan.decode.pcie_seconds == doctest::Approx(1e9 * seconds));
      CHECK(plan.decode.seconds > seconds);
    }
  }
  CHECK(n_split > 10);
}

TEST_CASE("no VRAM is asked for, or too little for a pass, and the plan is that of the CPU") {
  const PlannedModel model(tests::fixture_path("deepseek2-r1-ud"));
  const Plan cpu = model.plan(small_machine(), small_options());
  PlanOptions none = small_options();
  none.vram_bytes = {0};
  CHECK(model.plan(with_gpu(uint64_t{1} << 33), none).decode.seconds == cpu.decode.seconds);
  const Plan tiny = model.plan(with_gpu(1000), small_options());
  CHECK(tiny.decode.seconds == cpu.decode.seconds);
  CHECK(tiny.vram.used_bytes() == 0);
  PlanOptions some = small_options();
  some.vram_bytes = {uint64_t{1} << 33};
  CHECK_THROWS_AS(model.plan(small_machine(), some), Error);
}

TEST_CASE("a store is divided in the plan as a run divides it") {
  const PlannedModel model(tests::fixture_path("deepseek2-v3-groups"));
  for (const uint64_t more : {uint64_t{0}, uint64_t{40'000}, uint64_t{80'000}, uint64_t{120'000}}) {
    PlanOptions options = small_options();
    options.storage = Storage::Disk;
    options.residency = Residency::File;
    // The least that holds anything, and then some.
    options.ram_bytes = uint64_t{16} << 20;
    Plan plan = model.plan(small_machine(), options);
    while (!plan.fits) {
      options.ram_bytes += 100'000;
      plan = model.plan(small_machine(), options);
    }
    options.ram_bytes += more;
    plan = model.plan(small_machine(), options);
    REQUIRE(plan.store);
    check_sums(plan);
    ModelOptions run;
    run.residency = Residency::File;
    run.store.storage = Storage::Disk;
    run.session = {64, CacheType::F16, 16};
    run.store.store_bytes = plan.ram.capacity_bytes - plan.ram.margin_bytes - plan.ram.program_bytes -
                            plan.ram.state_bytes - plan.ram.workspace_bytes;
    run.store.prompt_bytes = 1;
    uint64_t slots = 0;
    for (const SlotClass& slot_class : plan.store->classes) slots += slot_class.n_slots - slot_class.n_lent;
    const auto opened = tests::open_fixture("deepseek2-v3-groups", run);
    CAPTURE(more);
    // What passes of prompts need is lent in the plan; here all of it is the store's.
    CHECK(opened->store_statistics().n_expert_slots >= slots);
    uint64_t in_ram = 0;
    for (size_t i = 0; i < plan.places.size(); ++i)
      if (plan.work.groups[i].role == GroupRole::RoutedExperts) in_ram += plan.places[i].n_ram;
    CHECK(in_ram <= opened->store_statistics().n_experts);
    CHECK(in_ram > 0);
  }
}

TEST_CASE("a run knows where its weights lie, and is compared with what was predicted for it") {
  for (const Storage storage : {Storage::Mapped, Storage::Disk}) {
    ModelOptions options;
    options.store.storage = storage;
    options.session = {64, CacheType::F16, 16};
    options.store.store_bytes = storage == Storage::Disk ? 600'000 : 0;
    options.machine = small_machine();
    const auto model = tests::open_fixture("deepseek2-v3-split", options);
    CHECK(model->work().file_bytes() == tensor_bytes(model->file()));
    CHECK(model->places().size() == model->work().groups.size());
    CHECK(&model->machine() == &model->machine());
    CHECK(model->machine().name == "small");
    Session session(model, {64, CacheType::F16, 16});
    const std::vector<int32_t> prompt = {1, 2, 3};
    GenerateOptions generate_options;
    generate_options.max_tokens = 8;
    generate_options.ignore_end = true;
    const Generation generation = generate(session, prompt, generate_options, {});
    const RunComparison comparison = compare_with_prediction(*model, generation.statistics);
    CHECK(comparison.decode.predicted.seconds > 0);
    CHECK(comparison.decode.actual_over_predicted ==
          doctest::Approx(generation.statistics.decode_tokens_per_second() * comparison.decode.predicted.seconds));
    CHECK(comparison.prefill.predicted.n_tokens == 3);
    CHECK((comparison.prefill.predicted.disk_bytes > 0) == (storage == Storage::Disk));
  }
}

TEST_CASE("without a machine in the options the CPU is measured") {
  const auto model = tests::open_fixture("llama-q8_0");
  const Machine& machine = model->machine();
  CHECK(machine.n_cores == 2);
  CHECK(machine.ram_bytes_per_second > 1e8);
  CHECK(machine.kernels.contains(gguf::TensorType::Q8_0));
  CHECK(machine.attention_multiply_adds_per_second > 1e6);
}

TEST_CASE("what would help is what the plan is bound by") {
  const PlannedModel model(tests::fixture_path("deepseek2-v3-q8_0"));
  Machine machine = small_machine();
  machine.ram_bytes_per_second = 1e7;
  const Plan bound_by_memory = model.plan(machine, small_options());
  const auto found = improvements(model, machine, bound_by_memory);
  REQUIRE(!found.empty());
  CHECK(found.front().change == "twice the memory bandwidth");
  CHECK(found.front().decode_gain > 1.5);
  machine.ram_bytes = uint64_t{16} << 20;  // the margin and the program
  const Plan too_small = model.plan(machine, small_options());
  CHECK(!too_small.fits);
  REQUIRE(!improvements(model, machine, too_small).empty());
  CHECK(improvements(model, machine, too_small).front().change == "twice the RAM");
}

TEST_CASE("a second GPU may be what helps most") {
  const PlannedModel model(tests::fixture_path("deepseek2-v3-split"));
  Machine machine = with_gpu(vram_for(model, 0.5));
  machine.ram_bytes_per_second = 1e6;
  const auto named = [&](const std::string& change) {
    const auto found = improvements(model, machine, model.plan(machine, small_options()));
    return std::ranges::any_of(found, [&](const Improvement& one) { return one.change == change; });
  };
  CHECK(named("a second such GPU"));
  machine.gpus.push_back(machine.gpus.front());
  machine.gpus.front().name = "fast one";
  machine.gpus.front().vram_bytes = machine.gpus.back().vram_bytes = vram_for(model, 0.3);
  CHECK(named("another fast one"));
  CHECK(!named("a second such GPU"));
}
