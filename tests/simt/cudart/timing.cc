#include <algorithm>
#include <limits>

#include "tests/simt/cudart/machine.h"

namespace sluice::simt {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

struct Candidate {
  OperationPointer operation;
  double start = kNever;
};

// When the first operation of a lane could start, if all that it follows has an end.
double earliest_start(const Machine& machine, const Operation& operation) {
  double start = operation.ready;
  for (const OperationPointer& dependency : operation.dependencies) {
    if (!dependency->is_timed) return kNever;
    start = std::max(start, dependency->end);
  }
  start = std::max(start, operation.fulfilled);
  if (operation.work.engine != Engine::None) {
    const Device& device = machine.devices[static_cast<size_t>(operation.work.device)];
    start = std::max(start, device.engine_free[static_cast<size_t>(operation.work.engine)]);
  }
  return start;
}

bool goes_before(const Candidate& a, const Candidate& b) {
  if (a.start != b.start) return a.start < b.start;
  if (a.operation->priority != b.operation->priority) return a.operation->priority < b.operation->priority;
  return a.operation->number < b.operation->number;
}

// What an operation's end depends on beside its engine must have happened: the word is there, the host function has run, the kernel has
// what it reads.
bool must_happen_first(const Operation& operation) {
  const bool is_open = operation.work.kind == WorkKind::WaitValue || operation.work.kind == WorkKind::HostFunction ||
                       operation.work.seconds_when_run;
  return is_open && operation.effect != Operation::Effect::Done;
}

void give_times(Machine& machine, const OperationPointer& operation, double start) {
  const Work& work = operation->work;
  operation->start = start;
  operation->end = start + work.seconds + operation->host_function_work;
  if (work.link_seconds > 0) {
    machine.link_free = std::max(machine.link_free, start) + work.link_seconds;
    operation->end = std::max(operation->end, machine.link_free);
  }
  if (work.engine != Engine::None) {
    machine.devices[static_cast<size_t>(work.device)].engine_free[static_cast<size_t>(work.engine)] = operation->end;
  }
  operation->is_timed = true;
  if (work.engine != Engine::None || work.kind == WorkKind::HostFunction) {
    machine.trace.push_back({work.name, work.engine, work.device, work.bytes, operation->start, operation->end});
  }
  if (operation->effect == Operation::Effect::Done) operation->dependencies.clear();
  machine.lanes[static_cast<size_t>(operation->lane)].untimed.pop_front();
}

}  // namespace

bool pass_time(Machine& machine, Lock& lock, double until, const Operation* target) {
  std::vector<const Operation*> blocked;  // wait for a word that is not there
  for (;;) {
    if (target != nullptr && target->is_timed) return true;
    Candidate first;
    for (const Lane& lane : machine.lanes) {
      if (lane.untimed.empty()) continue;
      const OperationPointer& operation = lane.untimed.front();
      if (std::find(blocked.begin(), blocked.end(), operation.get()) != blocked.end()) continue;
      const Candidate candidate{operation, earliest_start(machine, *operation)};
      if (candidate.start == kNever) continue;
      if (!first.operation || goes_before(candidate, first)) first = candidate;
    }
    if (!first.operation || (target == nullptr && first.start > until)) return false;
    if (must_happen_first(*first.operation)) {
      // Lets the lock go, so all must be looked at again.
      if (!try_effect(machine, lock, first.operation)) blocked.push_back(first.operation.get());
      continue;
    }
    give_times(machine, first.operation, first.start);
  }
}

}  // namespace sluice::simt
