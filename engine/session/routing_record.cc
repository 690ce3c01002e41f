#include "engine/session/routing_record.h"

#include <algorithm>
#include <string>
#include <variant>

#include "engine/error.h"

namespace sluice::engine {

traces::TraceHeader trace_header(const ModelSpec& spec, std::string_view model_name, std::string_view architecture) {
  traces::TraceHeader header{
      std::string(model_name), std::string(architecture), static_cast<uint32_t>(spec.layers.size()), {}, 0, 0};
  for (uint32_t layer = 0; layer < spec.layers.size(); ++layer) {
    const auto* experts = std::get_if<ExpertsSpec>(&spec.layers[layer].ffn);
    if (experts == nullptr) continue;
    const auto n_experts = static_cast<uint32_t>(experts->router.n_experts);
    const auto n_used = static_cast<uint32_t>(experts->router.n_chosen);
    if (!header.expert_layers.empty() && (n_experts != header.n_experts || n_used != header.n_used))
      throw Error(Error::Kind::BadFile, "Routing cannot be recorded: layer " + std::to_string(layer) + " uses " +
                                            std::to_string(n_used) + " of " + std::to_string(n_experts) +
                                            " experts, and those before it use " + std::to_string(header.n_used) +
                                            " of " + std::to_string(header.n_experts) + ". Run without --trace.");
    header.n_experts = n_experts;
    header.n_used = n_used;
    header.expert_layers.push_back(layer);
  }
  if (header.expert_layers.empty())
    throw Error(Error::Kind::Usage,
                "There is no routing to record: no layer of the model has experts. Run without --trace.");
  traces::check_header(header);
  return header;
}

RoutingRecord::RoutingRecord(const ModelSpec& spec, size_t n_rows) : n_rows_(n_rows) {
  if (n_rows == 0) return;
  for (const LayerSpec& layer : spec.layers) {
    place_of_layer_.push_back(n_choices_);
    const auto* experts = std::get_if<ExpertsSpec>(&layer.ffn);
    if (experts == nullptr) continue;
    n_used_ = static_cast<size_t>(experts->router.n_chosen);
    n_choices_ += n_used_;
  }
  expert_ids_.resize(n_rows * n_choices_);
  weights_.resize(n_rows * n_choices_);
}

RoutingObserver RoutingRecord::observer() {
  if (n_rows_ == 0) return {};
  return [this](uint32_t layer, std::span<const int32_t> expert_ids, std::span<const float> weights) {
    add(layer, expert_ids, weights);
  };
}

void RoutingRecord::add(uint32_t layer, std::span<const int32_t> expert_ids, std::span<const float> weights) {
  for (size_t row = 0; row < n_rows_; ++row) {
    const size_t to = row * n_choices_ + place_of_layer_[layer];
    for (size_t i = 0; i < n_used_; ++i) {
      expert_ids_[to + i] = static_cast<uint16_t>(expert_ids[row * n_used_ + i]);
      weights_[to + i] = weights[row * n_used_ + i];
    }
  }
}

traces::Pass RoutingRecord::pass(std::span<const int32_t> tokens, size_t first_row, size_t n_rows) const {
  const auto rows_of = [&](const auto& values) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first_row * n_choices_);
    return std::vector(begin, begin + static_cast<std::ptrdiff_t>(n_rows * n_choices_));
  };
  const std::span<const int32_t> own = tokens.last(n_rows);
  return {
      static_cast<uint32_t>(tokens.size() - n_rows), {own.begin(), own.end()}, rows_of(expert_ids_), rows_of(weights_)};
}

}  // namespace sluice::engine
