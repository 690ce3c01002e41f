// How much order there is in a trace: what a store of experts can make use of.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/traces/trace.h"

namespace sluice::engine::traces {

struct LayerStatistics {
  uint32_t layer = 0;             // its number in the model
  uint32_t n_seen = 0;            // experts that were used at all
  std::vector<double> top_share;  // of the uses, by the kTopShares of the experts that are used most
  double entropy_bits = 0;        // of the choice of an expert: log2 of the number of experts when all are used alike
  double repeated = 0;            // of a token's experts, the share that the token before used as well
  double expected_repeated = 0;   // the same if tokens came in any order: what skew alone explains
};

// Shares of a layer's experts.
inline constexpr double kTopShares[] = {0.05, 0.1, 0.25, 0.5};

struct RoutingStatistics {
  uint64_t n_tokens = 0;
  uint64_t n_passes = 0;
  uint64_t n_prompt_tokens = 0;  // in passes of several
  std::vector<LayerStatistics> layers;
  LayerStatistics mean;  // of all layers
};

// Counts pass by pass, so that a trace need not be in memory.
class RoutingCounter {
 public:
  explicit RoutingCounter(const TraceHeader& header);
  void add(const Pass& pass);
  // Throws Error(BadFile) when nothing was added.
  RoutingStatistics statistics() const;

 private:
  LayerStatistics layer_statistics(size_t index) const;

  TraceHeader header_;
  uint64_t n_tokens_ = 0;
  uint64_t n_passes_ = 0;
  uint64_t n_prompt_tokens_ = 0;
  uint64_t n_followers_ = 0;       // tokens that have one before them
  std::vector<uint64_t> uses_;     // [layers, experts]
  std::vector<uint64_t> repeats_;  // [layers]
  std::vector<uint16_t> last_;     // [layers, used], of the token before
};

}  // namespace sluice::engine::traces
