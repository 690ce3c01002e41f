// The tier above the store: experts that a GPU holds in slots of its own memory. It multiplies those itself; the others are the host's
// (engine/forward/host_side.h).
//
// What is where changes only between passes. After each pass the experts of most worth that were missed take the slots of those of
// least worth:
//
//   end of pass n      the victim's place in the table becomes null; the copy begins behind that, on a stream of its own: first of the
//                      victim to the host, where the host has no copy of it and its store finds it a slot, then of the newcomer
//   pass n + 1         computes, the copy beside it; neither expert is on the GPU
//   end of pass n + 1  the newcomer's place is written into the table, behind the copy, if the copy is under way by then
//
// All of it is ordered by the streams, so the host waits for none of it. Copies take a set share of the time of passes and no more; and an
// expert comes only if the misses that it will save, as long as what was seen can be trusted to last, cost the host more time than the copy
// takes: experts that are equally popular stay where they are.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/device/device.h"
#include "engine/model/layer_range.h"
#include "engine/model/weights.h"
#include "engine/store/background_copies.h"
#include "engine/store/expert_slots.h"
#include "engine/store/policy.h"
#include "engine/store/popularity.h"
#include "engine/store/store.h"
#include "engine/store/vram_statistics.h"

namespace sluice::engine {

struct VramTierOptions {
  PolicyKind policy = PolicyKind::Hybrid;
  std::vector<float> heat;  // of earlier runs, one number for each layer and expert; may be empty
  PromotionOptions promotion;
  // Told of each matrix of the first filling that was copied: its pages are not needed any more. May be empty.
  std::function<void(const std::byte* data, uint64_t bytes)> on_copied;
};

class VramTier {
 public:
  // Fills slots with as many experts as may lie in `bytes`, the same share of each layer unless heat tells better; fewer when the device
  // has less. layers: whose experts these are; nothing is asked about others. on_bytes is told how many bytes have come. What is referred to
  // must outlive this. Throws Error.
  VramTier(Device& device, const ModelWeights& weights, uint64_t bytes, uint64_t keep_free,
           const VramTierOptions& options, const std::function<void(uint64_t done)>& on_bytes, LayerRange layers = {});
  ~VramTier();

  // Where experts come from, and go to; before the first pass. It is told what is here.
  void set_store(WeightStore& store);

  // The layer's table, device memory; null for a layer without experts.
  const ExpertPlace* places(uint32_t layer) const;
  // Of an expert of the layer over the link, as measured by copies.
  double link_seconds(uint32_t layer) const;
  double now() const { return options_.promotion.now(); }
  int64_t n_experts_a_layer() const { return n_experts_a_layer_; }

  // Whether a pass that begins now finds the expert here.
  bool holds(uint32_t layer, int32_t expert_id) const;

  void begin_pass(int64_t n_rows);
  // What a layer of the pass chose, [rows, n_used], and what of that was here.
  void used(uint32_t layer, int64_t n_used, std::span<const int32_t> ids, std::span<const uint32_t> hits);
  // The host took so long for that many experts of one row.
  void host_took(int64_t n_experts, double seconds);
  // The pass is on its way on the stream.
  void end_pass(Stream& stream);
  // Until all copies have ended: what comes is here, and what went is the host's.
  void settle(Stream& stream);
  // Frees device memory that nobody else takes from the slots of least worth, at least so much; experts that were there are the host's
  // from the next pass on. Nothing may be in flight. After an exception what was not given back is as it was, or empty.
  void give_back(Stream& stream, uint64_t bytes);
  // Takes up to so many bytes of the device's own memory again, for slots that were given back: empty ones, which promotions fill. Returns how
  // many bytes it took.
  uint64_t take_back(uint64_t bytes);

  VramStatistics statistics() const;
  // Uses a token since it was made, of each expert of each layer of the model: what a later run takes for heat. Empty where there was no
  // token.
  std::vector<float> heat() const;

 private:
  struct SlotClass {
    uint64_t gate_bytes = 0, up_bytes = 0, down_bytes = 0;
    uint64_t slot_bytes = 0;
    uint64_t n_experts = 0;
  };
  // Slots of one class, freed together.
  struct Chunk {
    std::unique_ptr<Buffer> buffer;
    SlotNumber first = 0;
    uint32_t n_slots = 0;
  };
  // What a copy uses of the host's memory.
  struct HostEnds {
    std::unique_ptr<ExpertHold> source;
    std::unique_ptr<ExpertReturn> goes_back;  // null: nothing does
    std::shared_ptr<BackgroundCopy> copy;
  };
  struct Arrival {
    SlotNumber slot = 0;
    ExpertNumber expert = 0;
    HostEnds host;
  };

  double link_bytes_per_second() const;
  double most_slot_bytes() const;
  // Its experts; null where a layer has none, or is another device's.
  const ExpertsWeights* experts_of(uint32_t layer) const;
  void make_classes();
  void make_slots(uint64_t bytes, uint64_t keep_free);
  // Adds up to n slots in one piece of memory. Returns how many: fewer where there is no such piece.
  uint64_t add_chunk(uint32_t slot_class, uint64_t n, uint64_t keep_free);
  void fill(const std::function<void(uint64_t done)>& on_bytes);
  ExpertNumber number_of(uint32_t layer, int32_t expert_id) const;
  ExpertPlace place_of(SlotNumber slot) const;
  void write_place(Stream& stream, ExpertNumber expert, const ExpertPlace& place);
  LayerExpert expert_of(ExpertNumber number) const;
  void welcome(Stream& stream);
  void promote(Stream& stream);
  void empty_chunk(Stream& stream, const Chunk& chunk);
  // Whether what the expert saves in place of another one (none: in a free slot) is more than copies take that are so many experts.
  bool pays(ExpertNumber expert, std::optional<ExpertNumber> victim, double n_copies) const;
  void choose_arrivals(Stream& stream);
  bool wait_for_return(BackgroundCopy& copy);
  void let_go_of_host_memory();

  Device& device_;
  const ModelWeights& weights_;
  LayerRange layers_;
  WeightStore* store_ = nullptr;
  VramTierOptions options_;
  int64_t n_experts_a_layer_ = 0;  // the most of the model, so that an expert has the same number in each tier
  std::vector<SlotClass> classes_;
  std::vector<uint32_t> class_of_layer_;  // kNoClass: it has no experts
  std::vector<Chunk> chunks_;
  std::vector<Chunk> given_back_;   // without their buffers
  std::vector<std::byte*> memory_;  // of each slot
  ExpertSlots slots_;
  std::unique_ptr<Policy> policy_;
  Popularity popularity_;
  double host_seconds_ = 0;  // of the host for an expert of one row; 0: not known
  double n_tokens_ = 0;
  std::vector<float> n_uses_;
  std::unique_ptr<Buffer> table_;    // of its layers
  std::vector<ExpertPlace> places_;  // what the table says, or will before the next pass
  std::unique_ptr<Stream> copies_;
  std::unique_ptr<BackgroundCopies> background_;  // null: without a thread
  std::vector<Arrival> arrivals_;
  std::vector<HostEnds> leaving_;                        // of copies whose experts have arrived, or failed to
  std::vector<std::pair<double, ExpertNumber>> missed_;  // in this pass
  int64_t pass_rows_ = 0;
  double pass_begin_ = 0;
  double credit_bytes_ = 0;  // that may be copied
  VramStatistics counts_;
};

}  // namespace sluice::engine
