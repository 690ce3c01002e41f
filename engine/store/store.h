// Where weights are, and how they come to where they are needed.
//
// A forward pass takes its dense weights part by part (attention of a layer, feed-forward of a layer, pieces of the output), and
// its experts in two halves: begin() as soon as a router has chosen, next() when it must multiply. What lies between (the shared
// expert, the experts that are there already) hides the time that bringing them takes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/model/weights.h"
#include "engine/store/statistics.h"

namespace sluice::engine {

// The numbers of dense parts, in the order in which a pass needs them: attention of layer l, its dense or shared feed-forward,
// and after the layers the pieces of the output.
constexpr size_t attention_part(size_t layer) {
  return 2 * layer;
}
constexpr size_t feed_forward_part(size_t layer) {
  return 2 * layer + 1;
}
constexpr size_t output_part(size_t n_layers, size_t piece) {
  return 2 * n_layers + piece;
}

struct ExpertHandles {
  Linear gate, up, down;
};

// An expert in the host's memory, which stays there while this lives. Must not outlive the store.
struct ExpertHold {
  ExpertHandles handles;
  virtual ~ExpertHold() = default;
  // Until all of it has come, if it was on its way. Throws Error when it could not be read.
  virtual void wait() {}
};

// Memory of the store to which an expert comes back from a device. The slot is the expert's from the beginning; whoever asks for the expert
// before finish() waits, in the way that bring_back() was given. Ended without finish(true) the store has no copy of it. Must not outlive
// the store.
struct ExpertReturn {
  ExpertHandles handles;  // where the matrices belong
  virtual ~ExpertReturn() = default;
  virtual void finish(bool has_come) = 0;
};

// An expert of a layer.
struct LayerExpert {
  uint32_t layer = 0;
  int32_t expert_id = 0;
  bool operator==(const LayerExpert&) const = default;
};

// The experts that one layer chose for one batch.
class ExpertRequest {
 public:
  // Lets go of the experts: their memory may be used for others from then on.
  virtual ~ExpertRequest() = default;
  struct Ready {
    size_t index = 0;  // into begin()'s ids
    ExpertHandles handles;
  };
  // Further experts, in any order: at least one, waiting for it if need be, until all have been handed out; then none. Those of
  // the call before are let go. Throws Error when an expert could not be read.
  virtual std::span<const Ready> next() = 0;
};

// The rows of the embedding table that a batch needs: row rows[i] of the table is that of the batch's row i.
struct EmbeddingRows {
  Linear table;
  std::vector<int32_t> rows;
};

// Everything here is called from the evaluating thread, one pass at a time.
class WeightStore {
 public:
  virtual ~WeightStore() = default;

  // Does the store need the memory that larger passes have left behind, for one of so many rows?
  virtual bool needs_memory_of_passes(int64_t n_rows) const = 0;
  // A pass of so many rows begins; memory that was needed is there.
  virtual void begin_pass(int64_t n_rows) = 0;
  // Valid until the next call.
  virtual EmbeddingRows embedding(std::span<const int32_t> ids) = 0;

  // Brings a part of the dense weights and sets the handles of it; they are valid until release(). Parts are acquired in the order of their numbers, one at a time. Throws Error when they could not be read.
  virtual void acquire(size_t part) = 0;
  virtual void release(size_t part) noexcept = 0;

  // expert_ids: distinct, ascending, all below the layer's expert count; n_rows[i]: how many rows chose expert_ids[i]. A request
  // must not outlive its store, and there is one at a time.
  virtual std::unique_ptr<ExpertRequest> begin(uint32_t layer, std::span<const int32_t> expert_ids,
                                               std::span<const int64_t> n_rows) = 0;
  // The expert if it is in memory now, else null.
  virtual std::unique_ptr<ExpertHold> hold(uint32_t layer, int32_t expert_id) = 0;
  // The same of one that is not: it begins to be read, is there behind wait(), and goes when this does. Null where others hold all slots
  // that it might have.
  virtual std::unique_ptr<ExpertHold> fetch(uint32_t, int32_t) { return nullptr; }
  // How many of a layer's experts can be fetched and held at a time, as long as nothing else is held.
  virtual int64_t n_fetchable(uint32_t) const { return 0; }
  // By what was read so far; 0: nothing was.
  virtual double read_bytes_per_second() const { return 0; }
  // Is it of use to guess what the layer's router will choose?
  virtual bool wants_guess(uint32_t layer) const = 0;
  // The guess, at most one for a layer and pass, before its begin(): expert_ids distinct, the likeliest first. May be wrong. What an
  // open request needs goes first.
  virtual void guess(uint32_t layer, std::span<const int32_t> expert_ids) = 0;

  // For a tier above the store, in the memory of a device. What is there needs no copy here: its slot is the first that goes to others.
  virtual void may_drop(uint32_t, int32_t) {}
  virtual void needed_again(uint32_t, int32_t) {}
  // The device multiplied so many rows by it, in this pass.
  virtual void used_elsewhere(uint32_t, int32_t, int64_t) {}
  // Is the expert in memory, or on its way there?
  virtual bool has(uint32_t, int32_t) const { return true; }
  // May the expert of a layer be held over passes, and another one be brought back meanwhile? Requests need slots as well.
  virtual bool can_spare_slots(uint32_t) const { return true; }
  // A slot for an expert that may be dropped, will be needed again, and has no copy here. `wait` is called when somebody asks for the expert
  // meanwhile: it returns when the copy has ended, and says whether all of it came. Null where no slot is to be had, or all are worth more.
  virtual std::unique_ptr<ExpertReturn> bring_back(uint32_t, int32_t, std::function<bool()>) { return nullptr; }
  // Does every expert that may not be dropped have a slot, or is on its way back to one? Then the disk is not needed, and no slot of such
  // an expert goes to another.
  virtual bool is_complete() const { return false; }
  // The experts of which hold() would tell something else than before, since the last call: each once.
  virtual std::vector<LayerExpert> take_moved() { return {}; }

  virtual StoreStatistics statistics() const = 0;
};

// Holds a part for a scope.
class PartLease {
 public:
  PartLease(WeightStore& store, size_t part) : store_(store), part_(part) { store_.acquire(part_); }
  ~PartLease() { store_.release(part_); }
  PartLease(const PartLease&) = delete;
  PartLease& operator=(const PartLease&) = delete;

 private:
  WeightStore& store_;
  size_t part_;
};

// Every weight is in memory or in a mapped file, whose pages the system brings. The weights must outlive the store.
std::unique_ptr<WeightStore> make_mapped_store(const ModelWeights& weights);

}  // namespace sluice::engine
