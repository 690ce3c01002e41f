#include "engine/device/cuda/graphs.h"

#include <algorithm>

#include "kernels/cuda/start.h"

namespace sluice::engine::cuda {

// A context's steps (pages that attention has room for) and a few batch sizes.
static constexpr size_t kMostGraphs = 16;
// Below it a graph saves nothing.
static constexpr size_t kFewestLaunches = 4;

Graphs::~Graphs() {
  for (const Entry& entry : entries_)
    if (entry.graph != nullptr) cudaGraphExecDestroy(entry.graph);
}

// Launched one by one, a list that waits for the host could fill the driver's queue, where the host would then wait for room.
static bool waits_for_host(const kernels::cuda::Launches& launches) {
  using kernels::cuda::Launch;
  return std::ranges::any_of(launches, [](const Launch& launch) { return launch.kind != Launch::Kind::Kernel; });
}

void Graphs::start_each(const kernels::cuda::Launches& launches, cudaStream_t stream) {
  for (const kernels::cuda::Launch& launch : launches) check(kernels::cuda::start(launch, stream), launch.name);
}

// Makes a graph of the entry, or notes that none can be had: for want of memory, say.
void Graphs::capture(Entry& entry, cudaStream_t stream) {
  entry.is_refused = true;
  if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
    cudaGetLastError();
    return;
  }
  cudaError_t status = cudaSuccess;
  for (const kernels::cuda::Launch& launch : entry.launches)
    if (status == cudaSuccess) status = kernels::cuda::start(launch, stream);
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  if (status == cudaSuccess) status = ended;
  if (status == cudaSuccess) status = cudaGraphInstantiate(&entry.graph, graph, 0);
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (status != cudaSuccess) {
    cudaGetLastError();
    entry.graph = nullptr;
    return;
  }
  entry.is_refused = false;
  ++counts_.graphs_made;
}

void Graphs::start(const kernels::cuda::Launches& launches, cudaStream_t stream, bool comes_again) {
  if (launches.empty()) return;
  if (!enabled_ || launches.size() < kFewestLaunches || (!comes_again && !waits_for_host(launches))) {
    counts_.single_launches += launches.size();
    return start_each(launches, stream);
  }
  auto found = std::ranges::find_if(entries_, [&](const Entry& entry) { return entry.launches == launches; });
  if (found == entries_.end()) {
    if (entries_.size() == kMostGraphs) {
      if (entries_.back().graph != nullptr) cudaGraphExecDestroy(entries_.back().graph);
      entries_.pop_back();
    }
    entries_.push_front({launches, nullptr, false});
    if (!waits_for_host(launches)) {
      counts_.single_launches += launches.size();
      return start_each(launches, stream);
    }
    found = entries_.begin();
  }
  entries_.splice(entries_.begin(), entries_, found);
  Entry& entry = entries_.front();
  if (entry.graph == nullptr && !entry.is_refused) capture(entry, stream);
  if (entry.graph == nullptr) {
    counts_.single_launches += launches.size();
    return start_each(launches, stream);
  }
  check(cudaGraphLaunch(entry.graph, stream), "launching the graph of a pass");
  ++counts_.graph_launches;
}

}  // namespace sluice::engine::cuda
