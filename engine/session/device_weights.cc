#include "engine/session/device_weights.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>

#include "engine/session/copied_pages.h"

namespace sluice::engine {
namespace {

// To keep free where nothing may be taken.
constexpr uint64_t kAll = uint64_t{1} << 60;

// Every handle of some layers of a model.
struct Handles {
  std::vector<std::vector<Linear*>>
      own;  // the device multiplies by them wherever they are; each in its memory as a whole, or not at all
  std::vector<Vector*> vectors;
  std::vector<std::vector<Linear*>> groups;  // each the device's or the host's as a whole
  std::vector<LinearStack*> experts;
};

void add(Handles& handles, DenseWeights& dense) {
  if (dense.gate) handles.groups.push_back({&dense.gate, &dense.up, &dense.down});
}

void add(Handles& handles, GroupedQueryWeights& attention) {
  handles.own.push_back({&attention.query, &attention.key, &attention.value, &attention.output});
  for (Vector* vector : {&attention.query_norm, &attention.key_norm}) handles.vectors.push_back(vector);
}

void add(Handles& handles, LatentWeights& attention) {
  handles.own.push_back(
      {&attention.query, &attention.query_down, &attention.query_up, &attention.latent_down, &attention.output});
  for (Linear& head : attention.key_up) handles.own.back().push_back(&head);
  for (Linear& head : attention.value_up) handles.own.back().push_back(&head);
  for (Vector* vector : {&attention.query_norm, &attention.latent_norm}) handles.vectors.push_back(vector);
}

void add(Handles& handles, ExpertsWeights& experts) {
  handles.own.push_back({&experts.router});
  handles.vectors.push_back(&experts.router_bias);
  add(handles, experts.shared);
  for (LinearStack* stack : {&experts.gate, &experts.up, &experts.down}) handles.experts.push_back(stack);
}

Handles handles_of(ModelWeights& weights, LayerRange range) {
  Handles handles;
  const LayerRange layers = range.of(weights.layers.size());
  if (layers.is_last(weights.layers.size())) {
    handles.vectors.push_back(&weights.output_norm);
    handles.groups.emplace_back();
    for (Linear& piece : weights.output) handles.groups.back().push_back(&piece);
  }
  for (LayerWeights& layer : std::span(weights.layers).subspan(layers.begin, layers.end - layers.begin)) {
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
  Mover(Device& device, Stream& stream, const gguf::File& file, const std::function<void(uint64_t, uint64_t)>& on_bytes)
      : device_(device), stream_(stream), pages_(file), on_bytes_(on_bytes) {
    for (const gguf::Tensor& tensor : file.tensors()) tensors_[tensor.data] = {&tensor, nullptr};
  }

  // The tensor that an address lies in.
  const gguf::Tensor* tensor_at(const std::byte* address) { return find(address)->second.tensor; }
  void expect(const std::byte* address) {
    if (expected_.insert(find(address)->first).second) {
      total_ += find(address)->second.tensor->bytes;
      own_bytes_ += vram_bytes(find(address)->second.tensor->bytes);
    }
  }
  uint64_t own_bytes() const { return own_bytes_; }  // what the device's own memory must have for all that is expected
  // The same for the tensors of some matrices.
  uint64_t own_bytes_of(const std::vector<Linear*>& matrices) {
    std::set<const gguf::Tensor*> tensors;
    uint64_t bytes = 0;
    for (const Linear* matrix : matrices)
      if (tensors.insert(tensor_at(matrix->data)).second) bytes += vram_bytes(tensor_at(matrix->data)->bytes);
    return bytes;
  }
  void keep_free(uint64_t bytes) { keep_free_ = bytes; }

  const std::byte* moved(const std::byte* address) {
    const auto found = find(address);
    auto& [tensor, copy] = found->second;
    if (copy == nullptr) {
      const uint64_t elsewhere = device_.memory().host_bytes;
      std::unique_ptr<Buffer> buffer = device_.allocate_weights(tensor->bytes, keep_free_);
      copy = static_cast<std::byte*>(buffer->data());
      if (device_.memory().host_bytes > elsewhere) weights_.elsewhere.push_back({copy, tensor->bytes});
      weights_.buffers.push_back(std::move(buffer));
      constexpr uint64_t kPiece = uint64_t{64} << 20;  // between two reports
      for (uint64_t done = 0; done < tensor->bytes; done += kPiece) {
        const uint64_t now = std::min(kPiece, tensor->bytes - done);
        device_.copy_to_device(stream_, copy + done, tensor->data + done, now);
        pages_.copied(tensor->data + done, now);
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
  CopiedPages pages_;
  uint64_t keep_free_ = 0;
  const std::function<void(uint64_t, uint64_t)>& on_bytes_;
  std::map<const std::byte*, Entry> tensors_;
  std::set<const std::byte*> expected_;
  uint64_t total_ = 0, own_bytes_ = 0;
  DeviceWeights weights_;
};

}  // namespace

bool DeviceWeights::is_elsewhere(const std::byte* address) const {
  return std::ranges::any_of(elsewhere, [&](std::span<const std::byte> copy) {
    return address >= copy.data() && address < copy.data() + copy.size();
  });
}

DeviceWeights move_to_device(Device& device, Stream& stream, const gguf::File& file, ModelWeights& weights,
                             const KeptFree& kept_free,
                             const std::function<void(uint64_t done, uint64_t total)>& on_bytes, LayerRange layers) {
  Handles handles = handles_of(weights, layers);
  Mover mover(device, stream, file, on_bytes);
  for (auto& group : handles.own) std::erase_if(group, [](const Linear* matrix) { return !*matrix; });
  std::erase_if(handles.vectors, [](const Vector* vector) { return !*vector; });
  const std::byte* const embedding = weights.token_embedding.data;
  // The embedding is the first device's to read.
  const auto is_tied = [&](const Linear* matrix) {
    return layers.is_first() && mover.tensor_at(matrix->data) == mover.tensor_at(embedding);
  };
  const auto bytes_of = [](const Vector* vector) { return reinterpret_cast<const std::byte*>(vector->data); };
  for (const Vector* vector : handles.vectors) mover.expect(bytes_of(vector));
  for (const auto* groups : {&handles.own, &handles.groups})
    for (const auto& group : *groups)
      for (const Linear* matrix : group) mover.expect(matrix->data);
  for (const LinearStack* stack : handles.experts) mover.expect(stack->first.data);
  const bool is_whole = mover.own_bytes() <= device.room(kept_free.alone);
  const uint64_t keep_free = is_whole ? kept_free.alone : kept_free.shared;
  mover.keep_free(keep_free);

  const auto move_vector = [&](Vector& vector) {
    vector.data = reinterpret_cast<const float*>(mover.moved(bytes_of(&vector)));
  };
  const auto move = [&](Linear& matrix) {
    matrix.data = mover.moved(matrix.data);
    matrix.place = Place::Buffer;
    if (matrix.bias) move_vector(matrix.bias);
  };
  for (Vector* vector : handles.vectors) move_vector(*vector);
  for (const auto& group : handles.own) {
    mover.keep_free(mover.own_bytes_of(group) <= device.room(keep_free) ? keep_free : kAll);
    for (Linear* matrix : group) move(*matrix);
  }
  mover.keep_free(keep_free);
  uint64_t host_dense_bytes = 0;
  for (const auto& group : handles.groups) {
    if (mover.own_bytes_of(group) > device.room(keep_free)) {
      for (const Linear* matrix : group) host_dense_bytes += matrix->bytes();
      continue;
    }
    if (std::ranges::any_of(group, is_tied)) move(weights.token_embedding);
    for (Linear* matrix : group) move(*matrix);
  }

  if (is_whole)
    for (LinearStack* stack : handles.experts) move(stack->first);
  DeviceWeights moved = mover.take();
  moved.host_dense_bytes = host_dense_bytes;
  moved.is_whole = is_whole;
  moved.has_experts = !handles.experts.empty();
  return moved;
}

}  // namespace sluice::engine
