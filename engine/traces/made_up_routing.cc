#include "engine/traces/made_up_routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "engine/error.h"
#include "engine/traces/trace_file.h"

namespace sluice::engine::traces {
namespace {

// Draws for each expert that is wanted, after which the best that are left are taken: with great skew, or nearly all experts
// used, the last ones would hardly ever come.
constexpr uint32_t kMostDraws = 64;

constexpr double kMostSkew = 10;

std::vector<double> favour_of_ranks(const RoutingRecipe& recipe) {
  std::vector<double> favour(recipe.n_experts);
  for (uint32_t rank = 0; rank < recipe.n_experts; ++rank) favour[rank] = 1 / std::pow(rank + 1, recipe.skew);
  return favour;
}

}  // namespace

void check_recipe(const RoutingRecipe& recipe) {
  const auto refuse = [](const std::string& what) { throw Error(Error::Kind::Usage, what); };
  const auto check_share = [&](const char* name, double value) {
    if (!(value >= 0 && value <= 1))
      refuse(std::string(name) + " is a share; found " + std::to_string(value) + ", expected 0 to 1");
  };
  if (!(recipe.skew >= 0 && recipe.skew <= kMostSkew))
    refuse("The skew is the exponent of favour; found " + std::to_string(recipe.skew) + ", expected 0 to 10");
  check_share("Locality", recipe.locality);
  check_share("Drift", recipe.drift);
  if (recipe.subject_tokens == 0) refuse("A subject has at least one token; found 0");
  if (recipe.n_layers == 0 || recipe.n_layers > kMostLayers || recipe.n_experts == 0 ||
      recipe.n_experts > kMostExperts || recipe.n_used == 0 || recipe.n_used > recipe.n_experts ||
      uint64_t{recipe.n_layers} * recipe.n_used > kMostTokenBytes / 4)
    refuse("There is no such model; found " + std::to_string(recipe.n_layers) + " layers of " +
           std::to_string(recipe.n_experts) + " experts, of which a token uses " + std::to_string(recipe.n_used) +
           "; a token must use at least one expert, and no more than there are");
}

TraceHeader header_of(const RoutingRecipe& recipe) {
  TraceHeader header{"made up", "none", recipe.n_layers, {}, recipe.n_experts, recipe.n_used};
  header.expert_layers.resize(recipe.n_layers);
  std::iota(header.expert_layers.begin(), header.expert_layers.end(), 0);
  return header;
}

MadeUpRouting::MadeUpRouting(const RoutingRecipe& recipe) : recipe_(recipe), random_(recipe.seed) {
  check_recipe(recipe);
  header_ = header_of(recipe);
  favour_ = favour_of_ranks(recipe);
  draw_rank_ = std::discrete_distribution<uint32_t>(favour_.begin(), favour_.end());
  layers_.resize(recipe.n_layers);
  for (Layer& layer : layers_) {
    layer.by_rank.resize(recipe.n_experts);
    std::iota(layer.by_rank.begin(), layer.by_rank.end(), 0);
    std::shuffle(layer.by_rank.begin(), layer.by_rank.end(), random_);
    layer.rank_of.resize(recipe.n_experts);
  }
}

void MadeUpRouting::change_subject() {
  const auto n_swaps = static_cast<uint32_t>(recipe_.drift * recipe_.n_experts / 2);
  for (Layer& layer : layers_) {
    for (uint32_t swap = 0; swap < n_swaps; ++swap) {
      const auto one = random_() % recipe_.n_experts;
      std::swap(layer.by_rank[one], layer.by_rank[random_() % recipe_.n_experts]);
    }
    for (uint32_t rank = 0; rank < recipe_.n_experts; ++rank) layer.rank_of[layer.by_rank[rank]] = rank;
  }
}

void MadeUpRouting::choose(Layer& layer, Pass& pass) {
  std::set<uint16_t> chosen;
  for (const uint16_t expert : layer.last)
    if (chance_(random_) < recipe_.locality) chosen.insert(expert);
  for (uint32_t draw = 0; chosen.size() < recipe_.n_used && draw < kMostDraws * recipe_.n_used; ++draw)
    chosen.insert(layer.by_rank[draw_rank_(random_)]);
  for (uint32_t rank = 0; chosen.size() < recipe_.n_used; ++rank) chosen.insert(layer.by_rank[rank]);
  layer.last.assign(chosen.begin(), chosen.end());
  double all = 0;
  for (const uint16_t expert : layer.last) all += favour_[layer.rank_of[expert]];
  for (const uint16_t expert : layer.last) {
    pass.expert_ids.push_back(expert);
    pass.weights.push_back(static_cast<float>(favour_[layer.rank_of[expert]] / all));
  }
}

Pass MadeUpRouting::next(uint32_t n_rows) {
  Pass pass;
  pass.first_position = n_tokens_;
  pass.tokens.assign(n_rows, 0);
  for (uint32_t row = 0; row < n_rows; ++row, ++n_tokens_) {
    if (n_tokens_ % recipe_.subject_tokens == 0) change_subject();
    for (Layer& layer : layers_) choose(layer, pass);
  }
  return pass;
}

}  // namespace sluice::engine::traces
