#include "engine/synthetic/types.h"

#include <algorithm>
#include <array>
#include <span>

#include "engine/error.h"
#include "kernels/random_blocks.h"

namespace sluice::engine::synthetic {
namespace {

using gguf::TensorType;

struct Role {
  std::string_view name;
  std::vector<std::string_view> tensors;
};

std::span<const Role> roles() {
  static const std::vector<Role> kRoles = {
      {"embd", {"token_embd"}},
      {"output", {"output"}},
      {"attn",
       {"attn_q", "attn_k", "attn_v", "attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_kv_b", "attn_k_b", "attn_v_b",
        "attn_output"}},
      {"ffn", {"ffn_gate", "ffn_up", "ffn_down"}},
      {"experts", {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}},
      {"expert_gate", {"ffn_gate_exps"}},
      {"expert_up", {"ffn_up_exps"}},
      {"expert_down", {"ffn_down_exps"}},
      {"shared", {"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"}},
      {"shared_gate", {"ffn_gate_shexp"}},
      {"shared_up", {"ffn_up_shexp"}},
      {"shared_down", {"ffn_down_shexp"}},
      {"router", {"ffn_gate_inp"}},
  };
  return kRoles;
}

constexpr std::array<std::string_view, 6> kAllGroups = {"embd", "output", "attn", "ffn", "experts", "shared"};

// Empty for a role that is none.
std::vector<std::string_view> tensors_of(std::string_view role) {
  std::vector<std::string_view> tensors;
  for (const Role& known : roles()) {
    const bool in_all = role == "all" && std::ranges::find(kAllGroups, known.name) != kAllGroups.end();
    if (in_all || known.name == role) tensors.insert(tensors.end(), known.tensors.begin(), known.tensors.end());
    if (!tensors.empty()) continue;
    const auto named = std::ranges::find(known.tensors, role);
    if (named != known.tensors.end()) return {*named};
  }
  return tensors;
}

[[noreturn]] void refuse(const std::string& sentence) {
  throw Error(Error::Kind::Usage, sentence);
}

TensorType parse_type(std::string_view name) {
  if (const auto type = gguf::type_from_name(name))
    if (kernels::has_random_blocks(*type)) return *type;
  std::string known;
  for (const gguf::TypeLayout& layout : gguf::all_type_layouts())
    if (kernels::has_random_blocks(layout.type)) known += (known.empty() ? "" : ", ") + std::string(layout.name);
  refuse("matrices cannot have the type '" + std::string(name.substr(0, 40)) + "'; expected one of " + known);
}

// What stands in for a type in rows that are not whole blocks of it.
TensorType substitute(TensorType type) {
  switch (type) {
    case TensorType::Q4_K:
      return TensorType::Q5_0;
    case TensorType::Q5_K:
      return TensorType::Q5_1;
    case TensorType::Q6_K:
      return TensorType::Q8_0;
    default:
      return TensorType::IQ4_NL;
  }
}

}  // namespace

void TypeRules::add(std::string_view rule) {
  const size_t equals = rule.find('=');
  if (equals == std::string_view::npos)
    refuse("a rule for types has the form ROLE=TYPE; found '" + std::string(rule.substr(0, 60)) +
           "'; write experts=IQ1_S, say");
  const std::string_view role = rule.substr(0, equals);
  std::vector<std::string_view> tensors = tensors_of(role);
  if (tensors.empty()) {
    std::string known = "all";
    for (const Role& each : roles()) known += ", " + std::string(each.name);
    refuse("there is no role '" + std::string(role.substr(0, 40)) + "'; expected one of " + known +
           ", or the name of a tensor such as attn_q_b");
  }
  rules_.emplace_back(std::move(tensors), parse_type(rule.substr(equals + 1)));
}

TensorType TypeRules::type_of(std::string_view tensor) const {
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule)
    if (std::ranges::find(rule->first, tensor) != rule->first.end()) return rule->second;
  return TensorType::F32;
}

TensorType type_for_columns(TensorType type, uint64_t n_columns) {
  const auto fits = [n_columns](TensorType t) { return n_columns % gguf::type_layout(t).block_values == 0; };
  if (fits(type)) return type;
  return fits(substitute(type)) ? substitute(type) : TensorType::F16;
}

std::string describe_roles() {
  std::string text = "  all          embd, output, attn, ffn, experts and shared\n";
  for (const Role& role : roles()) {
    std::string line = "  " + std::string(role.name);
    line.resize(14, ' ');
    for (const std::string_view tensor : role.tensors) {
      if (line.size() + 1 + tensor.size() > 100) {
        text += line + "\n";
        line = std::string(14, ' ');
      }
      line += " " + std::string(tensor);
    }
    text += line + "\n";
  }
  return text;
}

}  // namespace sluice::engine::synthetic
