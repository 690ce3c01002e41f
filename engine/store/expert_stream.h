// Experts that pass through a device's memory on their way through a prompt: those that it does not hold come layer by layer, each once a
// pass, into a ring of two halves. While the device multiplies by the experts in one half, the other is filled, on a stream of its own:
//
//   copies    | group 0 | group 1 | . | group 2 | group 3 |       a group: experts of one layer, as many as a half holds
//   computes        . . | by 0    | by 1 |  attention | by 2 ...
//
// Group n + 2 is copied behind the products of group n, which read the same half; products of a group begin behind its copy. Nobody waits in
// the host, and the copies do not wait for routers: in a pass of many rows nearly every expert is chosen.
//
// Experts that are on the disk pass through a few of the store's slots first. They are the last groups of their layer, and are read ahead in
// the same order; the host waits for such a group when it is asked for, and the next ones are read meanwhile:
//
//   disk      | group 0 | group 1 | group 2 | ...
//   copies              | 0 |     | 1 |     | 2 |
//   computes                | by 0 |  | by 1 |
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/device/device.h"
#include "engine/store/store.h"

namespace sluice::engine {

class ExpertStream {
 public:
  // What is referred to must outlive this.
  ExpertStream(Device& device, WeightStore& store, int64_t n_experts_a_layer);
  ~ExpertStream();
  ExpertStream(const ExpertStream&) = delete;
  ExpertStream& operator=(const ExpertStream&) = delete;

  // Takes the device's own memory for the ring, each half of so many bytes, unless there is one. False where it has no such room.
  bool make_ring(uint64_t half_bytes);
  uint64_t ring_bytes() const { return 2 * half_bytes_; }
  // Gives the memory of the ring back, until it is made again. Nothing that was asked for may read it any more.
  void free_ring();
  // Of a half, that an expert takes.
  static uint64_t bytes_in_ring(const ExpertHandles& expert);

  struct Expert {
    uint32_t layer = 0;
    int32_t id = 0;
    ExpertHandles like;                // matrices of the same sizes
    std::unique_ptr<ExpertHold> hold;  // in pinned memory; null: it is fetched from the store
  };
  // Begins to bring a pass's experts, in the order of its layers; each must fit in a half. Ends the pass before.
  void begin(Stream& stream, std::vector<Expert> experts);
  // The layer's experts, for a pass on the stream that was given to begin(). Layers are asked for in order, each to the end. Valid until the
  // next call.
  ExpertParts& parts(uint32_t layer);
  // When the host's memory has been read: lets go of it. Also after a pass that was given up.
  void end();

  uint64_t n_copied() const { return n_copied_; }
  uint64_t copied_bytes() const { return copied_bytes_; }

 private:
  struct Group {
    uint32_t layer = 0;
    bool is_fetched = false;    // all of them, or none
    size_t begin = 0, end = 0;  // of experts_
  };
  class Parts : public ExpertParts {
   public:
    explicit Parts(ExpertStream& of) : of_(of) {}
    std::span<const ExpertPlace> next() override { return of_.next(); }

   private:
    ExpertStream& of_;
  };

  void fetch_ahead();
  void let_go_of_fetched();  // once copies have read them
  void copy(size_t group);
  std::span<const ExpertPlace> next();

  Device& device_;
  WeightStore& store_;
  std::unique_ptr<Stream> copies_;
  Parts parts_{*this};
  uint64_t half_bytes_ = 0;
  std::array<std::unique_ptr<Buffer>, 2> halves_;
  std::array<std::unique_ptr<Moment>, 2> copied_;  // what is in each half

  Stream* stream_ = nullptr;  // of the pass
  std::vector<Expert> experts_;
  std::vector<ExpertPlace> ring_places_;  // of experts_, in the ring
  std::vector<Group> groups_;
  size_t next_group_ = 0;            // to be handed out
  size_t next_copy_ = 0;             // group to be copied
  size_t next_fetch_ = 0;            // of experts_: those before are held, or were
  std::vector<size_t> copies_read_;  // of experts_: fetched ones, which copies may still read
  uint32_t layer_ = 0;
  bool is_handed_out_ = false;       // the group before next_group_ may be read by what the stream is asked for
  std::vector<ExpertPlace> places_;  // of one layer
  uint64_t n_copied_ = 0, copied_bytes_ = 0;
};

}  // namespace sluice::engine
