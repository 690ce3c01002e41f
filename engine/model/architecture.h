// From a file's metadata to a model's specification, by architecture.
#pragma once

#include <string>
#include <vector>

#include "engine/model/spec.h"
#include "gguf/file.h"

namespace sluice::engine {

class MetadataReader;

// The specification of the model in the file. Throws Error(BadFile) for an architecture that is not known (naming those
// that are) and for hyperparameters that cannot be.
ModelSpec describe_model(const gguf::File& file);

std::vector<std::string> known_architectures();

// One function an architecture, in engine/model/architectures/.
ModelSpec describe_llama(const MetadataReader& reader);
ModelSpec describe_qwen3(const MetadataReader& reader);
ModelSpec describe_qwen3moe(const MetadataReader& reader);
ModelSpec describe_deepseek2(const MetadataReader& reader);

// What all architectures share: sizes, norm epsilon, rotation parameters with their scaling, and `block_count` empty
// layers.
ModelSpec describe_common(const MetadataReader& reader);

}  // namespace sluice::engine
