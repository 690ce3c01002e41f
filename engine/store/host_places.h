// Where experts lie in memory of the host that a device can read, as a table in the device's memory: for experts that the device multiplies
// though it does not hold them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/device/device.h"
#include "engine/model/layer_range.h"
#include "engine/store/store.h"

namespace sluice::engine {

class HostPlaces {
 public:
  // What is referred to must outlive this.
  HostPlaces(Device& device, WeightStore& store, LayerRange layers, int64_t n_experts_a_layer);

  // Follows the store in what has moved, those of other layers aside, in the order of the stream; after what moves experts between two
  // passes.
  void update(Stream& stream, std::span<const LayerExpert> moved);
  // The layer's table, device memory, null places for experts that the device cannot read; null where the store does not promise that
  // they stay where they are.
  const ExpertPlace* layer(uint32_t layer) const;

 private:
  size_t first_of(uint32_t layer) const { return (layer - layers_.begin) * static_cast<size_t>(n_experts_a_layer_); }

  Device& device_;
  WeightStore& store_;
  LayerRange layers_;
  int64_t n_experts_a_layer_;
  std::vector<ExpertPlace> places_;
  std::unique_ptr<Buffer> table_;  // null: there is nothing to read
};

}  // namespace sluice::engine
