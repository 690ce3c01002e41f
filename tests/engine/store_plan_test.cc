// How a store divides its memory, for shapes of many kinds and every amount of memory from the least on.

#include "engine/store/store_plan.h"

#include <doctest/doctest.h>

#include <stdexcept>

#include "engine/store/dense_stream.h"
#include "tests/engine/disk_fixtures.h"

namespace sluice::tests {
namespace {

using engine::DensePart;
using engine::ExpertTensors;
using engine::SlotClass;
using engine::SmallWeight;
using engine::StoreInventory;
using engine::StorePlan;

constexpr uint64_t kKibibyte = 1024, kMebibyte = 1024 * kKibibyte;

// Bytes of what a layer has.
struct LayerShape {
  std::vector<uint64_t> attention;
  std::vector<uint64_t> feed_forward;  // dense, or shared experts
  std::array<uint64_t, 3> expert{};    // its matrices
  int64_t n_experts = 0;
};

struct Shape {
  std::string what;
  std::vector<LayerShape> layers;
  std::vector<uint64_t> output;  // pieces
  uint64_t row_bytes = 0;
  uint64_t small_bytes = 0;  // of each of a few small weights
};

// One behind the other in a file, so that they begin anywhere in a block.
StoreInventory inventory_of(const Shape& shape) {
  StoreInventory inventory;
  uint64_t at = 12345;
  const auto extent = [&](uint64_t bytes) {
    const engine::Extent next{0, at, bytes};
    at += bytes;
    return next;
  };
  const auto add_part = [&](const std::vector<uint64_t>& matrices) {
    DensePart part;
    for (const uint64_t bytes : matrices) part.matrices.push_back({extent(bytes), {}});
    inventory.dense.push_back(part);
  };
  inventory.embedding.matrix_bytes = shape.row_bytes;
  for (const LayerShape& layer : shape.layers) {
    add_part(layer.attention);
    add_part(layer.feed_forward);
    ExpertTensors experts;
    experts.n_experts = layer.n_experts;
    for (size_t p = 0; p < 3 && layer.n_experts > 0; ++p) {
      experts.parts[p].matrix_bytes = layer.expert[p];
      experts.parts[p].offset = extent(layer.expert[p] * static_cast<uint64_t>(layer.n_experts)).offset;
    }
    inventory.experts.push_back(experts);
    inventory.small.push_back({extent(shape.small_bytes), nullptr, nullptr});
  }
  for (const uint64_t piece : shape.output) add_part({piece});
  return inventory;
}

std::vector<Shape> shapes() {
  const LayerShape dense{{70000, 20000, 20000, 70000}, {300000, 300000, 300000}, {}, 0};
  const LayerShape mixtral{{70000, 20000, 20000, 70000}, {}, {150000, 150000, 140000}, 8};
  const LayerShape deepseek{{30000, 100001, 20000, 90000}, {60000, 60000, 61000}, {20001, 20001, 25000}, 64};
  const LayerShape wide_experts{{30000, 100001, 20000, 90000}, {60000, 60000, 61000}, {40001, 40001, 5000}, 64};
  const LayerShape tiny{{10, 20}, {30}, {1, 1, 1}, 4};
  std::vector<Shape> all = {
      {"dense", std::vector(20, dense), {400000, 400000, 17}, 4096, 1000},
      {"Mixtral", std::vector(32, mixtral), {500000}, 1000, 16384},
      {"DeepSeek", {}, {300000, 300000, 300000, 300000}, 4097, 28672},
      {"experts of two sizes", {}, {300000}, 4095, 100},
      {"tiny", std::vector(3, tiny), {5}, 1, 1},
      {"one layer", {mixtral}, {10}, 100, 100},
      {"no output, empty parts", {{{}, {}, {7, 8, 9}, 3}, {{5}, {}, {7, 8, 9}, 3}}, {}, 10, 4},
      {"large dense weights",
       std::vector(6, LayerShape{{50 * kMebibyte}, {9 * kMebibyte}, {kMebibyte, kMebibyte, kMebibyte}, 100}),
       std::vector(5, 64 * kMebibyte), 14336, 28672},
      {"parts larger than the ring reads ahead, and no output",
       std::vector(7, LayerShape{{337 * kMebibyte, 20000000}, {171 * kMebibyte}, {}, 0}),
       {},
       14336,
       28672},
      {"one expert a layer", std::vector(4, LayerShape{{9000}, {}, {5000, 5000, 5000}, 1}), {100}, 50, 60},
  };
  for (int i = 0; i < 3; ++i) all[2].layers.push_back(dense);
  for (int i = 0; i < 24; ++i) all[2].layers.push_back(deepseek);
  for (int i = 0; i < 10; ++i) all[3].layers.push_back(i % 3 == 0 ? wide_experts : deepseek);
  for (uint64_t seed = 0; seed < 24; ++seed) {
    Dice dice(seed);
    Shape shape{"seed " + std::to_string(seed), {}, {}, dice.between(1, 9000), dice.between(1, 20000)};
    const uint64_t most =
        std::array{uint64_t{5000}, uint64_t{100000}, uint64_t{3000000}, uint64_t{60000000}}[dice.below(4)];
    const auto matrices = [&] {
      std::vector<uint64_t> bytes(dice.below(5));
      for (uint64_t& size : bytes) size = dice.between(1, most);
      return bytes;
    };
    const std::array<uint64_t, 3> experts[] = {{dice.between(1, most), dice.between(1, most), dice.between(1, most)},
                                               {dice.between(1, most), dice.between(1, most), dice.between(1, most)}};
    for (uint64_t n = dice.between(1, 40); n > 0; --n)
      shape.layers.push_back({matrices(), matrices(), experts[dice.below(2)],
                              dice.chance(70) ? static_cast<int64_t>(dice.between(1, 130)) : 0});
    shape.output = matrices();
    all.push_back(shape);
  }
  return all;
}

uint64_t everything(const StoreInventory& inventory, int64_t n_batch, uint64_t block_bytes) {
  uint64_t bytes = least_store_bytes(inventory, n_batch, block_bytes) + dense_bytes(inventory, block_bytes);
  for (const ExpertTensors& experts : inventory.experts)
    for (const engine::ExpertTensor& part : experts.parts)
      bytes += static_cast<uint64_t>(experts.n_experts) * (part.matrix_bytes + 2 * block_bytes);
  return bytes;
}

// Amounts of memory from the least to more than is of use, many of them near both.
std::vector<uint64_t> budgets(uint64_t least, uint64_t all, uint64_t block_bytes) {
  std::vector<uint64_t> bytes = {least, least + 1, least + block_bytes - 1, least + block_bytes, all, 2 * all};
  for (uint64_t step = block_bytes; least + step < all; step += step / 4 / block_bytes * block_bytes + block_bytes)
    bytes.push_back(least + step);
  for (uint64_t step = block_bytes; least + step < all; step *= 2) bytes.push_back(all - step);
  for (uint64_t i = 1; i < 40; ++i) bytes.push_back(least + (all - least) / 40 * i);
  std::ranges::sort(bytes);
  return bytes;
}

// Runs a check on every shape, size of block and batch.
template <typename Check>
void for_every_shape(Check check) {
  for (const Shape& shape : shapes()) {
    const StoreInventory inventory = inventory_of(shape);
    for (const uint64_t block_bytes : {4096u, 65536u}) {
      for (const int64_t n_batch : {1, 64}) {
        CAPTURE(shape.what);
        CAPTURE(block_bytes);
        CAPTURE(n_batch);
        check(inventory, n_batch, block_bytes);
      }
    }
  }
}

}  // namespace

TEST_CASE("a plan keeps within its memory, and its numbers agree with each other") {
  for_every_shape([](const StoreInventory& inventory, int64_t n_batch, uint64_t block_bytes) {
    const uint64_t least = least_store_bytes(inventory, n_batch, block_bytes);
    for (const uint64_t bytes : budgets(least, everything(inventory, n_batch, block_bytes), block_bytes)) {
      CAPTURE(bytes);
      const StorePlan plan = plan_store(inventory, n_batch, bytes, block_bytes);
      CHECK(plan.bytes() <= bytes);
      CHECK(std::max(plan.ring_bytes, plan.kept_bytes) <= bytes);  // no sum that has overflown
      REQUIRE(plan.stays.size() == inventory.dense.size());
      uint64_t kept = 0;
      for (size_t part = 0; part < plan.stays.size(); ++part)
        if (plan.stays[part]) kept += padded_bytes(inventory.dense[part], block_bytes);
      CHECK(plan.kept_bytes == kept);
      CHECK(plan.ring_bytes >= smallest_ring(inventory.dense, plan.stays, block_bytes));

      uint64_t slots = 0, small = 0;
      std::vector<uint32_t> n_experts(plan.classes.size(), 0);
      for (const SlotClass& slot_class : plan.classes) {
        CHECK(slot_class.n_slots >= 1);
        CHECK(slot_class.n_slots <= slot_class.n_experts);
        slots += slot_class.slot_bytes() * slot_class.n_slots;
      }
      CHECK(plan.slot_bytes == slots);
      REQUIRE(plan.class_of_layer.size() == inventory.experts.size());
      for (size_t layer = 0; layer < inventory.experts.size(); ++layer) {
        const ExpertTensors& experts = inventory.experts[layer];
        if (experts.n_experts == 0) continue;
        REQUIRE(plan.class_of_layer[layer] < plan.classes.size());
        n_experts[plan.class_of_layer[layer]] += static_cast<uint32_t>(experts.n_experts);
        bool all_fit = true;  // wherever in a block they begin
        for (size_t p = 0; p < 3; ++p)
          for (int32_t expert = 0; expert < experts.n_experts; ++expert)
            all_fit = all_fit && engine::LoadPart::padded_bytes(experts.parts[p].extent(expert), block_bytes) <=
                                     plan.classes[plan.class_of_layer[layer]].part_bytes[p];
        CHECK(all_fit);
      }
      for (size_t i = 0; i < plan.classes.size(); ++i) CHECK(plan.classes[i].n_experts == n_experts[i]);
      for (const SmallWeight& weight : inventory.small)
        small += engine::LoadPart::padded_bytes(weight.extent, block_bytes);
      CHECK(plan.small_bytes == small);
      CHECK(plan.embedding_bytes / static_cast<uint64_t>(n_batch) >=
            (inventory.embedding.matrix_bytes + block_bytes - 2) / block_bytes * block_bytes);
      // They lie one behind the other, each from a block on.
      for (const uint64_t part : {plan.kept_bytes, plan.ring_bytes, plan.embedding_bytes, plan.small_bytes})
        CHECK(part % block_bytes == 0);
    }
  });
}

TEST_CASE("the least memory is enough, and less is refused") {
  for_every_shape([](const StoreInventory& inventory, int64_t n_batch, uint64_t block_bytes) {
    const uint64_t least = least_store_bytes(inventory, n_batch, block_bytes);
    CHECK_NOTHROW(plan_store(inventory, n_batch, least, block_bytes));
    for (const uint64_t bytes : {least - 1, least - block_bytes, least / 2, uint64_t{0}})
      CHECK_THROWS_AS(plan_store(inventory, n_batch, bytes, block_bytes), std::invalid_argument);
  });
}

TEST_CASE("with memory for everything all parts stay, nothing passes, and every expert has a slot") {
  for_every_shape([](const StoreInventory& inventory, int64_t n_batch, uint64_t block_bytes) {
    const StorePlan plan = plan_store(inventory, n_batch, everything(inventory, n_batch, block_bytes), block_bytes);
    for (size_t part = 0; part < plan.stays.size(); ++part) CHECK(plan.stays[part]);
    CHECK(plan.ring_bytes == 0);
    for (const SlotClass& slots : plan.classes) CHECK(slots.n_slots == slots.n_experts);
    // And no more is taken than is of use.
    CHECK(plan_store(inventory, n_batch, plan.bytes(), block_bytes).bytes() == plan.bytes());
    CHECK(plan_store(inventory, n_batch, uint64_t{1} << 50, block_bytes).bytes() == plan.bytes());
  });
}

TEST_CASE("more memory is never of less use, but for rounding to parts and slots") {
  for_every_shape([](const StoreInventory& inventory, int64_t n_batch, uint64_t block_bytes) {
    const uint64_t least = least_store_bytes(inventory, n_batch, block_bytes);
    uint64_t before = 0, before_bytes = 0, largest = 1;
    for (const DensePart& part : inventory.dense) largest = std::max(largest, padded_bytes(part, block_bytes));
    for (const SlotClass& slots : plan_store(inventory, n_batch, least, block_bytes).classes)
      largest = std::max(largest, slots.slot_bytes());
    for (const uint64_t bytes : budgets(least, everything(inventory, n_batch, block_bytes), block_bytes)) {
      const StorePlan plan = plan_store(inventory, n_batch, bytes, block_bytes);
      CAPTURE(before_bytes);
      CAPTURE(bytes);
      // An even spread and whole slots may cost less than one part or slot.
      CHECK(plan.kept_bytes + plan.slot_bytes + largest > before);
      before = plan.kept_bytes + plan.slot_bytes;
      before_bytes = bytes;
    }
  });
}

TEST_CASE("beside a device that holds some experts, the others come first, then room to come back to, then copies") {
  Dice dice(5);
  for_every_shape([&](StoreInventory inventory, int64_t, uint64_t block_bytes) {
    inventory.small.clear();
    inventory.embedding = {};
    for (DensePart& part : inventory.dense) part.matrices.clear();
    std::vector<uint32_t> n_on_device;
    for (const ExpertTensors& layer : inventory.experts)
      n_on_device.push_back(static_cast<uint32_t>(dice.between(0, static_cast<uint64_t>(layer.n_experts))));
    const StorePlan whole = plan_expert_store(inventory, n_on_device, uint64_t{1} << 50, block_bytes);
    std::vector<uint64_t> n_rest(whole.classes.size(), 0);
    uint64_t one_each = 0, rest = 0, with_spare = 0;
    for (size_t layer = 0; layer < n_on_device.size(); ++layer)
      if (inventory.experts[layer].n_experts > 0)
        n_rest[whole.class_of_layer[layer]] +=
            static_cast<uint64_t>(inventory.experts[layer].n_experts) - n_on_device[layer];
    const auto n_spare = [&](size_t c) { return std::min<uint64_t>(n_rest[c] + 16, whole.classes[c].n_experts); };
    for (size_t c = 0; c < whole.classes.size(); ++c) {
      CHECK(whole.classes[c].n_slots == whole.classes[c].n_experts);
      one_each += whole.classes[c].slot_bytes();
      rest += std::max<uint64_t>(1, n_rest[c]) * whole.classes[c].slot_bytes();
      with_spare += std::max<uint64_t>(1, n_spare(c)) * whole.classes[c].slot_bytes();
    }
    if (one_each > 0)
      CHECK_THROWS_AS(plan_expert_store(inventory, n_on_device, one_each - 1, block_bytes), std::invalid_argument);
    for (const uint64_t bytes : {one_each, (one_each + rest) / 2, rest, (rest + with_spare) / 2, with_spare,
                                 (with_spare + whole.bytes()) / 2, whole.bytes()}) {
      const StorePlan plan = plan_expert_store(inventory, n_on_device, bytes, block_bytes);
      CHECK(plan.bytes() <= bytes);
      CHECK(plan.bytes() == plan.slot_bytes);
      uint64_t slot_bytes = 0;
      for (size_t c = 0; c < plan.classes.size(); ++c) {
        const SlotClass& slots = plan.classes[c];
        slot_bytes += slots.n_slots * slots.slot_bytes();
        CHECK(slots.n_slots >= 1);
        CHECK(slots.n_slots <= slots.n_experts);
        CHECK(slots.n_lent == 0);
        if (bytes >= rest) CHECK(slots.n_slots >= n_rest[c]);
        if (bytes >= with_spare) CHECK(slots.n_slots >= n_spare(c));
        if (bytes == rest) CHECK(slots.n_slots == std::max<uint64_t>(1, n_rest[c]));
      }
      CHECK(plan.slot_bytes == slot_bytes);
    }
  });
}

TEST_CASE("the parts that pass are spread evenly over a pass") {
  // Equal parts: attention only, so that the others are empty.
  const Shape shape{"", std::vector(40, LayerShape{{8 * kMebibyte}, {}, {}, 0}), {}, 100, 100};
  StoreInventory inventory = inventory_of(shape);
  for (DensePart& part : inventory.dense)
    for (engine::DenseMatrix& matrix : part.matrices) matrix.extent.offset = 0;
  const uint64_t least = least_store_bytes(inventory, 1, 4096);
  size_t n_seen = 0;
  for (uint64_t kept = 0; kept < 40; ++kept) {
    CAPTURE(kept);
    const StorePlan plan = plan_store(inventory, 1, least + 64 * kMebibyte + 8 * kept * kMebibyte, 4096);
    std::vector<size_t> streamed;
    for (size_t layer = 0; layer < 40; ++layer)
      if (!plan.stays[2 * layer]) streamed.push_back(layer);
    if (streamed.empty() || streamed.size() == 40) continue;
    ++n_seen;
    // Of any run of layers, as many pass as its share, give or take one.
    for (size_t begin = 0; begin < 40; ++begin) {
      for (size_t end = begin + 1; end <= 40; ++end) {
        const auto n = static_cast<double>(
            std::ranges::count_if(streamed, [&](size_t layer) { return begin <= layer && layer < end; }));
        const double share = static_cast<double>(streamed.size() * (end - begin)) / 40;
        CHECK(n >= share - 1);
        CHECK(n <= share + 1);
      }
    }
  }
  CHECK(n_seen > 20);
}

}  // namespace sluice::tests
