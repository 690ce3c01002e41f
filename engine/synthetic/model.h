// Model files with random weights, for measuring: every shape and type without a download.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "engine/synthetic/shape.h"
#include "engine/synthetic/tensors.h"

namespace sluice::engine::synthetic {

// Bytes of weights written so far.
using WriteProgress = std::function<void(uint64_t bytes)>;

// Streams out a file of the shape with these tensors. The weights of all tensors of one type and deviation are slices
// of one pool of random blocks of some megabytes, at random places: it is written as fast as the disk takes it, and its
// size does not matter. The same seed gives the same file. Throws gguf::Error when the file cannot be written.
void write_model(const Shape& shape, const std::vector<TensorPlan>& tensors, uint64_t seed,
                 const std::filesystem::path& path, const WriteProgress& progress);

// The same file with nothing in its tensors: a hole stands for each, so that it has its full size and reads as zeros, but
// takes only what its metadata takes, a few megabytes. A file system without holes writes the zeros. Throws gguf::Error.
void write_sparse_model(const Shape& shape, const std::vector<TensorPlan>& tensors, const std::filesystem::path& path);

}  // namespace sluice::engine::synthetic
