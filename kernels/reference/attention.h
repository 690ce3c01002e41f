// Causal attention with grouped heads (Vaswani et al. 2017; Ainslie et al. 2023, GQA).
//
//   score[c] = scale * (q[r, h] . k[c, g])      for the visible positions c = 0 .. n_visible[r] - 1
//   out[r, h] = sum over c of softmax(score)[c] * v[c, g]           g = h / (n_heads / n_kv_heads)
//
// Scores and the sums over c are in double and rounded to float once each; softmax is kernels/reference/softmax.h.
#pragma once

#include <cstdint>

namespace sluice::kernels::reference {

struct AttentionShape {
  int64_t n_heads;     // of queries, a multiple of n_kv_heads
  int64_t n_kv_heads;  // of keys and values
  int64_t key_dim;     // values a head of q and k
  int64_t value_dim;   // values a head of v and out
  float scale;         // usually 1 / sqrt(key_dim)
};

// q [n_rows, n_heads, key_dim], k [n_cached, n_kv_heads, key_dim], v [n_cached, n_kv_heads, value_dim], n_visible
// [n_rows] with values from 0 (then out is zeros) to n_cached, out [n_rows, n_heads, value_dim]. Throws
// std::invalid_argument when the heads do not divide.
void attention(const AttentionShape& shape, const float* q, const float* k, const float* v, const int64_t* n_visible,
               int64_t n_rows, float* out);

}  // namespace sluice::kernels::reference
