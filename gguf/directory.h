// The head of one file: header, metadata and the list of its tensors, checked against the size of the file.
#pragma once

#include <cstdint>
#include <vector>

#include "gguf/file.h"
#include "gguf/mapping.h"
#include "gguf/metadata.h"

namespace sluice::gguf {

struct Directory {
  uint32_t version = 0;
  uint64_t alignment = 0;
  uint64_t data_offset = 0;
  Metadata metadata;
  std::vector<Tensor> tensors;  // file order; data null, shard 0; file_offset counts from the start of the file
};

// Throws Error unless every tensor lies inside the file, aligned, and apart from the others, and the names are
// distinct.
Directory read_directory(const InputFile& file);

// Fills n_values, row_bytes and bytes from type, dims and n_dims. Returns why that cannot be done, or an empty string.
std::string measure(Tensor& tensor);

}  // namespace sluice::gguf
