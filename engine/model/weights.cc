#include "engine/model/weights.h"

#include <initializer_list>
#include <string>

#include "engine/error.h"
#include "kernels/format.h"

namespace sluice::engine {
namespace {

std::string shape_text(std::initializer_list<int64_t> dims) {
  std::string text;
  for (const int64_t d : dims) text += (text.empty() ? "[" : ", ") + std::to_string(d);
  return text + "]";
}

// Looks tensors up by name and checks them against the shape that the specification gives. Shapes here are fastest
// first, as GGUF lists them.
class Binder {
 public:
  Binder(const gguf::File& file, const ModelSpec& spec) : file_(file), spec_(spec) {}

  bool has(const std::string& name) const { return file_.find_tensor(name) != nullptr; }

  Linear linear(const std::string& name, int64_t n_inputs, int64_t n_outputs) const {
    const gguf::Tensor& tensor = get(name + ".weight", {n_inputs, n_outputs});
    Linear matrix = handle(tensor, n_outputs);
    if (has(name + ".bias")) matrix.bias = vector(name + ".bias", n_outputs);
    return matrix;
  }

  LinearStack stack(const std::string& name, int64_t n_inputs, int64_t n_outputs, int64_t count) const {
    const gguf::Tensor& tensor = get(name + ".weight", {n_inputs, n_outputs, count});
    return {handle(tensor, n_outputs), count, tensor.bytes / static_cast<uint64_t>(count)};
  }

  Vector vector(const std::string& name, int64_t size) const {
    const gguf::Tensor& tensor = get(name, {size});
    if (tensor.type != gguf::TensorType::F32)
      refuse("Tensor '" + name + "' has the type " + std::string(gguf::type_layout(tensor.type).name) +
             " where F32 is needed");
    if (tensor.file_offset % alignof(float) != 0)
      refuse("Tensor '" + name + "' begins at byte " + std::to_string(tensor.file_offset) +
             ", which is not a multiple of 4");
    return {reinterpret_cast<const float*>(tensor.data), size};
  }

  GroupedQueryWeights bind(const GroupedQuerySpec& a, const std::string& layer) const {
    GroupedQueryWeights w;
    w.query = linear(layer + "attn_q", spec_.n_embedding, a.n_heads * a.key_size);
    w.key = linear(layer + "attn_k", spec_.n_embedding, a.n_kv_heads * a.key_size);
    w.value = linear(layer + "attn_v", spec_.n_embedding, a.n_kv_heads * a.value_size);
    w.output = linear(layer + "attn_output", a.n_heads * a.value_size, spec_.n_embedding);
    if (a.has_head_norms) {
      w.query_norm = vector(layer + "attn_q_norm.weight", a.key_size);
      w.key_norm = vector(layer + "attn_k_norm.weight", a.key_size);
    }
    return w;
  }

  LatentWeights bind(const LatentSpec& a, const std::string& layer) const {
    const int64_t query_columns = a.n_heads * (a.nope_size + a.rope_size);
    LatentWeights w;
    if (a.query_rank > 0) {
      w.query_down = linear(layer + "attn_q_a", spec_.n_embedding, a.query_rank);
      w.query_norm = vector(layer + "attn_q_a_norm.weight", a.query_rank);
      w.query_up = linear(layer + "attn_q_b", a.query_rank, query_columns);
    } else {
      w.query = linear(layer + "attn_q", spec_.n_embedding, query_columns);
    }
    w.latent_down = linear(layer + "attn_kv_a_mqa", spec_.n_embedding, a.latent_rank + a.rope_size);
    w.latent_norm = vector(layer + "attn_kv_a_norm.weight", a.latent_rank);
    if (a.split_up_projection) {
      const LinearStack keys = stack(layer + "attn_k_b", a.nope_size, a.latent_rank, a.n_heads);
      const LinearStack values = stack(layer + "attn_v_b", a.latent_rank, a.value_size, a.n_heads);
      for (int64_t h = 0; h < a.n_heads; ++h) {
        w.key_up.push_back(keys.at(h));
        w.value_up.push_back(values.at(h));
      }
    } else {
      const int64_t head_rows = a.nope_size + a.value_size;
      const Linear fused = linear(layer + "attn_kv_b", a.latent_rank, a.n_heads * head_rows);
      for (int64_t h = 0; h < a.n_heads; ++h) {
        w.key_up.push_back(fused.rows(h * head_rows, a.nope_size));
        w.value_up.push_back(fused.rows(h * head_rows + a.nope_size, a.value_size));
      }
    }
    w.output = linear(layer + "attn_output", a.n_heads * a.value_size, spec_.n_embedding);
    return w;
  }

  DenseWeights dense(const std::string& layer, const std::string& suffix, int64_t n_hidden) const {
    return {linear(layer + "ffn_gate" + suffix, spec_.n_embedding, n_hidden),
            linear(layer + "ffn_up" + suffix, spec_.n_embedding, n_hidden),
            linear(layer + "ffn_down" + suffix, n_hidden, spec_.n_embedding)};
  }

  DenseWeights bind(const DenseSpec& ffn, const std::string& layer) const { return dense(layer, "", ffn.n_hidden); }

  ExpertsWeights bind(const ExpertsSpec& ffn, const std::string& layer) const {
    const int64_t n_experts = ffn.router.n_experts;
    ExpertsWeights w;
    w.router = linear(layer + "ffn_gate_inp", spec_.n_embedding, n_experts);
    if (ffn.has_router_bias) w.router_bias = vector(layer + "exp_probs_b.bias", n_experts);
    w.gate = stack(layer + "ffn_gate_exps", spec_.n_embedding, ffn.n_hidden, n_experts);
    w.up = stack(layer + "ffn_up_exps", spec_.n_embedding, ffn.n_hidden, n_experts);
    w.down = stack(layer + "ffn_down_exps", ffn.n_hidden, spec_.n_embedding, n_experts);
    if (ffn.n_shared_hidden > 0) w.shared = dense(layer, "_shexp", ffn.n_shared_hidden);
    return w;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(Error::Kind::BadFile,
                what + "; the file does not fit the architecture '" + spec_.architecture +
                    "' that it names: it is damaged or was made by a converter that this version does "
                    "not know.");
  }

  const gguf::Tensor& get(const std::string& name, std::initializer_list<int64_t> dims) const {
    const gguf::Tensor* tensor = file_.find_tensor(name);
    if (tensor == nullptr) refuse("Tensor '" + name + "' is missing");
    size_t i = 0;
    bool fits = true;
    for (const int64_t d : dims) fits = fits && tensor->dims[i++] == static_cast<uint64_t>(d);
    for (; i < tensor->dims.size(); ++i) fits = fits && tensor->dims[i] == 1;
    if (!fits) {
      const auto& d = tensor->dims;
      refuse("Tensor '" + name + "' has the shape " +
             shape_text({static_cast<int64_t>(d[0]), static_cast<int64_t>(d[1]), static_cast<int64_t>(d[2]),
                         static_cast<int64_t>(d[3])}) +
             " where " + shape_text(dims) + " is needed");
    }
    return *tensor;
  }

  Linear handle(const gguf::Tensor& tensor, int64_t n_outputs) const {
    const kernels::Format* format = kernels::find_format(tensor.type);
    if (format == nullptr || format->activation == kernels::ActivationFormat::None)
      refuse("Tensor '" + tensor.name + "' has the type " + std::string(gguf::type_layout(tensor.type).name) +
             ", which cannot be multiplied by");
    Linear matrix;
    matrix.type = tensor.type;
    matrix.n_inputs = static_cast<int64_t>(tensor.dims[0]);
    matrix.n_outputs = n_outputs;
    matrix.data = tensor.data;
    matrix.row_bytes = tensor.row_bytes;
    return matrix;
  }

  const gguf::File& file_;
  const ModelSpec& spec_;
};

}  // namespace

ModelWeights bind_weights(const gguf::File& file, const ModelSpec& spec) {
  const Binder binder(file, spec);
  ModelWeights weights;
  weights.token_embedding = binder.linear("token_embd", spec.n_embedding, spec.n_vocabulary);
  weights.output_norm = binder.vector("output_norm.weight", spec.n_embedding);
  // Without a head of its own the model uses the embedding for both.
  weights.output = {binder.has("output.weight") ? binder.linear("output", spec.n_embedding, spec.n_vocabulary)
                                                : weights.token_embedding};
  if (binder.has("rope_freqs.weight")) weights.rope_factors = binder.vector("rope_freqs.weight", spec.rope.n_dims / 2);
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    LayerWeights w;
    w.attention_norm = binder.vector(layer + "attn_norm.weight", spec.n_embedding);
    std::visit([&](const auto& attention) { w.attention = binder.bind(attention, layer); }, spec.layers[i].attention);
    w.ffn_norm = binder.vector(layer + "ffn_norm.weight", spec.n_embedding);
    std::visit([&](const auto& ffn) { w.ffn = binder.bind(ffn, layer); }, spec.layers[i].ffn);
    weights.layers.push_back(std::move(w));
  }
  return weights;
}

}  // namespace sluice::engine
