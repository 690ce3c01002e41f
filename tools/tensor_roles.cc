#include "tools/tensor_roles.h"

#include <array>

namespace sluice::tools {

std::string_view tensor_role_name(TensorRole role) {
  static constexpr std::array<std::string_view, kTensorRoles> kNames = {
      "embedding", "attention", "dense ffn", "routed experts", "shared experts", "router", "norms", "output", "other"};
  return kNames[static_cast<size_t>(role)];
}

static bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// "blk.7.attn_q.weight" -> "attn_q.weight".
static std::string_view without_block(std::string_view name) {
  if (!name.starts_with("blk.")) return name;
  size_t dot = name.find('.', 4);
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

TensorRole tensor_role(std::string_view tensor_name) {
  std::string_view name = without_block(tensor_name);
  if (contains(name, "norm")) return TensorRole::Norm;
  if (contains(name, "embd")) return TensorRole::Embedding;
  if (name.starts_with("output.")) return TensorRole::Output;
  if (contains(name, "shexp")) return TensorRole::SharedExperts;
  if (name.starts_with("ffn_gate_inp") || name.starts_with("exp_probs_b")) return TensorRole::Router;
  if (contains(name, "_exps")) return TensorRole::RoutedExperts;
  if (name.starts_with("ffn_")) {
    // Old mixtures keep each expert apart: ffn_gate.3.weight.
    size_t dot = name.find('.');
    bool numbered =
        dot != std::string_view::npos && dot + 1 < name.size() && name[dot + 1] >= '0' && name[dot + 1] <= '9';
    return numbered ? TensorRole::RoutedExperts : TensorRole::DenseFfn;
  }
  if (name.starts_with("attn_")) return TensorRole::Attention;
  return TensorRole::Other;
}

}  // namespace sluice::tools
