#include "engine/store/dense_parts.h"

#include <algorithm>

#include "engine/error.h"
#include "engine/store/loader.h"
#include "engine/store/store.h"

namespace sluice::engine {
namespace {

// Finds the tensor that an address lies in.
class TensorFinder {
 public:
  explicit TensorFinder(const gguf::File& file) {
    for (const gguf::Tensor& tensor : file.tensors()) tensors_.push_back(&tensor);
    std::ranges::sort(tensors_, {}, [](const gguf::Tensor* tensor) { return tensor->data; });
  }

  const gguf::Tensor& at(const std::byte* data) const {
    auto after = std::ranges::upper_bound(tensors_, data, {}, [](const gguf::Tensor* tensor) { return tensor->data; });
    if (after != tensors_.begin()) {
      const gguf::Tensor& tensor = **std::prev(after);
      if (data < tensor.data + tensor.bytes) return tensor;
    }
    throw Error(Error::Kind::BadFile, "A weight does not lie in the file that it was bound from.");
  }

  // Of `bytes` from `data` on.
  Extent extent(const std::byte* data, uint64_t bytes) const {
    const gguf::Tensor& tensor = at(data);
    return {tensor.shard, tensor.file_offset + static_cast<uint64_t>(data - tensor.data), bytes};
  }

 private:
  std::vector<const gguf::Tensor*> tensors_;
};

// Adds a handle to a part: as a matrix of its own, or to the one that is read from the same tensor (the heads of one).
void add(DensePart& part, const TensorFinder& finder, Linear& linear) {
  if (!linear) return;
  const Extent rows = finder.extent(linear.data, linear.bytes());
  const gguf::Tensor& tensor = finder.at(linear.data);
  const Extent whole{tensor.shard, tensor.file_offset, tensor.bytes};
  for (DenseMatrix& matrix : part.matrices) {
    if (matrix.extent.file == whole.file && matrix.extent.offset == whole.offset) {
      matrix.handles.push_back({&linear, rows.offset - whole.offset});
      return;
    }
  }
  part.matrices.push_back({whole, {{&linear, rows.offset - whole.offset}}, {}});
}

void add(DensePart& part, const TensorFinder& finder, DenseWeights& ffn) {
  add(part, finder, ffn.gate);
  add(part, finder, ffn.up);
  add(part, finder, ffn.down);
}

DensePart attention_of(LayerWeights& layer, const TensorFinder& finder) {
  DensePart part;
  if (auto* grouped = std::get_if<GroupedQueryWeights>(&layer.attention)) {
    for (Linear* matrix : {&grouped->query, &grouped->key, &grouped->value, &grouped->output})
      add(part, finder, *matrix);
    return part;
  }
  auto& latent = std::get<LatentWeights>(layer.attention);
  for (Linear* matrix : {&latent.query, &latent.query_down, &latent.query_up, &latent.latent_down})
    add(part, finder, *matrix);
  for (auto* heads : {&latent.key_up, &latent.value_up})
    for (Linear& matrix : *heads) add(part, finder, matrix);
  add(part, finder, latent.output);
  return part;
}

ExpertTensor expert_tensor(const LinearStack& stack, const TensorFinder& finder) {
  const Extent first = finder.extent(stack.first.data, stack.stride_bytes);
  ExpertTensor tensor{stack.first, first.file, first.offset, stack.stride_bytes};
  tensor.matrix.data = nullptr;
  tensor.matrix.place = Place::Buffer;
  return tensor;
}

ExpertTensors expert_tensors(const ExpertsWeights& experts, const TensorFinder& finder) {
  return {{expert_tensor(experts.gate, finder), expert_tensor(experts.up, finder), expert_tensor(experts.down, finder)},
          experts.gate.count};
}

void add_vector(std::vector<SmallWeight>& small, const TensorFinder& finder, Vector& vector) {
  if (vector)
    small.push_back({finder.extent(reinterpret_cast<const std::byte*>(vector.data),
                                   static_cast<uint64_t>(vector.size) * sizeof(float)),
                     &vector, nullptr});
}

// Norms and what else a layer has of vectors; biases belong to handles, which dense() has by now.
void add_small(StoreInventory& inventory, const TensorFinder& finder, LayerWeights& layer) {
  add_vector(inventory.small, finder, layer.attention_norm);
  add_vector(inventory.small, finder, layer.ffn_norm);
  if (auto* grouped = std::get_if<GroupedQueryWeights>(&layer.attention)) {
    add_vector(inventory.small, finder, grouped->query_norm);
    add_vector(inventory.small, finder, grouped->key_norm);
  }
  if (auto* latent = std::get_if<LatentWeights>(&layer.attention)) {
    add_vector(inventory.small, finder, latent->query_norm);
    add_vector(inventory.small, finder, latent->latent_norm);
  }
  if (auto* experts = std::get_if<ExpertsWeights>(&layer.ffn)) {
    add_vector(inventory.small, finder, experts->router_bias);
    add_vector(inventory.small, finder, experts->router.bias);
    inventory.small.push_back(
        {finder.extent(experts->router.data, experts->router.bytes()), nullptr, &experts->router});
  }
}

// The output as runs of rows.
std::vector<Linear> cut_output(const std::vector<Linear>& output, uint64_t piece_bytes) {
  std::vector<Linear> pieces;
  for (const Linear& matrix : output) {
    const auto n_rows = static_cast<int64_t>(std::max<uint64_t>(1, piece_bytes / matrix.row_bytes));
    for (int64_t begin = 0; begin < matrix.n_outputs; begin += n_rows)
      pieces.push_back(matrix.rows(begin, std::min(n_rows, matrix.n_outputs - begin)));
  }
  return pieces;
}

}  // namespace

void DenseMatrix::place(const std::byte* data) const {
  for (const Handle& handle : handles) {
    handle.linear->data = data != nullptr ? data + handle.offset : nullptr;
    handle.linear->place = Place::Buffer;
  }
}

uint64_t kept_bytes(const DenseMatrix& matrix, uint64_t block_bytes) {
  const uint64_t padded = LoadPart::padded_bytes(matrix.extent, block_bytes);
  if (matrix.form.form == nullptr) return padded;
  return (std::max(padded, matrix.form.bytes) + block_bytes - 1) / block_bytes * block_bytes + block_bytes;
}

void SmallWeight::place(const std::byte* data) const {
  if (vector != nullptr) {
    vector->data = reinterpret_cast<const float*>(data);
  } else {
    router->data = data;
    router->place = Place::Buffer;
  }
}

StoreInventory take_inventory(ModelWeights& weights, const gguf::File& file, uint64_t piece_bytes) {
  const TensorFinder finder(file);
  StoreInventory inventory;
  const Linear& table = weights.token_embedding;
  const Extent first_row = finder.extent(table.data, table.row_bytes);
  inventory.embedding = {table, first_row.file, first_row.offset, table.row_bytes};
  inventory.experts.resize(weights.layers.size());
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    LayerWeights& layer = weights.layers[l];
    inventory.dense.push_back(attention_of(layer, finder));
    DensePart ffn;
    if (auto* dense = std::get_if<DenseWeights>(&layer.ffn)) {
      add(ffn, finder, *dense);
    } else {
      auto& experts = std::get<ExpertsWeights>(layer.ffn);
      add(ffn, finder, experts.shared);
      inventory.experts[l] = expert_tensors(experts, finder);
    }
    inventory.dense.push_back(std::move(ffn));
    add_small(inventory, finder, layer);
  }
  add_vector(inventory.small, finder, weights.output_norm);
  add_vector(inventory.small, finder, weights.rope_factors);
  for (const DensePart& part : inventory.dense)
    for (const DenseMatrix& matrix : part.matrices)
      for (const DenseMatrix::Handle& handle : matrix.handles) add_vector(inventory.small, finder, handle.linear->bias);

  weights.output = cut_output(weights.output, piece_bytes);
  for (Linear& piece : weights.output) {
    inventory.dense.push_back({{{finder.extent(piece.data, piece.bytes()), {{&piece, 0}}, {}}}});
    add_vector(inventory.small, finder, piece.bias);
  }
  return inventory;
}

StoreInventory take_expert_inventory(const ModelWeights& weights, const gguf::File& file) {
  const TensorFinder finder(file);
  StoreInventory inventory;
  inventory.embedding.matrix = weights.token_embedding;
  inventory.dense.resize(output_part(weights.layers.size(), weights.output.size()));
  inventory.experts.resize(weights.layers.size());
  for (size_t l = 0; l < weights.layers.size(); ++l)
    if (const auto* experts = std::get_if<ExpertsWeights>(&weights.layers[l].ffn))
      if (experts->gate.first.place == Place::MappedFile) inventory.experts[l] = expert_tensors(*experts, finder);
  return inventory;
}

}  // namespace sluice::engine
