// A store for models larger than memory: some weights stay, the others are read from the disk as they are needed.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/device/arena.h"
#include "engine/store/clock.h"
#include "engine/store/dense_parts.h"
#include "engine/store/dense_stream.h"
#include "engine/store/expert_slots.h"
#include "engine/store/loader.h"
#include "engine/store/policy.h"
#include "engine/store/store.h"
#include "engine/store/store_plan.h"

namespace sluice::engine {

struct DiskStoreOptions {
  PolicyKind policy = PolicyKind::Hybrid;
  bool guesses = true;      // read what the next layer's router will probably choose
  std::vector<float> heat;  // of earlier runs, one number for each layer and expert; may be empty
  // The device that holds other experts, or null: the store's memory is pinned for it where that can be. Must outlive the store.
  Device* beside = nullptr;
};

// A pass of more rows is that of a prompt: it needs memory of its own, which a token does not, and takes it from slots.
inline constexpr int64_t kSmallPassRows = 8;

class DiskStore : public WeightStore {
 public:
  // The inventory's handles are set as weights come and go. The small weights are read here. `device` turns matrices into their
  // forms where the inventory names any. `files`, the device and the weights must outlive the store's use. Throws Error.
  DiskStore(Device& device, StoreInventory inventory, const StorePlan& plan, const DiskFiles& files,
            std::unique_ptr<Disk> disk, const DiskStoreOptions& options);
  ~DiskStore() override;

  bool needs_memory_of_passes(int64_t n_rows) const override;
  void begin_pass(int64_t n_rows) override;
  EmbeddingRows embedding(std::span<const int32_t> ids) override;
  void acquire(size_t part) override { dense_.acquire(part); }
  void release(size_t part) noexcept override { dense_.release(part); }
  std::unique_ptr<ExpertRequest> begin(uint32_t layer, std::span<const int32_t> expert_ids,
                                       std::span<const int64_t> n_rows) override;
  std::unique_ptr<ExpertHold> hold(uint32_t layer, int32_t expert_id) override;
  std::unique_ptr<ExpertHold> fetch(uint32_t layer, int32_t expert_id) override;
  int64_t n_fetchable(uint32_t layer) const override;
  double read_bytes_per_second() const override;
  bool wants_guess(uint32_t layer) const override;
  void guess(uint32_t layer, std::span<const int32_t> expert_ids) override;
  void may_drop(uint32_t layer, int32_t expert_id) override;
  void needed_again(uint32_t layer, int32_t expert_id) override;
  void used_elsewhere(uint32_t layer, int32_t expert_id, int64_t n_rows) override;
  bool has(uint32_t layer, int32_t expert_id) const override;
  bool can_spare_slots(uint32_t layer) const override;
  std::unique_ptr<ExpertReturn> bring_back(uint32_t layer, int32_t expert_id, std::function<bool()> wait) override;
  bool is_complete() const override { return n_without_slot_ == 0; }
  std::vector<LayerExpert> take_moved() override;
  StoreStatistics statistics() const override;

  // Reads experts that may not be dropped into slots that are free, in the order of the file, before the first pass. on_bytes is told how
  // many bytes have come. Throws Error.
  void fill(const std::function<void(uint64_t done)>& on_bytes);

  // Uses a token since the store was made, of each expert of each layer: what a later run takes for heat.
  std::vector<float> heat() const;

 private:
  class Request;
  class Held;
  class Return;
  friend class Request;
  friend class Held;
  friend class Return;

  // What a slot's memory holds and what is on its way there.
  struct SlotState {
    std::byte* memory = nullptr;
    std::shared_ptr<Load> load;  // null when everything has come
    std::function<bool()> wait;  // until it has come from a device; empty when it does not
    bool is_guess = false;       // nobody has asked for it yet
    bool is_broken = false;      // it could not be read; made free when nobody holds it any more
  };

  void lend();
  void take_back();
  ExpertNumber number_of(uint32_t layer, int32_t expert_id) const;
  std::vector<LoadPart> load_parts(uint32_t layer, int32_t expert_id, SlotNumber slot) const;
  ExpertHandles handles_of(uint32_t layer, int32_t expert_id, SlotNumber slot) const;
  uint64_t expert_bytes(uint32_t layer) const;
  void read_small_weights(std::byte* to);
  void begin_guessed_loads();
  void compare_guess(uint32_t layer, std::span<const int32_t> expert_ids);
  void drop_wrong_guesses(uint32_t layer, std::span<const int32_t> expert_ids);
  // Takes a slot for the expert, as ExpertSlots does; and makes one free.
  std::optional<SlotNumber> take_slot(ExpertNumber expert, uint32_t slot_class, double worth);
  void clear_slot(SlotNumber slot);
  void lose_slot(ExpertNumber expert);
  void note_moved(ExpertNumber expert);
  double worth_of(ExpertNumber expert) const;
  // Waits for what is on its way, from wherever, well or not.
  void settle(uint32_t layer, int32_t expert_id, SlotNumber slot);
  bool is_on_its_way(SlotNumber slot) const;
  // Ends the slot's load, which is done. Throws Error when it failed.
  void end_load(SlotNumber slot);
  void empty(SlotNumber slot);  // of what was on its way
  void release_slot(SlotNumber slot);

  Device& device_;
  std::unique_ptr<Stream> stream_;
  StoreInventory inventory_;
  const StorePlan plan_;
  DiskStoreOptions options_;
  Arena arena_;
  Loader loader_;
  DenseStream dense_;
  std::byte* embedding_rows_ = nullptr;
  std::vector<std::byte> packed_rows_;

  int64_t n_experts_a_layer_ = 0;  // the most
  std::unique_ptr<Policy> policy_;
  ExpertSlots slots_;
  std::vector<SlotState> slot_states_;
  std::vector<SlotNumber> guessed_slots_;  // held for the layer that the guess is for
  std::vector<SlotNumber> lent_slots_;
  uint32_t guessed_layer_ = 0;
  std::vector<int32_t> guessed_ids_;
  size_t n_guesses_begun_ = 0;       // of these: hold a slot
  bool request_is_waiting_ = false;  // an open request has experts without slots
  bool disk_is_direct_ = false;
  std::vector<bool> may_drop_;       // of each expert
  uint64_t n_without_slot_ = 0;      // experts that may not be dropped
  std::vector<uint32_t> n_lasting_;  // of each class: slots that are held, or brought back to, by others than requests
  std::vector<ExpertNumber> moved_;  // since it was asked
  std::vector<bool> is_moved_;

  Clock::time_point pass_begin_;
  int64_t pass_rows_ = 0;
  StoreStatistics counts_;
  double n_tokens_ = 0;
  std::vector<float> n_uses_;
};

}  // namespace sluice::engine
