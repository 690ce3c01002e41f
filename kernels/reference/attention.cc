#include "kernels/reference/attention.h"

#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/reference/softmax.h"

namespace sluice::kernels::reference {

void attention(const AttentionShape& shape, const float* q, const float* k, const float* v, const int64_t* n_visible,
               int64_t n_rows, float* out) {
  if (shape.n_kv_heads <= 0 || shape.n_heads % shape.n_kv_heads != 0)
    throw std::invalid_argument("Attention cannot share " + std::to_string(shape.n_kv_heads) + " key heads among " +
                                std::to_string(shape.n_heads) + " query heads: the one must divide the other.");
  const int64_t heads_per_group = shape.n_heads / shape.n_kv_heads;
  std::vector<float> weights;
  for (int64_t r = 0; r < n_rows; ++r)
    for (int64_t h = 0; h < shape.n_heads; ++h, q += shape.key_dim, out += shape.value_dim) {
      const float* keys = k + h / heads_per_group * shape.key_dim;  // position c is n_kv_heads rows of a head further
      const float* values = v + h / heads_per_group * shape.value_dim;
      weights.resize(static_cast<size_t>(n_visible[r]));
      for (size_t c = 0; c < weights.size(); ++c) {
        const float* key = keys + static_cast<int64_t>(c) * shape.n_kv_heads * shape.key_dim;
        double dot = 0;
        for (int64_t i = 0; i < shape.key_dim; ++i) dot += double{q[i]} * key[i];
        weights[c] = static_cast<float>(dot * shape.scale);
      }
      softmax(weights.data(), n_visible[r], weights.data());
      for (int64_t i = 0; i < shape.value_dim; ++i) {
        double sum = 0;
        for (size_t c = 0; c < weights.size(); ++c)
          sum += double{weights[c]} * values[static_cast<int64_t>(c) * shape.n_kv_heads * shape.value_dim + i];
        out[i] = static_cast<float>(sum);
      }
    }
}

}  // namespace sluice::kernels::reference
