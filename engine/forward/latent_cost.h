// Whether latent attention makes keys and values of the whole context first, or puts the up-projection into the queries
// (engine/forward/latent_attention.cc has the two forms).
#pragma once

#include <cstdint>

#include "engine/device/device.h"
#include "engine/model/spec.h"

namespace sluice::engine {

// For n_rows rows of a sequence that has n_positions with them. Multiply-adds of a head:
//
//   expanded:  n_positions * rank * (nope + value)  +  n_rows * n_positions * (nope + rope + value)
//   absorbed:       n_rows * rank * (nope + value)  +  n_rows * n_positions * (2 rank + rope)
//
// those of attention weighed by what the device says that they cost. Where expanded keys and values are stored in another type, that takes
// launches for every head, which fewer rows never pay back; and they are rounded.
inline constexpr int64_t kFewestRowsToStoreFor = 64;
inline bool expanding_is_cheaper(const LatentSpec& spec, int64_t n_rows, int64_t n_positions,
                                 const LatentAttentionCosts& costs) {
  if (costs.expanded_type != kernels::CacheType::F32 && n_rows < kFewestRowsToStoreFor) return false;
  const auto rows = static_cast<double>(n_rows), positions = static_cast<double>(n_positions);
  const auto rank = static_cast<double>(spec.latent_rank), rope = static_cast<double>(spec.rope_size);
  const auto up = static_cast<double>(spec.nope_size + spec.value_size);
  const double expanded = positions * rank * up + rows * positions * (up + rope) * costs.expanded;
  const double absorbed = rows * rank * up + rows * positions * (2 * rank + rope) * costs.absorbed;
  return expanded < absorbed;
}

}  // namespace sluice::engine
