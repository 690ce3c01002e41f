#include "engine/forward/sequence_state.h"

#include <algorithm>

#include "engine/error.h"

namespace sluice::engine {

static int64_t pages_for(int64_t n_positions) {
  return (n_positions + kPagePositions - 1) / kPagePositions;
}

RowCache::RowCache(Device& device, int64_t n_heads, int64_t n_columns, kernels::CacheType type)
    : device_(&device), n_heads_(n_heads), n_columns_(n_columns), type_(type) {}

void RowCache::reserve(Stream& stream, int64_t first_written, int64_t n_positions) {
  const size_t n_pages = static_cast<size_t>(pages_for(n_positions));
  while (pages_.size() < n_pages) pages_.push_back(device_->allocate(page_bytes()));
  for (size_t i = static_cast<size_t>(first_written / kPagePositions); i < n_pages; ++i) {
    if (pages_[i].use_count() == 1) continue;  // ours alone
    std::shared_ptr<Buffer> own = device_->allocate(page_bytes());
    device_->copy(stream, own->data(), pages_[i]->data(), page_bytes());
    pages_[i] = std::move(own);
  }
  page_pointers_.clear();
  for (const auto& page : pages_) page_pointers_.push_back(page->data());
}

uint64_t RowCache::reserve_bytes(int64_t first_written, int64_t n_positions) const {
  const size_t n_pages = static_cast<size_t>(pages_for(n_positions));
  uint64_t n_new = n_pages - std::min(n_pages, pages_.size());
  for (size_t i = static_cast<size_t>(first_written / kPagePositions); i < std::min(n_pages, pages_.size()); ++i)
    n_new += pages_[i].use_count() > 1 ? 1 : 0;
  return n_new * page_bytes();
}

void RowCache::truncate(int64_t n_positions) {
  const size_t n_pages = static_cast<size_t>(pages_for(n_positions));
  if (n_pages >= pages_.size()) return;
  pages_.resize(n_pages);
  page_pointers_.resize(n_pages);
}

void* RowCache::position(int64_t index, int64_t head) const {
  auto* page = static_cast<std::byte*>(pages_[static_cast<size_t>(index / kPagePositions)]->data());
  return page + head * head_bytes() + index % kPagePositions * row_bytes();
}

static LayerState make_layer_state(Device& device, const LayerSpec& layer, kernels::CacheType type) {
  LayerState state;
  if (const auto* grouped = std::get_if<GroupedQuerySpec>(&layer.attention)) {
    state.caches.emplace_back(device, grouped->n_kv_heads, grouped->key_size, type);
    state.caches.emplace_back(device, grouped->n_kv_heads, grouped->value_size, type);
  } else {
    const auto& latent = std::get<LatentSpec>(layer.attention);
    state.caches.emplace_back(device, 1, latent.latent_rank + latent.rope_size, type);
  }
  return state;
}

SequenceState::SequenceState(Device& device, const ModelSpec& spec, kernels::CacheType type) {
  for (const LayerSpec& layer : spec.layers) layers_.push_back(make_layer_state(device, layer, type));
}

SequenceState::SequenceState(std::span<const LayersOn> parts, const ModelSpec& spec, kernels::CacheType type)
    : layers_(spec.layers.size()) {
  for (const LayersOn& part : parts) {
    const LayerRange layers = part.layers.of(layers_.size());
    for (uint32_t layer = layers.begin; layer < layers.end; ++layer)
      layers_[layer] = make_layer_state(*part.device, spec.layers[layer], type);
  }
}

std::span<const LayerState> SequenceState::those(LayerRange layers) const {
  const LayerRange range = layers.of(layers_.size());
  return std::span(layers_).subspan(range.begin, range.end - range.begin);
}

uint64_t SequenceState::bytes() const {
  uint64_t total = 0;
  for (const LayerState& layer : layers_)
    for (const RowCache& cache : layer.caches) total += cache.bytes();
  return total;
}

void SequenceState::reserve(Stream& stream, int64_t n_positions, LayerRange layers) {
  const LayerRange range = layers.of(layers_.size());
  for (uint32_t layer = range.begin; layer < range.end; ++layer)
    for (RowCache& cache : layers_[layer].caches) cache.reserve(stream, length_, length_ + n_positions);
}

uint64_t SequenceState::reserve_bytes(int64_t n_positions, LayerRange layers) const {
  uint64_t bytes = 0;
  for (const LayerState& layer : those(layers))
    for (const RowCache& cache : layer.caches) bytes += cache.reserve_bytes(length_, length_ + n_positions);
  return bytes;
}

void SequenceState::truncate(int64_t n_positions) {
  length_ = std::min(length_, n_positions);
  for (LayerState& layer : layers_)
    for (RowCache& cache : layer.caches) cache.truncate(length_);
}

uint64_t SequenceState::snapshot_bytes(int64_t n_positions, LayerRange layers) const {
  uint64_t total = 0;
  for (const LayerState& layer : those(layers))
    for (const RowCache& cache : layer.caches) total += static_cast<uint64_t>(cache.position_bytes() * n_positions);
  return total;
}

// Calls visit(device pointer, bytes) for the filled part of every head's rows in every page, in a fixed order.
template <typename Visit>
static void for_each_filled_part(std::span<const LayerState> layers, int64_t n_positions, const Visit& visit) {
  for (const LayerState& layer : layers)
    for (const RowCache& cache : layer.caches)
      for (int64_t at = 0; at < n_positions; at += kPagePositions)
        for (int64_t head = 0; head < cache.n_heads(); ++head)
          visit(cache.position(at, head),
                static_cast<uint64_t>(cache.row_bytes() * std::min(kPagePositions, n_positions - at)));
}

std::vector<std::byte> SequenceState::snapshot(std::span<const LayersOn> parts) const {
  std::vector<std::byte> bytes(snapshot_bytes(length_));
  size_t at = 0;
  for (const LayersOn& part : parts)
    for_each_filled_part(those(part.layers), length_, [&](const void* rows, uint64_t n) {
      part.device->copy_to_host(*part.stream, bytes.data() + at, rows, n);
      at += n;
    });
  for (const LayersOn& part : parts) part.device->synchronize(*part.stream);
  return bytes;
}

void SequenceState::restore(std::span<const LayersOn> parts, std::span<const std::byte> bytes, int64_t n_positions) {
  if (bytes.size() != snapshot_bytes(n_positions))
    throw Error(Error::Kind::BadFile, "The saved sequence has " + std::to_string(bytes.size()) +
                                          " bytes of state where " + std::to_string(snapshot_bytes(n_positions)) +
                                          " are needed; it is damaged or belongs to another model.");
  truncate(0);
  for (const LayersOn& part : parts) reserve(*part.stream, n_positions, part.layers);
  size_t at = 0;
  for (const LayersOn& part : parts)
    for_each_filled_part(those(part.layers), n_positions, [&](void* rows, uint64_t n) {
      part.device->copy_to_device(*part.stream, rows, bytes.data() + at, n);
      at += n;
    });
  for (const LayersOn& part : parts) part.device->synchronize(*part.stream);
  length_ = n_positions;
}

}  // namespace sluice::engine
