// The weights of a model as the store moves them: dense parts, experts, and the small rest that always stays.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/device/device.h"
#include "engine/model/weights.h"
#include "engine/store/disk.h"
#include "gguf/file.h"

namespace sluice::engine {

// A tensor or a run of its rows, and the handles that point into it.
struct DenseMatrix {
  struct Handle {
    Linear* linear = nullptr;
    uint64_t offset = 0;  // in the matrix
  };
  Extent extent;
  std::vector<Handle> handles;
  // The form that the matrix takes once it stays in memory; without one it stays as it is.
  ResidentOffer form{};

  // Points the handles to the matrix at `data`, or to nothing.
  void place(const std::byte* data) const;
};

// What a pass needs together; engine/store/store.h has their numbers. Empty where a layer has experts only.
struct DensePart {
  std::vector<DenseMatrix> matrices;
};

// One of the three tensors of a layer's experts: expert e takes matrix_bytes from offset + e * matrix_bytes.
struct ExpertTensor {
  Linear matrix;  // a handle without data
  uint32_t file = 0;
  uint64_t offset = 0;
  uint64_t matrix_bytes = 0;

  Extent extent(int32_t expert_id) const {
    return {file, offset + matrix_bytes * static_cast<uint64_t>(expert_id), matrix_bytes};
  }
};
struct ExpertTensors {
  std::array<ExpertTensor, 3> parts;  // gate, up, down
  int64_t n_experts = 0;              // 0: a layer without
};

// Memory of a matrix that stays: of its blocks, and of the form that they turn into in the same place (Device's
// make_resident_in_place). Whole blocks.
uint64_t kept_bytes(const DenseMatrix& matrix, uint64_t block_bytes);

// Norms, biases and routers: small, and needed so often that they always stay.
struct SmallWeight {
  Extent extent;
  Vector* vector = nullptr;  // or
  Linear* router = nullptr;

  void place(const std::byte* data) const;
};

struct StoreInventory {
  std::vector<DensePart> dense;
  std::vector<ExpertTensors> experts;  // a layer each
  std::vector<SmallWeight> small;
  ExpertTensor embedding;  // a row is its matrix; without bytes where the table is in memory anyway, as `matrix` says
};

// Cuts the output into pieces of at most piece_bytes, and lists what the model is made of. The handles must lie in the mapping
// of `file`; the inventory points into `weights`.
StoreInventory take_inventory(ModelWeights& weights, const gguf::File& file, uint64_t piece_bytes);

// The experts alone, of layers whose stacks lie in the mapping of `file`; all else is elsewhere, and its parts are empty.
StoreInventory take_expert_inventory(const ModelWeights& weights, const gguf::File& file);

}  // namespace sluice::engine
