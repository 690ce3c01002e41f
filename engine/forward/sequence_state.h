// What a sequence leaves behind in every layer: keys and values, or latent rows.
//
// Four verbs carry everything that sessions do: append (reserve), truncate, fork and snapshot. Undo, prefix reuse,
// speculation and saved sessions are made of these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/device/device.h"
#include "engine/model/layer_range.h"
#include "engine/model/spec.h"
#include "kernels/cache_type.h"

namespace sluice::engine {

// For each of n_heads heads one row a position, in pages of kPagePositions; forks share pages until one of them writes.
// A page is [n_heads, kPagePositions, row]: the rows of a head lie together, because attention reads one head at a time
// and rows that are far apart cost it more than half of the memory's speed.
class RowCache {
 public:
  RowCache(Device& device, int64_t n_heads, int64_t n_columns, kernels::CacheType type);

  // Makes room for positions [0, n_positions) and makes the pages from `first_written` on our own.
  void reserve(Stream& stream, int64_t first_written, int64_t n_positions);
  // What that would allocate.
  uint64_t reserve_bytes(int64_t first_written, int64_t n_positions) const;
  // Drops the pages past the first n_positions.
  void truncate(int64_t n_positions);

  kernels::CacheType type() const { return type_; }
  int64_t n_heads() const { return n_heads_; }
  int64_t row_bytes() const { return kernels::cache_row_bytes(type_, n_columns_); }  // of a head
  int64_t head_bytes() const { return row_bytes() * kPagePositions; }                // from a head to the next
  int64_t position_bytes() const { return row_bytes() * n_heads_; }
  uint64_t bytes() const { return pages_.size() * page_bytes(); }
  // Device pointers of the pages; valid until the next reserve() or truncate().
  std::span<const void* const> pages() const { return page_pointers_; }
  void* position(int64_t index, int64_t head) const;

 private:
  uint64_t page_bytes() const { return static_cast<uint64_t>(head_bytes() * n_heads_); }

  Device* device_;
  int64_t n_heads_;
  int64_t n_columns_;  // of a head
  kernels::CacheType type_;
  std::vector<std::shared_ptr<Buffer>> pages_;
  std::vector<const void*> page_pointers_;
};

// The state of one layer. Grouped-query attention keeps keys and values apart; latent attention keeps one row
// [latent | rotated key] a position, which is key and value both.
struct LayerState {
  std::vector<RowCache> caches;  // {keys, values} or {latent}
};

// A device that has some layers, and the stream of their passes.
struct LayersOn {
  Device* device = nullptr;
  Stream* stream = nullptr;
  LayerRange layers;
};

// The state of one sequence. Copying it is a fork. Not thread-safe.
class SequenceState {
 public:
  SequenceState(Device& device, const ModelSpec& spec, kernels::CacheType type);
  // The state of a layer lies on its device. Layers that none of them has keep nothing.
  SequenceState(std::span<const LayersOn> parts, const ModelSpec& spec, kernels::CacheType type);

  int64_t length() const { return length_; }  // positions written
  LayerState& layer(size_t index) { return layers_[index]; }
  uint64_t bytes() const;

  // Room for n more positions in these layers; the forward pass writes them, advance() then makes them part of the
  // sequence. The stream is of the layers' device.
  void reserve(Stream& stream, int64_t n_positions, LayerRange layers = {});
  // What that would allocate.
  uint64_t reserve_bytes(int64_t n_positions, LayerRange layers = {}) const;
  void advance(int64_t n_positions) { length_ += n_positions; }
  void truncate(int64_t n_positions);

  // The rows of all layers as bytes; read() throws Error(BadFile) when the bytes have another length than this shape
  // gives.
  std::vector<std::byte> snapshot(std::span<const LayersOn> parts) const;
  void restore(std::span<const LayersOn> parts, std::span<const std::byte> bytes, int64_t n_positions);
  // Bytes of a snapshot of n positions, or of what it has of some layers.
  uint64_t snapshot_bytes(int64_t n_positions, LayerRange layers = {}) const;

 private:
  std::span<const LayerState> those(LayerRange layers) const;

  std::vector<LayerState> layers_;
  int64_t length_ = 0;
};

}  // namespace sluice::engine
