// The tensors that a model of a shape has.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/synthetic/shape.h"
#include "engine/synthetic/types.h"

namespace sluice::engine::synthetic {

struct TensorPlan {
  std::string name;
  gguf::TensorType type;
  std::vector<uint64_t> dims;  // fastest first
  float mean;                  // of its weights; not 0 only in F32
  float deviation;
  uint64_t bytes;
  gguf::TensorType wanted_type;  // by the rules; `type` differs where the columns are no whole blocks of it
};

// In the order in which they stand in the file. Deviations are such that the entries of every vector in the model stay
// of the size of one, and logits have a deviation of about two.
std::vector<TensorPlan> plan_tensors(const Shape& shape, const TypeRules& types);

}  // namespace sluice::engine::synthetic
