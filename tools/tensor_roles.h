// What a tensor is for, told from its name.
#pragma once

#include <string_view>

namespace sluice::tools {

enum class TensorRole { Embedding, Attention, DenseFfn, RoutedExperts, SharedExperts, Router, Norm, Output, Other };
inline constexpr int kTensorRoles = 9;

// "embedding", "attention", "dense ffn", ...
std::string_view tensor_role_name(TensorRole role);

// By the names that GGUF files give tensors: blk.7.ffn_down_exps.weight is of the routed experts.
TensorRole tensor_role(std::string_view tensor_name);

}  // namespace sluice::tools
