// The store beneath a tier of experts elsewhere: what may be dropped goes
// first, and experts come back.

#include <doctest/doctest.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>

#include "engine/forward/forward.h"
#include "tests/engine/store_fixtures.h"

using namespace sluice;
using engine::ExpertHandles;
using engine::LayerExpert;

namespace {

constexpr const char* kModel = "qwen3moe";  // two layers of eight experts of one size

// A store with slots for some of the experts, which are filled with the first
// ones.
struct Beside {
  explicit Beside(int32_t most_slots, const tests::MeddlingDisk::Meddle& meddle = as_it_is) {
    uint64_t bytes = tests::store_sizes(tests::fixture_path(kModel), 64).all;
    do {
      model = tests::open_fixture(kModel, tests::disk_options(bytes, meddle));
      n_slots = static_cast<int32_t>(store().statistics().n_expert_slots);
      bytes -= 4096;
    } while (n_slots > most_slots);
    engine::ModelOptions mapped;
    mapped.residency = engine::Residency::File;
    file = tests::open_fixture(kModel, mapped);
    store().begin_pass(1);
    for (int32_t i = 0; i < n_slots; ++i) use(at(i));
  }
  static int64_t as_it_is(const engine::DiskRead&, int64_t result) { return result; }
  engine::WeightStore& store() const { return *model->forward_context().store; }
  static LayerExpert at(int32_t i) { return {static_cast<uint32_t>(i / 8), i % 8}; }

  const engine::LinearStack& stack(uint32_t layer, int part) const {
    const auto& experts = std::get<engine::ExpertsWeights>(file->forward_context().weights.layers[layer].ffn);
    return part == 0 ? experts.gate : part == 1 ? experts.up : experts.down;
  }
  bool is_right(LayerExpert expert, const ExpertHandles& handles) const {
    int part = 0;
    for (const engine::Linear* matrix : {&handles.gate, &handles.up, &handles.down})
      if (std::memcmp(matrix->data, stack(expert.layer, part++).at(expert.expert_id).data, matrix->bytes()) != 0)
        return false;
    return true;
  }
  // As a device would.
  void write(LayerExpert expert, const ExpertHandles& handles) const {
    int part = 0;
    for (const engine::Linear* matrix : {&handles.gate, &handles.up, &handles.down})
      std::memcpy(const_cast<std::byte*>(matrix->data), stack(expert.layer, part++).at(expert.expert_id).data,
                  matrix->bytes());
  }
  // Asks for it as a pass does.
  void use(LayerExpert expert) const {
    const int64_t one = 1;
    const auto request = store().begin(expert.layer, std::span(&expert.expert_id, 1), std::span(&one, 1));
    const auto ready = request->next();
    REQUIRE(ready.size() == 1);
    CHECK(is_right(expert, ready[0].handles));
    CHECK(request->next().empty());
  }
  std::unique_ptr<engine::ExpertHold> fetch(LayerExpert expert) const {
    return store().fetch(expert.layer, expert.expert_id);
  }
  bool has(LayerExpert expert) const { return store().has(expert.layer, expert.expert_id); }
  bool holds(LayerExpert expert) const { return store().hold(expert.layer, expert.expert_id) != nullptr; }
  void may_drop(LayerExpert expert) const { store().may_drop(expert.layer, expert.expert_id); }
  void needed_again(LayerExpert expert) const { store().needed_again(expert.layer, expert.expert_id); }
  std::unique_ptr<engine::ExpertReturn> bring_back(LayerExpert expert, std::function<bool()> wait) const {
    return store().bring_back(expert.layer, expert.expert_id, std::move(wait));
  }
  uint64_t bytes_read() const { return store().statistics().bytes_read; }

  std::shared_ptr<const engine::Model> model, file;
  int32_t n_slots = 0;
};

const std::function<bool()> kNobodyWaits = [] {
  FAIL("somebody waited");
  return false;
};

}  // namespace

TEST_CASE(
    "a store with a slot for every expert that is nowhere else is "
    "complete, and tells of each that came") {
  const Beside all(16), some(12);
  CHECK(all.n_slots == 16);
  CHECK(all.store().is_complete());
  std::set<std::pair<uint32_t, int32_t>> moved;
  for (const auto& [layer, id] : all.store().take_moved()) CHECK(moved.insert({layer, id}).second);
  CHECK(moved.size() == 16);
  CHECK(all.store().take_moved().empty());

  REQUIRE(some.n_slots < 16);
  REQUIRE(some.n_slots > 5);
  CHECK(!some.store().is_complete());
  for (int32_t i = some.n_slots; i < 16; ++i) {
    CHECK(!some.has(Beside::at(i)));
    some.may_drop(Beside::at(i));
    CHECK(some.store().is_complete() == (i == 15));
  }
  some.needed_again(Beside::at(15));
  CHECK(!some.store().is_complete());
  some.use(Beside::at(15));  // which puts another one out
  CHECK(!some.store().is_complete());
  CHECK(some.has(Beside::at(15)));
}

TEST_CASE(
    "an expert that comes back takes the slot of one that may be "
    "dropped, and who asks for it waits") {
  const Beside beside(12);
  const LayerExpert back = Beside::at(15), dropped = Beside::at(3);
  for (int32_t i = beside.n_slots; i < 16; ++i) beside.may_drop(Beside::at(i));
  beside.store().take_moved();
  CHECK(beside.bring_back(back, kNobodyWaits) == nullptr);           // all others are needed
  CHECK(beside.bring_back(Beside::at(0), kNobodyWaits) == nullptr);  // it is there
  beside.may_drop(dropped);
  CHECK(beside.holds(dropped));
  for (const bool somebody_asks : {true, false}) {
    CAPTURE(somebody_asks);
    int n_waited = 0;
    ExpertHandles to;
    auto coming = beside.bring_back(back, [&] {
      beside.write(back, to);
      return ++n_waited == 1;
    });
    REQUIRE(coming != nullptr);
    to = coming->handles;
    beside.needed_again(back);
    CHECK(beside.store().is_complete());
    CHECK(!beside.has(dropped));
    for (int32_t i = 0; i < beside.n_slots; ++i)
      if (!(Beside::at(i) == dropped)) CHECK(beside.holds(Beside::at(i)));
    CHECK(beside.has(back));
    CHECK(!beside.holds(back));
    CHECK(beside.store().take_moved() == std::vector{dropped});
    const uint64_t read_before = beside.bytes_read();
    if (somebody_asks)
      beside.use(back);
    else
      beside.write(back, to);
    coming->finish(true);
    CHECK(n_waited == (somebody_asks ? 1 : 0));
    beside.use(back);
    CHECK(beside.bytes_read() == read_before);
    CHECK(beside.holds(back));
    CHECK(beside.store().take_moved() == std::vector{back});
    // And the other way round.
    beside.may_drop(back);
    coming = beside.bring_back(dropped, kNobodyWaits);
    REQUIRE(coming != nullptr);
    beside.write(dropped, coming->handles);
    coming->finish(true);
    CHECK(beside.holds(dropped));
    CHECK(!beside.has(back));
    beside.store().take_moved();
  }
}

TEST_CASE(
    "an expert that does not come back is read from the disk by who asks "
    "for it, or not there") {
  const Beside beside(12);
  const LayerExpert back = Beside::at(15), dropped = Beside::at(3);
  for (int32_t i = beside.n_slots; i < 16; ++i) beside.may_drop(Beside::at(i));
  beside.may_drop(dropped);
  {
    auto coming = beside.bring_back(back, [] { return false; });
    REQUIRE(coming != nullptr);
    beside.needed_again(back);
    const uint64_t read_before = beside.bytes_read();
    beside.use(back);
    CHECK(beside.bytes_read() > read_before);
    coming->finish(false);
    CHECK(beside.holds(back));
    CHECK(beside.store().is_complete());
  }
  for (const bool is_told : {true, false}) {
    beside.may_drop(back);
    beside.use(dropped);
    CHECK(!beside.has(back));
    auto coming = beside.bring_back(back, kNobodyWaits);
    REQUIRE(coming != nullptr);
    beside.needed_again(back);
    CHECK(beside.store().is_complete());
    if (is_told) coming->finish(false);
    coming.reset();
    CHECK(!beside.has(back));
    CHECK(!beside.store().is_complete());
    beside.use(back);
    CHECK(beside.store().is_complete());
  }
}

TEST_CASE(
    "where not all is needed elsewhere or here, an expert comes back in "
    "place of one that is worth less") {
  const Beside beside(12);
  const LayerExpert unused = Beside::at(14), used = Beside::at(15);
  CHECK(beside.bring_back(unused, kNobodyWaits) == nullptr);
  for (int i = 0; i < 9; ++i) beside.store().used_elsewhere(used.layer, used.expert_id, 1);
  const auto coming = beside.bring_back(used, kNobodyWaits);
  REQUIRE(coming != nullptr);
  CHECK(beside.bring_back(used, kNobodyWaits) == nullptr);  // it is on its way
}

TEST_CASE("not all slots are held over passes") {
  const Beside beside(12);
  std::vector<std::unique_ptr<engine::ExpertHold>> held;
  while (beside.store().can_spare_slots(0)) {
    REQUIRE(held.size() < static_cast<size_t>(beside.n_slots));
    held.push_back(beside.store().hold(0, static_cast<int32_t>(held.size())));
    REQUIRE(held.back() != nullptr);
  }
  CHECK(held.size() >= 1);
  CHECK(held.size() + 2 <= static_cast<size_t>(beside.n_slots));
  beside.use(Beside::at(15));
  held.pop_back();
  CHECK(beside.store().can_spare_slots(0));
}

TEST_CASE("what is fetched passes through a slot that nobody holds, and is gone when it is let go") {
  const Beside beside(12);
  const auto n_slots = static_cast<size_t>(beside.n_slots);
  CHECK(beside.store().n_fetchable(0) == beside.n_slots);
  std::vector<std::unique_ptr<engine::ExpertHold>> held;
  for (int32_t i = 0; i + 2 < beside.n_slots; ++i)
    held.push_back(beside.store().hold(Beside::at(i).layer, Beside::at(i).expert_id));
  CHECK(beside.store().n_fetchable(0) == 2);
  const engine::StoreStatistics before = beside.store().statistics();
  REQUIRE(n_slots + 4 <= 16);
  for (const int32_t first : {beside.n_slots, beside.n_slots + 2}) {
    const LayerExpert one = Beside::at(first), other = Beside::at(first + 1);
    const LayerExpert third = Beside::at(first == beside.n_slots ? first + 2 : beside.n_slots);
    auto hold_of_one = beside.fetch(one);
    const auto hold_of_other = beside.fetch(other);
    REQUIRE(hold_of_one != nullptr);
    REQUIRE(hold_of_other != nullptr);
    CHECK(beside.store().n_fetchable(0) == 0);
    CHECK(beside.fetch(third) == nullptr);
    hold_of_one->wait();
    CHECK(beside.is_right(one, hold_of_one->handles));
    CHECK(beside.holds(one));
    hold_of_one->wait();
    hold_of_one = nullptr;
    CHECK(!beside.has(one));
    CHECK(beside.has(other));  // which is let go while it may be on its way
  }
  CHECK(beside.store().n_fetchable(0) == 2);
  const engine::StoreStatistics now = engine::since(before, beside.store().statistics());
  CHECK(now.n_misses == 4);
  CHECK(now.n_hits == 0);
  CHECK(now.miss_bytes > 0);
  for (size_t i = 0; i < held.size(); ++i)
    CHECK(beside.is_right(Beside::at(static_cast<int32_t>(i)), held[i]->handles));
  held.clear();
  CHECK(beside.store().n_fetchable(0) == static_cast<int64_t>(n_slots));
  CHECK(beside.store().read_bytes_per_second() > 0);
}

TEST_CASE("what is fetched and was there stays there") {
  const Beside beside(12);
  const engine::StoreStatistics before = beside.store().statistics();
  {
    const auto hold = beside.fetch(Beside::at(2));
    REQUIRE(hold != nullptr);
    hold->wait();
    CHECK(beside.is_right(Beside::at(2), hold->handles));
  }
  CHECK(beside.holds(Beside::at(2)));
  const engine::StoreStatistics now = engine::since(before, beside.store().statistics());
  CHECK(now.n_hits == 1);
  CHECK(now.n_misses == 0);
  CHECK(now.bytes_read == 0);
}

TEST_CASE("what cannot be fetched says so when it is waited for, and can be when the disk is well again") {
  const auto is_ill = std::make_shared<bool>(false);
  const Beside beside(12, [is_ill](const engine::DiskRead&, int64_t result) { return *is_ill ? -EIO : result; });
  const LayerExpert expert = Beside::at(15);
  for (const bool asks_twice : {true, false}) {
    *is_ill = true;
    auto hold = beside.fetch(expert);
    REQUIRE(hold != nullptr);
    CHECK_THROWS_AS(hold->wait(), engine::Error);
    *is_ill = false;
    if (asks_twice) {
      const auto again = beside.fetch(expert);
      REQUIRE(again != nullptr);
      again->wait();
      CHECK(beside.is_right(expert, again->handles));
    }
    hold = nullptr;
    CHECK(!beside.has(expert));
  }
  beside.use(expert);
}
