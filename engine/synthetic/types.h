// Which tensor type each matrix of a made-up model gets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/tensor_type.h"

namespace sluice::engine::synthetic {

// The layer of tensors that belong to none.
inline constexpr int64_t kNoLayer = -1;

// Rules of the form role=TYPE or role@LAYERS=TYPE. A role is a group of tensors (below) or the name of one as files have
// it, without the layer and ".weight": "attn_q_b". LAYERS is one, "3", or the first and the last, "3-8", or "more": those
// to which llama.cpp's mixtures give more bits (the first eighth, the last eighth, and every third between). A rule can
// also be the name of a mixture, which stands for several: "Q4_K_M". Norms and biases are always F32, and so is the
// router unless a rule names it.
class TypeRules {
 public:
  // A later rule overrides an earlier one. Throws Error(Usage) for an unknown role, type or mixture, and for layers that
  // are none.
  void add(std::string_view rule);

  // The type that the rules give `tensor` ("ffn_down_exps") of a layer of n_layers. Rules for some layers say nothing
  // about tensors of kNoLayer.
  gguf::TensorType type_of(std::string_view tensor, int64_t layer, int64_t n_layers) const;

 private:
  struct Layers {
    enum class Kind { All, Range, More } kind = Kind::All;
    int64_t first = 0;
    int64_t last = 0;
    bool contain(int64_t layer, int64_t n_layers) const;
  };
  struct Rule {
    std::vector<std::string_view> tensors;
    Layers layers;
    gguf::TensorType type;
  };
  static Layers parse_layers(std::string_view text);

  std::vector<Rule> rules_;
};

// The type itself where rows of n_columns are whole blocks of it; else the nearest in size with blocks of 32, else F16.
gguf::TensorType type_for_columns(gguf::TensorType type, uint64_t n_columns);

// "attn: attn_q attn_k ..." a line for each group, and "Q4_K_M: all=Q4_K ..." a line for each mixture, for the help.
std::string describe_roles();
std::string describe_mixtures();

}  // namespace sluice::engine::synthetic
