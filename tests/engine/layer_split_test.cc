// Layers over several GPUs: by hand, and against all splits that there are.

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/placement/layer_split.h"

using namespace sluice::engine;

namespace {

using Ends = std::vector<uint32_t>;
constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();

struct Case {
  std::string name;
  std::vector<LayerCost> layers;
  uint64_t first = 0, last = 0, pass = 0;
  std::vector<GpuRoom> gpus;
  Ends expected;
};

std::vector<LayerCost> equal_layers(size_t n, const LayerCost& layer) {
  return std::vector<LayerCost>(n, layer);
}

struct Problem {
  std::vector<LayerCost> layers;
  uint64_t first = 0, last = 0, pass = 0;
  std::vector<GpuRoom> gpus;
};

// Do the ranges have room, when each layer has that share of its caches, dense parts and experts?
bool fits(const Problem& p, const Ends& ends, double state, double dense, double experts) {
  uint32_t begin = 0;
  for (size_t gpu = 0; gpu < ends.size(); begin = ends[gpu++]) {
    if (begin == ends[gpu]) continue;
    double bytes =
        static_cast<double>(p.pass + (begin == 0 ? p.first : 0) + (ends[gpu] == p.layers.size() ? p.last : 0));
    for (uint32_t layer = begin; layer < ends[gpu]; ++layer)
      bytes += state * static_cast<double>(p.layers[layer].state_bytes) +
               dense * static_cast<double>(p.layers[layer].dense_bytes) +
               experts * static_cast<double>(p.layers[layer].expert_bytes);
    if (bytes > static_cast<double>(p.gpus[gpu].bytes) + 1e-6) return false;
  }
  return true;
}

// In thousandths, as a whole: what the layers have in common.
int level_of(const Problem& p, const Ends& ends) {
  int level = 0;
  while (level < 3000) {
    const int next = level + 1;
    const auto share = [&](int of) { return std::clamp((next - 1000 * of) / 1000.0, 0.0, 1.0); };
    if (!fits(p, ends, share(0), share(1), share(2))) break;
    level = next;
  }
  return level;
}

std::vector<Ends> all_splits(uint32_t n_layers, size_t n_gpus) {
  std::vector<Ends> splits{{}};
  for (size_t gpu = 0; gpu < n_gpus; ++gpu) {
    std::vector<Ends> longer;
    for (const Ends& split : splits)
      for (uint32_t end = split.empty() ? 0 : split.back(); end <= n_layers; ++end) {
        if (gpu + 1 == n_gpus && end < n_layers) continue;
        longer.push_back(split);
        longer.back().push_back(end);
      }
    splits = longer;
  }
  return splits;
}

// How many of the GPUs, from the first one on, the layers need.
size_t n_first(const Ends& ends) {
  return static_cast<size_t>(std::ranges::find(ends, ends.back()) - ends.begin()) + 1;
}

}  // namespace

TEST_CASE("layers are split over GPUs as one would by hand") {
  const LayerCost moe{10, 1, 100}, dense{10, 1, 0};
  const GpuRoom fast{0, 1e12}, slow{0, 3e11};
  const auto of = [](GpuRoom gpu, uint64_t bytes) {
    gpu.bytes = bytes;
    return gpu;
  };
  const std::vector<Case> cases = {
      {"none", equal_layers(3, moe), 0, 0, 0, {}, {}},
      {"no layers", {}, 5, 5, 5, {of(fast, 10), of(fast, 10)}, {0, 0}},
      {"one GPU has all, however little", equal_layers(3, moe), 0, 0, 0, {of(fast, 1)}, {3}},
      {"everything fits on the first", equal_layers(3, dense), 3, 4, 2, {of(fast, 42), of(fast, 42)}, {3, 3}},
      {"a byte less, and the second has the last layer",
       equal_layers(3, dense),
       3,
       4,
       2,
       {of(fast, 41), of(fast, 42)},
       {2, 3}},
      {"the output alone is too much", equal_layers(3, dense), 0, 20, 0, {of(fast, 40), of(fast, 40)}, {2, 3}},
      {"a GPU too small for a pass has none",
       equal_layers(4, dense),
       0,
       0,
       5,
       {of(fast, 27), of(fast, 4), of(fast, 27)},
       {2, 2, 4}},
      {"equal GPUs share equally", equal_layers(8, moe), 0, 0, 0, {of(fast, 200), of(fast, 200)}, {4, 8}},
      {"also where there are more than two",
       equal_layers(10, moe),
       0,
       0,
       0,
       {of(fast, 150), of(fast, 150), of(fast, 150), of(fast, 150)},
       {2, 4, 7, 10}},
      {"by their room", equal_layers(9, moe), 0, 0, 0, {of(fast, 300), of(slow, 150)}, {6, 9}},
      {"equal for the layers, more of them where they are read faster",
       equal_layers(3, moe),
       0,
       0,
       0,
       {of(slow, 122), of(fast, 122)},
       {1, 3}},
      {"the first has the embedding too", equal_layers(4, moe), 100, 0, 0, {of(fast, 200), of(fast, 200)}, {1, 4}},
      {"dense parts before experts", {{100, 0, 0}, {100, 0, 1000}}, 0, 0, 0, {of(fast, 110), of(fast, 110)}, {1, 2}},
      {"caches before dense parts",
       {{0, 100, 0}, {0, 100, 0}, {500, 0, 0}},
       0,
       0,
       0,
       {of(fast, 100), of(fast, 250)},
       {1, 3}},
      {"nothing fits", equal_layers(3, {10'000'000, 1, 100}), 0, 0, 50, {of(slow, 10), of(fast, 10)}, {0, 3}},
      {"sums that no number holds",
       equal_layers(3, {kHuge, kHuge, kHuge}),
       kHuge,
       kHuge,
       kHuge,
       {of(fast, kHuge), of(slow, kHuge)},
       {3, 3}},
      {"and whose sum would be none",
       equal_layers(2, {uint64_t{1} << 63, 0, 0}),
       0,
       0,
       0,
       {{uint64_t{1} << 63, 1e12}, {uint64_t{1} << 63, 1e12}},
       {1, 2}},
      {"rates that are none",
       equal_layers(2, dense),
       0,
       0,
       0,
       {{11, -1}, {11, std::numeric_limits<double>::quiet_NaN()}},
       {1, 2}},
  };
  for (const Case& row : cases) {
    CAPTURE(row.name);
    CHECK(split_layers(row.layers, row.first, row.last, row.pass, row.gpus) == row.expected);
  }
}

TEST_CASE("no other split gives the layer that is worst off more, and fewer GPUs are taken where they hold all") {
  std::mt19937 random(7);
  const auto below = [&](uint64_t n) { return random() % n; };
  int n_whole = 0, n_shared = 0, n_dense = 0, n_less = 0;
  for (int round = 0; round < 400; ++round) {
    Problem p;
    const uint64_t n_layers = 1 + below(6), n_gpus = 1 + below(4), expert = below(3) * 40;
    for (uint64_t i = 0; i < n_layers; ++i)
      p.layers.push_back({below(20), below(5), i < below(3) ? 0 : expert + below(10)});
    p.first = below(10), p.last = below(10), p.pass = below(10);
    const uint64_t room = below(5) == 0 ? 15 : 200;
    for (uint64_t i = 0; i < n_gpus; ++i) p.gpus.push_back({below(room), 1e9 * static_cast<double>(1 + below(2))});
    const Ends split = split_layers(p.layers, p.first, p.last, p.pass, p.gpus);
    REQUIRE(split.size() == n_gpus);
    CHECK(std::ranges::is_sorted(split));
    CHECK(split.back() == n_layers);
    const int level = level_of(p, split);
    int best = 0;
    size_t fewest = n_gpus;  // of the first ones
    for (const Ends& other : all_splits(static_cast<uint32_t>(n_layers), n_gpus)) {
      const int of_other = level_of(p, other);
      best = std::max(best, of_other);
      if (of_other == 3000) fewest = std::min(fewest, n_first(other));
    }
    CAPTURE(round);
    CHECK(level == best);
    if (best == 3000) CHECK(n_first(split) == fewest);
    n_whole += best == 3000, n_shared += best >= 2000 && best < 3000, n_dense += best >= 1000 && best < 2000;
    n_less += best < 1000;
  }
  CHECK(n_whole > 20);
  CHECK(n_shared > 20);
  CHECK(n_dense > 20);
  CHECK(n_less > 20);
}

TEST_CASE("of R1's layers two cards of 24 GB have equal shares") {
  // As placed by docs/placement.md: GB of attention, routers and shared experts of a layer, its caches, and 256 experts of 8.7 MB.
  std::vector<LayerCost> layers(61, {150'000'000, 4'700'000, 2'227'000'000});
  for (size_t i = 0; i < 3; ++i) layers[i] = {370'000'000, 4'700'000, 0};
  const uint64_t room = uint64_t{23} << 30;
  const Ends split =
      split_layers(layers, 0, 760'000'000, 310'000'000, std::vector<GpuRoom>{{room, 9.36e11}, {room, 9.36e11}});
  CHECK(split == Ends{32, 61});
  const auto share = [&](uint32_t begin, uint32_t end, uint64_t fixed) {
    uint64_t taken = 310'000'000 + fixed, experts = 0;
    for (uint32_t i = begin; i < end; ++i)
      taken += layers[i].dense_bytes + layers[i].state_bytes, experts += layers[i].expert_bytes;
    return static_cast<double>(room - taken) / static_cast<double>(experts);
  };
  CHECK(share(0, 32, 0) == doctest::Approx(0.2907).epsilon(0.001));
  CHECK(share(32, 61, 760'000'000) == doctest::Approx(0.2963).epsilon(0.001));
}
