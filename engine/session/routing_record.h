// What the routers choose in a forward pass, row by row.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/forward/forward.h"
#include "engine/model/spec.h"
#include "engine/traces/trace.h"

namespace sluice::engine {

// Throws Error(Usage) when no layer has experts, Error(BadFile) when layers have different numbers of them.
traces::TraceHeader trace_header(const ModelSpec& spec, std::string_view model_name, std::string_view architecture);

class RoutingRecord {
 public:
  // Of a pass of n_rows; 0: nothing is recorded, and the observer is empty.
  RoutingRecord(const ModelSpec& spec, size_t n_rows);
  RoutingRecord(const RoutingRecord&) = delete;  // the observer writes into it
  RoutingRecord& operator=(const RoutingRecord&) = delete;

  RoutingObserver observer();
  // Of n_rows of the pass from first_row on, which are the last of these tokens.
  traces::Pass pass(std::span<const int32_t> tokens, size_t first_row, size_t n_rows) const;

 private:
  void add(uint32_t layer, std::span<const int32_t> expert_ids, std::span<const float> weights);

  size_t n_rows_;
  size_t n_used_ = 0;
  std::vector<size_t> place_of_layer_;  // of each layer's first choice among those of a row
  size_t n_choices_ = 0;                // of a row
  std::vector<uint16_t> expert_ids_;    // [rows, layers with experts, used]
  std::vector<float> weights_;          // of the same
};

}  // namespace sluice::engine
