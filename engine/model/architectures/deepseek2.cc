// `deepseek2`: DeepSeek-V2, V2-Lite, V3, R1, and Kimi-K2. Latent attention, shared and routed experts after some dense
// layers.
#include <cmath>

#include "engine/model/architecture.h"
#include "engine/model/metadata_reader.h"

namespace sluice::engine {
namespace {

LatentSpec describe_attention(const MetadataReader& reader, ModelSpec& model) {
  LatentSpec attention;
  attention.n_heads = reader.count("attention.head_count");
  attention.query_rank = reader.count_or_zero("attention.q_lora_rank");
  attention.latent_rank = reader.count("attention.kv_lora_rank");
  attention.rope_size = reader.count("rope.dimension_count");
  if (attention.rope_size % 2 != 0) reader.refuse("rope.dimension_count", "is odd");
  // Files with a split up-projection give the sizes of the cached row in key_length and value_length (576 and 512), and
  // the sizes of a head under names of their own.
  attention.split_up_projection = reader.file().find_tensor("blk.0.attn_k_b.weight") != nullptr;
  const bool own_names = reader.contains("attention.key_length_mla");
  const int64_t key_size = reader.count(own_names ? "attention.key_length_mla" : "attention.key_length");
  attention.value_size = reader.count(own_names ? "attention.value_length_mla" : "attention.value_length");
  attention.nope_size = key_size - attention.rope_size;
  if (attention.nope_size <= 0) reader.refuse("attention.key_length", "is not more than rope.dimension_count");

  // With yarn_log_multiplier YaRN stretches the scores by m*m, m = 1 + multiplier * ln(factor), always over the head's
  // true size, and leaves cosine and sine alone: the model's two magnitude terms cancel. Without it only they are
  // stretched.
  float stretch = 1;
  if (model.rope.ext_factor != 0 && reader.contains("rope.scaling.yarn_log_multiplier")) {
    stretch = 1.0f - reader.number("rope.scaling.yarn_log_multiplier") * std::log(model.rope.freq_scale);
    model.rope.magnitude = 1;
  }
  attention.scale = stretch * stretch / std::sqrt(static_cast<float>(key_size));
  model.rope.n_dims = attention.rope_size;
  return attention;
}

ExpertsSpec describe_experts(const MetadataReader& reader, const std::string& layer) {
  using kernels::reference::Gating;
  ExpertsSpec experts;
  auto& router = experts.router;
  router.n_experts = reader.count("expert_count");
  router.n_chosen = reader.count("expert_used_count");
  const int64_t gating = reader.count("expert_gating_func", 1);
  if (gating != 1 && gating != 2) reader.refuse("expert_gating_func", "is neither 1 (softmax) nor 2 (sigmoid)");
  router.gating = gating == 2 ? Gating::Sigmoid : Gating::Softmax;
  router.normalize = reader.flag("expert_weights_norm", false);
  router.scale = reader.number("expert_weights_scale", 1);
  if (router.scale == 0) router.scale = 1;  // some converters write 0 for "not scaled"
  router.n_groups = reader.count("expert_group_count", 1);
  router.n_chosen_groups = reader.count("expert_group_used_count", router.n_groups);
  // A group is worth its best expert in V2, and the sum of its best two in V3.
  router.group_score = gating == 2 ? kernels::reference::GroupScore::TopTwoSum : kernels::reference::GroupScore::Max;
  if (router.n_experts % router.n_groups != 0) reader.refuse("expert_group_count", "does not divide expert_count");
  if (router.n_chosen_groups > router.n_groups)
    reader.refuse("expert_group_used_count", "is more than expert_group_count");
  if (router.n_chosen > router.n_experts / router.n_groups * router.n_chosen_groups)
    reader.refuse("expert_used_count", "is more than the experts to choose from");

  experts.has_router_bias = reader.file().find_tensor(layer + "exp_probs_b.bias") != nullptr;
  experts.n_hidden = reader.count("expert_feed_forward_length");
  experts.n_shared_hidden = reader.count_or_zero("expert_shared_count") * experts.n_hidden;
  return experts;
}

}  // namespace

ModelSpec describe_deepseek2(const MetadataReader& reader) {
  ModelSpec model = describe_common(reader);
  const LatentSpec attention = describe_attention(reader, model);
  const size_t n_dense = static_cast<size_t>(reader.count_or_zero("leading_dense_block_count"));
  for (size_t i = 0; i < model.layers.size(); ++i) {
    model.layers[i].attention = attention;
    if (i < n_dense)
      model.layers[i].ffn = DenseSpec{reader.count("feed_forward_length")};
    else
      model.layers[i].ffn = describe_experts(reader, "blk." + std::to_string(i) + ".");
  }
  return model;
}

}  // namespace sluice::engine
