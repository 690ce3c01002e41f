// Which tensor type each matrix of a made-up model gets.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/tensor_type.h"

namespace sluice::engine::synthetic {

// Rules of the form role=TYPE. A role is a group of tensors (below) or the name of one as files have it, without the
// layer and ".weight": "attn_q_b". Norms and biases are always F32, and so is the router unless a rule names it.
class TypeRules {
 public:
  // A later rule overrides an earlier one. Throws Error(Usage) for an unknown role or type.
  void add(std::string_view rule);

  // The type that the rules give `tensor` ("ffn_down_exps").
  gguf::TensorType type_of(std::string_view tensor) const;

 private:
  std::vector<std::pair<std::vector<std::string_view>, gguf::TensorType>> rules_;
};

// The type itself where rows of n_columns are whole blocks of it; else the nearest in size with blocks of 32, else F16.
gguf::TensorType type_for_columns(gguf::TensorType type, uint64_t n_columns);

// "attn: attn_q attn_k ..." a line for each group, for the help.
std::string describe_roles();

}  // namespace sluice::engine::synthetic
