// The simulator: what must hold whatever its constants are.

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "engine/session/planning.h"
#include "engine/simulation/simulation.h"
#include "engine/simulation/virtual_disk.h"
#include "engine/store/policy.h"
#include "engine/traces/made_up_routing.h"
#include "tests/engine/fixtures.h"

using namespace sluice;
using namespace sluice::engine;
using traces::MadeUpRouting;
using traces::RoutingRecipe;

namespace {

// Of the shape of deepseek2-v3-groups: one layer of 16 experts, three used.
RoutingRecipe recipe(double skew) {
  RoutingRecipe made_up;
  made_up.n_layers = 1;
  made_up.n_experts = 16;
  made_up.n_used = 3;
  made_up.skew = skew;
  made_up.locality = 0.3;
  return made_up;
}

std::vector<traces::Pass> tokens(const RoutingRecipe& made_up, size_t n) {
  MadeUpRouting routing(made_up);
  std::vector<traces::Pass> passes;
  for (size_t i = 0; i < n; ++i) passes.push_back(routing.next());
  return passes;
}

Machine machine() {
  Machine m;
  m.name = "small";
  m.ram_bytes = uint64_t{1} << 33;
  m.ram_bytes_per_second = 1e9;
  m.n_cores = 1;
  m.kernels[gguf::TensorType::F16] = {1e9, 0, 10e9};
  m.attention_multiply_adds_per_second = 1e9;
  m.disk_bytes_per_second = 1e8;
  m.gpus = {{"gpu", uint64_t{1} << 33, 100e9, 10e9, 10e12}};
  return m;
}

// A plan whose experts are where the test wants them.
Plan plan_with(uint32_t n_vram, uint32_t n_ram) {
  static const PlannedModel model(tests::fixture_path("deepseek2-v3-groups"));
  PlanOptions options;
  options.n_context = 64;
  options.n_batch = 16;
  options.vram_bytes = {0};
  Plan plan = model.plan(machine(), options);
  plan.options.vram_bytes.clear();
  for (size_t i = 0; i < plan.places.size(); ++i)
    if (plan.work.groups[i].role == GroupRole::RoutedExperts) plan.places[i] = {n_vram, n_ram, 16 - n_vram - n_ram};
  return plan;
}

SimulationOptions options(PolicyKind policy = PolicyKind::Hybrid) {
  SimulationOptions chosen;
  chosen.policy = policy;
  return chosen;
}

// The most hits of all ways to keep n_slots of the steps' experts, by trying them all. Each step must hold its experts at the end.
uint64_t most_hits(const std::vector<std::set<uint32_t>>& steps, size_t at, const std::set<uint32_t>& held,
                   size_t n_slots) {
  if (at == steps.size()) return 0;
  uint64_t hits = 0;
  std::set<uint32_t> pool = held;
  for (const uint32_t expert : steps[at]) {
    hits += held.contains(expert) ? 1 : 0;
    pool.insert(expert);
  }
  // Any n_slots of what was held and what came may stay.
  const std::vector<uint32_t> all(pool.begin(), pool.end());
  uint64_t best = 0;
  for (uint32_t choice = 0; choice < 1u << all.size(); ++choice) {
    if (static_cast<size_t>(__builtin_popcount(choice)) != std::min(n_slots, all.size())) continue;
    std::set<uint32_t> kept;
    for (size_t i = 0; i < all.size(); ++i)
      if (choice >> i & 1) kept.insert(all[i]);
    best = std::max(best, most_hits(steps, at + 1, kept, n_slots));
  }
  return hits + best;
}

// Of a model with two layers of eight experts each.
Plan small_plan(const Machine& on, std::vector<uint64_t> vram_bytes = {}) {
  PlanOptions options;
  options.n_context = 64;
  options.n_batch = 16;
  options.vram_bytes = std::move(vram_bytes);
  return PlannedModel(tests::fixture_path("deepseek2-v3-split")).plan(on, options);
}
// And routing of that shape.
RoutingRecipe small_recipe(double skew) {
  RoutingRecipe small = recipe(skew);
  small.n_layers = 2;
  small.n_experts = 8;
  return small;
}

}  // namespace

TEST_CASE("a virtual disk reads what is urgent first, and its clock adds up") {
  using Urgency = VirtualDisk::Urgency;
  VirtualDisk disk(100);
  const auto guess = disk.begin(50, Urgency::Guess);
  const auto certain = disk.begin(100, Urgency::Certain);
  const auto now = disk.begin(200, Urgency::Now);
  CHECK(disk.seconds_until(now) == doctest::Approx(2));
  CHECK(disk.seconds_until(certain) == doctest::Approx(3));
  CHECK(disk.seconds_until(guess) == doctest::Approx(3.5));
  CHECK(disk.busy_seconds_left() == doctest::Approx(3.5));
  disk.run(1);
  CHECK(!disk.is_done(now));
  disk.hasten(guess);
  CHECK(disk.seconds_until(guess) == doctest::Approx(1.5));
  disk.run(1.5);
  CHECK(disk.is_done(now));
  CHECK(disk.is_done(guess));
  CHECK(!disk.is_done(certain));
  disk.cancel(certain);
  CHECK(disk.busy_seconds_left() == doctest::Approx(0));
  disk.run(10);
  CHECK(disk.bytes_read() == doctest::Approx(250));
}

TEST_CASE("with everything in RAM nothing is read, and a token takes what is predicted for it") {
  const auto passes = tokens(recipe(0.5), 200);
  const Plan plan = plan_with(0, 16);
  Machine cpu = machine();
  cpu.gpus.clear();
  const SimulationResult result = simulate(plan, cpu, MadeUpRouting(recipe(0.5)).header(), passes, options());
  CHECK(result.n_tokens == 100);
  CHECK(result.in_ram == 1);
  CHECK(result.disk_bytes == 0);
  const Prediction predicted = predict_decode(plan.work, plan.places, cpu, 32, {0, 1});
  CHECK(result.seconds / 100 == doctest::Approx(predicted.seconds).epsilon(0.01));
  CHECK(result.waited_most() == SimulationResult::Waited::Cpu);
}

TEST_CASE("shares add up, are no better than is possible, and grow with memory") {
  for (const double skew : {0.0, 1.0}) {
    const auto passes = tokens(recipe(skew), 400);
    const auto header = MadeUpRouting(recipe(skew)).header();
    Machine cpu = machine();
    cpu.gpus.clear();
    for (const PolicyKind policy : kPolicies) {
      double before = 0, bytes = 1e18;
      for (const uint32_t n_ram : {5u, 8u, 12u, 15u}) {
        CAPTURE(skew);
        CAPTURE(n_ram);
        SimulationOptions chosen = options(policy);
        chosen.guesses = false;
        const SimulationResult result = simulate(plan_with(0, n_ram), cpu, header, passes, chosen);
        CHECK(result.in_vram + result.in_ram + result.guessed + result.missed == doctest::Approx(1));
        CHECK(result.in_ram <= best_hit_share(header, passes, n_ram, 0.5) + 1e-9);
        CHECK(result.in_ram >= before);
        CHECK(result.disk_bytes <= bytes);
        before = result.in_ram;
        bytes = result.disk_bytes;
      }
    }
  }
}

TEST_CASE("what is read is what was missed, and guesses hide some of the waiting") {
  const auto passes = tokens(recipe(0.5), 400);
  const auto header = MadeUpRouting(recipe(0.5)).header();
  Machine cpu = machine();
  cpu.gpus.clear();
  SimulationOptions without = options();
  without.guesses = false;
  const Plan plan = plan_with(0, 8);
  const SimulationResult missed = simulate(plan, cpu, header, passes, without);
  double expert_bytes = 0;
  for (const WeightGroup& group : plan.work.groups)
    if (group.role == GroupRole::RoutedExperts) expert_bytes = static_cast<double>(group.unit_file_bytes());
  CHECK(missed.disk_bytes == doctest::Approx(missed.missed * 3 * expert_bytes).epsilon(0.02));
  CHECK(missed.guessed == 0);
  CHECK(missed.disk_seconds > 0);
  CHECK(missed.cpu_seconds + missed.disk_seconds + missed.overhead_seconds ==
        doctest::Approx(missed.seconds / static_cast<double>(missed.n_tokens)));
  Machine fast = cpu;
  fast.disk_bytes_per_second *= 10;
  CHECK(simulate(plan, fast, header, passes, without).seconds < missed.seconds);
  // One layer has no layer before it that could guess.
  CHECK(simulate(plan, cpu, header, passes, options()).missed == doctest::Approx(missed.missed));
}

TEST_CASE("a guess is read while the layer before it multiplies") {
  // Three layers, the last two with 8 experts of which three are used.
  Plan plan = small_plan(machine(), {0});
  for (size_t i = 0; i < plan.places.size(); ++i)
    if (plan.work.groups[i].role == GroupRole::RoutedExperts) plan.places[i] = {0, 5, 3};
  const RoutingRecipe two_layers = small_recipe(0.5);
  const auto passes = tokens(two_layers, 400);
  const auto header = MadeUpRouting(two_layers).header();
  Machine cpu = machine();
  cpu.gpus.clear();
  SimulationOptions chosen = options();
  chosen.guess_recall = chosen.guess_precision = 1;
  const SimulationResult right = simulate(plan, cpu, header, passes, chosen);
  chosen.guesses = false;
  const SimulationResult without = simulate(plan, cpu, header, passes, chosen);
  CHECK(right.guessed > 0);
  CHECK(right.disk_seconds < without.disk_seconds);
  CHECK(right.seconds < without.seconds);
  // A guess that names nothing right reads for nothing, if anything.
  chosen.guesses = true;
  chosen.guess_recall = 0.5;
  chosen.guess_precision = 0.2;
  const SimulationResult wrong = simulate(plan, cpu, header, passes, chosen);
  CHECK(wrong.disk_bytes > right.disk_bytes);
}

TEST_CASE("experts that are worth more move into VRAM, as many a token as may") {
  const auto passes = tokens(recipe(1.5), 600);
  const auto header = MadeUpRouting(recipe(1.5)).header();
  SimulationOptions chosen = options();
  chosen.promotions = 0;
  const SimulationResult fixed = simulate(plan_with(6, 10), machine(), header, passes, chosen);
  CHECK(fixed.promoted == 0);
  CHECK(fixed.pcie_bytes == 0);
  chosen.promotions = 2;
  const SimulationResult moving = simulate(plan_with(6, 10), machine(), header, passes, chosen);
  CHECK(moving.in_vram > fixed.in_vram);
  CHECK(moving.promoted > 0);
  CHECK(moving.promoted <= 2);
  CHECK(moving.in_vram <= best_hit_share(header, passes, 6, 0.5));
  CHECK(moving.seconds <= fixed.seconds);
  // What earlier runs used most is there from the start.
  chosen.promotions = 0;
  chosen.heat = heat_of(header, passes);
  CHECK(simulate(plan_with(6, 10), machine(), header, passes, chosen).in_vram > fixed.in_vram);
}

TEST_CASE("over two GPUs experts move into the memory of their layer's, and layers take the time of their GPU") {
  Machine two = machine();
  two.gpus.push_back({"slow", uint64_t{1} << 33, 10e9, 1e9, 1e12});
  Plan plan = small_plan(two);
  const RoutingRecipe two_layers = small_recipe(1);
  const auto passes = tokens(two_layers, 400);
  const auto header = MadeUpRouting(two_layers).header();
  const auto simulated = [&](uint32_t n_first, uint32_t n_second) {
    for (size_t i = 0; i < plan.places.size(); ++i) {
      const WeightGroup& group = plan.work.groups[i];
      plan.places[i].gpu = group.layer < 2 ? 0 : 1;
      const uint32_t n = group.layer < 2 ? n_first : n_second;
      if (group.role == GroupRole::RoutedExperts) plan.places[i] = {n, 8 - n, 0, plan.places[i].gpu};
    }
    return simulate(plan, two, header, passes, options());
  };
  const SimulationResult all = simulated(8, 8);
  CHECK(all.in_vram_of_gpu == std::vector<double>{1, 1});
  CHECK(all.seconds / static_cast<double>(all.n_tokens) ==
        doctest::Approx(predict_decode(plan.work, plan.places, two, 32, {1, 0}).seconds).epsilon(1e-6));
  const SimulationResult more = simulated(6, 2);
  REQUIRE(more.in_vram_of_gpu.size() == 2);
  CHECK(more.in_vram_of_gpu[0] > more.in_vram_of_gpu[1] + 0.1);
  CHECK((more.in_vram_of_gpu[0] + more.in_vram_of_gpu[1]) / 2 == doctest::Approx(more.in_vram));
  CHECK(more.promoted > 0);
  // As many slots in all, shared out otherwise.
  const SimulationResult other = simulated(2, 6);
  CHECK(other.in_vram_of_gpu[1] > other.in_vram_of_gpu[0] + 0.1);
}

TEST_CASE("what the GPU reads in RAM, and sums that may come later, shorten a token as by hand") {
  // Two layers with experts, of which three are used; attention and all else takes no time that counts.
  Machine slow = machine();
  slow.ram_bytes_per_second = 1e12;
  slow.kernels[gguf::TensorType::F16] = {1e7, 0, 1e8};  // far more than launches take
  Plan plan = small_plan(slow);
  double expert_bytes = 0, cpu_each = 0;
  for (size_t i = 0; i < plan.places.size(); ++i) {
    const WeightGroup& group = plan.work.groups[i];
    if (group.role != GroupRole::RoutedExperts) continue;
    plan.places[i] = {2, 6, 0, 0};
    expert_bytes = static_cast<double>(group.unit_file_bytes());
    cpu_each = cpu_seconds_of_unit(group, slow);
  }
  // The link brings one in the time that the CPU takes for it.
  slow.gpus.front().pcie_bytes_per_second = expert_bytes / cpu_each;
  const RoutingRecipe two_layers = small_recipe(0);
  const auto passes = tokens(two_layers, 300);
  const auto header = MadeUpRouting(two_layers).header();
  SimulationOptions chosen = options();
  chosen.promotions = 0;
  const SimulationResult alone = simulate(plan, slow, header, passes, chosen);
  CHECK(alone.read_by_gpu == 0);
  chosen.reads_host = true;
  const SimulationResult reads = simulate(plan, slow, header, passes, chosen);
  CHECK(reads.in_vram == alone.in_vram);
  CHECK(reads.pcie_bytes == doctest::Approx(reads.read_by_gpu * expert_bytes));
  // Of two or three misses one, of one none.
  CHECK(reads.read_by_gpu > 0.25 * 6 * alone.in_ram);
  CHECK(reads.read_by_gpu < 0.5 * 6 * alone.in_ram);
  CHECK(reads.seconds < alone.seconds);
  const double saved = (alone.seconds - reads.seconds) / static_cast<double>(alone.n_tokens);
  CHECK(saved == doctest::Approx(reads.read_by_gpu * cpu_each).epsilon(0.1));
  // Sums that come a layer later: the GPU's part of the next layer is beside them.
  chosen.reads_host = false;
  chosen.defers = true;
  const SimulationResult deferred = simulate(plan, slow, header, passes, chosen);
  CHECK(deferred.in_vram == alone.in_vram);
  CHECK(deferred.seconds < alone.seconds);
  // The CPU is never done before it has done all.
  const double n_on_cpu = 6 * deferred.in_ram * static_cast<double>(deferred.n_tokens);
  CHECK(deferred.seconds >= n_on_cpu * cpu_each);
}

TEST_CASE("prompts fill memory and are not counted; a trace of prompts alone or of another model is refused") {
  MadeUpRouting routing(recipe(0.5));
  std::vector<traces::Pass> passes = {routing.next(32)};
  Machine cpu = machine();
  cpu.gpus.clear();
  const auto run = [&](const traces::TraceHeader& header) {
    return simulate(plan_with(0, 12), cpu, header, passes, options());
  };
  CHECK_THROWS_AS(run(routing.header()), Error);
  passes.push_back(routing.next());
  SimulationResult result = run(routing.header());
  CHECK(result.n_tokens == 1);
  CHECK(result.in_ram > 0);
  traces::TraceHeader other = routing.header();
  other.n_experts = 17;
  CHECK_THROWS_AS(run(other), Error);
}

TEST_CASE("the best share of hits is that of trying every way") {
  RoutingRecipe small = recipe(0.5);
  small.n_experts = 5;
  small.n_used = 2;
  for (const uint32_t seed : {1u, 2u, 3u, 4u, 5u, 6u})
    for (const uint64_t n_slots : {2u, 3u}) {
      small.seed = seed;
      const auto passes = tokens(small, 6);
      const auto header = MadeUpRouting(small).header();
      std::vector<std::set<uint32_t>> steps;
      for (const auto& pass : passes) {
        const auto chosen = pass.experts(header, 0, 0);
        steps.emplace_back(chosen.begin(), chosen.end());
      }
      CHECK(best_hit_share(header, passes, n_slots, 0) ==
            doctest::Approx(static_cast<double>(most_hits(steps, 0, {}, n_slots)) / 12.0));
    }
}
