#include <doctest/doctest.h>

#include "tests/tools/program.h"
#include "tests/tools/small_files.h"

using namespace sluice::test;

TEST_CASE("without arguments the help goes to stderr and the status is 2") {
  Outcome outcome = call({});
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.out.empty());
  CHECK(contains(outcome.err, "inspect"));
}

TEST_CASE("help and version go to stdout with status 0") {
  for (std::vector<std::string> words : std::vector<std::vector<std::string>>{{"--help"},
                                                                              {"-h"},
                                                                              {"help"},
                                                                              {"run", "--help"},
                                                                              {"help", "run"},
                                                                              {"chat", "-h"},
                                                                              {"inspect", "--help"},
                                                                              {"tokenize", "--help"},
                                                                              {"bench", "--help"},
                                                                              {"synth", "--help"}}) {
    CAPTURE(words.back());
    Outcome outcome = call(words);
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.err.empty());
    CHECK(contains(outcome.out, "Examples:"));
    CHECK(contains(outcome.out, "sluice"));
  }
  Outcome run_help = call({"run", "--help"});
  for (const char* flag : {"-p,--prompt",
                           "-f,--file",
                           "-n,--predict",
                           "-c,--ctx-size",
                           "-t,--threads",
                           "--temp",
                           "--top-k",
                           "--top-p",
                           "--min-p",
                           "--repeat-penalty",
                           "--presence-penalty",
                           "--frequency-penalty",
                           "--repeat-last-n",
                           "-s,--seed",
                           "-l,--logit-bias",
                           "--ignore-eos",
                           "--greedy",
                           "-r,--reverse-prompt",
                           "--cache-type",
                           "--activations",
                           "--mla",
                           "--pre-tokenizer",
                           "--chat-template",
                           "--system",
                           "--special",
                           "--no-bos",
                           "--no-echo",
                           "--json"}) {
    CAPTURE(flag);
    CHECK(contains(run_help.out, flag));
  }
  CHECK(call({"--version"}).out.starts_with("sluice "));
}

TEST_CASE("each mistake on the command line has a message of its own and status 2") {
  std::string model = base_model();
  struct Mistake {
    std::vector<std::string> words;
    const char* message;
  };
  std::vector<Mistake> mistakes = {
      {{"rnu"}, "did you mean 'run'"},
      {{"frobnicate"}, "there is no command 'frobnicate'"},
      {{model}, "did you mean 'sluice run "},
      {{"help", "nothing"}, "there is no command 'nothing'"},
      {{"--frobnicate"}, "there is no option '--frobnicate'"},
      {{"run", model, "--tempp", "1"}, "did you mean '--temp'"},
      {{"run", model, "-p", "a", "b"}, "found 'b'"},
      {{"run", model, "-p"}, "--prompt"},
      {{"run", model, "-p", "a", "--temp", "nan"}, "--temp cannot be 'nan'"},
      {{"run", model, "-p", "a", "--temp", "-1"}, "--temp cannot be '-1'"},
      {{"run", model, "-p", "a", "--temp", "0.5x"}, "--temp cannot be '0.5x'"},
      {{"run", model, "-p", "a", "--top-p", "1.5"}, "--top-p cannot be '1.5'"},
      {{"run", model, "-p", "a", "--top-k", "inf"}, "--top-k cannot be 'inf'"},
      {{"run", model, "-p", "a", "--repeat-penalty", "0"}, "--repeat-penalty cannot be '0'"},
      {{"run", model, "-p", "a", "-c", "-5"}, "--ctx-size cannot be '-5'"},
      {{"run", model, "-p", "a", "-c", "99999999999"}, "--ctx-size cannot be '99999999999'"},
      {{"run", model, "-p", "a", "-t", "many"}, "--threads cannot be 'many'"},
      {{"run", model, "-p", "a", "-n", "-2"}, "--predict cannot be '-2'"},
      {{"run", model, "-p", "a", "-s", "0x10"}, "--seed cannot be '0x10'"},
      {{"run", model, "-p", "a", "-l", "17"}, "--logit-bias cannot be '17'"},
      {{"run", model, "-p", "a", "-l", "17+x"}, "the bias of --logit-bias cannot be 'x'"},
      {{"run", model, "-p", "a", "-l", "999999+1"}, "ids 0 to 261"},
      {{"run", model, "-p", "a", "-r", ""}, "--reverse-prompt is empty"},
      {{"run", model, "-p", "a", "--cache-type", "q4"}, "--cache-type cannot be 'q4'; expected f16|bf16|q8_0|f32"},
      {{"run", model, "-p", "a", "--activations", "f16"}, "--activations cannot be 'f16'"},
      {{"run", model, "-p", "a", "--mla", "none"}, "--mla cannot be 'none'"},
      {{"run", model, "-p", "a", "--greedy", "--temp", "1"}, "--greedy stands for --temp 0"},
      {{"run", model, "-p", "a", "-f", "b"}, "two prompts"},
      {{"run", model, "-f", "/nonexistent/prompt"}, "cannot open /nonexistent/prompt"},
      {{"run", model, "-f", "/"}, "cannot read /"},
      {{"run", model, "-f", write_file("empty.txt", "")}, "the prompt is empty; found no text in the file"},
      {{"run", model, "-f", write_file("newline.txt", "\n")}, "the prompt is empty"},
      {{"run", model}, "found no text in standard input"},
      {{"run", model, "-p", "", "--no-bos"}, "the prompt has no tokens"},
      {{"run", model, "-p", std::string(300, 'x'), "-c", "100"}, "the prompt has 301 tokens; the context holds 100"},
      {{"run", model, "-p", "a", "--chat"}, "the model carries no chat template"},
      {{"run", odd_template_model(), "-p", "a", "--chat"}, "of no known family"},
      {{"run", model, "-p", "a", "--chat-template", "odd"}, "there is no chat template 'odd'; expected one of"},
      {{"run", model, "-p", "a", "--chat", "--special"}, "--special"},
      {{"chat", model}, "--chat-template NAME"},
      {{"chat"}, "MODEL"},
      {{"chat", chat_model(), "--load", "/nonexistent/talk.json"}, "cannot open /nonexistent/talk.json"},
      {{"inspect"}, "MODEL"},
      {{"tokenize"}, "MODEL"},
      {{"tokenize", model, "a", "-f", "b"}, "two texts"},
  };
  for (const Mistake& mistake : mistakes) {
    CAPTURE(mistake.message);
    Outcome outcome = call(mistake.words);
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.find("error: ") == 0);
    CHECK(contains(outcome.err, mistake.message));
    CHECK(outcome.err.find('\n') == outcome.err.size() - 1);
  }
}

TEST_CASE("a bad model file is status 3, no memory 4, a failed device 5") {
  CHECK(call({"run", "/nonexistent/model.gguf", "-p", "a"}).exit_code == 3);
  std::string text = write_file("text.gguf", "this is no model, only text that is long enough to have a header");
  for (const char* command : {"inspect", "tokenize", "run", "chat"}) {
    CAPTURE(command);
    Outcome outcome = call({command, text}, "a");
    CHECK(outcome.exit_code == 3);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.find("error: ") == 0);
    CHECK(contains(outcome.err, "text.gguf"));
  }
  CHECK(call({"run", base_model(), "-p", "(bad file)"}).exit_code == 3);
  CHECK(call({"run", base_model(), "-p", "(no memory)"}).exit_code == 4);
  CHECK(call({"run", base_model(), "-p", "(device)"}).exit_code == 5);
}

TEST_CASE("a full disk is an error and a closed pipe is quiet") {
  Outcome full = call_with(Call{{"inspect", base_model()}, {}, {}, {}, "/dev/full"});
  CHECK(full.exit_code == 1);
  CHECK(contains(full.err, "cannot write standard output: No space left on device"));
  full = call_with(Call{{"run", base_model(), "-p", "hello"}, {}, {}, {}, "/dev/full"});
  CHECK(full.exit_code == 1);
}
