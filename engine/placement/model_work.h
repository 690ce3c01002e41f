// What a model asks of a machine for each token: its weights in groups that are kept or moved together, and its cache.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/weights.h"
#include "engine/store/dense_parts.h"
#include "kernels/cache_type.h"

namespace sluice::engine {

enum class GroupRole { Attention, DenseFfn, SharedExperts, RoutedExperts, Output, Router, Embedding };
inline constexpr GroupRole kGroupRoles[] = {GroupRole::Attention,     GroupRole::DenseFfn, GroupRole::SharedExperts,
                                            GroupRole::RoutedExperts, GroupRole::Output,   GroupRole::Router,
                                            GroupRole::Embedding};
std::string_view role_name(GroupRole role);  // "attention", "routed experts"

struct MatrixWork {
  gguf::TensorType type = gguf::TensorType::F32;
  double weights = 0;
  uint64_t file_bytes = 0;
  uint64_t bytes = 0;       // as it lies in memory: in the file's blocks, or
  bool is_in_form = false;  // in its resident form (kernels/resident.h)
  // In memory of a GPU, each tensor on its own; and in a slot, as engine/store/vram_tier.h has them.
  uint64_t vram_bytes = 0, slot_bytes = 0;
};

// Weights that live and move together. One expert is a unit, and a layer's experts a group of them; all else is a group of one.
struct WeightGroup {
  GroupRole role = GroupRole::Attention;
  uint32_t layer = 0;
  uint32_t n_units = 1;
  double uses = 1;  // of a unit, a token: how many of the units a token chooses, over how many there are
  std::vector<MatrixWork> matrices;  // of a unit

  uint64_t unit_bytes() const;       // as it lies
  uint64_t unit_file_bytes() const;  // as in the file
  uint64_t unit_vram_bytes() const;  // what a GPU gives for it; of an expert, its slot
  uint64_t bytes() const { return unit_bytes() * n_units; }
};

struct ModelWork {
  std::string architecture;
  uint32_t n_layers = 0;
  uint32_t n_embedding = 0;  // floats of a row, between layers
  // In the order in which a pass needs them: of each layer attention, then router and shared experts or a feed-forward, then
  // routed experts; the output; the embedding, of which a token reads a row.
  std::vector<WeightGroup> groups;
  uint64_t vector_bytes = 0;       // norms and biases
  uint64_t vram_vector_bytes = 0;  // what a GPU gives for them, each on its own
  // Multiply-adds of attention for one token and one position of its context, and the bytes of cache that they read; all layers.
  // Latent attention in its absorbed form,
  double attention_multiply_adds = 0;
  // and in its expanded one, where keys and values are made of each position once a pass. Other attention has the same in both.
  double expanded_multiply_adds = 0, expanding_multiply_adds = 0;
  uint64_t cache_bytes_a_position = 0;
  bool heads_attend_together = false;  // of a single row, on a GPU (engine/device/attention_choice.h)

  uint64_t file_bytes() const;  // of all weights
  uint64_t bytes_of(GroupRole role) const;
  double bytes_a_token(GroupRole role) const;  // as in the file: uses * bytes
  uint32_t n_experts_a_token() const;          // chosen in all layers together
};

// Matrices count as they lie: in the form that their handle has, or that the inventory wants for them (it may be null).
ModelWork work_of(const ModelSpec& spec, const ModelWeights& weights, kernels::CacheType cache,
                  const StoreInventory* inventory);

}  // namespace sluice::engine
