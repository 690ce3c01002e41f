#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/traces/trace_file.h"
#include "tests/tools/program.h"
#include "tests/tools/small_files.h"

using namespace sluice::test;
using nlohmann::json;
namespace traces = sluice::engine::traces;

TEST_CASE("run --trace records the prompt and the answer") {
  const std::string path = scratch("run.trace");
  const Outcome outcome = call({"run", base_model(), "-p", "abc", "-q", "--trace", path});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  CHECK(outcome.out == call({"run", base_model(), "-p", "abc", "-q"}).out);
  const traces::Trace trace = traces::read_trace(path);
  CHECK(trace.header.model_name == "echo");
  REQUIRE(trace.passes.size() == 4);  // BOS and three letters, and each again
  CHECK(trace.passes[0].n_rows() == 4);
  CHECK(trace.passes[3].first_position == 6);
  CHECK(trace.passes[3].tokens[0] == trace.passes[0].tokens[3]);
  CHECK(trace.passes[3].expert_ids[0] == trace.passes[3].tokens[0] % 2);
}

TEST_CASE("chat --trace records all answers in one file") {
  const std::string path = scratch("chat.trace");
  const Outcome outcome = call({"chat", chat_model(), "-q", "--trace", path}, "hello\nagain\n");
  CHECK(outcome.exit_code == 0);
  size_t n_prompts = 0;
  for (const traces::Pass& pass : traces::read_trace(path).passes) n_prompts += pass.n_rows() > 1 ? 1 : 0;
  CHECK(n_prompts == 2);
}

TEST_CASE("a trace that cannot be written is found out before the model is opened") {
  for (const char* verb : {"run", "chat"}) {
    const Outcome outcome = call(
        {verb, scratch("no model.gguf"), "--trace", scratch("no folder/t"), std::string(verb) == "run" ? "-pa" : "-q"});
    CHECK(outcome.exit_code == 2);
    CHECK(contains(outcome.err, "error: The trace cannot be written to"));
  }
  // Other commands do not take the flag.
  CHECK(call({"bench", base_model(), "--trace", scratch("left.trace")}).exit_code == 2);
  // And a model that cannot be opened leaves no trace.
  CHECK(call({"run", scratch("no model.gguf"), "--trace", scratch("left.trace"), "-p", "a"}).exit_code == 3);
  CHECK_FALSE(std::filesystem::exists(scratch("left.trace")));
}

TEST_CASE("trace --make makes up what trace shows, as a table and as JSON") {
  const std::string path = scratch("made.trace");
  const Outcome made = call({"trace", path,       "--make", "--layers",   "3",   "--experts", "10",  "--used",
                             "2",     "--skew",   "1",      "--locality", "0.5", "--drift",   "0.2", "--subject",
                             "20",    "--prompt", "600",    "--tokens",   "100", "--seed",    "7"});
  CHECK(made.exit_code == 0);
  CHECK(contains(made.err, "700 tokens"));
  const Outcome table = call({"trace", path});
  CHECK(table.exit_code == 0);
  CHECK(contains(table.out, "2 of 10 in 3 of 3 layers"));
  CHECK(contains(table.out, "700 in 102 passes; 600 of them in passes of several"));
  CHECK(contains(table.out, "\nmean "));
  CHECK(table.err.empty());
  const json all = json::parse(call({"trace", path, "--json"}).out);
  CHECK(all["tokens"] == 700);
  CHECK(all["prompt_tokens"] == 600);
  CHECK(all["passes"] == 102);
  CHECK(all["experts"] == 10);
  CHECK(all["by_layer"].size() == 3);
  CHECK(all["mean"]["repeated"] > 0.4);
  CHECK(all["mean"]["top_share"].back()["of_experts"] == 0.5);

  const std::string first = read_file(path);
  CHECK(call({"trace", path, "--make", "--tokens", "5"}).exit_code == 0);
  CHECK(traces::read_trace(path).header.n_experts == 256);
  CHECK(call({"trace", path, "--make", "--tokens", "5", "--seed", "2"}).exit_code == 0);
  CHECK(read_file(path) != first);
}

TEST_CASE("trace shows what an interrupted run left, and says so") {
  const std::string path = scratch("cut.trace");
  REQUIRE(call({"trace", path, "--make", "--layers", "1", "--tokens", "9"}).exit_code == 0);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  const Outcome outcome = call({"trace", path});
  CHECK(outcome.exit_code == 0);
  CHECK(contains(outcome.out, "tokens        8 in"));
  CHECK(contains(outcome.err, "interrupted in the middle of a token"));
}

TEST_CASE("trace refuses what is no trace or cannot be made, each with a message of its own") {
  struct Mistake {
    std::vector<std::string> words;
    int exit_code;
    const char* message;
  };
  const std::string path = scratch("refused.trace");
  const std::string empty = scratch("empty.trace");
  REQUIRE(call({"trace", empty, "--make", "--tokens", "1", "--layers", "1"}).exit_code == 0);
  std::filesystem::resize_file(empty, std::filesystem::file_size(empty) - 1);
  const std::vector<Mistake> mistakes = {
      {{"trace"}, 2, "FILE"},
      {{"trace", scratch("none")}, 3, "cannot be opened: No such file or directory"},
      {{"trace", base_model()}, 3, "does not begin like a trace"},
      {{"trace", empty}, 3, "The trace has no tokens"},
      {{"trace", path, "--make", "--used", "300"}, 2, "58 layers of 256 experts, of which a token uses 300"},
      {{"trace", path, "--make", "--skew", "-1"}, 2, "--skew cannot be '-1'"},
      {{"trace", path, "--make", "--skew", "nan"}, 2, "--skew cannot be 'nan'"},
      {{"trace", path, "--make", "--locality", "2"}, 2, "--locality cannot be '2'"},
      {{"trace", path, "--make", "--tokens", "0"}, 2, "--tokens cannot be '0'"},
      {{"trace", path, "--make", "--layers", "x"}, 2, "--layers cannot be 'x'"},
      {{"trace", scratch("no folder/t"), "--make"}, 2, "cannot be written"},
  };
  for (const Mistake& mistake : mistakes) {
    CAPTURE(std::string(mistake.message));
    const Outcome outcome = call(mistake.words);
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == mistake.exit_code);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.starts_with("error: "));
    CHECK(contains(outcome.err, mistake.message));
  }
  CHECK_FALSE(std::filesystem::exists(path));
}
