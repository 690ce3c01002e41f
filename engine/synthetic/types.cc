#include "engine/synthetic/types.h"

#include <algorithm>
#include <array>
#include <charconv>
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

struct Mixture {
  std::string_view name;
  std::vector<std::string_view> rules;
};

// As llama.cpp chooses the types of its file types (src/llama-quant.cpp), for models without tied embeddings and with
// neither 70 billion weights nor eight experts, for which it has exceptions.
std::span<const Mixture> mixtures() {
  static const std::vector<Mixture> kMixtures = {
      {"Q4_K_M",
       {"all=Q4_K", "output=Q6_K", "attn_v@more=Q6_K", "attn_kv_b@more=Q6_K", "ffn_down@more=Q6_K",
        "expert_down@more=Q6_K", "shared_down@more=Q6_K"}},
  };
  return kMixtures;
}

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

bool TypeRules::Layers::contain(int64_t layer, int64_t n_layers) const {
  if (kind == Kind::All) return true;
  if (layer == kNoLayer) return false;
  if (kind == Kind::Range) return layer >= first && layer <= last;
  const int64_t eighth = n_layers / 8;
  return layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2;
}

TypeRules::Layers TypeRules::parse_layers(std::string_view text) {
  if (text == "more") return {Layers::Kind::More};
  Layers layers{Layers::Kind::Range};
  const char* const end = text.data() + text.size();
  auto read = std::from_chars(text.data(), end, layers.first);
  layers.last = layers.first;
  if (read.ec == std::errc() && read.ptr != end && *read.ptr == '-')
    read = std::from_chars(read.ptr + 1, end, layers.last);
  if (read.ec != std::errc() || read.ptr != end || layers.first < 0 || layers.first > layers.last)
    refuse("the layers of a rule for types are a number, a first and a last one, or 'more'; found '" +
           std::string(text.substr(0, 40)) + "'; write expert_down@3-8=IQ2_XXS, say");
  return layers;
}

void TypeRules::add(std::string_view rule) {
  for (const Mixture& mixture : mixtures())
    if (mixture.name == rule) {
      for (const std::string_view part : mixture.rules) add(part);
      return;
    }
  const size_t equals = rule.find('=');
  if (equals == std::string_view::npos)
    refuse("a rule for types has the form ROLE=TYPE or ROLE@LAYERS=TYPE, or is the mixture Q4_K_M; found '" +
           std::string(rule.substr(0, 60)) + "'; write experts=IQ1_S, say");
  const std::string_view place = rule.substr(0, equals);
  const size_t at = std::min(place.find('@'), place.size());
  const std::string_view role = place.substr(0, at);
  std::vector<std::string_view> tensors = tensors_of(role);
  if (tensors.empty()) {
    std::string known = "all";
    for (const Role& each : roles()) known += ", " + std::string(each.name);
    refuse("there is no role '" + std::string(role.substr(0, 40)) + "'; expected one of " + known +
           ", or the name of a tensor such as attn_q_b");
  }
  const Layers layers = at == place.size() ? Layers{} : parse_layers(place.substr(at + 1));
  rules_.push_back({std::move(tensors), layers, parse_type(rule.substr(equals + 1))});
}

TensorType TypeRules::type_of(std::string_view tensor, int64_t layer, int64_t n_layers) const {
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule)
    if (rule->layers.contain(layer, n_layers) && std::ranges::find(rule->tensors, tensor) != rule->tensors.end())
      return rule->type;
  return TensorType::F32;
}

TensorType type_for_columns(TensorType type, uint64_t n_columns) {
  const auto fits = [n_columns](TensorType t) { return n_columns % gguf::type_layout(t).block_values == 0; };
  if (fits(type)) return type;
  return fits(substitute(type)) ? substitute(type) : TensorType::F16;
}

// "  name         word word ...", in lines of a hundred characters.
static std::string list(std::string_view name, std::span<const std::string_view> words) {
  std::string text;
  std::string line = "  " + std::string(name);
  line.resize(14, ' ');
  for (const std::string_view word : words) {
    if (line.size() + 1 + word.size() > 100) {
      text += line + "\n";
      line = std::string(14, ' ');
    }
    line += " " + std::string(word);
  }
  return text + line + "\n";
}

std::string describe_roles() {
  std::string text = "  all          embd, output, attn, ffn, experts and shared\n";
  for (const Role& role : roles()) text += list(role.name, role.tensors);
  return text;
}

std::string describe_mixtures() {
  std::string text;
  for (const Mixture& mixture : mixtures()) text += list(mixture.name, mixture.rules);
  return text;
}

}  // namespace sluice::engine::synthetic
