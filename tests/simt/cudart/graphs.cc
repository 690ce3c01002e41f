// Graphs: what was captured, made ready to be launched again and again.
#include <algorithm>

#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"

namespace sluice::simt {
namespace {

std::shared_ptr<Graph> find_graph(Machine& m, cudaGraph_t graph) {
  const auto found = m.graphs.find(reinterpret_cast<uintptr_t>(graph));
  if (found != m.graphs.end()) return found->second;
  report_finding("misuse of the runtime: a graph that was destroyed, or never was");
  return nullptr;
}

std::shared_ptr<InstantiatedGraph> find_instantiated(Machine& m, cudaGraphExec_t graph) {
  const auto found = m.instantiated.find(reinterpret_cast<uintptr_t>(graph));
  if (found != m.instantiated.end()) return found->second;
  report_finding("misuse of the runtime: an instantiated graph that was destroyed, or never was");
  return nullptr;
}

void take_lanes(Machine& m, InstantiatedGraph& instantiated, int n_lanes) {
  while (static_cast<int>(instantiated.lanes.size()) < n_lanes) {
    instantiated.lanes.push_back(take_lane(m, instantiated.device, 0));
  }
}

cudaError_t instantiate(Call& call, cudaGraphExec_t* instantiated, cudaGraph_t handle) {
  Machine& m = call.m();
  if (instantiated == nullptr) return call.done(cudaErrorInvalidValue);
  const std::shared_ptr<Graph> graph = find_graph(m, handle);
  if (!graph) return call.done(cudaErrorInvalidValue);
  if (const cudaError_t error = next_fault(m, FaultPoint::GraphInstantiate)) return call.done(error);
  auto made = std::make_shared<InstantiatedGraph>();
  made->device = current_device();
  for (const auto& node : graph->nodes) made->nodes.push_back(*node);
  take_lanes(m, *made, graph->n_lanes);
  const uintptr_t made_handle = new_handle(m);
  m.instantiated[made_handle] = std::move(made);
  *instantiated = reinterpret_cast<cudaGraphExec_t>(made_handle);
  return cudaSuccess;
}

struct Difference {
  cudaGraphExecUpdateResult result = cudaGraphExecUpdateSuccess;
  GraphNode* node = nullptr;
};

// What an update cannot change.
Difference compare(const InstantiatedGraph& instantiated, const Graph& graph) {
  if (instantiated.nodes.size() != graph.nodes.size()) return {cudaGraphExecUpdateErrorTopologyChanged, nullptr};
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const GraphNode& before = instantiated.nodes[i];
    GraphNode& after = *graph.nodes[i];
    if (before.dependencies != after.dependencies) return {cudaGraphExecUpdateErrorTopologyChanged, &after};
    if (before.work.kind != after.work.kind) return {cudaGraphExecUpdateErrorNodeTypeChanged, &after};
    const bool is_same_place = before.work.copy_kind == after.work.copy_kind && before.work.device == after.work.device;
    if (!is_same_place) return {cudaGraphExecUpdateErrorParametersChanged, &after};
  }
  return {};
}

void add_nodes(Machine& m, const StreamPointer& stream, InstantiatedGraph& instantiated) {
  Work begin;
  begin.name = "begin of a graph";
  begin.device = stream->device;
  std::vector<OperationPointer> before = legacy_dependencies(m, stream);
  before.push_back(instantiated.last_launch);  // a graph does not run beside itself
  const OperationPointer first =
      add_operation(m, stream->lane, m.now + m.options.launch_latency_seconds, std::move(begin), std::move(before));

  std::vector<OperationPointer> operations;
  std::vector<bool> is_followed(instantiated.nodes.size());
  for (const GraphNode& node : instantiated.nodes) {
    std::vector<OperationPointer> dependencies;
    for (const int dependency : node.dependencies) {
      dependencies.push_back(operations[static_cast<size_t>(dependency)]);
      is_followed[static_cast<size_t>(dependency)] = true;
    }
    if (dependencies.empty()) dependencies.push_back(first);
    const int lane = instantiated.lanes[static_cast<size_t>(node.lane)];
    operations.push_back(add_operation(m, lane, m.now, node.work, std::move(dependencies)));
  }
  std::vector<OperationPointer> last;
  for (size_t i = 0; i < operations.size(); ++i) {
    if (!is_followed[i]) last.push_back(operations[i]);
  }
  Work end;
  end.name = "end of a graph";
  end.device = stream->device;
  instantiated.last_launch = add_operation(m, stream->lane, m.now, std::move(end), std::move(last));
}

}  // namespace
}  // namespace sluice::simt

using namespace sluice::simt;

extern "C" {

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* instantiated, cudaGraph_t graph, unsigned long long) {
  Call call("cudaGraphInstantiate");
  if (const cudaError_t error = call.refusal()) return error;
  return instantiate(call, instantiated, graph);
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* instantiated, cudaGraph_t graph, unsigned long long) {
  Call call("cudaGraphInstantiateWithFlags");
  if (const cudaError_t error = call.refusal()) return error;
  return instantiate(call, instantiated, graph);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t handle, cudaStream_t stream_handle) {
  Call call("cudaGraphUpload");
  if (const cudaError_t error = call.refusal()) return error;
  if (!find_instantiated(call.m(), handle)) return call.done(cudaErrorInvalidValue);
  const StreamPointer stream = find_stream(call.m(), stream_handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  return call.done(refuse_in_capture(call.m()));
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream_handle) {
  Call call("cudaGraphLaunch");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const std::shared_ptr<InstantiatedGraph> instantiated = find_instantiated(m, handle);
  if (!instantiated) return call.done(cudaErrorInvalidValue);
  const StreamPointer stream = find_stream(m, stream_handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (stream->capture) {
    invalidate(stream->capture);
    return call.misuse(cudaErrorNotSupported, "the emulation has no graphs within graphs");
  }
  m.now +=
      m.options.graph_launch_seconds + m.options.graph_node_seconds * static_cast<double>(instantiated->nodes.size());
  add_nodes(m, stream, *instantiated);
  let_effects_happen(m, call.lock());
  return call.done(m.devices[static_cast<size_t>(stream->device)].died_of);
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t handle, cudaGraph_t graph_handle, cudaGraphExecUpdateResultInfo* info) {
  Call call("cudaGraphExecUpdate");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const std::shared_ptr<InstantiatedGraph> instantiated = find_instantiated(m, handle);
  const std::shared_ptr<Graph> graph = find_graph(m, graph_handle);
  if (!instantiated || !graph) return call.done(cudaErrorInvalidValue);
  const Difference difference = compare(*instantiated, *graph);
  if (info != nullptr) {
    info->result = difference.result;
    info->errorNode = reinterpret_cast<cudaGraphNode_t>(difference.node);
    info->errorFromNode = nullptr;
  }
  if (difference.result != cudaGraphExecUpdateSuccess) return call.done(cudaErrorGraphExecUpdateFailure);
  take_lanes(m, *instantiated, graph->n_lanes);
  for (size_t i = 0; i < graph->nodes.size(); ++i) instantiated->nodes[i] = *graph->nodes[i];
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t handle) {
  Call call("cudaGraphExecDestroy", {.works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  const std::shared_ptr<InstantiatedGraph> instantiated = find_instantiated(call.m(), handle);
  if (!instantiated) return call.done(cudaErrorInvalidValue);
  for (const int lane : instantiated->lanes) give_lane_back(call.m(), lane);
  call.m().instantiated.erase(reinterpret_cast<uintptr_t>(handle));
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t handle) {
  Call call("cudaGraphDestroy", {.works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  if (!find_graph(call.m(), handle)) return call.done(cudaErrorInvalidValue);
  call.m().graphs.erase(reinterpret_cast<uintptr_t>(handle));
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t handle, cudaGraphNode_t* nodes, size_t* n_nodes) {
  Call call("cudaGraphGetNodes");
  if (const cudaError_t error = call.refusal()) return error;
  const std::shared_ptr<Graph> graph = find_graph(call.m(), handle);
  if (!graph || n_nodes == nullptr) return call.done(cudaErrorInvalidValue);
  if (nodes != nullptr) {
    for (size_t i = 0; i < *n_nodes; ++i) {
      nodes[i] = i < graph->nodes.size() ? reinterpret_cast<cudaGraphNode_t>(graph->nodes[i].get()) : nullptr;
    }
    *n_nodes = std::min(*n_nodes, graph->nodes.size());
  } else {
    *n_nodes = graph->nodes.size();
  }
  return cudaSuccess;
}

}  // extern "C"
