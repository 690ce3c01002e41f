#include "engine/model/bound_model.h"

#include <utility>

#include "engine/error.h"
#include "engine/model/architecture.h"

namespace sluice::engine {

BoundModel describe_and_bind(const std::filesystem::path& path, const gguf::File& file) {
  try {
    ModelSpec spec = describe_model(file);
    ModelWeights weights = bind_weights(file, spec);
    return {std::move(spec), std::move(weights)};
  } catch (const Error& error) {
    throw Error(error.kind(), path.string() + ": " + error.what());
  }
}

}  // namespace sluice::engine
