// Which layers of a model.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace sluice::engine {

// Layers [begin, end), as far as there are so many: all of them, unless something else is said.
struct LayerRange {
  uint32_t begin = 0, end = UINT32_MAX;

  bool contains(uint32_t layer) const { return layer >= begin && layer < end; }
  // Of a model with so many.
  LayerRange of(size_t n_layers) const {
    const auto n = static_cast<uint32_t>(n_layers);
    return {std::min(begin, n), std::min(end, n)};
  }
  // What comes before the first layer, and after the last one, belongs to whoever has that.
  bool is_first() const { return begin == 0; }
  bool is_last(size_t n_layers) const { return end >= n_layers; }
};

}  // namespace sluice::engine
