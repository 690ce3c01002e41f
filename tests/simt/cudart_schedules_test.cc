// What schedules of effects and the search for races find: a ring of slots on the device that one stream fills with experts and
// another computes with, with and without the event that keeps a slot until it was used.
#include <cmath>

#include "tests/simt/cudart_fixture.h"

namespace sluice::simt {
namespace {

constexpr size_t kExperts = 64, kSlots = 24, kUses = 128;

struct Ring {
  bool keeps_used_slots = true;
  bool waits_for_loads = true;
};

size_t expert_of(size_t use) {
  return use * use * 7 % 61 % kExperts;
}

int32_t expected_sum() {
  int32_t sum = 0;
  for (size_t use = 0; use < kUses; ++use) sum += static_cast<int32_t>((expert_of(use) + 1) * (use + 1));
  return sum;
}

// The sum that the device ends with.
int32_t run_ring(const Ring& ring) {
  auto* experts = pinned_memory<int32_t>(kExperts);
  for (size_t i = 0; i < kExperts; ++i) experts[i] = static_cast<int32_t>(i + 1);
  auto* slots = device_memory<int32_t>(kSlots);
  auto* total = device_memory<int32_t>(1);
  auto* result = pinned_memory<int32_t>(1);
  const cudaStream_t copy = new_stream(), compute = new_stream();
  std::vector<cudaEvent_t> loaded, used;
  for (size_t i = 0; i < kSlots; ++i) {
    loaded.push_back(new_event(cudaEventDisableTiming));
    used.push_back(new_event(cudaEventDisableTiming));
    OK(cudaMemsetAsync(slots + i, 0, 4, copy));
  }
  OK(cudaMemsetAsync(total, 0, 4, compute));
  for (size_t use = 0; use < kUses; ++use) {
    const size_t slot = use % kSlots;
    if (ring.keeps_used_slots) OK(cudaStreamWaitEvent(copy, used[slot], 0));
    OK(cudaMemcpyAsync(slots + slot, experts + expert_of(use), 4, cudaMemcpyHostToDevice, copy));
    OK(cudaEventRecord(loaded[slot], copy));
    if (ring.waits_for_loads) OK(cudaStreamWaitEvent(compute, loaded[slot], 0));
    OK(launch(Accumulate{slots + slot, total, static_cast<int64_t>(use + 1)}, compute));
    OK(cudaEventRecord(used[slot], compute));
  }
  OK(cudaMemcpyAsync(result, total, 4, cudaMemcpyDeviceToHost, compute));
  OK(cudaStreamSynchronize(compute));
  OK(cudaDeviceSynchronize());
  return *result;
}

GpuOptions schedule(Effects effects, uint64_t seed, bool checks_races, bool tempers = true) {
  GpuOptions options;
  options.effects = effects;
  options.seed = seed;
  options.tempers = tempers;
  options.check_races = checks_races;
  options.goes_on_after_seconds = 0;
  options.kernel_ranges = ranges_of_test_kernels;
  return options;
}

int count_wrong_sums(const Ring& ring, bool tempers, int n_seeds) {
  int n_wrong = 0;
  for (int seed = 1; seed <= n_seeds; ++seed) {
    const FreshMachine machine(schedule(Effects::Seeded, static_cast<uint64_t>(seed), false, tempers));
    if (run_ring(ring) != expected_sum()) ++n_wrong;
  }
  return n_wrong;
}

TEST_CASE("a ring that keeps its slots while they are used gives the right sum and no finding in every schedule") {
  for (const Effects effects : {Effects::Eager, Effects::Lazy}) {
    const FreshMachine machine(schedule(effects, 1, true));
    CHECK(run_ring({}) == expected_sum());
  }
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    for (const bool tempers : {true, false}) {
      const FreshMachine machine(schedule(Effects::Seeded, seed, true, tempers));
      CHECK(run_ring({}) == expected_sum());
    }
  }
}

TEST_CASE("streams with tempers find that a slot is overwritten while it is used, where even chances never do") {
  const Ring broken{.keeps_used_slots = false};
  const int n_with_tempers = count_wrong_sums(broken, true, 40);
  const int n_without = count_wrong_sums(broken, false, 40);
  MESSAGE("wrong sums of 40: " << n_with_tempers << " with tempers, " << n_without << " without");
  CHECK(n_with_tempers > 0);
  CHECK(n_without == 0);
}

TEST_CASE("a missing wait for the load gives wrong sums in most schedules") {
  const Ring broken{.waits_for_loads = false};
  CHECK(count_wrong_sums(broken, true, 10) > 0);
}

TEST_CASE("the search for races finds either mistake in every schedule, also where the sum came out right") {
  for (const Effects effects : {Effects::Eager, Effects::Lazy, Effects::Seeded}) {
    for (const Ring& broken : {Ring{.keeps_used_slots = false}, Ring{.waits_for_loads = false}}) {
      const FreshMachine machine(schedule(effects, 3, true));
      const int32_t sum = run_ring(broken);
      if (effects == Effects::Eager) CHECK(sum == expected_sum());  // lucky
      const std::vector<std::string> findings = take_findings();
      REQUIRE(!findings.empty());
      CHECK(findings[0].find("stream race: ") == 0);
    }
  }
}

TEST_CASE("some streams do at once what they are given, some nothing until they must, some a part") {
  constexpr int kLaunches = 20;
  bool is_greedy = false, is_starved = false, is_fickle = false;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const FreshMachine machine(schedule(Effects::Seeded, seed, true));
    auto* mapped = pinned_memory<int32_t>(1);
    *mapped = 0;
    const cudaStream_t stream = new_stream();
    for (int i = 0; i < kLaunches; ++i) OK(launch(Increment{mapped, 1, 1}, stream));
    (*mapped == kLaunches ? is_greedy : *mapped == 0 ? is_starved : is_fickle) = true;
    OK(cudaStreamSynchronize(stream));
    CHECK(*mapped == kLaunches);
  }
  CHECK(is_greedy);
  CHECK(is_starved);
  CHECK(is_fickle);
}

TEST_CASE("schedules of one seed are the same each time") {
  const Ring broken{.keeps_used_slots = false};
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    int32_t sums[2];
    for (int32_t& sum : sums) {
      const FreshMachine machine(schedule(Effects::Seeded, seed, false));
      sum = run_ring(broken);
    }
    CHECK(sums[0] == sums[1]);
  }
}

TEST_CASE("the host that touches a buffer in flight is a race, and not one after it waited, or saw a word") {
  for (const Effects effects : {Effects::Eager, Effects::Lazy}) {
    const FreshMachine machine(schedule(effects, 1, true));
    const cudaStream_t stream = new_stream();
    auto* host = pinned_memory<int32_t>(8);
    auto* device = device_memory<int32_t>(8);
    OK(cudaMemcpyAsync(device, host, 16, cudaMemcpyHostToDevice, stream));
    host_touches(host, 16, false);     // reading beside a reader
    host_touches(host + 4, 16, true);  // other bytes
    host_touches(host + 3, 4, true);
    OK(cudaStreamSynchronize(stream));
    expect_finding("stream race: ");
    host_touches(host, 16, true);
    OK(cudaMemcpyAsync(host, device, 16, cudaMemcpyDeviceToHost, stream));
    host_touches(host, 4, false);
    OK(cudaStreamSynchronize(stream));
    expect_finding("stream race: ");
    host_touches(host, 4, false);

    auto* word = pinned_memory<uint32_t>(1);
    OK(launch(Publish{word, 1}, stream));
    run_pending_effects();
    host_acquires(word, 4);
    host_touches(word, 4, true);
    OK(cudaStreamSynchronize(stream));
  }
}

TEST_CASE("launches of one graph are ordered with each other, and its branches are not") {
  const FreshMachine machine(schedule(Effects::Eager, 1, true));
  auto* device = device_memory<int32_t>(2);
  const cudaStream_t one = new_stream(), two = new_stream();
  const cudaEvent_t forked = new_event(), joined = new_event();
  for (const bool races : {false, true}) {
    OK(cudaMemsetAsync(device, 0, 8, one));
    OK(cudaStreamBeginCapture(one, cudaStreamCaptureModeGlobal));
    OK(cudaEventRecord(forked, one));
    OK(cudaStreamWaitEvent(two, forked, 0));
    OK(launch(Increment{device, 1, 1}, one));
    OK(launch(Increment{device + (races ? 0 : 1), 1, 1}, two));
    OK(cudaEventRecord(joined, two));
    OK(cudaStreamWaitEvent(one, joined, 0));
    cudaGraph_t graph = nullptr;
    OK(cudaStreamEndCapture(one, &graph));
    cudaGraphExec_t instantiated = nullptr;
    OK(cudaGraphInstantiate(&instantiated, graph, 0));
    for (int i = 0; i < 2; ++i) OK(cudaGraphLaunch(instantiated, one));
    OK(cudaStreamSynchronize(one));
    CHECK(take_findings().size() == (races ? 2 : 0));
  }
}

}  // namespace
}  // namespace sluice::simt
