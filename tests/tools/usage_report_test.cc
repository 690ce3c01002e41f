// What reports say of prompts for which experts came to the GPU.
#include "tools/usage_report.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/tools/program.h"
#include "tests/tools/small_files.h"

using namespace sluice;
using namespace sluice::test;

TEST_CASE("a report says what came over PCIe for a prompt, and through how large a ring") {
  engine::Statistics statistics;
  statistics.prompt_tokens = 5000;
  engine::VramStatistics& vram = statistics.prefill.vram;
  vram.n_experts = 100;
  vram.n_slots = 30;
  CHECK(!contains(tools::usage_lines(statistics, 2), "streamed"));
  vram.n_streamed_passes = 2;
  vram.n_streamed = 140;
  vram.streamed_bytes = uint64_t{3} << 30;
  vram.ring_bytes = uint64_t{64} << 20;
  CHECK(contains(tools::usage_lines(statistics, 2),
                 "\nstreamed     2 passes of the prompt, for which 3.0 GiB of experts came over PCIe through a ring of "
                 "64.0 MiB"));
  vram.n_streamed_passes = 1;
  CHECK(contains(tools::usage_lines(statistics, 2), "streamed     1 pass of"));
  const nlohmann::ordered_json json = tools::usage_json(statistics.prefill, 2);
  CHECK(json["vram_experts"]["streamed_passes"] == 1);
  CHECK(json["vram_experts"]["streamed"] == 140);
  CHECK(json["vram_experts"]["streamed_bytes"] == (uint64_t{3} << 30));
  CHECK(json["vram_experts"]["ring_bytes"] == (uint64_t{64} << 20));
}

TEST_CASE("the rows of streamed passes are a number, of a run and of a plan") {
  CHECK(contains(call({"run", "--help"}).out, "--streamed-rows"));
  for (const char* bad : {"many", "-1", "1.5"}) {
    CAPTURE(bad);
    CHECK(call({"run", base_model(), "--streamed-rows", bad, "-p", "a"}).exit_code == 2);
    CHECK(call({"plan", base_model(), "--streamed-rows", bad}).exit_code == 2);
  }
  CHECK(call({"run", base_model(), "--streamed-rows", "0", "-p", "a"}).exit_code == 0);
}
