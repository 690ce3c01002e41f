// What lanes of a warp and threads of a block tell each other, against the PTX ISA's descriptions.
#include <algorithm>
#include <array>
#include <bit>

#include "tests/simt/launching.h"

namespace sluice::simt {
namespace {

struct OperandArguments {
  const uint64_t* a;
  const uint64_t* b;
  const uint64_t* c;
  uint64_t* out;
  int64_t n;
};

struct Operands {
  std::vector<uint64_t> a, b, c;
  explicit Operands(size_t n) : a(n), b(n), c(n) {
    uint64_t state = 88172645463325252ull;
    for (size_t i = 0; i < n; ++i) {
      for (std::vector<uint64_t>* v : {&a, &b, &c}) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (*v)[i] = state;
      }
    }
  }
};

std::vector<uint64_t> run(const std::string& name, const Operands& operands, uint32_t n_threads) {
  const DeviceArray<uint64_t> a(operands.a), b(operands.b), c(operands.c), out(operands.a.size());
  REQUIRE(launch(name.c_str(), {uint32_t(operands.a.size()) / n_threads}, {n_threads}, 0,
                 OperandArguments{a.get(), b.get(), c.get(), out.get(), int64_t(operands.a.size())}) ==
          GridResult::Done);
  return {out.get(), out.get() + out.size()};
}

// The pseudocode of shfl.sync, with its names.
uint64_t shuffled(const std::string& mode, const std::vector<uint64_t>& values, uint32_t first, uint32_t lane,
                  uint32_t b, uint32_t c) {
  const uint32_t bval = b & 31, cval = c & 31, segmask = c >> 8 & 31;
  const int maxLane = int((lane & segmask) | (cval & ~segmask)), minLane = int(lane & segmask);
  int j = 0;
  bool pval = false;
  if (mode == "up") {
    j = int(lane) - int(bval);
    pval = j >= maxLane;
  }
  if (mode == "down") {
    j = int(lane) + int(bval);
    pval = j <= maxLane;
  }
  if (mode == "bfly") {
    j = int(lane ^ bval);
    pval = j <= maxLane;
  }
  if (mode == "idx") {
    j = minLane | int(bval & ~segmask);
    pval = j <= maxLane;
  }
  if (!pval) j = int(lane);
  return uint64_t(pval) << 63 | uint32_t(values[first + uint32_t(j)]);
}

TEST_CASE("Shuffles read the lane that the PTX ISA says, in all modes and segments") {
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const GridOptions& options : all_orders()) {
      const OptionsForNow now(options);
      for (const std::string mode : {"up", "down", "bfly", "idx"}) {
        CAPTURE(mode);
        Operands operands(1024);
        for (size_t i = 0; i < 512;
             ++i) {  // half of them with the clamps that width = 2^n gives, the others with anything
          operands.b[i] %= 40;
          const uint32_t width = 1u << (i / 32 % 6);
          operands.c[i] = (32 - width) << 8 | (mode == "up" ? 0 : 31);
        }
        const std::vector<uint64_t> got = run("op_shfl_" + mode, operands, 64);
        for (uint32_t i = 0; i < 1024; ++i) {
          const uint64_t expected =
              shuffled(mode, operands.a, i / 32 * 32, i % 32, uint32_t(operands.b[i]), uint32_t(operands.c[i]));
          CHECK(got[i] == expected);
        }
      }
      CHECK(joined(take_findings()) == "");
    }
  }
}

TEST_CASE("Votes, matches, reductions and counting barriers know of all their threads") {
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const GridOptions& options : all_orders()) {
      const OptionsForNow now(options);
      for (int pattern = 0; pattern < 4; ++pattern) {  // 0: random, 1: all, 2: none, 3: one lane
        Operands operands(256);
        for (size_t i = 0; i < 256; ++i) {
          if (pattern == 0)
            operands.b[i] &= 1;
          else
            operands.b[i] = pattern == 1 || (pattern == 3 && i == 69);
          if (pattern == 1) operands.a[i] |= 1;
          if (pattern == 2) operands.a[i] &= ~uint64_t(1);
        }
        const std::vector<uint64_t> votes = run("op_votes", operands, 128);
        const std::vector<uint64_t> matches = run("op_match", operands, 128);
        const std::vector<uint64_t> counts = run("op_counting_barriers", operands, 128);
        for (uint32_t i = 0; i < 256; ++i) {
          uint32_t ballot = 0, same = 0, n_equal = 0, n_odd = 0;
          for (uint32_t lane = 0; lane < 32; ++lane) {
            const uint32_t other = i / 32 * 32 + lane;
            ballot |= uint32_t(operands.b[other] != 0) << lane;
            same |= uint32_t(uint32_t(operands.a[other]) % 3 == uint32_t(operands.a[i]) % 3) << lane;
            n_equal += operands.b[other] == operands.b[i];
          }
          for (uint32_t other = i / 128 * 128; other < i / 128 * 128 + 128; ++other) n_odd += operands.a[other] & 1;
          const bool all = ballot == 0xffffffffu, none = ballot == 0;
          CHECK(votes[i] ==
                (uint64_t(ballot) << 32 | uint64_t(!none) | uint64_t(all) << 1 | uint64_t(all || none) << 2));
          CHECK(matches[i] == (uint64_t(same) << 32 | (n_equal == 32 ? 0xffffu << 1 | 1 : 0)));
          CHECK(counts[i] == (uint64_t(n_odd) << 2 | uint64_t(n_odd == 128) << 1 | uint64_t(n_odd != 0)));
        }
      }
      CHECK(joined(take_findings()) == "");
    }
  }
}

TEST_CASE("redux.sync reduces over the warp") {
  choose_architecture(80);
  const Operands operands(128);
  const auto reduced = [&](uint32_t i, auto operation) {
    uint32_t result = uint32_t(operands.a[i / 32 * 32]);
    for (uint32_t lane = 1; lane < 32; ++lane) result = operation(result, uint32_t(operands.a[i / 32 * 32 + lane]));
    return result;
  };
  const std::pair<const char*, uint32_t (*)(uint32_t, uint32_t)> cases[] = {
      {"add_u32", [](uint32_t x, uint32_t y) { return x + y; }},
      {"add_s32", [](uint32_t x, uint32_t y) { return x + y; }},
      {"min_s32", [](uint32_t x, uint32_t y) { return uint32_t(std::min(int32_t(x), int32_t(y))); }},
      {"max_u32", [](uint32_t x, uint32_t y) { return std::max(x, y); }},
      {"xor_b32", [](uint32_t x, uint32_t y) { return x ^ y; }},
      {"and_b32", [](uint32_t x, uint32_t y) { return x & y; }},
      {"or_b32", [](uint32_t x, uint32_t y) { return x | y; }}};
  for (const auto& [name, operation] : cases) {
    CAPTURE(name);
    const std::vector<uint64_t> got = run(std::string("op_redux_") + name, operands, 128);
    for (uint32_t i = 0; i < 128; ++i) CHECK(got[i] == reduced(i, operation));
  }
  CHECK(joined(take_findings()) == "");
}

TEST_CASE("Atomics change a word one after another and return what was there") {
  const std::pair<const char*, uint32_t (*)(uint32_t old, uint32_t a, uint32_t b)> cases[] = {
      {"add", [](uint32_t old, uint32_t a, uint32_t) { return old + a; }},
      {"min", [](uint32_t old, uint32_t a, uint32_t) { return uint32_t(std::min(int32_t(old), int32_t(a))); }},
      {"max", [](uint32_t old, uint32_t a, uint32_t) { return std::max(old, a); }},
      {"exch", [](uint32_t, uint32_t a, uint32_t) { return a; }},
      {"cas", [](uint32_t old, uint32_t a, uint32_t b) { return old == a ? b : old; }},
      {"and", [](uint32_t old, uint32_t a, uint32_t) { return old & a; }},
      {"or", [](uint32_t old, uint32_t a, uint32_t) { return old | a; }},
      {"xor", [](uint32_t old, uint32_t a, uint32_t) { return old ^ a; }},
      {"inc", [](uint32_t old, uint32_t a, uint32_t) { return old >= a ? 0 : old + 1; }},
      {"dec", [](uint32_t old, uint32_t a, uint32_t) { return old == 0 || old > a ? a : old - 1; }}};
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const auto& [name, operation] : cases) {
      CAPTURE(name);
      Operands operands(64);
      for (size_t i = 0; i < 64; ++i) {  // a chain, so that some exchanges succeed
        operands.a[i] = name == std::string("cas") ? i / 2 : uint32_t(operands.a[i]) % (i % 3 == 0 ? 7 : 0xffffffffu);
        operands.b[i] = i / 2 + 1;
        operands.c[i] = 0;
      }
      GridOptions in_order;
      const OptionsForNow now(in_order);
      const DeviceArray<uint64_t> a(operands.a), b(operands.b), c(operands.c), out(operands.a.size());
      REQUIRE(launch((std::string("op_atomic_") + name).c_str(), {1}, {1}, 0,
                     OperandArguments{a.get(), b.get(), c.get(), out.get(), 64}) == GridResult::Done);
      CHECK(uint32_t(c[0]) == operation(0, uint32_t(a[0]), uint32_t(b[0])));
      // With more threads in any order: what each got is what another left, or the beginning.
      c[0] = 0;
      REQUIRE(launch((std::string("op_atomic_") + name).c_str(), {1}, {64}, 0,
                     OperandArguments{a.get(), b.get(), c.get(), out.get(), 64}) == GridResult::Done);
      std::vector<uint32_t> left{0}, got{uint32_t(c[0])};
      for (size_t i = 0; i < 64; ++i) {
        got.push_back(uint32_t(out[i]));
        left.push_back(operation(uint32_t(out[i]), uint32_t(a[i]), uint32_t(b[i])));
      }
      std::sort(left.begin(), left.end());
      std::sort(got.begin(), got.end());
      CHECK(left == got);
    }
  }
  CHECK(joined(take_findings()) == "");
}

}  // namespace
}  // namespace sluice::simt
