// What a model is, as values: one LayerSpec a layer, made by an architecture's file and carried out by the executors of
// engine/forward. Nothing here computes.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "kernels/reference/rope.h"
#include "kernels/reference/router.h"

namespace sluice::engine {

// Grouped-query attention (and multi-head, n_kv_heads == n_heads).
struct GroupedQuerySpec {
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t key_size = 0;         // of a head
  int64_t value_size = 0;       // of a head
  float scale = 1;              // of the scores, 1/sqrt(key_size) as a rule
  bool has_head_norms = false;  // each head of a query and key is normed before it turns
};

// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values of all heads are up-projections of one
// latent row a position; beside it stands one rotated key part that all heads share.
struct LatentSpec {
  int64_t n_heads = 0;
  int64_t nope_size = 0;             // of a head's query and key, not rotated
  int64_t rope_size = 0;             // rotated
  int64_t value_size = 0;            // of a head
  int64_t query_rank = 0;            // 0: the query is projected in one step
  int64_t latent_rank = 0;           // of keys and values
  bool split_up_projection = false;  // attn_k_b and attn_v_b in place of attn_kv_b
  float scale = 1;
};

// down(silu(gate(x)) * up(x))
struct DenseSpec {
  int64_t n_hidden = 0;
};

struct ExpertsSpec {
  kernels::reference::RouterRule router{};
  bool has_router_bias = false;  // a bias that takes part in choosing experts only
  int64_t n_hidden = 0;          // of one expert
  int64_t n_shared_hidden = 0;   // of the shared experts together; 0: none
};

struct LayerSpec {
  std::variant<GroupedQuerySpec, LatentSpec> attention;
  std::variant<DenseSpec, ExpertsSpec> ffn;
};

struct ModelSpec {
  std::string architecture;
  int64_t n_embedding = 0;
  int64_t n_vocabulary = 0;
  int64_t n_context = 0;  // trained, tokens
  float norm_epsilon = 1e-5f;
  kernels::reference::Rope rope;  // frequency factors come from the weights
  std::vector<LayerSpec> layers;
};

}  // namespace sluice::engine
