// Mistakes that were planted in kernels are found, each as what it is; the same kernels without them are not accused.
#include <algorithm>

#include "tests/simt/launching.h"

namespace sluice::simt {
namespace {

struct MistakeArguments {
  float* out;
  const float* in;
  int n;
  unsigned* counter;
};

struct Planted {
  const char* name;
  const char* kind;     // as the finding begins
  const char* or_kind;  // what an order may find besides
  bool ends_the_grid;
  int architecture;  // from which on it is one
};

constexpr Planted kPlanted[] = {
    {"missing_barrier", "shared memory race", "uninitialised shared memory", false, 75},
    {"missing_second_barrier", "shared memory race", nullptr, false, 75},
    {"write_after_read", "shared memory race", nullptr, false, 75},
    {"global_write_after_read", "global memory race", nullptr, false, 75},
    {"write_before_all_have_read", "shared memory race", nullptr, false, 75},
    {"global_read_out_of_bounds", "global memory out of bounds", nullptr, true, 75},
    {"two_barriers", "divergent barrier", nullptr, false, 75},
    {"uninitialised_shared", "uninitialised shared memory", nullptr, false, 75},
    {"late_wait", "late wait for cp.async", "shared memory race", false, 80},
    {"wait_after_barrier", "shared memory race", "late wait for cp.async", false, 80},
    {"missing_syncwarp", "shared memory race", "uninitialised shared memory", false, 75},
    {"full_mask", "wrong warp mask", nullptr, false, 75},
    {"early_exit", "divergent barrier", nullptr, false, 75},
    {"shared_write_out_of_bounds", "shared memory out of bounds", nullptr, true, 75},
    {"dynamic_shared_out_of_bounds", "shared memory out of bounds", nullptr, true, 75},
    {"sum_without_atomics", "global memory race", nullptr, false, 75},
    {"blocks_write_one_word", "global memory race", nullptr, false, 75},
    {"warps_write_one_word", "shared memory race", nullptr, false, 75},
    {"half_a_block_at_a_barrier", "divergent barrier", nullptr, false, 75},
    {"deadlock", "deadlock", nullptr, true, 75},
    {"misaligned_vector", "misaligned access", nullptr, true, 75},
    {"missing_fence", "global memory race", nullptr, false, 75},
    {"warps_count_without_a_fence", "global memory race", nullptr, false, 75},
    {"lane_not_in_its_mask", "wrong warp mask", nullptr, false, 75},
};

struct Arrays {
  std::vector<float> values = std::vector<float>(128, 1.0f);
  DeviceArray<float> in{values};
  DeviceArray<float> out{std::vector<float>(128, 0.0f)};
  DeviceArray<unsigned> counter{std::vector<unsigned>(1, 0)};
  MistakeArguments arguments() const { return {out.get(), in.get(), 128, counter.get()}; }
};

// Some are mistakes only between blocks; the others write the same output in each.
uint32_t blocks_of(const std::string& name) {
  return name == "missing_fence" || name == "blocks_write_one_word" || name == "sum_without_atomics" ? 5 : 1;
}

bool begins_with(const std::string& text, const char* begin) {
  return text.rfind(begin, 0) == 0;
}

std::string description(int architecture, const GridOptions& options) {
  return "sm_" + std::to_string(architecture) + " order " + std::to_string(int(options.order)) + " seed " +
         std::to_string(options.seed) + " preempt " + std::to_string(options.preempt);
}

TEST_CASE("Every planted mistake is found as what it is, in every order") {
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const GridOptions& options : all_orders()) {
      const OptionsForNow now(options);
      for (const Planted& planted : kPlanted) {
        if (architecture < planted.architecture) continue;
        CAPTURE(planted.name);
        CAPTURE(description(architecture, options));
        const Arrays arrays;
        const GridResult result = launch((std::string("wrong_") + planted.name).c_str(), {blocks_of(planted.name)},
                                         {128}, 512, arrays.arguments());
        const std::vector<std::string> findings = take_findings();
        CHECK(std::any_of(findings.begin(), findings.end(),
                          [&](const std::string& finding) { return begins_with(finding, planted.kind); }));
        for (const std::string& finding : findings) {
          const bool is_right =
              begins_with(finding, planted.kind) || (planted.or_kind && begins_with(finding, planted.or_kind));
          CHECK_MESSAGE(is_right, finding);
          CHECK_MESSAGE(finding.find("mistakes.cu:") != std::string::npos, finding);
          CHECK_MESSAGE(finding.find(planted.name) != std::string::npos, finding);
        }
        if (planted.ends_the_grid) CHECK(result == GridResult::Aborted);
      }
    }
  }
}

TEST_CASE("The same kernels without the mistake are silent, in every order") {
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const GridOptions& options : all_orders()) {
      const OptionsForNow now(options);
      std::vector<std::string> names{"right_warp_reuse"};
      for (const Planted& planted : kPlanted) {
        const std::string name = std::string("right_") + planted.name;
        if (find_kernel(name) != nullptr) names.push_back(name);
      }
      CHECK(names.size() == std::size(kPlanted));  // late_wait serves two
      for (const std::string& name : names) {
        CAPTURE(name);
        CAPTURE(description(architecture, options));
        const Arrays arrays;
        CHECK(launch(name.c_str(), {blocks_of(name.substr(6))}, {128}, 512, arrays.arguments()) == GridResult::Done);
        CHECK(joined(take_findings()) == "");
        if (name == "right_warps_count_without_a_fence") CHECK(arrays.out[0] == 128.0f);
        if (name == "right_missing_fence") CHECK(arrays.out[0] == 5.0f);
        if (name == "right_sum_without_atomics") CHECK(arrays.out[0] == 640.0f);
      }
    }
  }
}

TEST_CASE("Memory that a kernel may not touch ends the grid and nothing else") {
  const Arrays arrays;
  std::vector<float> of_the_host(4, 1.0f);
  auto* freed = allocate_memory(MemoryKind::Device, 0, 64);
  REQUIRE(free_memory(freed));
  auto* of_another = allocate_memory(MemoryKind::Device, 1, 64);
  auto* pinned = allocate_memory(MemoryKind::Pinned, 0, 64);
  struct Case {
    const void* address;
    const char* kind;
  };
  static float of_the_program = 1;
  for (const bool check : {true, false}) {
    GridOptions options;
    options.check = check;
    const OptionsForNow now(options);
    const Case cases[] = {{freed, "use after free"},
                          {nullptr, "global memory out of bounds"},
                          {check ? of_the_host.data() : nullptr, check ? "host pointer" : "global"},
                          {check ? &of_the_program : nullptr, check ? "host pointer" : "global"},
                          {check ? of_another : nullptr, check ? "another device's memory" : "global"}};
    for (const Case& one : cases) {
      MistakeArguments arguments = arrays.arguments();
      arguments.in = static_cast<const float*>(one.address);
      CHECK(launch("read_one", {1}, {32}, 0, arguments) == GridResult::Aborted);
      const std::vector<std::string> findings = take_findings();
      REQUIRE(findings.size() == 1);
      CHECK_MESSAGE(begins_with(findings[0], one.kind), findings[0]);
    }
    MistakeArguments arguments = arrays.arguments();
    arguments.in = reinterpret_cast<const float*>(pinned);
    CHECK(launch("read_one", {1}, {32}, 0, arguments) == GridResult::Done);
    CHECK(joined(take_findings()) == "");
  }
  free_memory(of_another);
  free_memory(pinned);
}

TEST_CASE("A launch that no device would take is refused") {
  const Arrays arrays;
  CHECK(launch("read_one", {1}, {1025}, 0, arrays.arguments()) == GridResult::Aborted);
  CHECK(launch("read_one", {0}, {32}, 0, arrays.arguments()) == GridResult::Aborted);
  CHECK(launch("read_one", {1}, {32}, 1u << 20, arrays.arguments()) == GridResult::Aborted);
  const std::vector<std::string> findings = take_findings();
  REQUIRE(findings.size() == 3);
  for (const std::string& finding : findings) CHECK_MESSAGE(begins_with(finding, "impossible launch"), finding);
}

}  // namespace
}  // namespace sluice::simt
