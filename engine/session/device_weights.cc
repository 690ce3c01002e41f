#include "engine/session/device_weights.h"

#include <algorithm>
#include <map>
#include <set>

namespace sluice::engine {
namespace {

// Of each buffer, at most.
constexpr uint64_t kLostToAlignment = 512;

// Every handle of a model.
struct Handles {
  std::vector<Linear*> dense;  // the device's in any case
  std::vector<Vector*> vectors;
  std::vector<std::vector<Linear*>> groups;  // each the device's or the host's as a whole
  std::vector<LinearStack*> experts;
};

void add(Handles& handles, DenseWeights& dense) {
  if (dense.gate) handles.groups.push_back({&dense.gate, &dense.up, &dense.down});
}

void add(Handles& handles, GroupedQueryWeights& attention) {
  for (Linear* matrix : {&attention.query, &attention.key, &attention.value, &attention.output})
    handles.dense.push_back(matrix);
  for (Vector* vector : {&attention.query_norm, &attention.key_norm}) handles.vectors.push_back(vector);
}

void add(Handles& handles, LatentWeights& attention) {
  for (Linear* matrix :
       {&attention.query, &attention.query_down, &attention.query_up, &attention.latent_down, &attention.output})
    handles.dense.push_back(matrix);
  for (Linear& head : attention.key_up) handles.dense.push_back(&head);
  for (Linear& head : attention.value_up) handles.dense.push_back(&head);
  for (Vector* vector : {&attention.query_norm, &attention.latent_norm}) handles.vectors.push_back(vector);
}

void add(Handles& handles, ExpertsWeights& experts) {
  handles.dense.push_back(&experts.router);
  handles.vectors.push_back(&experts.router_bias);
  add(handles, experts.shared);
  for (LinearStack* stack : {&experts.gate, &experts.up, &experts.down}) handles.experts.push_back(stack);
}

Handles handles_of(ModelWeights& weights) {
  Handles handles;
  handles.vectors.push_back(&weights.output_norm);
  handles.groups.emplace_back();
  for (Linear& piece : weights.output) handles.groups.back().push_back(&piece);
  for (LayerWeights& layer : weights.layers) {
    handles.vectors.push_back(&layer.attention_norm);
    handles.vectors.push_back(&layer.ffn_norm);
    std::visit([&](auto& attention) { add(handles, attention); }, layer.attention);
    std::visit([&](auto& ffn) { add(handles, ffn); }, layer.ffn);
  }
  return handles;
}

// Copies tensors, each once however many handles point into it, and says where an address of the file has gone.
class Mover {
 public:
  Mover(Device& device, Stream& stream, const gguf::File& file, uint64_t keep_free,
        const std::function<void(uint64_t, uint64_t)>& on_bytes)
      : device_(device), stream_(stream), keep_free_(keep_free), on_bytes_(on_bytes) {
    for (const gguf::Tensor& tensor : file.tensors()) tensors_[tensor.data] = {&tensor, nullptr};
  }

  // The tensor that an address lies in.
  const gguf::Tensor* tensor_at(const std::byte* address) { return find(address)->second.tensor; }
  void expect(const std::byte* address) {
    if (expected_.insert(find(address)->first).second) total_ += find(address)->second.tensor->bytes;
  }

  const std::byte* moved(const std::byte* address) {
    const auto found = find(address);
    auto& [tensor, copy] = found->second;
    if (copy == nullptr) {
      std::unique_ptr<Buffer> buffer = device_.allocate_weights(tensor->bytes, keep_free_);
      copy = static_cast<std::byte*>(buffer->data());
      weights_.buffers.push_back(std::move(buffer));
      constexpr uint64_t kPiece = uint64_t{64} << 20;  // between two reports
      for (uint64_t done = 0; done < tensor->bytes; done += kPiece) {
        const uint64_t now = std::min(kPiece, tensor->bytes - done);
        device_.copy_to_device(stream_, copy + done, tensor->data + done, now);
        weights_.bytes += now;
        if (on_bytes_) on_bytes_(weights_.bytes, total_);
      }
    }
    return copy + (address - tensor->data);
  }

  DeviceWeights take() { return std::move(weights_); }

 private:
  struct Entry {
    const gguf::Tensor* tensor;
    std::byte* copy;
  };
  // bind_weights() made every handle from a tensor of the file.
  std::map<const std::byte*, Entry>::iterator find(const std::byte* address) {
    return std::prev(tensors_.upper_bound(address));
  }

  Device& device_;
  Stream& stream_;
  uint64_t keep_free_;
  const std::function<void(uint64_t, uint64_t)>& on_bytes_;
  std::map<const std::byte*, Entry> tensors_;
  std::set<const std::byte*> expected_;
  uint64_t total_ = 0;
  DeviceWeights weights_;
};

}  // namespace

DeviceWeights move_to_device(Device& device, Stream& stream, const gguf::File& file, ModelWeights& weights,
                             uint64_t keep_free, const std::function<void(uint64_t done, uint64_t total)>& on_bytes) {
  Handles handles = handles_of(weights);
  Mover mover(device, stream, file, keep_free, on_bytes);
  std::erase_if(handles.dense, [](const Linear* matrix) { return !*matrix; });
  std::erase_if(handles.vectors, [](const Vector* vector) { return !*vector; });
  const std::byte* const embedding = weights.token_embedding.data;
  const auto is_tied = [&](const Linear* matrix) {
    return mover.tensor_at(matrix->data) == mover.tensor_at(embedding);
  };
  const auto bytes_of = [](const Vector* vector) { return reinterpret_cast<const std::byte*>(vector->data); };
  for (const Vector* vector : handles.vectors) mover.expect(bytes_of(vector));
  for (const Linear* matrix : handles.dense) mover.expect(matrix->data);
  for (const auto& group : handles.groups)
    for (const Linear* matrix : group) mover.expect(matrix->data);
  for (const LinearStack* stack : handles.experts) mover.expect(stack->first.data);

  const auto move_vector = [&](Vector& vector) {
    vector.data = reinterpret_cast<const float*>(mover.moved(bytes_of(&vector)));
  };
  const auto move = [&](Linear& matrix) {
    matrix.data = mover.moved(matrix.data);
    matrix.place = Place::Buffer;
    if (matrix.bias) move_vector(matrix.bias);
  };
  for (Vector* vector : handles.vectors) move_vector(*vector);
  for (Linear* matrix : handles.dense) move(*matrix);
  uint64_t host_dense_bytes = 0;
  for (const auto& group : handles.groups) {
    uint64_t bytes = 0;
    for (const Linear* matrix : group) bytes += matrix->bytes() + kLostToAlignment;
    if (bytes > device.room(keep_free)) {
      for (const Linear* matrix : group) host_dense_bytes += matrix->bytes();
      continue;
    }
    if (std::ranges::any_of(group, is_tied)) move(weights.token_embedding);
    for (Linear* matrix : group) move(*matrix);
  }

  uint64_t expert_bytes = 0;
  for (const LinearStack* stack : handles.experts)
    expert_bytes += stack->stride_bytes * static_cast<uint64_t>(stack->count) + kLostToAlignment;
  const bool has_all_experts = expert_bytes <= device.room(keep_free);
  if (has_all_experts)
    for (LinearStack* stack : handles.experts) move(stack->first);
  DeviceWeights moved = mover.take();
  moved.host_dense_bytes = host_dense_bytes;
  moved.has_all_experts = has_all_experts;
  return moved;
}

}  // namespace sluice::engine
