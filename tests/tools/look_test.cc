#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/tools/program.h"
#include "tests/tools/small_files.h"

using namespace sluice::test;
using nlohmann::json;

TEST_CASE("inspect shows metadata, tensors and sizes by type and role") {
  Outcome outcome = call({"inspect", base_model()});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  for (const char* part :
       {"GGUF version 3", "8 tensors", "general.architecture", "deepseek2", "string[262]", "256 more]",
        "blk.1.ffn_down_exps.weight", "[4, 8, 32]", "Q4_0", "routed experts", "shared experts", "dense ffn", "router",
        "embedding", "attention", "norms", "output", "of the routed experts of a layer, 2 of 4 run"}) {
    CAPTURE(part);
    CHECK(contains(outcome.out, part));
  }
  CHECK(!contains(outcome.out, "\033"));
  CHECK(contains(outcome.out, "a \\x1b[31mcoloured"));
  CHECK(!contains(outcome.out, "<0x40>"));
  CHECK(contains(call({"inspect", base_model(), "--full"}).out, "<0x40>"));
  Outcome sizes = call({"inspect", base_model(), "--sizes"});
  CHECK(contains(sizes.out, "by role"));
  CHECK(!contains(sizes.out, "blk.1"));
}

TEST_CASE("inspect --json adds up") {
  json report = json::parse(call({"inspect", base_model(), "--json"}).out, nullptr, false);
  REQUIRE(report.is_object());
  CHECK(report["version"] == 3);
  CHECK(report["metadata"]["deepseek2.expert_count"] == 4);
  CHECK(report["metadata"]["tokenizer.ggml.tokens"]["count"] == 262);
  CHECK(report["tensors"].size() == 8);
  CHECK(report["tensors"][5]["shape"] == json({4, 8, 32}));
  CHECK(report["tensors"][5]["role"] == "routed experts");
  uint64_t by_type = 0;
  uint64_t by_role = 0;
  uint64_t tensors = 0;
  for (const json& part : report["sizes"]["by_type"]) by_type += part["bytes"].get<uint64_t>();
  for (const json& part : report["sizes"]["by_role"]) by_role += part["bytes"].get<uint64_t>();
  for (const json& tensor : report["tensors"]) tensors += tensor["bytes"].get<uint64_t>();
  CHECK(by_type == 4320);
  CHECK(by_role == 4320);
  CHECK(tensors == 4320);
  CHECK(report["sizes"]["by_role"].size() == 8);
  json full = json::parse(call({"inspect", base_model(), "--json", "--full", "--metadata"}).out, nullptr, false);
  CHECK(full["metadata"]["tokenizer.ggml.tokens"].size() == 262);
  CHECK(!full.contains("tensors"));
}

TEST_CASE("inspect --cpu says what was found, what was chosen and what serves each kind of kernel") {
  Outcome outcome = call({"inspect", "--cpu"});
  CHECK(outcome.exit_code == 0);
  for (const char* part :
       {"found\n", "avx512-vnni", "chosen\n", "kernels\n", "rows ", "row operations", "quantize_per256"}) {
    CAPTURE(part);
    CHECK(contains(outcome.out, part));
  }
  CHECK(call({"inspect", "--cpu", base_model()}).exit_code == 2);
  CHECK(call({"inspect"}).exit_code == 2);
}

TEST_CASE("tokenize prints ids and pieces") {
  CHECK(json::parse(call({"tokenize", base_model(), "--json", "AB"}).out) == json({1, 3 + 'A', 3 + 'B'}));
  CHECK(json::parse(call({"tokenize", base_model(), "--json", "--no-bos", "AB"}).out) == json({3 + 'A', 3 + 'B'}));
  CHECK(json::parse(call({"tokenize", base_model(), "--json", "--no-bos", "--special", "<|im_end|>"}).out) ==
        json({260}));
  CHECK(json::parse(call({"tokenize", base_model(), "--json", "--no-bos", "<|im_end|>"}).out).size() == 10);
  CHECK(json::parse(call({"tokenize", base_model(), "--json", "--no-bos"}, "A\n").out) == json({3 + 'A', 3 + '\n'}));
  CHECK(json::parse(call({"tokenize", base_model(), "--json", "--no-bos", "-f", "-"}, "").out) == json::array());
  Outcome outcome = call({"tokenize", base_model(), "A\n"});
  CHECK(outcome.out == "  1  '<s>'  control\n 68  'A'  byte\n 13  '\\n'  byte\n");
  CHECK(outcome.err == "3 tokens for 2 bytes\n");
}
