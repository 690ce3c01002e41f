#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/simt/launching.h"
#include "tests/simt/runtime/module.h"

namespace sluice::simt {
namespace {

struct LanguageArguments {
  int64_t* out;
  const int32_t* in;
  int32_t n;
  int32_t choice;
};

struct Memory {
  std::vector<int32_t> values = std::vector<int32_t>(64);
  DeviceArray<int64_t> out{std::vector<int64_t>(512, 0)};
  Memory() {
    for (int32_t i = 0; i < 64; ++i) values[size_t(i)] = i * 37 % 101 - 30;
  }
};

TEST_CASE("Tables of constants, of device variables and of pointers hold what their initialisers say") {
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    const ModuleVariable* counter = find_variable("counter");
    REQUIRE(counter != nullptr);
    REQUIRE(counter->bytes == 4);
    CHECK(find_variable("grid")->is_constant);
    CHECK(find_variable("no such") == nullptr);
    const int32_t start = 40;
    std::memcpy(counter->data, &start, 4);
    const Memory memory;
    const DeviceArray<int32_t> in(memory.values);
    REQUIRE(launch("tables", {1}, {64}, 0, LanguageArguments{memory.out.get(), in.get(), 64, 0}) == GridResult::Done);
    const int64_t grid[3] = {1, int64_t(0xfedcba9876543210ull), 3};
    const int64_t pairs[3] = {1000 + 5 - 1, 2000 + 25 + 1, 3000 - 40 - 2};
    const int64_t steps[4] = {-300, 2, 40, 32767};
    std::vector<int64_t> counted;
    for (size_t i = 0; i < 64; ++i) {
      const int64_t* out = memory.out.get() + 8 * i;
      CHECK(out[0] == (i < 3 ? grid[i] : 0));
      CHECK(out[1] == pairs[i % 3]);
      CHECK(out[2] == steps[i % 4]);
      CHECK(out[3] == (i % 2 == 0 ? INT64_MAX : -1));
      CHECK(out[4] == (i % 2 == 0 ? -300 : 40));
      counted.push_back(out[5]);
    }
    std::sort(counted.begin(), counted.end());
    for (size_t i = 0; i < 64; ++i) CHECK(counted[i] == int64_t(40 + 2 * i));
    CHECK(joined(take_findings()) == "");
  }
}

int64_t fibonacci(int n) {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

TEST_CASE("Functions are called with structures, pointers of any kind and recursion, and may hold barriers") {
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const GridOptions& options : all_orders()) {
      const OptionsForNow now(options);
      const Memory memory;
      const DeviceArray<int32_t> in(memory.values);
      REQUIRE(launch("functions", {1}, {64}, 0, LanguageArguments{memory.out.get(), in.get(), 64, 0}) ==
              GridResult::Done);
      for (int i = 0; i < 64; ++i) {
        const int v = memory.values[size_t(i)];
        const int at = memory.values[size_t((i + 1) % 64)] & 7;
        const float own = float(v * at) + (at == (v & 7) ? 0.5f : 0.0f);
        const float weighed = float(v) * 2 + float(int8_t(-i)) + (i % 2 ? float(100 * at) : own);
        CHECK(memory.out[size_t(8 * i)] == int64_t(2 * weighed));
        CHECK(memory.out[size_t(8 * i + 1)] == fibonacci(i % 12));
        CHECK(memory.out[size_t(8 * i + 2)] == 64 * 63 / 2);
      }
      CHECK(joined(take_findings()) == "");
    }
  }
}

TEST_CASE("The global clock only grows, and runs on between kernels") {
  using namespace std::chrono;
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    int64_t last = 0;
    for (int pass = 0; pass < 2; ++pass) {
      const Memory memory;
      const DeviceArray<int32_t> in(memory.values);
      REQUIRE(launch("clocks", {1}, {64}, 0, LanguageArguments{memory.out.get(), in.get(), 64, 0}) == GridResult::Done);
      int64_t first = memory.out[0], most = 0;
      for (size_t i = 0; i < 64; ++i) {
        CHECK(memory.out[8 * i + 1] > memory.out[8 * i]);
        first = std::min<int64_t>(first, memory.out[8 * i]);
        most = std::max<int64_t>(most, memory.out[8 * i + 1]);
      }
      if (pass > 0) CHECK(first - last >= 2'000'000);
      last = most;
      std::this_thread::sleep_for(milliseconds(2));
    }
    CHECK(joined(take_findings()) == "");
  }
}

TEST_CASE("Switches go where they should") {
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    const Memory memory;
    const DeviceArray<int32_t> in(memory.values);
    REQUIRE(launch("switches", {1}, {64}, 0, LanguageArguments{memory.out.get(), in.get(), 9, 0}) == GridResult::Done);
    for (int i = 0; i < 64; ++i) {
      const int64_t v = memory.values[size_t(i)];
      const int64_t expected[13] = {v + 7, v * 3, v - 9,   -v,     v ^ 0x55, v * 8 >> 1, v >> 1,
                                    v / 5, v % 5, v | 256, v & 15, 12,       v};
      CHECK(memory.out[size_t(8 * i)] == expected[i % 13]);
    }
    CHECK(joined(take_findings()) == "");
  }
}

TEST_CASE("A branch through a table goes to its label, and names of inner scopes are their own") {
  const Memory memory;
  REQUIRE(launch("branch_table", {1}, {64}, 0, LanguageArguments{memory.out.get(), nullptr, 0, 0}) == GridResult::Done);
  const int64_t expected[3] = {1105, 35, -5};
  for (int i = 0; i < 64; ++i) CHECK(memory.out[size_t(i)] == expected[i % 3]);
  CHECK(joined(take_findings()) == "");
}

TEST_CASE("Threads and blocks know their indices in three dimensions") {
  for (const GridOptions& options : all_orders()) {
    const OptionsForNow now(options);
    const Memory memory;
    REQUIRE(launch("indices", {2, 3, 2}, {3, 2, 5}, 0, LanguageArguments{memory.out.get(), nullptr, 0, 0}) ==
            GridResult::Done);
    size_t at = 0;
    for (int bz = 0; bz < 2; ++bz)
      for (int by = 0; by < 3; ++by)
        for (int bx = 0; bx < 2; ++bx)
          for (int z = 0; z < 5; ++z)
            for (int y = 0; y < 2; ++y)
              for (int x = 0; x < 3; ++x)
                CHECK(memory.out[at++] == x + 10 * y + 100 * z + 1000 * bx + 10000 * by + 100000 * bz);
    CHECK(joined(take_findings()) == "");
  }
}

TEST_CASE("Threads that wait for one another by flags and fences come to an end and are not accused") {
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const GridOptions& options : all_orders()) {
      const OptionsForNow now(options);
      const Memory memory;
      REQUIRE(launch("chain", {1}, {48}, 0, LanguageArguments{memory.out.get(), nullptr, 0, 0}) == GridResult::Done);
      for (int i = 0; i < 48; ++i) CHECK(memory.out[size_t(i)] == i + 1);
      CHECK(joined(take_findings()) == "");
    }
  }
}

TEST_CASE("A kernel that traps or fails an assertion is aborted, with what it said, and the next one runs") {
  const Memory memory;
  const DeviceArray<int32_t> in(memory.values);
  CHECK(launch("stops", {1}, {64}, 0, LanguageArguments{memory.out.get(), in.get(), 50, 0}) == GridResult::Aborted);
  std::vector<std::string> findings = take_findings();
  REQUIRE(findings.size() == 1);
  CHECK_MESSAGE(findings[0].rfind("assertion failed: language.cu:", 0) == 0, findings[0]);
  CHECK_MESSAGE(findings[0].find("a.in[threadIdx.x] < a.n") != std::string::npos, findings[0]);
  CHECK(launch("stops", {1}, {64}, 0, LanguageArguments{memory.out.get(), in.get(), 50, 1}) == GridResult::Aborted);
  findings = take_findings();
  REQUIRE(findings.size() == 1);
  CHECK_MESSAGE(findings[0].rfind("trap: language.cu:", 0) == 0, findings[0]);
  CHECK(launch("stops", {1}, {64}, 0, LanguageArguments{memory.out.get(), in.get(), 50, 2}) == GridResult::Done);
  CHECK(memory.out[63] == 5);
  CHECK(joined(take_findings()) == "");
}

struct TableArguments {
  int64_t* out;
  int32_t table[16];
};

TEST_CASE("A table among the parameters is indexed at run time") {
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    const Memory memory;
    TableArguments arguments{memory.out.get(), {}};
    for (int i = 0; i < 16; ++i) arguments.table[i] = i * i - 50;
    REQUIRE(launch("parameter_table", {1}, {40}, 0, arguments) == GridResult::Done);
    for (int i = 0; i < 40; ++i) CHECK(memory.out[size_t(i)] == (i % 16) * (i % 16) - 50);
    CHECK(joined(take_findings()) == "");
  }
}

}  // namespace
}  // namespace sluice::simt
