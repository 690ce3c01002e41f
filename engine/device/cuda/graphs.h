// Lists of launches, started: each by itself the first time, and as a CUDA graph once the same list has come again. One that waits for
// the host is a graph at once.
#pragma once

#include <cstddef>
#include <list>

#include "engine/device/cuda/runtime.h"
#include "kernels/cuda/launch.h"

namespace sluice::engine::cuda {

class Graphs {
 public:
  explicit Graphs(bool enabled) : enabled_(enabled) {}
  ~Graphs();
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  // comes_again: else it is forgotten, and takes no graph's place.
  void start(const kernels::cuda::Launches& launches, cudaStream_t stream, bool comes_again = true);

  struct Counts {
    uint64_t single_launches = 0, graph_launches = 0, graphs_made = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Entry {
    kernels::cuda::Launches launches;
    cudaGraphExec_t graph = nullptr;
    bool is_refused = false;  // the runtime did not make a graph of it
  };
  void start_each(const kernels::cuda::Launches& launches, cudaStream_t stream);
  void capture(Entry& entry, cudaStream_t stream);

  bool enabled_;
  std::list<Entry> entries_;  // the one used last first
  Counts counts_;
};

}  // namespace sluice::engine::cuda
