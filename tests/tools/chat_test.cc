#include <doctest/doctest.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "tests/tools/program.h"
#include "tests/tools/small_files.h"

using namespace sluice::test;
using nlohmann::json;

static Outcome chat(const std::string& input, std::vector<std::string> words = {}) {
  words.insert(words.begin(), {"chat", chat_model()});
  return call(words, input);
}

TEST_CASE("answers go to stdout, and the second message finds the first one cached") {
  Outcome outcome = chat("hello\nagain\n");
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.out == "user\nhello\nassistant\n\nuser\nagain\nassistant\n");
  CHECK(contains(outcome.err, "[prompt 25 tokens, 0 cached"));
  CHECK(contains(outcome.err, "[prompt 72 tokens, 46 cached"));
  CHECK(contains(outcome.err, "; eos]"));
  CHECK(!contains(outcome.err, ">"));  // no prompt in a pipe
  CHECK(chat("hello", {"--quiet"}).err.empty());
  CHECK(chat("", {}).exit_code == 0);
}

TEST_CASE("a message has several lines with a backslash or triple quotes") {
  CHECK(chat("one\\\ntwo\n", {"-q"}).out == "user\none\ntwo\nassistant\n");
  CHECK(chat("\"\"\"\none\n/two\\\n\"\"\"\n", {"-q"}).out == "user\none\n/two\\\nassistant\n");
  CHECK(chat("\"\"\"one\"\"\"\n", {"-q"}).out == "user\none\nassistant\n");
  CHECK(chat("//bin\n", {"-q"}).out == "user\n/bin\nassistant\n");
  Outcome open = chat("\"\"\"one\n");
  CHECK(open.exit_code == 2);
  CHECK(contains(open.err, "it was not sent"));
}

TEST_CASE("commands change the conversation") {
  CHECK(chat("a\n/clear\nb\n", {"-q"}).out == "user\na\nassistant\nb\nassistant\n");
  CHECK(chat("a\n/undo\n/regen\n", {"-q"}).exit_code == 2);
  CHECK(chat("a\n/regen\n").exit_code == 0);
  CHECK(chat("/bye\na\n", {"-q"}).out.empty());
  CHECK(chat("/system be brief\na\n", {"-q"}).out == "system\nbe brief\nuser\na\nassistant\n");
  CHECK(contains(chat("/help\n").err, "/regen"));
  CHECK(contains(chat("/set\n").err, "temp               0.8"));
  Outcome unknown = chat("/undoo\n/what\n");
  CHECK(unknown.exit_code == 2);
  CHECK(contains(unknown.err, "did you mean /undo?"));
  CHECK(contains(unknown.err, "there is no command '/what'"));
  CHECK(contains(chat("/set temp warm\n").err, "temp cannot be 'warm'"));
  CHECK(contains(chat("/set colour red\n").err, "there is no setting 'colour'"));
  CHECK(contains(chat("/set temp\n").err, "needs a name and a value"));
  CHECK(contains(chat("/clear all\n").err, "/clear takes nothing"));
}

TEST_CASE("settings and a seed of its own reach every answer") {
  Outcome outcome =
      chat("/set temp 0.25\n/set seed 5\n(settings)\n/undo\nand (settings)\n/clear\n/set predict 4\nxyz\n");
  CHECK(contains(outcome.out, "temp 0.25"));
  CHECK(contains(outcome.out, "seed 5"));
  CHECK(contains(outcome.out, "seed 6"));
  CHECK(outcome.out.ends_with("\nxyz\n"));
  CHECK(contains(outcome.err, "; length]"));
}

TEST_CASE("a conversation is saved and loaded") {
  std::string file = (scratch_folder() / "my talk.json").string();
  Outcome saved = chat("/system be brief\nhello \"you\"\n/save " + file + "\n", {"-q"});
  CHECK(saved.exit_code == 0);
  json talk = json::parse(read_file(file), nullptr, false);
  REQUIRE(talk.is_object());
  REQUIRE(talk["messages"].size() == 3);
  CHECK(talk["messages"][0]["role"] == "system");
  CHECK(talk["messages"][1]["content"] == "hello \"you\"");
  CHECK(talk["messages"][2]["role"] == "assistant");
  CHECK(contains(chat("/load " + file + "\nmore\n", {"-q"}).out, "be brief\nuser\nhello \"you\""));
  CHECK(contains(chat("more\n", {"-q", "--load", file}).out, "be brief\nuser\nhello \"you\""));

  for (const char* content : {"no json", "[]", "{\"messages\": [{\"role\": \"user\"}]}",
                              "{\"messages\": [{\"role\": \"robot\", \"content\": \"a\"}]}",
                              "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}"}) {
    CAPTURE(content);
    Outcome outcome = chat("/load " + write_file("bad.json", content) + "\n");
    CHECK(outcome.exit_code == 2);
    CHECK(contains(outcome.err, "is not a saved conversation"));
  }
  CHECK(contains(chat("/save /nonexistent/talk.json\n").err, "cannot write /nonexistent/talk.json"));
  CHECK(contains(chat("/save\n").err, "needs the name of a file"));
}

TEST_CASE("a message too long for the context is taken back and the chat goes on") {
  Outcome outcome = chat(std::string(200, 'x') + "\nhi\n", {"-c", "100"});
  CHECK(outcome.exit_code == 2);
  CHECK(contains(outcome.err, "the message was taken back"));
  CHECK(outcome.out == "user\nhi\nassistant\n");
}

TEST_CASE("Ctrl-C stops an answer and keeps the chat") {
  bool sent = false;
  auto once = [&](const std::string& out, int process) {
    if (!sent && out.size() > 3) {
      ::kill(process, SIGINT);
      sent = true;
    }
  };
  Outcome outcome =
      call_with(Call{{"chat", chat_model()}, "(slow) one two three four five\n/undo\nhello\n", {}, once, {}});
  CHECK(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "; cancelled]"));
  CHECK(outcome.out.ends_with("user\nhello\nassistant\n"));
  CHECK(!contains(outcome.out, "five"));
}

TEST_CASE("on a terminal there is a prompt, editing, a history, and Ctrl-C at the prompt") {
  std::string state = (scratch_folder() / "state").string();
  std::map<std::string, std::string> environment = {
      {"XDG_STATE_HOME", state}, {"TERM", "xterm"}, {"LC_ALL", "C.UTF-8"}, {"HOME", scratch_folder().string()}};
  Screen screen = call_on_terminal(
      {"chat", chat_model()}, {{"> ", "helo\x08lo w\xc3\xb6rld\n"}, {"eos]", "junk\x03"}, {"ends the chat", "/bye\n"}},
      environment);
  CAPTURE(screen.text);
  CHECK(screen.exit_code == 0);
  CHECK(contains(screen.text, "hello w\xc3\xb6rld\r\nassistant"));
  CHECK(contains(screen.text, "\033[2m"));

  environment["NO_COLOR"] = "1";
  screen =
      call_on_terminal({"chat", chat_model()}, {{"> ", "\x03"}, {"ends the chat", ""}, {"> ", "\x03"}}, environment);
  CAPTURE(screen.text);
  CHECK(screen.exit_code == 130);
  CHECK(!contains(screen.text, "\033[2m"));
}
