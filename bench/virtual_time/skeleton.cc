#include "bench/virtual_time/skeleton.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "engine/synthetic/model.h"
#include "kernels/format.h"

namespace sluice::bench {
namespace {

namespace synthetic = engine::synthetic;

// Of a router's logits: rows of the matrix have that gain (engine/synthetic/tensors.cc), inputs the size of one.
constexpr double kLogitDeviation = 1.5;
// A score that the chosen ones are above; which one does not matter.
constexpr double kThreshold = 0.8;
constexpr double kMostLikely = 0.98;

// The deviate that a normal number exceeds with probability p, by halving.
double exceeded_with(double p) {
  double low = -10, high = 10;
  while (high - low > 1e-9) {
    const double middle = (low + high) / 2;
    (std::erfc(middle / std::sqrt(2.0)) / 2 > p ? low : high) = middle;
  }
  return low;
}

}  // namespace

void write_skeleton(const SkeletonSize& size, const std::filesystem::path& path) {
  const synthetic::Preset& real = *synthetic::find_preset("r1-ud-iq1s");
  synthetic::Shape shape = real.shape;
  shape.n_layers = size.n_layers;
  shape.n_dense_layers = size.n_dense_layers;
  shape.n_experts = size.n_experts;
  shape.n_vocabulary = 300;
  // Whole blocks of every type.
  shape.n_embedding = shape.n_hidden = shape.n_expert_hidden = shape.query_rank = shape.latent_rank = 256;
  shape.n_heads = 8;  // enough to attend together, as R1's do (engine/device/attention_choice.h)
  shape.head_size = 64;
  shape.rope_size = 32;
  synthetic::TypeRules types;
  for (const std::string_view rule : real.types) types.add(rule);
  synthetic::check_shape(shape);
  synthetic::write_model(shape, synthetic::plan_tensors(shape, types), 1, path, [](uint64_t) {});
}

uint64_t real_expert_matrix_bytes(gguf::TensorType type) {
  const gguf::TypeLayout& layout = gguf::type_layout(type);
  return static_cast<uint64_t>(kRealExpertHidden * kRealEmbedding) / layout.block_values * layout.block_bytes;
}

Popularity popularity_of(int64_t n_experts, double skew, uint64_t seed) {
  Popularity made;
  const auto n = static_cast<size_t>(n_experts);
  made.ranks.resize(n);
  std::iota(made.ranks.begin(), made.ranks.end(), 0);
  std::mt19937_64 random(seed);
  std::shuffle(made.ranks.begin(), made.ranks.end(), random);

  // Probabilities of being chosen, none above kMostLikely, that add up to the choices of a token.
  std::vector<double> wanted(n);
  for (size_t i = 0; i < n; ++i) wanted[i] = std::pow(static_cast<double>(i + 1), -skew);
  double scale = 0, high = 1e6;
  for (double low = 0; high - low > 1e-9 * high;) {
    scale = (low + high) / 2;
    double sum = 0;
    for (const double w : wanted) sum += std::min(kMostLikely, w * scale);
    (sum < static_cast<double>(kExpertsUsed) ? low : high) = scale;
  }
  made.biases.resize(n);
  made.shares.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const double p = std::min(kMostLikely, wanted[i] * scale);
    const double score = 1 / (1 + std::exp(-kLogitDeviation * exceeded_with(p)));
    made.biases[static_cast<size_t>(made.ranks[i])] = static_cast<float>(kThreshold - score);
    made.shares[static_cast<size_t>(made.ranks[i])] = static_cast<float>(p / static_cast<double>(kExpertsUsed));
  }
  return made;
}

}  // namespace sluice::bench
