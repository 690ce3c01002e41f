// DeepSeek-R1 UD-IQ1_S as a skeleton: as many layers, experts and choices, the same types and kinds of matrices, but each matrix tiny. What
// the engine does with it is what it does with R1; only the times of launches, copies and products must be R1's (launch_times.h, timed_cpu.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "engine/model/bound_model.h"
#include "gguf/file.h"

namespace sluice::bench {

inline constexpr int64_t kExpertsUsed = 8;
// The original model's rule; files of R1 without it choose among all experts (docs/performance.md).
inline constexpr int64_t kExpertGroups = 8, kChosenExpertGroups = 4;

struct SkeletonSize {
  int64_t n_layers = 61, n_dense_layers = 3, n_experts = 256;
};

// Writes the file, of half a gigabyte in full size.
void write_skeleton(const SkeletonSize& size, const std::filesystem::path& path);

// One of R1's expert matrices: what a skeleton's stands for.
inline constexpr int64_t kRealExpertHidden = 2048, kRealEmbedding = 7168;
inline constexpr double kRealExpertWeights = static_cast<double>(kRealExpertHidden * kRealEmbedding);
uint64_t real_expert_matrix_bytes(gguf::TensorType type);

// Biases for the router of a layer that make experts about as popular as Zipf's law with the exponent `skew` has it: expert ranks[i] is
// the i-th. 0: equally popular.
struct Popularity {
  std::vector<float> biases;   // [n_experts]
  std::vector<int32_t> ranks;  // experts, the most popular first
  std::vector<float> shares;   // of a token's choices, by expert
};
Popularity popularity_of(int64_t n_experts, double skew, uint64_t seed);

}  // namespace sluice::bench
