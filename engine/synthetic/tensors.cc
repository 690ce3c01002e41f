#include "engine/synthetic/tensors.h"

#include <cmath>

#include "engine/error.h"

namespace sluice::engine::synthetic {
namespace {

class Planner {
 public:
  Planner(const Shape& shape, const TypeRules& types) : shape_(shape), types_(types) {}

  std::vector<TensorPlan> plan() {
    // The embedding's entries have the size of one whatever the number of columns; all other matrices keep the size of
    // their inputs, times a gain.
    matrix("token_embd", shape_.n_embedding, shape_.n_vocabulary, std::sqrt(static_cast<float>(shape_.n_embedding)));
    if (shape_.has_rope_factors) vector("rope_freqs.weight", shape_.head_size / 2);
    vector("output_norm.weight", shape_.n_embedding);
    matrix("output", shape_.n_embedding, shape_.n_vocabulary, 2);
    for (layer_ = 0; layer_ < shape_.n_layers; ++layer_) {
      prefix_ = "blk." + std::to_string(layer_) + ".";
      vector("attn_norm.weight", shape_.n_embedding);
      if (shape_.architecture == Architecture::Deepseek2)
        latent_attention();
      else
        grouped_query_attention();
      vector("ffn_norm.weight", shape_.n_embedding);
      if (shape_.has_experts(layer_))
        experts();
      else
        feed_forward("", shape_.n_hidden, 0);
    }
    return std::move(tensors_);
  }

 private:
  void add(TensorPlan tensor) {
    const gguf::TypeLayout& layout = gguf::type_layout(tensor.type);
    tensor.bytes = layout.block_bytes;
    uint64_t n_values = 1;
    for (const uint64_t length : tensor.dims)
      if (__builtin_mul_overflow(n_values, length, &n_values) || n_values >> 56 != 0)
        throw Error(Error::Kind::Usage, "the tensor '" + tensor.name +
                                            "' would have more bytes than a file can hold; "
                                            "give a smaller shape");
    tensor.bytes *= n_values / layout.block_values;
    tensors_.push_back(std::move(tensor));
  }

  // count 0: a matrix; else a stack of them.
  void matrix(const std::string& name, int64_t n_columns, int64_t n_rows, float gain, int64_t count = 0) {
    const auto columns = static_cast<uint64_t>(n_columns);
    std::vector<uint64_t> dims = {columns, static_cast<uint64_t>(n_rows)};
    if (count > 0) dims.push_back(static_cast<uint64_t>(count));
    const gguf::TensorType wanted = types_.type_of(name, layer_, shape_.n_layers);
    add({prefix_ + name + ".weight", type_for_columns(wanted, columns), std::move(dims), 0,
         gain / std::sqrt(static_cast<float>(n_columns)), 0, wanted});
  }

  void vector(const std::string& name, int64_t size, float mean = 1) {
    const auto type = gguf::TensorType::F32;
    add({prefix_ + name, type, {static_cast<uint64_t>(size)}, mean, 0.1f, 0, type});
  }

  void grouped_query_attention() {
    const int64_t query_rows = shape_.n_heads * shape_.head_size, key_rows = shape_.n_kv_heads * shape_.head_size;
    matrix("attn_q", shape_.n_embedding, query_rows, 1.4f);
    matrix("attn_k", shape_.n_embedding, key_rows, 1.4f);
    matrix("attn_v", shape_.n_embedding, key_rows, 1);
    matrix("attn_output", query_rows, shape_.n_embedding, 1);
    if (shape_.architecture != Architecture::Qwen3Moe) return;
    vector("attn_q_norm.weight", shape_.head_size);
    vector("attn_k_norm.weight", shape_.head_size);
  }

  void latent_attention() {
    const int64_t query_rows = shape_.n_heads * (shape_.head_size + shape_.rope_size);
    if (shape_.query_rank > 0) {
      matrix("attn_q_a", shape_.n_embedding, shape_.query_rank, 1);
      vector("attn_q_a_norm.weight", shape_.query_rank);
      matrix("attn_q_b", shape_.query_rank, query_rows, 1.2f);
    } else {
      matrix("attn_q", shape_.n_embedding, query_rows, 1.2f);
    }
    matrix("attn_kv_a_mqa", shape_.n_embedding, shape_.latent_rank + shape_.rope_size, 1.2f);
    vector("attn_kv_a_norm.weight", shape_.latent_rank);
    if (shape_.split_up_projection) {
      // attn_k_b is transposed: its columns are the head's, its inputs the latent's.
      const float gain =
          1.2f * std::sqrt(static_cast<float>(shape_.head_size) / static_cast<float>(shape_.latent_rank));
      matrix("attn_k_b", shape_.head_size, shape_.latent_rank, gain, shape_.n_heads);
      matrix("attn_v_b", shape_.latent_rank, shape_.head_size, 1.2f, shape_.n_heads);
    } else {
      matrix("attn_kv_b", shape_.latent_rank, shape_.n_heads * 2 * shape_.head_size, 1.2f);
    }
    matrix("attn_output", shape_.n_heads * shape_.head_size, shape_.n_embedding, 1);
  }

  void feed_forward(const std::string& suffix, int64_t n_hidden, int64_t count) {
    matrix("ffn_gate" + suffix, shape_.n_embedding, n_hidden, 1.5f, count);
    matrix("ffn_up" + suffix, shape_.n_embedding, n_hidden, 1.5f, count);
    matrix("ffn_down" + suffix, n_hidden, shape_.n_embedding, 1, count);
  }

  void experts() {
    matrix("ffn_gate_inp", shape_.n_embedding, shape_.n_experts, 1.5f);
    if (shape_.sigmoid_gating) vector("exp_probs_b.bias", shape_.n_experts, 0);
    feed_forward("_exps", shape_.n_expert_hidden, shape_.n_experts);
    if (shape_.n_shared_experts > 0) feed_forward("_shexp", shape_.n_shared_experts * shape_.n_expert_hidden, 0);
  }

  const Shape& shape_;
  const TypeRules& types_;
  int64_t layer_ = kNoLayer;  // whose tensors are added
  std::string prefix_;        // of their names
  std::vector<TensorPlan> tensors_;
};

}  // namespace

std::vector<TensorPlan> plan_tensors(const Shape& shape, const TypeRules& types) {
  return Planner(shape, types).plan();
}

}  // namespace sluice::engine::synthetic
