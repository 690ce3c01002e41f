// How often each expert is used, as far as what was seen can tell. Counts differ by chance as well; what chance explains is left out, so
// that experts which are equally popular are taken for that.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/store/policy.h"

namespace sluice::engine {

// Tokens for which a difference is taken to last.
inline constexpr double kPopularTokens = 185;

class Popularity {
 public:
  // n_experts: of each layer; 0: it has none. An expert's number is layer * the most of them + expert. heat: uses a token of earlier
  // runs, by that number; may be empty. n_experts_a_layer: instead of the most of them, where others have more.
  Popularity(std::vector<int64_t> n_experts, std::span<const float> heat, size_t n_experts_a_layer = 0);

  // So many tokens follow.
  void begin_pass(int64_t n_rows);
  void use(ExpertNumber expert, int64_t n_rows);

  // The share of differences between counts that is more than chance; 0 where nothing is known.
  double certainty() const;
  // The chance with which a token uses an expert because the one before it did, beyond how popular it is.
  double locality() const;
  // Uses a token that are to be expected, with so much certainty that experts of a layer differ.
  double uses_a_token(ExpertNumber expert, double certainty) const;

 private:
  void shrink_weights();

  struct Layer {
    double n_experts = 0, count = 0;  // of all of them
  };
  size_t n_experts_a_layer_ = 0;
  std::vector<Layer> layers_;
  std::vector<double> counts_;  // a later use counts more, instead of an earlier one less
  double n_experts_ = 0;
  uint64_t n_passes_ = 0;
  bool is_token_ = false;             // the pass is of one row, as the one before it
  int64_t last_rows_ = 0;             // of that
  std::vector<uint64_t> last_pass_;   // that used an expert
  double repeats_ = 0, chances_ = 0;  // uses of experts that the token before used, of all uses after one
  double weight_ = 1;                 // of a use now
  double tokens_ = 0, squares_ = 0;   // sums of the tokens' weights, and of their squares
  double sum_of_squares_ = 0;         // of counts
};

}  // namespace sluice::engine
