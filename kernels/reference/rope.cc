#include "kernels/reference/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace sluice::kernels::reference {

// How far pair i is left as trained: 1 for the fast pairs, 0 for the slow, a slope between.
static double yarn_ramp(const Rope& rope, int64_t i) {
  const double n_dims = static_cast<double>(rope.n_dims);
  auto pair_turning = [&](double times) {
    return n_dims * std::log(static_cast<double>(rope.original_context) / (times * 2 * std::numbers::pi)) /
           (2 * std::log(double{rope.freq_base}));
  };
  const double low = std::max(0.0, std::floor(pair_turning(rope.beta_fast)));
  const double high = std::min(n_dims - 1, std::ceil(pair_turning(rope.beta_slow)));
  return 1 - std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
}

float yarn_magnitude(float freq_scale, float attention_factor) {
  if (freq_scale >= 1) return attention_factor;
  return static_cast<float>(attention_factor * (1 + 0.1 * std::log(1.0 / freq_scale)));
}

void rope_angles(const Rope& rope, int64_t position, float* cosines, float* sines) {
  for (int64_t i = 0; i < rope.n_dims / 2; ++i) {
    const double exponent = -2 * static_cast<double>(i) / static_cast<double>(rope.n_dims);
    double trained = static_cast<double>(position) * std::pow(double{rope.freq_base}, exponent);
    if (rope.frequency_factors != nullptr) trained /= rope.frequency_factors[i];
    const double stretched = trained * rope.freq_scale;
    const double mix = rope.ext_factor != 0 ? rope.ext_factor * yarn_ramp(rope, i) : 0;
    const double angle = stretched * (1 - mix) + trained * mix;
    cosines[i] = static_cast<float>(std::cos(angle) * rope.magnitude);
    sines[i] = static_cast<float>(std::sin(angle) * rope.magnitude);
  }
}

void apply_rope(const Rope& rope, const int32_t* positions, int64_t n_rows, int64_t row_stride, int64_t n_heads,
                int64_t head_stride, float* x) {
  const int64_t n_pairs = rope.n_dims / 2;
  std::vector<float> cosines(static_cast<size_t>(n_pairs)), sines(static_cast<size_t>(n_pairs));
  for (int64_t r = 0; r < n_rows; ++r) {
    rope_angles(rope, positions[r], cosines.data(), sines.data());
    for (int64_t h = 0; h < n_heads; ++h) {
      float* head = x + r * row_stride + h * head_stride;
      for (int64_t i = 0; i < n_pairs; ++i) {
        const bool interleaved = rope.pairs == RopePairs::Interleaved;
        float& first = head[interleaved ? 2 * i : i];
        float& second = head[interleaved ? 2 * i + 1 : i + n_pairs];
        const float a = first, b = second;
        first = a * cosines[static_cast<size_t>(i)] - b * sines[static_cast<size_t>(i)];
        second = a * sines[static_cast<size_t>(i)] + b * cosines[static_cast<size_t>(i)];
      }
    }
  }
}

}  // namespace sluice::kernels::reference
