// Routing that is made up, of any shape, with as much order in it as one likes: to judge policies without a model.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "engine/traces/trace.h"

namespace sluice::engine::traces {

// Of the shape of DeepSeek-R1 unless it says otherwise.
struct RoutingRecipe {
  uint32_t n_layers = 58;  // all with experts
  uint32_t n_experts = 256;
  uint32_t n_used = 8;
  double skew =
      0;  // experts are chosen with weights 1 / rank^skew (Zipf), each layer with ranks of its own: 0 is uniform
  double locality = 0;            // the chance with which a token keeps an expert of the token before
  double drift = 0;               // the share of a layer's experts that swap their ranks when the subject changes
  uint32_t subject_tokens = 256;  // after which it does
  uint32_t seed = 1;
};

// Throws Error(Usage) for a recipe that is none.
void check_recipe(const RoutingRecipe& recipe);

TraceHeader header_of(const RoutingRecipe& recipe);

// Token after token without end. The same recipe gives the same tokens, however they are cut into passes. Experts stand in
// ascending order; weights are the shares of the experts' favour among the chosen, token ids are 0.
class MadeUpRouting {
 public:
  // Throws Error(Usage).
  explicit MadeUpRouting(const RoutingRecipe& recipe);

  const TraceHeader& header() const { return header_; }
  Pass next(uint32_t n_rows = 1);

 private:
  struct Layer {
    std::vector<uint16_t> by_rank;  // experts, the favourite first
    std::vector<uint32_t> rank_of;  // of each expert
    std::vector<uint16_t> last;     // chosen by the token before, ascending
  };
  void change_subject();
  void choose(Layer& layer, Pass& pass);

  RoutingRecipe recipe_;
  TraceHeader header_;
  std::vector<double> favour_;  // of a rank
  std::mt19937 random_;
  std::discrete_distribution<uint32_t> draw_rank_;
  std::uniform_real_distribution<double> chance_;
  std::vector<Layer> layers_;
  uint32_t n_tokens_ = 0;
};

}  // namespace sluice::engine::traces
