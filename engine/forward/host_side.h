// The CPU beside a device with memory of its own: what it computes of the device's layers, because their weights are not there. Which experts
// those are, the VRAM tier says (engine/store/vram_tier.h). Where several devices have a model's layers, each has a host side, and these
// share the CPU.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine/forward/forward.h"
#include "engine/forward/miss_split.h"
#include "engine/forward/prefill_cost.h"
#include "engine/store/expert_stream.h"
#include "engine/store/host_places.h"
#include "engine/store/vram_tier.h"

namespace sluice::engine {

// Rows of a pass that device and host share, at most: the memory in which they meet is kept for every layer.
inline constexpr uint32_t kMostSharedRows = 32;

// Of a device's memory, for what changes from pass to pass (engine/device/cuda/cells.h) and the places of experts: taken once.
inline constexpr uint64_t kCellBytes = uint64_t{1} << 20;

// What a pass of so many rows, which end at n_positions, takes of the device's own memory besides.
using PassBytes = std::function<uint64_t(int64_t n_rows, int64_t n_positions)>;

class HostSide {
 public:
  // tier: null where all experts are on the device, or there are none. layers: those of the device. What is referred to must outlive this.
  HostSide(std::shared_ptr<Device> cpu, const ModelSpec& spec, const ModelWeights& weights, WeightStore& store,
           std::unique_ptr<VramTier> tier, Device& device, PassBytes pass_bytes, const SharingOptions& sharing = {},
           LayerRange layers = {});

  // Before a pass, or before sequences grow without one (n_rows 0): lets them have what they will ask of the device's own memory, out of
  // that of experts. Where nothing is left to give up, they get other memory. Nothing may be in flight.
  void make_room(Stage& on, int64_t n_rows, int64_t n_positions, uint64_t growth_bytes);

  // For passes to which all experts come (prompt_passes.h). Could one be made at all?
  bool can_stream() const;
  // Of n_rows, how many such a pass might have, after so many positions.
  int64_t most_streamed_rows(Stage& on, int64_t n_rows, int64_t n_positions);
  // For what is missed, by measured rates.
  StreamSeconds missed_seconds() const;
  // Is all that is missed where copies can read it, or can be fetched from the disk? Waits for what comes and goes.
  bool finds_missed_experts(Stage& on);
  // Takes memory for their way, and for a pass of so many rows that ends at n_positions and lets sequences grow so much. False where there is
  // none.
  bool make_room_to_stream(Stage& on, int64_t n_rows, int64_t n_positions, uint64_t growth_bytes);

  void begin_pass(Stage& on, int64_t n_rows);
  // Of such a pass: the experts that have to come, with holds of those that are in memory. Null where that cannot be. Then their slots are
  // divided (leave_slots_to_fetch), and it begins.
  std::optional<std::vector<ExpertStream::Expert>> experts_to_stream(Stage& on);
  void begin_stream(Stage& on, std::vector<ExpertStream::Expert> experts);
  // All of the pass was asked for: begins it, and waits for it where experts came to it.
  void start_pass(Stage& on);
  // Then what should be elsewhere in the next passes.
  void end_pass(Stage& on);
  // What has moved in the store since the last time.
  void follow_store(Stage& on, std::span<const LayerExpert> moved);

  // Do all experts come to the device in this pass? Then the host has no part in it.
  bool is_streamed() const { return is_streamed_; }
  // Sets where the layer's experts are in such a pass.
  void stream(RoutedExperts& experts, uint32_t layer);
  // Sets what of the layer's experts is where, and how the rest is shared, for a pass of so many rows.
  void share(RoutedExperts& experts, uint32_t layer, int64_t n_rows);
  // The layer whose sums are still to be added, if any: it is forgotten. And the one that is to be next, if the layer's may wait.
  std::optional<uint32_t> take_deferred() { return std::exchange(deferred_layer_, std::nullopt); }
  bool defer(uint32_t layer);

  // results row i = sum over the row's experts that are no hits, in the router's order, of weight * down(silu(gate x_i) * up x_i), and the
  // shared expert where it is left to the host. Returns false where there is nothing of either.
  bool multiply_experts(uint32_t layer, const HostShare& share, Rows results);
  // A dense feed-forward.
  void multiply(const DenseWeights& weights, Rows x, Rows results);
  // The output: logits of normed rows.
  void multiply_output(Rows x, Rows logits);

  // Brings into memory what the file's mapping has of the layers, the experts only where they are multiplied from there.
  void touch_weights(bool with_experts, const std::function<void(uint64_t done)>& on_bytes);

  VramTier* tier() const { return tier_.get(); }
  const SharingOptions& sharing() const { return sharing_; }
  VramStatistics statistics() const;
  // Whether the host's sums are added one layer later: from the next pass on.
  bool defers() const { return sharing_.defers; }
  void set_defers(bool defers) { sharing_.defers = defers; }

 private:
  uint64_t bytes_of_others(const Device& device) const;
  bool has_dense_work() const;
  template <class Do>
  void for_each_missed(Do what) const;
  uint64_t half_ring_bytes() const;
  bool make_ring(Stage& on);
  std::optional<std::vector<ExpertStream::Expert>> missed_experts(Stage& on) const;
  void time_device(uint32_t layer, const HostShare& share, double begin);
  Processor processor() { return {*cpu_, *stream_, workspace_}; }

  std::shared_ptr<Device> cpu_;
  std::unique_ptr<Stream> stream_;
  Workspace workspace_;
  const ModelSpec& spec_;
  const ModelWeights& weights_;
  WeightStore& store_;
  std::unique_ptr<VramTier> tier_;
  PassBytes pass_bytes_;
  int64_t pass_rows_ = 0, pass_positions_ = 0;  // for which there is room, rounded up
  uint64_t pass_room_ = 0;                      // that was kept for it
  uint64_t before_passes_ = 0;                  // what was taken of the device's memory by all but experts, before it
  uint64_t grown_bytes_ = 0;                    // by which sequences have grown since
  SharingOptions sharing_;
  LayerRange layers_;
  std::unique_ptr<HostPlaces> host_places_;  // with a tier
  std::optional<MissSplit> split_;           // when a pass of one row shares experts
  std::optional<uint32_t> deferred_layer_;
  std::unique_ptr<ExpertStream> expert_stream_;  // from the first streamed pass on: prompts come again
  bool is_streamed_ = false;
  uint64_t n_streamed_passes_ = 0;
  bool has_lent_slots_ = false;  // to the ring and the passes of a prompt that was streamed
  // Of a layer on the device, but for what it reads of the host: known when the host waited for it, and needed when sums are deferred.
  double device_seconds_ = 0;
  double last_begin_ = 0, last_end_ = 0;  // of the host's work, in this pass
  int64_t last_read_ = 0;                 // experts that the device reads meanwhile
};

// Lets go of experts where others of their size are to be fetched, so that these have slots: of the experts of all devices above a store, which
// share its slots. False where some have none.
bool leave_slots_to_fetch(const WeightStore& store, std::span<std::vector<ExpertStream::Expert>> of_devices);

}  // namespace sluice::engine
