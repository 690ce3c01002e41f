// What the program's exit status says, and the exception of its own that leads to one of them.
#pragma once

#include <stdexcept>
#include <string>

namespace sluice::tools {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,        // the machine refused something (a full disk); never the user's or the file's fault
  kExitUsage = 2,          // asked for something that cannot be
  kExitBadFile = 3,        // the model file
  kExitNoMemory = 4,       // it does not fit
  kExitDevice = 5,         // a device failed
  kExitInterrupted = 130,  // Ctrl-C
  kExitClosedPipe = 141,   // the reader of our output went away: what a shell shows for other programs, too
};

// A command line or an input that cannot be obeyed. what() is a full sentence: what is wrong, what was found against
// what was expected, what to do.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace sluice::tools
