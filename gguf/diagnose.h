// Recognises what a file really is when it is not a GGUF that can be read.
#pragma once

#include "gguf/mapping.h"

namespace sluice::gguf {

// Throws Error with the file's true nature unless it begins like a little-endian GGUF file of version 2 or 3.
void refuse_foreign_file(const InputFile& file);

}  // namespace sluice::gguf
