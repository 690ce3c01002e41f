// The tier of experts in a GPU's memory over a fake one: which experts come, what a failure leaves behind.

#include "engine/store/vram_tier.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <set>

#include "engine/traces/made_up_routing.h"
#include "tests/engine/fake_gpu.h"

using namespace sluice;
using engine::traces::MadeUpRouting;
using engine::traces::RoutingRecipe;

namespace {

// Experts that are a few floats each; layers may differ in how many.
class SmallExperts {
 public:
  SmallExperts(uint32_t n_layers, int64_t n_experts, const std::vector<int64_t>& n_floats_of_layers = {16}) {
    int64_t n_floats = 0;
    const auto of_layer = [&](size_t layer) { return n_floats_of_layers[layer % n_floats_of_layers.size()]; };
    for (uint32_t layer = 0; layer < n_layers; ++layer) n_floats += 3 * n_experts * of_layer(layer);
    floats_.resize(static_cast<size_t>(n_floats));
    for (size_t i = 0; i < floats_.size(); ++i) floats_[i] = static_cast<float>(i);
    float* at = floats_.data();
    for (uint32_t layer = 0; layer < n_layers; ++layer) {
      engine::ExpertsWeights experts;
      for (engine::LinearStack* stack : {&experts.gate, &experts.up, &experts.down}) {
        stack->first.n_outputs = 1;
        stack->first.n_inputs = of_layer(layer);
        stack->first.row_bytes = stack->stride_bytes = static_cast<uint64_t>(of_layer(layer)) * sizeof(float);
        stack->first.data = reinterpret_cast<const std::byte*>(at);
        stack->count = n_experts;
        at += n_experts * of_layer(layer);
      }
      weights.layers.push_back({{}, {}, {}, std::move(experts)});
    }
    store = engine::make_mapped_store(weights);
  }
  const engine::ExpertsWeights& experts(uint32_t layer) const {
    return std::get<engine::ExpertsWeights>(weights.layers[layer].ffn);
  }

  engine::ModelWeights weights;
  std::unique_ptr<engine::WeightStore> store;

 private:
  std::vector<float> floats_;
};

// A token takes ten milliseconds, a copy of an expert one, and the host 0.4 for one that is missed.
constexpr double kTokenSeconds = 0.01, kCopySeconds = 0.001, kHostSeconds = 0.0004;

struct Told {
  double hit_rate = 0, promotions_a_token = 0;
};

// The hits of the second half of a trace with a quarter of the experts in VRAM.
Told follow(const RoutingRecipe& recipe, bool must_pay, int n_tokens) {
  MadeUpRouting routing(recipe);
  SmallExperts model(recipe.n_layers, recipe.n_experts);
  const uint64_t slot_bytes = 3 * 256, n_slots = uint64_t{recipe.n_layers} * recipe.n_experts / 4;
  tests::FakeGpu gpu(n_slots * slot_bytes);
  double seconds = 0;
  engine::VramTierOptions options;
  options.promotion.must_pay = must_pay;
  options.promotion.has_thread = false;
  options.promotion.now = [&seconds] { return seconds; };
  options.promotion.link_bytes_per_second = static_cast<double>(slot_bytes) / kCopySeconds;
  engine::VramTier tier(gpu, model.weights, n_slots * slot_bytes, 0, options, {});
  REQUIRE(tier.statistics().n_slots == n_slots);
  tier.set_store(*model.store);
  const auto stream = gpu.make_stream();
  engine::VramStatistics half;
  for (int token = 0; token < n_tokens; ++token) {
    if (token == n_tokens / 2) half = tier.statistics();
    const engine::traces::Pass pass = routing.next();
    tier.begin_pass(1);
    for (uint32_t layer = 0; layer < recipe.n_layers; ++layer) {
      const auto chosen = pass.experts(routing.header(), 0, layer);
      const std::vector<int32_t> ids(chosen.begin(), chosen.end());
      uint32_t hits = 0;
      for (size_t k = 0; k < ids.size(); ++k) hits |= tier.holds(layer, ids[k]) ? 1u << k : 0u;
      tier.used(layer, recipe.n_used, ids, std::span(&hits, 1));
    }
    tier.host_took(1, kHostSeconds);
    tier.end_pass(*stream);
    seconds += kTokenSeconds;
  }
  const engine::VramStatistics told = engine::since(half, tier.statistics());
  return {told.hit_rate(), static_cast<double>(told.n_promotions) / (n_tokens - n_tokens / 2)};
}

RoutingRecipe recipe(double skew, double locality, double drift) {
  RoutingRecipe recipe;
  recipe.n_layers = 6;
  recipe.n_experts = 64;
  recipe.n_used = 6;
  recipe.skew = skew;
  recipe.locality = locality;
  recipe.drift = drift;
  return recipe;
}

// Whatever is missed comes, by a clock that a look moves on, in the order of the calls.
engine::VramTierOptions eager_options() {
  engine::VramTierOptions options;
  options.promotion.has_thread = false;
  options.promotion.must_pay = false;
  options.promotion.now = [seconds = 0.0]() mutable { return seconds += 0.01; };
  return options;
}

uint64_t n_held(const engine::VramTier& tier, uint32_t begin_layer, uint32_t end_layer, int64_t n_experts) {
  uint64_t n = 0;
  for (uint32_t layer = begin_layer; layer < end_layer; ++layer)
    for (int32_t id = 0; id < n_experts; ++id) n += tier.holds(layer, id);
  return n;
}

// Begins a pass of one token, all of whose experts are told to be missed.
void begin_missed(engine::VramTier& tier, const engine::traces::TraceHeader& header, const engine::traces::Pass& pass) {
  tier.begin_pass(1);
  for (uint32_t layer = 0; layer < header.expert_layers.size(); ++layer) {
    const auto chosen = pass.experts(header, 0, layer);
    const std::vector<int32_t> ids(chosen.begin(), chosen.end());
    const uint32_t hits = 0;
    tier.used(layer, header.n_used, ids, std::span(&hits, 1));
  }
}

}  // namespace

TEST_CASE("experts that are equally popular stay where they are, and favourites come as before") {
  struct Case {
    const char* name;
    double skew, locality, drift;
    bool is_uniform;
  };
  for (const Case& c : {Case{"uniform", 0, 0, 0, true}, Case{"uniform, tokens alike", 0, 0.4, 0, true},
                        Case{"skewed a little", 0.5, 0, 0, false}, Case{"skewed", 1, 0, 0, false},
                        Case{"skewed, tokens alike", 1, 0.4, 0, false}, Case{"skewed, drifting", 1, 0.3, 0.3, false},
                        Case{"skewed much, drifting", 1.5, 0, 0.5, false}}) {
    const Told before = follow(recipe(c.skew, c.locality, c.drift), false, 3000);
    const Told now = follow(recipe(c.skew, c.locality, c.drift), true, 3000);
    CAPTURE(std::string(c.name));
    MESSAGE(std::string(c.name) << ": hits " << before.hit_rate << " -> " << now.hit_rate << ", promotions a token "
                                << before.promotions_a_token << " -> " << now.promotions_a_token);
    CHECK(before.promotions_a_token > 1);
    // What tokens share for a moment is not worth a copy, and so a little less is hit.
    CHECK(now.hit_rate > before.hit_rate - (c.locality > 0 ? 0.01 : 0.001));
    if (c.is_uniform) CHECK(now.promotions_a_token < 0.02 * before.promotions_a_token);
    if (!c.is_uniform) CHECK(now.hit_rate > 0.3);
  }
}

TEST_CASE("heat says which experts are there at first, and what a run used is the heat of the next") {
  const RoutingRecipe skewed = recipe(1.2, 0, 0);
  SmallExperts model(skewed.n_layers, skewed.n_experts);
  const uint64_t bytes = 3 * 256 * uint64_t{skewed.n_layers} * skewed.n_experts / 4;
  engine::VramTierOptions options;
  options.promotion.has_thread = false;
  options.promotion.promotes = false;
  tests::FakeGpu gpu(1 << 24);
  engine::VramTier first(gpu, model.weights, bytes, 0, options, {});
  CHECK(first.heat().empty());
  MadeUpRouting routing(skewed);
  std::vector<double> n_uses(size_t{skewed.n_layers} * skewed.n_experts, 0);
  for (int token = 0; token < 300; ++token) {
    const engine::traces::Pass pass = routing.next();
    begin_missed(first, routing.header(), pass);
    for (uint32_t layer = 0; layer < skewed.n_layers; ++layer)
      for (const uint16_t id : pass.experts(routing.header(), 0, layer)) ++n_uses[layer * skewed.n_experts + id];
  }
  options.heat = first.heat();
  for (size_t i = 0; i < n_uses.size(); ++i) CHECK(options.heat[i] == doctest::Approx(n_uses[i] / 300));
  engine::VramTier second(gpu, model.weights, bytes, 0, options, {});
  double least_here = 1e9, most_elsewhere = 0;
  for (size_t i = 0; i < n_uses.size(); ++i) {
    const bool is_here =
        second.holds(static_cast<uint32_t>(i / skewed.n_experts), static_cast<int32_t>(i % skewed.n_experts));
    if (is_here)
      least_here = std::min(least_here, n_uses[i]);
    else
      most_elsewhere = std::max(most_elsewhere, n_uses[i]);
  }
  CHECK(least_here >= most_elsewhere);
  CHECK(most_elsewhere > 0);
}

TEST_CASE(
    "experts of several sizes have slots of their own, the same share of each, and come and go among their like") {
  SmallExperts model(6, 32, {16, 100, 16, 400});
  const uint64_t half =
      (3 * 256 + 2 * 512 + 1792) * 3 * 32 / 2;  // three layers of the small, two of the middle, one of the large
  tests::FakeGpu gpu(half);
  engine::VramTierOptions options = eager_options();
  options.promotion.link_bytes_per_second = 1e6;
  engine::VramTier tier(gpu, model.weights, half, 0, options, {});
  tier.set_store(*model.store);
  const auto stream = gpu.make_stream();
  for (uint32_t layer = 0; layer < 6; ++layer)
    CHECK(std::abs(static_cast<int>(n_held(tier, layer, layer + 1, 32)) - 16) <= 2);
  const auto check_places = [&] {
    for (uint32_t layer = 0; layer < 6; ++layer)
      for (int32_t id = 0; id < 32; ++id) {
        const engine::ExpertPlace& place = tier.places(layer)[id];
        CHECK((place.gate != nullptr) == tier.holds(layer, id));
        if (place.gate == nullptr) continue;
        const auto& experts = model.experts(layer);
        const auto is_equal = [](const std::byte* there, const engine::Linear& matrix) {
          return std::memcmp(there, matrix.data, matrix.bytes()) == 0;
        };
        CHECK(is_equal(place.gate, experts.gate.at(id)));
        CHECK(is_equal(place.up, experts.up.at(id)));
        CHECK(is_equal(place.down, experts.down.at(id)));
      }
  };
  check_places();
  std::set<std::pair<uint32_t, int32_t>> at_first, came;
  for (uint32_t layer = 0; layer < 6; ++layer)
    for (int32_t id = 0; id < 32; ++id)
      if (tier.holds(layer, id)) at_first.insert({layer, id});
  RoutingRecipe shape = recipe(0, 0, 0);
  shape.n_experts = 32;
  MadeUpRouting routing(shape);
  for (int token = 0; token < 200; ++token) {
    begin_missed(tier, routing.header(), routing.next());
    tier.end_pass(*stream);
    for (uint32_t layer = 0; layer < 6; ++layer)
      for (int32_t id = 0; id < 32; ++id)
        if (tier.holds(layer, id) && !at_first.contains({layer, id})) came.insert({layer, id});
  }
  check_places();
  for (uint32_t layer = 0; layer < 6; ++layer) {
    CAPTURE(layer);
    CHECK(std::ranges::any_of(came, [&](const auto& expert) { return expert.first == layer; }));
  }
  const uint64_t n_slots = tier.statistics().n_slots;
  tier.give_back(*stream, half / 3);
  CHECK(tier.statistics().n_slots < n_slots);
  check_places();
}

TEST_CASE(
    "slots that giving VRAM back has emptied when it failed are filled again, and given back when it is asked again") {
  SmallExperts model(2, 512);
  const uint64_t bytes = 3 * 256 * 512;  // half, given back eight at a time
  for (int64_t nth = 0; nth < 20; ++nth) {
    CAPTURE(nth);
    tests::FakeGpu gpu(bytes);
    engine::VramTier tier(gpu, model.weights, bytes, 0, eager_options(), {});
    tier.set_store(*model.store);
    const auto stream = gpu.make_stream();
    const auto n_here = [&] { return n_held(tier, 0, 2, 512); };
    const auto pass = [&](std::initializer_list<int32_t> ids) {
      tier.begin_pass(1);
      const uint32_t hits = 0;
      for (uint32_t layer = 0; layer < 2 && ids.size() > 0; ++layer)
        tier.used(layer, static_cast<int64_t>(ids.size()), ids, std::span(&hits, 1));
      tier.end_pass(*stream);
    };
    CHECK(n_here() == 512);
    gpu.copies_until_failure = nth;
    CHECK_THROWS_AS(tier.give_back(*stream, bytes), std::runtime_error);
    const engine::VramStatistics after = tier.statistics();
    CHECK(after.n_slots > 0);
    CHECK(after.n_slots + after.n_slots_given_back == 512);
    CHECK(n_here() <= after.n_slots);
    for (int i = 0; i < 4; ++i) pass({300, 301, 302, 303, 304, 305, 306, 307});
    pass({});  // those on their way come
    CHECK(n_here() == after.n_slots);
    tier.give_back(*stream, bytes);
    CHECK(tier.statistics().n_slots == 0);
    CHECK(n_here() == 0);
  }
}

TEST_CASE("slots that were given back come again, empty, and are filled with what is missed") {
  const RoutingRecipe uniform = recipe(0, 0, 0);
  SmallExperts model(uniform.n_layers, uniform.n_experts);
  const uint64_t bytes = 3 * 256 * uint64_t{uniform.n_layers} * uniform.n_experts / 2;
  tests::FakeGpu gpu(bytes);
  engine::VramTier tier(gpu, model.weights, bytes, 0, eager_options(), {});
  tier.set_store(*model.store);
  const auto stream = gpu.make_stream();
  const auto n_here = [&] { return n_held(tier, 0, uniform.n_layers, uniform.n_experts); };
  const uint64_t n_first = tier.statistics().n_slots, slot_bytes = tier.statistics().slot_bytes;
  CHECK(tier.take_back(bytes) == 0);  // nothing was given
  tier.give_back(*stream, slot_bytes / 2);
  const uint64_t n_left = tier.statistics().n_slots;
  CHECK(n_left < n_first);
  CHECK(n_here() == n_left);
  CHECK(tier.take_back(0) == 0);
  CHECK(tier.take_back(100) == 0);  // less than what was given at once
  // The fake GPU does not count what comes back: as if others had it.
  CHECK(tier.take_back(bytes) == 0);
  gpu.has_again(slot_bytes - tier.statistics().slot_bytes);
  const uint64_t half = (slot_bytes - tier.statistics().slot_bytes) / 2;
  const uint64_t taken = tier.take_back(half);
  CHECK(taken > 0);
  CHECK(taken <= half);
  CHECK(tier.take_back(bytes) > 0);
  CHECK(tier.statistics().n_slots == n_first);
  CHECK(tier.statistics().slot_bytes == slot_bytes);
  CHECK(tier.statistics().n_slots_taken_back == tier.statistics().n_slots_given_back);
  CHECK(n_here() == n_left);
  MadeUpRouting routing(uniform);
  for (int token = 0; token < 200; ++token) {
    begin_missed(tier, routing.header(), routing.next());
    tier.end_pass(*stream);
  }
  tier.settle(*stream);  // some are always on their way
  CHECK(n_here() == n_first);
  // What lies there is what belongs there: no two experts have a place in common.
  std::set<const std::byte*> places;
  for (uint32_t layer = 0; layer < uniform.n_layers; ++layer)
    for (int32_t id = 0; id < static_cast<int32_t>(uniform.n_experts); ++id)
      if (tier.holds(layer, id)) places.insert(tier.places(layer)[id].gate);
  CHECK(places.size() == n_first);
  tier.give_back(*stream, bytes);
  CHECK(tier.statistics().n_slots == 0);
}

TEST_CASE("copies on a thread of their own bring experts while passes go on") {
  const RoutingRecipe skewed = recipe(1, 0, 0);
  SmallExperts model(skewed.n_layers, skewed.n_experts);
  const uint64_t bytes = 3 * 256 * uint64_t{skewed.n_layers} * skewed.n_experts / 4;
  tests::FakeGpu gpu(bytes);
  engine::VramTierOptions options;
  options.promotion.now = [seconds = 0.0]() mutable { return seconds += 0.01; };
  engine::VramTier tier(gpu, model.weights, bytes, 0, options, {});
  tier.set_store(*model.store);
  const auto stream = gpu.make_stream();
  MadeUpRouting routing(skewed);
  uint64_t n_errors = 0;
  for (int token = 0; token < 400; ++token) {
    begin_missed(tier, routing.header(), routing.next());
    try {
      tier.end_pass(*stream);
      if (token % 97 == 96) tier.give_back(*stream, 3000);
    } catch (const std::runtime_error&) {  // the copy that was to fail was one of this thread
      ++n_errors;
    }
    if (token % 50 == 49) gpu.copies_until_failure = token / 50;
    CHECK(tier.statistics().copy_seconds >= 0);
  }
  const engine::VramStatistics told = tier.statistics();
  CHECK(told.n_promotions > 0);
  CHECK(told.n_slots_given_back > 0);
  CHECK(told.n_failed_copies + n_errors > 0);
}
