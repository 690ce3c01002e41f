// The engine's one exception.
#pragma once

#include <stdexcept>
#include <string>

namespace sluice::engine {

// what() is a full sentence for the user: what is wrong, what was found against what was expected, what to do.
class Error : public std::runtime_error {
 public:
  enum class Kind {
    Usage,        // the caller asked for something that cannot be (a prompt longer than the context)
    BadFile,      // the model is not what its architecture needs
    OutOfMemory,  // it does not fit
    Device,       // a device failed
  };
  Error(Kind kind, const std::string& sentence) : std::runtime_error(sentence), kind_(kind) {}
  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

}  // namespace sluice::engine
