#include "tests/simt/launching.h"

namespace sluice::simt {
namespace {

struct SumArguments {
  const float* x;
  float* sums;
  int64_t n_columns;
};

TEST_CASE(
    "A kernel with a barrier, shuffles and shared memory gives the same sums in every order, for both architectures") {
  const int n_rows = 3, n_columns = 1000;
  std::vector<float> values(n_rows * n_columns);
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(i % 17);
  const DeviceArray<float> x(values);
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const GridOptions& options : all_orders()) {
      const OptionsForNow now(options);
      for (uint32_t n_threads : {32u, 256u, 1024u}) {
        const DeviceArray<float> sums(n_rows);
        CHECK(launch("sum_rows", {n_rows}, {n_threads}, 0, SumArguments{x.get(), sums.get(), n_columns}) ==
              GridResult::Done);
        for (int row = 0; row < n_rows; ++row) {
          float expected = 0;
          for (int i = 0; i < n_columns; ++i) expected += values[size_t(row * n_columns + i)];
          CHECK(sums[size_t(row)] == expected);
        }
      }
      CHECK(joined(take_findings()) == "");
    }
  }
}

}  // namespace
}  // namespace sluice::simt
