#include <doctest/doctest.h>

#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "tests/tools/program.h"
#include "tests/tools/small_files.h"

using namespace sluice::test;
using nlohmann::json;

static json run_json(std::vector<std::string> words, const std::string& input = "") {
  words.insert(words.begin(), {"run", base_model(), "--json", "--quiet"});
  Outcome outcome = call(words, input);
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  return json::parse(outcome.out, nullptr, false);
}

TEST_CASE("stdout has the prompt, the continuation and one newline; stderr has the timing") {
  Outcome outcome = call({"run", base_model(), "-p", "ab"});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.out == "abab\n");
  for (const char* line : {"prompt       3 tokens (0 cached)", "first token", "generated    2 tokens", "characters",
                           "memory", "resident", "seed", "ended by     the model ended its text"}) {
    CAPTURE(line);
    CHECK(contains(outcome.err, line));
  }
  CHECK(!contains(outcome.err, "\033"));
  CHECK(call({"run", base_model(), "-p", "ab", "--no-echo"}).out == "ab\n");
  CHECK(call({"run", base_model(), "-p", "ab\n"}).out == "ab\nab\n");
  Outcome quiet = call({"run", base_model(), "-p", "ab", "-q"});
  CHECK(quiet.out == "abab\n");
  CHECK(quiet.err.empty());
}

TEST_CASE("CJK characters are counted apart") {
  Outcome outcome = call({"run", base_model(), "-p", "水门 sluice"});
  CHECK(outcome.out == "水门 sluice水门 sluice\n");
  CHECK(contains(outcome.err, "9 characters"));
  CHECK(contains(outcome.err, "2 of them CJK"));
}

TEST_CASE("the prompt comes from -p, a file or standard input, less one newline at its end") {
  std::string file = write_file("prompt.txt", "from a file\n\n");
  CHECK(call({"run", base_model(), "--no-echo", "-f", file}).out == "from a file\n");
  CHECK(run_json({"-f", file})["text"] == "from a file\n");
  CHECK(run_json({"-f", "-"}, "dash\n")["text"] == "dash");
  CHECK(run_json({}, "piped\r\n")["text"] == "piped");
  CHECK(run_json({"-p", "argument"}, "piped")["text"] == "argument");
  CHECK(run_json({"-p", "--looks-like-an-option"})["text"] == "--looks-like-an-option");
  CHECK(run_json({"-p", "[a,b]"})["text"] == "[a,b]");
  CHECK(run_json({"-p", ""})["prompt_tokens"] == 1);
}

TEST_CASE("--json prints one object with everything that was measured") {
  json report = run_json({"-p", "hello", "-s", "7", "-t", "3"});
  for (const char* key :
       {"text",           "prompt_tokens", "cached_tokens", "generated_tokens", "thinking_tokens", "characters",
        "cjk_characters", "ttft_s",        "prefill_s",     "decode_s",         "prefill_tok_s",   "decode_tok_s",
        "chars_s",        "cjk_chars_s",   "rss_bytes",     "model_bytes",      "state_bytes",     "n_threads",
        "seed",           "stop",          "model"}) {
    CAPTURE(key);
    CHECK(report.contains(key));
  }
  CHECK(report["text"] == "hello");
  CHECK(report["prompt_tokens"] == 6);
  CHECK(report["stop"] == "eos");
  CHECK(report["seed"] == 7);
  CHECK(report["n_threads"] == 3);
  CHECK(report["rss_bytes"] > 100000);
  CHECK(report["cjk_chars_s"].is_null());
  CHECK(run_json({"-p", "\xff"})["text"] == "\xef\xbf\xbd");
}

TEST_CASE("sampling and stopping reach the engine") {
  json report = run_json({"-p",
                          "(settings)",
                          "--temp",
                          "0.5",
                          "--top-k",
                          "7",
                          "--top-p",
                          "0.9",
                          "--min-p",
                          "0.25",
                          "--repeat-penalty",
                          "1.5",
                          "--presence-penalty",
                          "-0.5",
                          "--frequency-penalty",
                          "0.75",
                          "--repeat-last-n",
                          "-1",
                          "-s",
                          "18446744073",
                          "-l",
                          "5-inf",
                          "-l",
                          "6+1.5"});
  CHECK(report["text"] ==
        "temp 0.5 top-k 7 top-p 0.9 min-p 0.25 repeat 1.5 presence -0.5 frequency 0.75 last -1 seed 18446744073 bias "
        "5-inf bias 6+1.5");
  CHECK(contains(run_json({"-p", "(settings)", "--greedy"})["text"], "temp 0 "));
  CHECK(run_json({"-p", "(settings)"})["seed"] != run_json({"-p", "(settings)"})["seed"]);
  CHECK(run_json({"-p", "one two three", "-r", " three", "-r", "zzz"})["text"] == "one two");
  CHECK(run_json({"-p", "one two three", "-r", " three"})["stop"] == "stop");
  CHECK(run_json({"-p", "a [END] b", "-r", "[END]"})["text"] == "a ");
  CHECK(run_json({"-p", "hello", "-n", "3"})["stop"] == "length");
  CHECK(run_json({"-p", "hello", "-n", "0"})["generated_tokens"] == 0);
  CHECK(run_json({"-p", "ab", "--ignore-eos", "-n", "5"})["text"] == "ababa");
  CHECK(run_json({"-p", "hello", "--ignore-eos", "-c", "20"})["stop"] == "context");
}

TEST_CASE("text spells special tokens only with --special") {
  CHECK(run_json({"-p", "<|im_end|>"})["prompt_tokens"] == 11);
  CHECK(run_json({"-p", "<|im_end|>", "--special"})["prompt_tokens"] == 2);
  CHECK(run_json({"-p", "<s>a", "--special"})["prompt_tokens"] == 2);
  CHECK(run_json({"-p", "a", "--no-bos"})["prompt_tokens"] == 1);
}

TEST_CASE("--chat wraps the prompt in the template and prints the answer alone") {
  Outcome outcome = call({"run", chat_model(), "--chat", "-p", "hi <|im_end|>", "--system", "be kind"});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.out == "system\nbe kind\nuser\nhi <|im_end|>\nassistant\n");
  CHECK(call({"run", base_model(), "--chat-template", "chatml", "-p", "hi"}).out == "user\nhi\nassistant\n");
}

TEST_CASE("the first Ctrl-C stops the answer, the second ends the program") {
  bool sent = false;
  auto once = [&](const std::string& out, int process) {
    if (!sent && out.size() > 15) {
      ::kill(process, SIGINT);
      sent = true;
    }
  };
  Outcome stopped = call_with(Call{{"run", base_model(), "-p", "(slow)", "--ignore-eos"}, {}, {}, once, {}});
  CHECK(stopped.exit_code == 130);
  CHECK(stopped.out.find("(slow)") == 0);
  CHECK(stopped.out.back() == '\n');
  CHECK(contains(stopped.err, "ended by     Ctrl-C"));

  bool stubborn = false;
  auto twice = [&](const std::string& out, int process) {
    if (!stubborn && out.size() > 15) {
      ::kill(process, SIGINT);
      ::usleep(1000);
      ::kill(process, SIGINT);
      stubborn = true;
    }
  };
  Outcome ended = call_with(Call{{"run", base_model(), "-p", "(slow)", "--ignore-eos"}, {}, {}, twice, {}});
  CHECK(ended.exit_code == 130);
}
