#include <algorithm>

#include "tests/simt/launching.h"

namespace sluice::simt {
namespace {

struct PipelineArguments {
  const int8_t* a;
  const int8_t* b;
  int32_t* c;
  int32_t n_rows, n_columns, n_k;
  int32_t unused;
};

constexpr int kRows = 70, kColumns = 64, kK = 448;

std::vector<int8_t> values(int n, int seed) {
  std::vector<int8_t> v(size_t(n), 0);
  for (int i = 0; i < n; ++i) v[size_t(i)] = int8_t((i * (2 * seed + 7) + seed) % 251 - 125);
  return v;
}

struct Pipeline {
  const char* kernel;
  uint32_t n_stages, n_warps;
};

GridResult run(const Pipeline& pipeline, const DeviceArray<int8_t>& a, const DeviceArray<int8_t>& b,
               const DeviceArray<int32_t>& c) {
  const uint32_t tile_rows = 16 * pipeline.n_warps;
  return launch(pipeline.kernel, {kColumns / 32, (kRows + tile_rows - 1) / tile_rows}, {32 * pipeline.n_warps},
                pipeline.n_stages * (tile_rows + 32) * 80,
                PipelineArguments{a.get(), b.get(), c.get(), kRows, kColumns, kK, 0});
}

TEST_CASE("A pipeline of asynchronous copies feeds tensor cores, right and without a finding in every order") {
  choose_architecture(80);
  const std::vector<int8_t> va = values(kRows * kK, 1), vb = values(kColumns * kK, 2);
  std::vector<int32_t> expected(size_t(kRows * kColumns), 0);
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      for (int k = 0; k < kK; ++k)
        expected[size_t(row * kColumns + column)] += va[size_t(row * kK + k)] * vb[size_t(column * kK + k)];
    }
  }
  const DeviceArray<int8_t> a(va), b(vb);
  for (const GridOptions& options : all_orders()) {
    const OptionsForNow now(options);
    for (const Pipeline& pipeline : {Pipeline{"pipeline_2", 2, 4}, Pipeline{"pipeline_4", 4, 2}}) {
      CAPTURE(pipeline.kernel);
      const DeviceArray<int32_t> c(expected.size());
      REQUIRE(run(pipeline, a, b, c) == GridResult::Done);
      CHECK(std::vector<int32_t>(c.get(), c.get() + c.size()) == expected);
      CHECK(joined(take_findings()) == "");
    }
  }
}

TEST_CASE("A pipeline that waits for one group too few, or lacks its barrier, is found out in every order") {
  choose_architecture(80);
  const DeviceArray<int8_t> a(values(kRows * kK, 1)), b(values(kColumns * kK, 2));
  for (const GridOptions& options : all_orders()) {
    const OptionsForNow now(options);
    struct Case {
      Pipeline pipeline;
      const char* kind;
    };
    for (const Case& one : {Case{{"pipeline_waits_for_one_too_few", 4, 2}, "late wait for cp.async"},
                            Case{{"pipeline_without_barrier", 4, 2}, "shared memory race"}}) {
      CAPTURE(one.pipeline.kernel);
      const DeviceArray<int32_t> c(size_t(kRows * kColumns));
      CHECK(run(one.pipeline, a, b, c) == GridResult::Done);
      const std::vector<std::string> findings = take_findings();
      CHECK(std::any_of(findings.begin(), findings.end(),
                        [&](const std::string& f) { return f.rfind(one.kind, 0) == 0; }));
    }
  }
}

}  // namespace
}  // namespace sluice::simt
