// The one exception of this room: a file that cannot be read as GGUF, with a full sentence for the user.
#pragma once

#include <stdexcept>
#include <string>

namespace sluice::gguf {

// what() says what is wrong, what was found against what was expected, and what to do about it. It begins with the
// path where one is known (not in Writer::add_tensor, nor for Metadata that came from no file).
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace sluice::gguf
