// Lines from standard input: edited and remembered on a terminal, plain from a pipe.
#pragma once

#include <memory>
#include <string>

namespace sluice::tools {

class LineReader {
 public:
  LineReader();
  ~LineReader();

  enum class Event {
    Line,         // a line, without its newline
    End,          // end of input, with no line
    Interrupted,  // Ctrl-C; what was typed is forgotten
  };
  // The prompt shows on a terminal only.
  Event read(const std::string& prompt, std::string& line);

  // Remembers an input for the arrow keys and the next chat. Its file is sluice/history in XDG_STATE_HOME, else in
  // ~/.local/state; without a home nothing is kept.
  void remember(const std::string& input);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::tools
