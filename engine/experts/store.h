// Where the routed experts are, and how they come to where they are needed.
//
// A layer asks in two halves: begin() as soon as its router has chosen, finish() when it must multiply. What lies
// between (the shared expert) hides the time that bringing them takes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/device/linear.h"

namespace sluice::engine {

struct ExpertHandles {
  Linear gate, up, down;
};

// The experts that one layer chose for one batch.
class ExpertRequest {
 public:
  // Lets go of the experts: their memory may be used for others from then on.
  virtual ~ExpertRequest() = default;
  // Waits until all are there. Handles in the order of begin()'s ids, valid while the request lives. Throws Error when
  // an expert could not be read.
  virtual std::span<const ExpertHandles> finish() = 0;
};

// begin() and prefetch() are called from the evaluating thread, one layer at a time. A request must not outlive its
// store.
class ExpertStore {
 public:
  virtual ~ExpertStore() = default;
  // expert_ids: distinct, ascending, all below the layer's expert count.
  virtual std::unique_ptr<ExpertRequest> begin(uint32_t layer, std::span<const int32_t> expert_ids) = 0;
  // A guess at what the layer will choose; may be wrong, may be ignored.
  virtual void prefetch(uint32_t layer, std::span<const int32_t> expert_ids) = 0;
};

// The stacks of one layer's experts as the file holds them.
struct ExpertStacks {
  LinearStack gate, up, down;
};

// Every expert is in mapped memory; the system's page cache does the rest. layers[i] is empty for layers without
// experts.
std::unique_ptr<ExpertStore> make_mapped_store(std::vector<ExpertStacks> layers);

}  // namespace sluice::engine
