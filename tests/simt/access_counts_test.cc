#include "tests/simt/runtime/access_counts.h"

#include <fstream>

#include "tests/simt/launching.h"

namespace sluice::simt {
namespace {

struct PatternArguments {
  const float* x;
  float* y;
  int n_rounds;
};

// The number of the line of samples.cu that has this text.
uint32_t line_of(const std::string& text) {
  std::ifstream file(SLUICE_SOURCE_DIR "/tests/simt/kernels/samples.cu");
  std::string line;
  for (uint32_t number = 1; std::getline(file, line); ++number) {
    if (line.find(text) != std::string::npos) return number;
  }
  FAIL("no line with " << text);
  return 0;
}

TEST_CASE("Requests, sectors and wavefronts are counted for each line, of as many blocks as asked for") {
  const DeviceArray<float> x(std::vector<float>(256, 1.0f)), y(7);
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (bool check : {false, true}) {
      GridOptions options;
      options.check = check;
      const OptionsForNow now(options);
      count_accesses(3);
      launch("access_patterns", {1}, {32}, 0, PatternArguments{x.get(), y.get(), 5});
      take_findings();
      count_accesses(0);
      launch("access_patterns", {1}, {32}, 0, PatternArguments{x.get(), y.get(), 5});
      take_findings();
      const std::vector<AccessCounts> all = take_access_counts();
      REQUIRE(all.size() == 1);
      const AccessCounts& counts = all[0];
      CHECK(counts.kernel == "access_patterns");
      CHECK(counts.n_blocks == 1);
      CHECK(counts.n_counted_blocks == 1);
      struct Expected {
        const char* text;
        uint64_t requests, bytes_asked, sectors, least_sectors, wavefronts, least_wavefronts;
      };
      const Expected expected[] = {
          {"float sum = a.x[t];", 1, 128, 4, 4, 0, 0}, {"sum += a.x[t * 8];", 1, 128, 32, 4, 0, 0},
          {"sum += a.x[t + 1];", 1, 128, 5, 4, 0, 0},  {"sum += a.x[5];", 1, 128, 1, 1, 0, 0},
          {"const float4 four", 1, 512, 16, 16, 0, 0}, {"tile[t] = sum;", 1, 128, 0, 0, 1, 1},
          {"tile[32 + t * 32]", 1, 128, 0, 0, 32, 1},  {"tile[33 * t", 1, 128, 0, 0, 1, 1},
          {"if (t < 7) a.y[t]", 1, 28, 1, 1, 0, 0},
      };
      for (const Expected& one : expected) {
        CAPTURE(one.text);
        const LineCounts* found = nullptr;
        for (const LineCounts& line : counts.lines) {
          if (line.line == line_of(one.text)) found = &line;
        }
        REQUIRE(found != nullptr);
        CHECK(found->file.find("samples.cu") != std::string::npos);
        CHECK(found->requests == one.requests);
        CHECK(found->bytes_asked == one.bytes_asked);
        CHECK(found->sectors == one.sectors);
        CHECK(found->least_sectors == one.least_sectors);
        CHECK(found->wavefronts == one.wavefronts);
        CHECK(found->least_wavefronts == one.least_wavefronts);
      }
      CHECK(counts.sectors_read == 4 + 32 + 5 + 1 + 16);
      CHECK(counts.sectors_written == 1);
      // The first 512 bytes by vectors, and 4 of every 32 bytes behind them.
      CHECK(counts.distinct_bytes_read == 512 + 16 * 4);
      CHECK(counts.distinct_sectors_read == 32);
    }
  }
}

struct SumArguments {
  const float* x;
  float* sums;
  int64_t n_columns;
};

TEST_CASE("Executed instructions of warps are counted once a warp, in the blocks that are counted") {
  const int n_columns = 1024;
  const DeviceArray<float> x(std::vector<float>(8 * n_columns, 1.0f)), sums(8);
  GridOptions options;
  const OptionsForNow now(options);
  const auto counted = [&](uint64_t n_blocks, uint32_t n_threads) {
    count_accesses(n_blocks);
    REQUIRE(launch("sum_rows", {8}, {n_threads}, 0, SumArguments{x.get(), sums.get(), n_columns}) == GridResult::Done);
    count_accesses(0);
    const std::vector<AccessCounts> all = take_access_counts();
    REQUIRE(all.size() == 1);
    CHECK(all[0].n_counted_blocks == n_blocks);
    return all[0];
  };
  choose_architecture(80);
  const auto of = [](const AccessCounts& counts, InstructionClass c) { return counts.instructions[size_t(c)]; };
  const AccessCounts one = counted(1, 32), four = counted(4, 32), wide = counted(1, 256);
  // 1024 columns by 32 lanes are 32 loads of the one warp.
  CHECK(of(one, InstructionClass::GlobalLoad) == 32);
  CHECK(of(one, InstructionClass::GlobalStore) == 1);
  CHECK(of(one, InstructionClass::Exchange) == 6);  // five shuffles and a barrier
  CHECK(of(four, InstructionClass::GlobalLoad) == 4 * 32);
  CHECK(four.all_instructions() == 4 * one.all_instructions());
  CHECK(of(wide, InstructionClass::GlobalLoad) == 8 * 4);
  CHECK(of(wide, InstructionClass::Exchange) == 8 * 6);
  CHECK(of(wide, InstructionClass::GlobalStore) == 1);  // of the first warp alone
  CHECK(one.sectors_read == 1024 * 4 / 32);
  CHECK(one.distinct_bytes_read == 4096);
  CHECK(four.distinct_bytes_read == 4 * 4096);
  CHECK(joined(take_findings()) == "");
}

}  // namespace
}  // namespace sluice::simt
