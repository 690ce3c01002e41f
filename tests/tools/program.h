// Runs the program under test as a user would.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace sluice::test {

struct Outcome {
  int exit_code = -1;  // 128 + the signal when one ended it
  std::string out;
  std::string err;
};

struct Call {
  std::vector<std::string> arguments;
  std::string input;                               // all of standard input
  std::map<std::string, std::string> environment;  // added to ours
  // Called about every 10 ms with what has come on stdout so far, and the process id: to send signals.
  std::function<void(const std::string& out, int process)> watch;
  std::string redirect_out;  // a file to open as stdout instead
};

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Outcome call_with(const Call& call);
Outcome call(std::vector<std::string> arguments, std::string input = "");

// Runs it on a pseudo-terminal, typing each text when its cue has appeared on the screen. Returns all that the screen
// showed.
struct Typing {
  std::string cue;
  std::string text;
};
struct Screen {
  int exit_code = -1;
  std::string text;
};
Screen call_on_terminal(const std::vector<std::string>& arguments, const std::vector<Typing>& typings,
                        const std::map<std::string, std::string>& environment);

}  // namespace sluice::test
