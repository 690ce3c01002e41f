#include "engine/store/host_places.h"

namespace sluice::engine {

HostPlaces::HostPlaces(Device& device, WeightStore& store, LayerRange layers, int64_t n_experts_a_layer)
    : device_(device),
      store_(store),
      layers_(layers),
      n_experts_a_layer_(n_experts_a_layer),
      places_((layers.end - layers.begin) * static_cast<size_t>(n_experts_a_layer)) {}

void HostPlaces::update(Stream& stream, std::span<const LayerExpert> all_moved) {
  for (const LayerExpert& moved : all_moved) {
    if (!layers_.contains(moved.layer)) continue;
    ExpertPlace place;
    if (const auto hold = store_.hold(moved.layer, moved.expert_id)) {
      const auto [gate, up, down] = hold->handles;
      place = {device_.device_address(gate.data), device_.device_address(up.data), device_.device_address(down.data)};
      if (place.gate == nullptr || place.up == nullptr || place.down == nullptr) place = {};
    }
    const size_t number = first_of(moved.layer) + static_cast<size_t>(moved.expert_id);
    if (table_ == nullptr) {
      if (place.gate == nullptr) continue;
      table_ = device_.allocate(places_.size() * sizeof(ExpertPlace));
      device_.copy_to_device(stream, table_->data(), places_.data(), places_.size() * sizeof(ExpertPlace));
    }
    places_[number] = place;
    device_.copy_to_device(stream, static_cast<std::byte*>(table_->data()) + number * sizeof(ExpertPlace), &place,
                           sizeof place);
  }
}

const ExpertPlace* HostPlaces::layer(uint32_t layer) const {
  if (table_ == nullptr || !store_.is_complete()) return nullptr;
  return static_cast<const ExpertPlace*>(table_->data()) + first_of(layer);
}

}  // namespace sluice::engine
