// `qwen3` and `qwen3moe`: as llama, with a norm on each head's query and key, and rope over the halves of a head.
#include <cmath>

#include "engine/model/architecture.h"
#include "engine/model/metadata_reader.h"

namespace sluice::engine {

static GroupedQuerySpec describe_attention(const MetadataReader& reader, ModelSpec& model) {
  GroupedQuerySpec attention;
  attention.n_heads = reader.count("attention.head_count");
  attention.n_kv_heads = reader.count("attention.head_count_kv", attention.n_heads);
  if (attention.n_heads % attention.n_kv_heads != 0)
    reader.refuse("attention.head_count", "is not a multiple of attention.head_count_kv");
  attention.key_size = reader.count("attention.key_length", model.n_embedding / attention.n_heads);
  attention.value_size = reader.count("attention.value_length", attention.key_size);
  attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.key_size));
  attention.has_head_norms = true;
  model.rope.pairs = kernels::reference::RopePairs::Halves;
  model.rope.n_dims = reader.count("rope.dimension_count", attention.key_size);
  if (model.rope.n_dims > attention.key_size || model.rope.n_dims % 2 != 0)
    reader.refuse("rope.dimension_count", "must be even and at most the size of a head");
  return attention;
}

ModelSpec describe_qwen3(const MetadataReader& reader) {
  ModelSpec model = describe_common(reader);
  const GroupedQuerySpec attention = describe_attention(reader, model);
  const DenseSpec dense{reader.count("feed_forward_length")};
  for (LayerSpec& layer : model.layers) layer = {attention, dense};
  return model;
}

ModelSpec describe_qwen3moe(const MetadataReader& reader) {
  ModelSpec model = describe_common(reader);
  const GroupedQuerySpec attention = describe_attention(reader, model);
  ExpertsSpec experts;
  experts.n_hidden = reader.count("expert_feed_forward_length");
  experts.router.n_experts = reader.count("expert_count");
  experts.router.n_chosen = reader.count("expert_used_count");
  if (experts.router.n_chosen > experts.router.n_experts)
    reader.refuse("expert_used_count", "is more than expert_count");
  experts.router.gating = kernels::reference::Gating::Softmax;
  experts.router.normalize = true;  // the weights of the chosen sum to 1 (norm_topk_prob of all published models)
  for (LayerSpec& layer : model.layers) layer = {attention, experts};
  return model;
}

}  // namespace sluice::engine
