// Reads the key-value part of one file.
#pragma once

#include <cstdint>

#include "gguf/metadata.h"
#include "gguf/reader.h"

namespace sluice::gguf {

// Reads `n_keys` entries from where the reader stands. Throws Error.
Metadata read_metadata(Reader& reader, uint64_t n_keys);

}  // namespace sluice::gguf
