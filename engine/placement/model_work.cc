#include "engine/placement/model_work.h"

#include <cmath>
#include <map>

#include "engine/device/attention_choice.h"
#include "engine/device/device_memory.h"

namespace sluice::engine {
namespace {

using Forms = std::map<const Linear*, const kernels::ResidentForm*>;

Forms wanted_forms(const StoreInventory* inventory) {
  Forms forms;
  if (inventory == nullptr) return forms;
  for (const DensePart& part : inventory->dense)
    for (const DenseMatrix& matrix : part.matrices)
      if (matrix.form.form != nullptr) forms[matrix.handles[0].linear] = matrix.form.form;
  return forms;
}

class Groups {
 public:
  explicit Groups(const StoreInventory* inventory) : forms_(wanted_forms(inventory)) {}

  void begin(GroupRole role, size_t layer) { groups_.push_back({role, static_cast<uint32_t>(layer), 1, 1, {}}); }
  void add(const Linear& matrix) {
    if (!matrix) return;
    const auto wanted = forms_.find(&matrix);
    const kernels::ResidentForm* form = wanted != forms_.end() ? wanted->second : matrix.form;
    const double weights = static_cast<double>(matrix.n_outputs) * static_cast<double>(matrix.n_inputs);
    const uint64_t file_bytes = matrix.row_bytes * static_cast<uint64_t>(matrix.n_outputs);
    const uint64_t bytes = form != nullptr ? form->bytes(matrix.n_outputs, matrix.n_inputs) : file_bytes;
    std::vector<MatrixWork>& matrices = groups_.back().matrices;
    // The heads of a matrix are multiplied by in one call.
    if (!matrices.empty() && matrices.back().type == matrix.type && matrices.back().is_in_form == (form != nullptr)) {
      matrices.back().weights += weights;
      matrices.back().file_bytes += file_bytes;
      matrices.back().bytes += bytes;
    } else {
      matrices.push_back({matrix.type, weights, file_bytes, bytes, form != nullptr});
    }
    matrices.back().vram_bytes += vram_bytes(file_bytes);
    matrices.back().slot_bytes += in_slot(file_bytes);
  }
  // Of keys and of values, in one tensor where they take turns, else in one each.
  void add_heads(const std::vector<Linear>& keys, const std::vector<Linear>& values) {
    uint64_t file_bytes[2] = {0, 0}, counted = 0;
    for (const auto* heads : {&keys, &values})
      for (const Linear& head : *heads) {
        add(head);
        file_bytes[heads == &values] += head.bytes();
        counted += vram_bytes(head.bytes());
      }
    if (keys.empty() || values.empty()) return;
    const bool take_turns = values.front().data == keys.front().data + keys.front().bytes();
    groups_.back().matrices.back().vram_bytes += (take_turns ? vram_bytes(file_bytes[0] + file_bytes[1])
                                                             : vram_bytes(file_bytes[0]) + vram_bytes(file_bytes[1])) -
                                                 counted;
  }
  void add(const DenseWeights& ffn) {
    add(ffn.gate);
    add(ffn.up);
    add(ffn.down);
  }
  void add_experts(size_t layer, const ExpertsSpec& spec, const ExpertsWeights& weights) {
    begin(GroupRole::RoutedExperts, layer);
    for (const LinearStack* stack : {&weights.gate, &weights.up, &weights.down}) add(stack->first);
    groups_.back().n_units = static_cast<uint32_t>(spec.router.n_experts);
    groups_.back().uses = static_cast<double>(spec.router.n_chosen) / static_cast<double>(spec.router.n_experts);
  }
  // An empty group is none.
  void end() {
    if (groups_.back().matrices.empty()) groups_.pop_back();
  }
  std::vector<WeightGroup> take() { return std::move(groups_); }

 private:
  Forms forms_;
  std::vector<WeightGroup> groups_;
};

template <class Visit>
void for_each_vector(const ModelWeights& weights, const Visit& visit) {
  visit(weights.output_norm);
  for (const LayerWeights& layer : weights.layers) {
    visit(layer.attention_norm);
    visit(layer.ffn_norm);
    if (const auto* latent = std::get_if<LatentWeights>(&layer.attention)) {
      visit(latent->query_norm);
      visit(latent->latent_norm);
    }
    if (const auto* grouped = std::get_if<GroupedQueryWeights>(&layer.attention)) {
      visit(grouped->query_norm);
      visit(grouped->key_norm);
    }
    if (const auto* experts = std::get_if<ExpertsWeights>(&layer.ffn)) visit(experts->router_bias);
  }
}

uint64_t bytes_of_vector(const Vector& vector) {
  return static_cast<uint64_t>(vector.size) * sizeof(float);
}

void add_attention(Groups& groups, size_t layer, const LayerWeights& weights) {
  groups.begin(GroupRole::Attention, layer);
  if (const auto* grouped = std::get_if<GroupedQueryWeights>(&weights.attention)) {
    for (const Linear* matrix : {&grouped->query, &grouped->key, &grouped->value, &grouped->output})
      groups.add(*matrix);
  } else {
    const auto& latent = std::get<LatentWeights>(weights.attention);
    for (const Linear* matrix : {&latent.query, &latent.query_down, &latent.query_up, &latent.latent_down})
      groups.add(*matrix);
    groups.add_heads(latent.key_up, latent.value_up);
    groups.add(latent.output);
  }
  groups.end();
}

// Latent attention absorbed: each head meets the latent and the rotated key for the score, the latent for the value. Expanded it meets its own
// key and value, made of the latent.
void count_attention(ModelWork& work, const LayerSpec& layer, kernels::CacheType cache) {
  if (const auto* grouped = std::get_if<GroupedQuerySpec>(&layer.attention)) {
    const auto multiply_adds = static_cast<double>(grouped->n_heads * (grouped->key_size + grouped->value_size));
    work.attention_multiply_adds += multiply_adds;
    work.expanded_multiply_adds += multiply_adds;
    work.cache_bytes_a_position +=
        static_cast<uint64_t>(grouped->n_kv_heads * (kernels::cache_row_bytes(cache, grouped->key_size) +
                                                     kernels::cache_row_bytes(cache, grouped->value_size)));
  } else {
    const auto& latent = std::get<LatentSpec>(layer.attention);
    const int64_t up = latent.nope_size + latent.value_size;
    work.attention_multiply_adds += static_cast<double>(latent.n_heads * (2 * latent.latent_rank + latent.rope_size));
    work.expanded_multiply_adds += static_cast<double>(latent.n_heads * (up + latent.rope_size));
    work.expanding_multiply_adds += static_cast<double>(latent.n_heads * latent.latent_rank * up);
    work.cache_bytes_a_position +=
        static_cast<uint64_t>(kernels::cache_row_bytes(cache, latent.latent_rank + latent.rope_size));
    work.heads_attend_together =
        heads_attend_together(latent.n_heads, 1, true) &&
        kernels::cuda::can_attend_prefill(cache, kPagePositions, latent.latent_rank + latent.rope_size,
                                          latent.latent_rank, true);
  }
}

}  // namespace

std::string_view role_name(GroupRole role) {
  switch (role) {
    case GroupRole::Attention:
      return "attention";
    case GroupRole::DenseFfn:
      return "feed-forward";
    case GroupRole::SharedExperts:
      return "shared experts";
    case GroupRole::RoutedExperts:
      return "routed experts";
    case GroupRole::Output:
      return "output";
    case GroupRole::Router:
      return "routers";
    case GroupRole::Embedding:
      return "embedding";
  }
  return "unknown";
}

uint64_t WeightGroup::unit_bytes() const {
  uint64_t bytes = 0;
  for (const MatrixWork& matrix : matrices) bytes += matrix.bytes;
  return bytes;
}

uint64_t WeightGroup::unit_file_bytes() const {
  uint64_t bytes = 0;
  for (const MatrixWork& matrix : matrices) bytes += matrix.file_bytes;
  return bytes;
}

uint64_t WeightGroup::unit_vram_bytes() const {
  uint64_t bytes = 0;
  for (const MatrixWork& matrix : matrices)
    bytes += role == GroupRole::RoutedExperts ? matrix.slot_bytes : matrix.vram_bytes;
  return bytes;
}

uint64_t ModelWork::file_bytes() const {
  uint64_t bytes = vector_bytes;
  for (const WeightGroup& group : groups) bytes += group.unit_file_bytes() * group.n_units;
  return bytes;
}

uint64_t ModelWork::bytes_of(GroupRole role) const {
  uint64_t bytes = 0;
  for (const WeightGroup& group : groups)
    if (group.role == role) bytes += group.bytes();
  return bytes;
}

double ModelWork::bytes_a_token(GroupRole role) const {
  double bytes = 0;
  for (const WeightGroup& group : groups)
    if (group.role == role) bytes += group.uses * group.n_units * static_cast<double>(group.unit_file_bytes());
  return bytes;
}

uint32_t ModelWork::n_experts_a_token() const {
  double experts = 0;
  for (const WeightGroup& group : groups)
    if (group.role == GroupRole::RoutedExperts) experts += group.uses * group.n_units;
  return static_cast<uint32_t>(std::lround(experts));
}

ModelWork work_of(const ModelSpec& spec, const ModelWeights& weights, kernels::CacheType cache,
                  const StoreInventory* inventory) {
  ModelWork work;
  work.architecture = spec.architecture;
  work.n_layers = static_cast<uint32_t>(spec.layers.size());
  work.n_embedding = static_cast<uint32_t>(spec.n_embedding);
  work.vector_bytes = bytes_of_vector(weights.rope_factors);  // which the host reads
  for_each_vector(weights, [&](const Vector& vector) {
    work.vector_bytes += bytes_of_vector(vector);
    work.vram_vector_bytes += vram_bytes(bytes_of_vector(vector));
  });
  Groups groups(inventory);
  for (size_t layer = 0; layer < spec.layers.size(); ++layer) {
    count_attention(work, spec.layers[layer], cache);
    add_attention(groups, layer, weights.layers[layer]);
    if (const auto* dense = std::get_if<DenseWeights>(&weights.layers[layer].ffn)) {
      groups.begin(GroupRole::DenseFfn, layer);
      groups.add(*dense);
      continue;
    }
    const auto& experts = std::get<ExpertsWeights>(weights.layers[layer].ffn);
    groups.begin(GroupRole::Router, layer);
    groups.add(experts.router);
    groups.begin(GroupRole::SharedExperts, layer);
    groups.add(experts.shared);
    groups.end();
    groups.add_experts(layer, std::get<ExpertsSpec>(spec.layers[layer].ffn), experts);
  }
  groups.begin(GroupRole::Output, spec.layers.size());
  for (const Linear& piece : weights.output) groups.add(piece);
  // Where the output is the embedding's table, it is counted once, as what every token reads.
  const bool is_tied = weights.output.front().data == weights.token_embedding.data;
  if (!is_tied) {
    groups.begin(GroupRole::Embedding, 0);
    groups.add(weights.token_embedding);
  }
  work.groups = groups.take();
  if (!is_tied) work.groups.back().uses = 1 / static_cast<double>(spec.n_vocabulary);
  return work;
}

}  // namespace sluice::engine
