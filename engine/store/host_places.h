// Where experts lie in memory of the host that a device can read, as a table in the device's memory: for experts that the device multiplies
// though it does not hold them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/device/device.h"
#include "engine/store/store.h"

namespace sluice::engine {

class HostPlaces {
 public:
  // What is referred to must outlive this.
  HostPlaces(Device& device, WeightStore& store, uint32_t n_layers, int64_t n_experts_a_layer);

  // Follows the store, in the order of the stream; after what moves experts between two passes.
  void update(Stream& stream);
  // The layer's table, device memory, null places for experts that the device cannot read; null where the store does not promise that
  // they stay where they are.
  const ExpertPlace* layer(uint32_t layer) const;

 private:
  Device& device_;
  WeightStore& store_;
  int64_t n_experts_a_layer_;
  std::vector<ExpertPlace> places_;
  std::unique_ptr<Buffer> table_;  // null: there is nothing to read
};

}  // namespace sluice::engine
