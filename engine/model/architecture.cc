#include "engine/model/architecture.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "engine/error.h"
#include "engine/model/metadata_reader.h"

namespace sluice::engine {
namespace {

struct Architecture {
  std::string_view name;
  ModelSpec (*describe)(const MetadataReader& reader);
};

constexpr std::array kArchitectures = {
    Architecture{"deepseek2", describe_deepseek2},
    Architecture{"llama", describe_llama},
    Architecture{"qwen3", describe_qwen3},
    Architecture{"qwen3moe", describe_qwen3moe},
};

// More layers than any published model has; a hostile count must not make us allocate.
constexpr int64_t kMostLayers = 4096;

void describe_rope(const MetadataReader& reader, kernels::reference::Rope& rope) {
  rope.freq_base = reader.number("rope.freq_base", 10000.0f);
  if (rope.freq_base <= 0) reader.refuse("rope.freq_base", "is not positive");
  // `rope.scale_linear` is the older name of a linear factor.
  const bool old_name = reader.contains("rope.scale_linear");
  const std::string scaling = reader.text("rope.scaling.type", old_name ? "linear" : "none");
  if (scaling == "none") return;
  if (scaling != "linear" && scaling != "yarn")
    reader.refuse("rope.scaling.type", "is '" + scaling + "' where none, linear or yarn is known");
  const float factor = reader.number("rope.scaling.factor", reader.number("rope.scale_linear", 1));
  if (factor < 1) reader.refuse("rope.scaling.factor", "is less than 1");
  rope.freq_scale = 1.0f / factor;
  if (scaling != "yarn") return;
  rope.ext_factor = 1;
  rope.original_context = reader.count("rope.scaling.original_context_length");
  rope.beta_fast = reader.number("rope.scaling.yarn_beta_fast", rope.beta_fast);
  rope.beta_slow = reader.number("rope.scaling.yarn_beta_slow", rope.beta_slow);
  if (rope.beta_fast <= 0 || rope.beta_slow <= 0)
    reader.refuse("rope.scaling.yarn_beta_fast", "or yarn_beta_slow is not positive");
  rope.magnitude = kernels::reference::yarn_magnitude(rope.freq_scale, reader.number("rope.scaling.attn_factor", 1));
}

}  // namespace

std::vector<std::string> known_architectures() {
  std::vector<std::string> names;
  names.reserve(std::size(kArchitectures));
  for (const Architecture& a : kArchitectures) names.emplace_back(a.name);
  return names;
}

ModelSpec describe_common(const MetadataReader& reader) {
  ModelSpec model;
  model.architecture = reader.architecture();
  model.n_embedding = reader.count("embedding_length");
  model.n_context = reader.count("context_length");
  model.norm_epsilon = reader.number("attention.layer_norm_rms_epsilon");
  if (model.norm_epsilon <= 0) reader.refuse("attention.layer_norm_rms_epsilon", "is not positive");
  const int64_t n_layers = reader.count("block_count");
  if (n_layers > kMostLayers) reader.refuse("block_count", "is " + std::to_string(n_layers) + ", which is too large");
  model.layers.resize(static_cast<size_t>(n_layers));
  if (const gguf::Tensor* embedding = reader.file().find_tensor("token_embd.weight"))
    model.n_vocabulary = static_cast<int64_t>(embedding->dims[1]);
  describe_rope(reader, model.rope);
  return model;
}

ModelSpec describe_model(const gguf::File& file) {
  const auto name = file.metadata().get_string("general.architecture");
  if (!name)
    throw Error(
        Error::Kind::BadFile,
        "The metadata key 'general.architecture' is missing; the file is not a language model, or it is damaged.");
  const auto found = std::ranges::find(kArchitectures, *name, &Architecture::name);
  if (found == kArchitectures.end()) {
    std::string known;
    for (const Architecture& a : kArchitectures) known += (known.empty() ? "" : ", ") + std::string(a.name);
    throw Error(Error::Kind::BadFile, "The architecture '" + std::string(*name) +
                                          "' is not known to this version; it knows " + known +
                                          ". Use a model of one of these, or a newer version of sluice.");
  }
  return found->describe(MetadataReader(file, std::string(*name)));
}

}  // namespace sluice::engine
