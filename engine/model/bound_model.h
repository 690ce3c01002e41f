// The specification and the weight handles of a model's file.
#pragma once

#include <filesystem>

#include "engine/model/spec.h"
#include "engine/model/weights.h"
#include "gguf/file.h"

namespace sluice::engine {

struct BoundModel {
  ModelSpec spec;
  ModelWeights weights;
};

// Throws Error with `path` before what is wrong.
BoundModel describe_and_bind(const std::filesystem::path& path, const gguf::File& file);

}  // namespace sluice::engine
