// The two streams: the answer on stdout, everything else on stderr; styles and progress bars where stderr is a
// terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sluice::tools {

// stdout could not be written. `closed` when its reader went away.
class OutputError : public std::runtime_error {
 public:
  OutputError(const std::string& sentence, bool closed) : std::runtime_error(sentence), closed_(closed) {}
  bool closed() const { return closed_; }

 private:
  bool closed_;
};

// Writes at once, without a buffer. Throws OutputError.
void write_stdout(std::string_view bytes);
// Best effort: there is nowhere left to complain.
void write_stderr(std::string_view text);

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();

enum class Style { Bold, Dim, Red, Yellow };
// For stderr. The text unchanged where stderr is no terminal, is a dumb one, or NO_COLOR is set.
std::string styled(Style style, std::string_view text);

// "error: SENTENCE" and "warning: SENTENCE" on stderr.
void print_error(std::string_view sentence);
void print_warning(std::string_view sentence);
void print_note(std::string_view sentence);

// How far a long step has come, on stderr: a bar on a terminal, a line every few seconds elsewhere, nothing for what is
// over in a moment.
class Progress {
 public:
  enum class Unit { Bytes, Tokens };
  Progress(std::string label, Unit unit, bool enabled);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { finish(); }

  void update(uint64_t done, uint64_t total);
  // Takes the bar away.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  Unit unit_;
  bool enabled_;
  bool drawn_ = false;
  Clock::time_point began_ = Clock::now();
  Clock::time_point next_ = began_;
};

}  // namespace sluice::tools
