// Rotary position embedding (Su et al. 2021, RoFormer) with linear and YaRN scaling (Peng et al. 2023) and per-pair
// factors.
//
// A head's first n_dims values form n_dims/2 pairs (a, b). At position p pair i turns by the angle t:
//
//   (a, b) becomes (a*cos t - b*sin t, a*sin t + b*cos t), with cos and sin multiplied by `magnitude`
//
//   t0 = p * freq_base^(-2i / n_dims) / frequency_factors[i]           as trained (factors: llama3's `rope_freqs`)
//   t1 = t0 * freq_scale                                               stretched over a longer context
//   t  = t1 * (1 - mix) + t0 * mix,  mix = ext_factor * ramp(i)        ext_factor 0: t = t1;  1: YaRN
//   ramp(i) = 1 - clamp((i - low) / max(0.001, high - low), 0, 1)      fast pairs are not stretched, slow ones are
//   corr(b) = n_dims * ln(original_context / (2 pi b)) / (2 ln freq_base)   the pair that turns b times in that context
//   low = max(0, floor(corr(beta_fast))),  high = min(n_dims - 1, ceil(corr(beta_slow)))
//
// Angles, cosines and sines are computed in double and rounded to float once; the rotation is in float. Kernels that
// cannot afford it read a table made by rope_angles().
#pragma once

#include <cstdint>

namespace sluice::kernels::reference {

enum class RopePairs {
  Interleaved,  // pair i is values 2i and 2i + 1 ("norm": LLaMA as converted to GGUF, DeepSeek)
  Halves,       // pair i is values i and i + n_dims/2 ("NeoX": Qwen, Gemma, GPT-NeoX)
};

struct Rope {
  RopePairs pairs = RopePairs::Interleaved;
  int64_t n_dims = 0;  // even; the values of a head after them are left alone
  float freq_base = 10000;
  float freq_scale = 1;  // 1 / scaling factor
  float ext_factor = 0;  // how much of YaRN's ramp: 0 for no or linear scaling, 1 for YaRN
  float magnitude = 1;   // of cos and sin: yarn_magnitude() for YaRN, but 1 where the attention scale has it (DeepSeek)
  float beta_fast = 32;  // YaRN only
  float beta_slow = 1;   // YaRN only
  int64_t original_context = 0;              // tokens the model was first trained on; YaRN only
  const float* frequency_factors = nullptr;  // [n_dims / 2], or null for ones
};

// The magnitude that YaRN gives cos and sin: attention_factor * (1 + 0.1 * ln(1 / freq_scale)), and attention_factor
// alone where nothing is stretched (freq_scale 1 or more).
float yarn_magnitude(float freq_scale, float attention_factor = 1);

// cosines and sines, [n_dims / 2] each, of one position, magnitude included.
void rope_angles(const Rope& rope, int64_t position, float* cosines, float* sines);

// Turns x in place. The heads of row r (at positions[r]) begin at x + r * row_stride + h * head_stride, in values; to
// turn the last values of a head only, x points at the first of those.
void apply_rope(const Rope& rope, const int32_t* positions, int64_t n_rows, int64_t row_stride, int64_t n_heads,
                int64_t head_stride, float* x);

}  // namespace sluice::kernels::reference
