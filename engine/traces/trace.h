// Where the routers of a model sent its tokens: what policies and plans are judged by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace sluice::engine::traces {

// What a trace is of.
struct TraceHeader {
  std::string model_name;
  std::string architecture;
  uint32_t n_layers = 0;                // of the model, with experts or without
  std::vector<uint32_t> expert_layers;  // those that have experts, ascending
  uint32_t n_experts = 0;               // of each of them
  uint32_t n_used = 0;                  // of these, how many a token uses

  // Of one token: [expert_layers.size(), n_used].
  size_t n_choices() const { return expert_layers.size() * n_used; }

  friend bool operator==(const TraceHeader&, const TraceHeader&) = default;
};

// Throws Error(BadFile) for numbers that no model has: no layers, none with experts, layers that are not ascending, more used
// than there are, or more than kMostExperts, kMostLayers or kMostTokenBytes (engine/traces/trace_file.h).
void check_header(const TraceHeader& header);

// The rows that were evaluated together: a prompt or a piece of one, or one token of an answer.
struct Pass {
  uint32_t first_position = 0;       // in its sequence; that of the rows after it follows
  std::vector<int32_t> tokens;       // a row
  std::vector<uint16_t> expert_ids;  // [rows, layers with experts, used], in the order in which the router gave them
  std::vector<float> weights;        // of the same: by which each expert's output is multiplied

  size_t n_rows() const { return tokens.size(); }
  // Of the layer at `index` of TraceHeader::expert_layers.
  std::span<const uint16_t> experts(const TraceHeader& header, size_t row, size_t index) const {
    return std::span(expert_ids).subspan(row * header.n_choices() + index * header.n_used, header.n_used);
  }

  friend bool operator==(const Pass&, const Pass&) = default;
};

}  // namespace sluice::engine::traces
