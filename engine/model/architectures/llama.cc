// `llama`: Llama 1 to 3 and the many models that share its layers; with experts it is Mixtral.
#include <cmath>

#include "engine/model/architecture.h"
#include "engine/model/metadata_reader.h"

namespace sluice::engine {

ModelSpec describe_llama(const MetadataReader& reader) {
  ModelSpec model = describe_common(reader);

  GroupedQuerySpec attention;
  attention.n_heads = reader.count("attention.head_count");
  attention.n_kv_heads = reader.count("attention.head_count_kv", attention.n_heads);
  if (attention.n_heads % attention.n_kv_heads != 0)
    reader.refuse("attention.head_count", "is not a multiple of attention.head_count_kv");
  const int64_t default_size = model.n_embedding / attention.n_heads;
  attention.key_size = reader.count("attention.key_length", default_size);
  attention.value_size = reader.count("attention.value_length", attention.key_size);
  attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.key_size));

  model.rope.n_dims = reader.count("rope.dimension_count", attention.key_size);
  if (model.rope.n_dims > attention.key_size || model.rope.n_dims % 2 != 0)
    reader.refuse("rope.dimension_count", "must be even and at most the size of a head");

  const int64_t n_hidden = reader.count("feed_forward_length");
  const int64_t n_experts = reader.count_or_zero("expert_count");
  for (LayerSpec& layer : model.layers) {
    layer.attention = attention;
    if (n_experts == 0) {
      layer.ffn = DenseSpec{n_hidden};
      continue;
    }
    ExpertsSpec experts;
    experts.n_hidden = reader.count("expert_feed_forward_length", n_hidden);
    experts.router.n_experts = n_experts;
    experts.router.n_chosen = reader.count("expert_used_count");
    if (experts.router.n_chosen > n_experts) reader.refuse("expert_used_count", "is more than expert_count");
    experts.router.gating = kernels::reference::Gating::Softmax;
    experts.router.normalize = true;
    layer.ffn = experts;
  }
  return model;
}

}  // namespace sluice::engine
