// Missed experts that the GPU reads in the host's memory: which it takes, and what a pass makes of them.

#include <bit>
#include <random>

#include "engine/device/cuda/graphs.h"
#include "engine/device/cuda/meeting.h"
#include "engine/forward/miss_split.h"
#include "tests/cuda_device/fixture.h"

using namespace sluice;
using kernels::cuda::ExpertPlace;

TEST_CASE(
    "of the missed experts as many are read from the host as is said for their number, the first of the choice that it "
    "has") {
  tests::fresh_gpu({}, true);
  constexpr int64_t kUsed = 6, kColumns = 40, kExperts = 16;
  const engine::cuda::StreamHandle stream;
  engine::cuda::Meeting meeting({1, kUsed, kColumns}, engine::cuda::WaitBy::StreamOperation);
  const engine::cuda::Memory memory = engine::cuda::pinned_memory(1 << 14);
  std::memset(memory.host(), 0, memory.bytes());
  auto* at = memory.host();
  const auto take = [&]<class T>(T*, size_t n) {
    auto* const place = reinterpret_cast<T*>(at);
    at += (n * sizeof(T) + 15) / 16 * 16;
    return place;
  };
  auto* const places = take(static_cast<ExpertPlace*>(nullptr), kExperts);
  auto* const host_places = take(static_cast<ExpertPlace*>(nullptr), kExperts);
  auto* const chosen = take(static_cast<ExpertPlace*>(nullptr), kUsed);
  auto* const ids = take(static_cast<int32_t*>(nullptr), kUsed);
  auto* const weights = take(static_cast<float*>(nullptr), kUsed);
  auto* const counts = take(static_cast<uint32_t*>(nullptr), kUsed + 1);
  auto* const number = take(static_cast<uint32_t*>(nullptr), 1);
  auto* const inputs = take(static_cast<float*>(nullptr), kColumns);
  auto* const in_vram = at;  // only their addresses matter
  auto* const in_ram = at + 64;
  std::mt19937 random(3);
  for (uint32_t pass = 1; pass <= 60; ++pass) {
    std::vector<int32_t> experts(kExperts);
    for (size_t i = 0; i < experts.size(); ++i) experts[i] = static_cast<int32_t>(i);
    std::shuffle(experts.begin(), experts.end(), random);
    std::copy_n(experts.begin(), kUsed, ids);
    for (int64_t e = 0; e < kExperts; ++e) {
      places[e] = {random() % 3 == 0 ? in_vram + e : nullptr, nullptr, nullptr};
      host_places[e] = {random() % 4 != 0 ? in_ram + e : nullptr, nullptr, nullptr};
    }
    for (uint32_t m = 0; m <= kUsed; ++m) counts[m] = random() % (m + 1);
    *number = pass;
    kernels::cuda::PublishCall call;
    call.places = places;
    call.host_places = host_places;
    call.n_from_host = counts;
    call.chosen_places = chosen;
    call.ids = ids;
    call.weights = weights;
    call.inputs = {inputs, 1, kColumns, kColumns};
    call.pass = number;
    kernels::cuda::Launches list;
    meeting.publish(list, call);
    engine::cuda::Graphs(false).start(list, stream.get());
    const engine::cuda::Choice choice = meeting.wait_for_choice(pass, 1, stream.get());

    uint32_t missed = 0, expected = 0, taken = 0;
    for (size_t k = 0; k < kUsed; ++k) missed += places[ids[k]].gate == nullptr;
    for (size_t k = 0; k < kUsed; ++k) {
      const std::byte* place = places[ids[k]].gate;
      if (place == nullptr && host_places[ids[k]].gate != nullptr && taken < counts[missed]) {
        place = host_places[ids[k]].gate;
        ++taken;
      }
      CHECK(chosen[k].gate == place);
      expected |= (place != nullptr ? 1u : 0u) << k;
    }
    CHECK(choice.hits[0] == expected);
    meeting.answer_nothing();
    REQUIRE(cudaStreamSynchronize(stream.get()) == cudaSuccess);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("the GPU reads as many missed experts as make both sides end together, and none before the host was timed") {
  engine::MissSplit split(8);
  CHECK(std::ranges::count(split.counts(1e-3), 0u) == 9);
  split.took(4, 4e-4);
  CHECK(split.seconds_of_an_expert() == doctest::Approx(1e-4));
  const auto is = [&](double link_seconds, const std::vector<uint32_t>& counts) {
    CHECK(std::ranges::equal(split.counts(link_seconds), counts));
  };
  is(1.0, {0, 0, 0, 0, 0, 0, 0, 0, 0});                // a link that is no use
  is(3.5e-4, {0, 0, 0, 0, 1, 1, 1, 1, 1});             // one read takes as long as three and a half multiplied
  is(1e-4, {0, 0, 1, 1, 2, 2, 3, 3, 4});               // as fast as the host
  is(1e-5, {0, 1, 2, 3, 4, 5, 6, 7, 8});               // much faster
  for (int i = 0; i < 1000; ++i) split.took(2, 2e-3);  // the host has become slow
  is(1e-3, {0, 0, 1, 1, 2, 2, 3, 3, 4});
}
