#include "tests/simt/cudart/machine.h"

namespace sluice::simt {

int take_lane(Machine& machine, int device, int priority) {
  // A lane of the past may be used again once the host knows that all its operations have happened; else its new operations would
  // look as if they followed the old ones.
  for (size_t i = 1; i < machine.lanes.size(); ++i) {
    Lane& lane = machine.lanes[i];
    if (lane.in_use || !lane.pending.empty() || !lane.untimed.empty()) continue;
    if (!is_ordered_before(static_cast<int>(i), lane.n_operations, machine.host_clock)) continue;
    lane.in_use = true;
    lane.device = device;
    lane.priority = priority;
    return static_cast<int>(i);
  }
  machine.lanes.emplace_back();
  machine.lanes.back().in_use = true;
  machine.lanes.back().device = device;
  machine.lanes.back().priority = priority;
  return static_cast<int>(machine.lanes.size()) - 1;
}

void give_lane_back(Machine& machine, int lane) {
  machine.lanes[static_cast<size_t>(lane)].in_use = false;
}

OperationPointer add_operation(Machine& machine, int lane_index, double ready, Work work,
                               std::vector<OperationPointer> dependencies) {
  Lane& lane = machine.lanes[static_cast<size_t>(lane_index)];
  auto operation = std::make_shared<Operation>();
  operation->work = std::move(work);
  operation->lane = lane_index;
  operation->sequence = ++lane.n_operations;
  operation->number = ++machine.n_started;
  operation->priority = lane.priority;
  operation->ready = ready;
  operation->dependencies = std::move(dependencies);
  std::erase(operation->dependencies, nullptr);
  if (lane.last) operation->dependencies.push_back(lane.last);
  operation->clock = machine.host_clock;  // what it depends on joins when it happens
  lane.last = operation;
  lane.untimed.push_back(operation);
  lane.pending.push_back(operation);
  return operation;
}

}  // namespace sluice::simt
