// The shapes of models that are made up: sizes and rules, without a weight.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::engine::synthetic {

enum class Architecture {
  Llama,      // grouped-query attention; with experts it is Mixtral
  Qwen3Moe,   // the same with norms of queries and keys
  Deepseek2,  // latent attention, shared and routed experts
};

// As files name it: "llama".
std::string_view architecture_name(Architecture architecture);

// Sizes are numbers of values unless the name says otherwise; 0 where an architecture has no such part.
struct Shape {
  Architecture architecture = Architecture::Llama;
  int64_t n_vocabulary = 0;
  int64_t n_context = 0;  // that the file claims the model was trained for
  int64_t n_embedding = 0;
  int64_t n_layers = 0;
  int64_t n_dense_layers = 0;  // the first layers of a model with experts that have none
  int64_t n_hidden = 0;        // of a dense feed-forward

  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_size = 0;  // of a query, key and value; in latent attention of the part that is not rotated

  int64_t query_rank = 0;  // latent attention; 0: the query is projected in one step
  int64_t latent_rank = 0;
  int64_t rope_size = 0;             // the rotated part of a query and key, beside head_size
  bool split_up_projection = false;  // attn_k_b and attn_v_b in place of attn_kv_b

  int64_t n_experts = 0;
  int64_t n_experts_used = 0;
  int64_t n_shared_experts = 0;
  int64_t n_expert_hidden = 0;
  bool sigmoid_gating = false;  // with a bias for choosing, as in V3; else softmax
  bool normalize_weights = false;
  float expert_weights_scale = 1;

  float norm_epsilon = 1e-5f;
  float rope_base = 10000;
  float yarn_factor = 0;  // 0: none
  float yarn_log_multiplier = 0;
  int64_t yarn_original_context = 0;
  bool has_rope_factors = false;  // a factor for each rotated pair, as in Llama 3.1

  bool has_experts(int64_t layer) const { return n_experts > 0 && layer >= n_dense_layers; }
};

// Throws Error(Usage) for sizes that no architecture file could mean.
void check_shape(const Shape& shape);

// A known model's shape, and the types of its matrices as rules (engine/synthetic/types.h).
struct Preset {
  std::string_view name;
  std::string_view summary;
  Shape shape;
  std::vector<std::string_view> types;
};
std::span<const Preset> presets();
const Preset* find_preset(std::string_view name);  // null when there is none

}  // namespace sluice::engine::synthetic
