#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>

#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"

namespace sluice::simt {
namespace {

using RealTime = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

bool is_done(const OperationPointer& operation) {
  return operation->effect == Operation::Effect::Done;
}

void drop_done(Lane& lane) {
  while (!lane.pending.empty() && is_done(lane.pending.front())) lane.pending.pop_front();
}

// What a stream is like under Effects::Seeded.
enum class Temper : uint8_t { Starved, Greedy, Fickle };
Temper temper_of(const Machine& machine, size_t lane) {
  if (!machine.options.tempers) return Temper::Fickle;
  const uint64_t mixed = machine.options.seed * 0x9E3779B97F4A7C15u + lane * 0xD1B54A32D192ED03u;
  return static_cast<Temper>((mixed ^ (mixed >> 29)) % 0xFFFFFFFBu % 3);
}

// A host function that may wait for the host is not run by a thread that the host may be.
bool runs_apart(const Machine& machine, const Operation& operation) {
  return machine.options.host_functions_may_wait && operation.work.kind == WorkKind::HostFunction;
}

void finish(Machine& machine, const OperationPointer& operation, cudaError_t error) {
  if (error != cudaSuccess) {
    Device& device = machine.devices[static_cast<size_t>(operation->work.device)];
    if (device.died_of == cudaSuccess) device.died_of = error;
  }
  operation->effect = Operation::Effect::Done;
  ++machine.n_effects;
  if (operation->work.kind == WorkKind::WriteValue) machine.value_writers[operation->work.word] = operation;
  if (!operation->work.ranges.empty()) {
    check_access(machine, {operation->work.name, operation->lane, operation->sequence, operation->clock,
                           operation->work.ranges});
  }
  operation->work.effect = nullptr;  // with what it holds
  if (operation->work.is_watched) machine.watched.push_back(operation);
  if (operation->is_timed) operation->dependencies.clear();
  drop_done(machine.lanes[static_cast<size_t>(operation->lane)]);
}

// The word is there: by whom it was written says when, and what happened before.
void note_fulfilment(Machine& machine, Operation& operation) {
  const auto writer = machine.value_writers.find(operation.work.word);
  if (writer != machine.value_writers.end() &&
      *static_cast<const volatile uint32_t*>(operation.work.word) == writer->second->work.value) {
    operation.dependencies.push_back(writer->second);
  } else {
    operation.fulfilled = machine.now;
    join(operation.clock, machine.host_clock);
  }
}

void run_effect(Machine& machine, Lock& lock, const OperationPointer& operation) {
  for (const OperationPointer& dependency : operation->dependencies) join(operation->clock, dependency->clock);
  const auto lane = static_cast<size_t>(operation->lane);
  if (operation->clock.size() <= lane) operation->clock.resize(lane + 1);
  operation->clock[lane] = operation->sequence;

  const bool is_dead = machine.devices[static_cast<size_t>(operation->work.device)].died_of != cudaSuccess;
  cudaError_t error = cudaSuccess;
  if (operation->work.effect && !is_dead) {
    operation->effect = Operation::Effect::Running;
    lock.unlock();
    const bool is_host_function = operation->work.kind == WorkKind::HostFunction;
    is_in_host_function() = is_host_function;
    if (is_host_function) host_function_work() = 0;
    effect_ranges().clear();
    try {
      if (operation->work.seconds_when_run) operation->work.seconds = operation->work.seconds_when_run();
      error = operation->work.effect();
    } catch (...) {  // whoever asked is told; nobody may wait for it any more
      is_in_host_function() = false;
      lock.lock();
      finish(machine, operation, cudaErrorLaunchFailure);
      machine.changed.notify_all();
      throw;
    }
    is_in_host_function() = false;
    lock.lock();
    std::vector<MemoryRange>& ranges = operation->work.ranges;
    ranges.insert(ranges.end(), effect_ranges().begin(), effect_ranges().end());
    if (is_host_function) operation->host_function_work = host_function_work();
    if (runs_apart(machine, *operation)) {
      operation->fulfilled = machine.now;
      join(operation->clock, machine.host_clock);
    }
  }
  finish(machine, operation, error);
  machine.changed.notify_all();
}

bool run_what_can(Machine& machine, Lock& lock) {
  const uint64_t n_before = machine.n_effects;
  for (size_t i = 0; i < machine.lanes.size(); ++i) {
    for (;;) {
      drop_done(machine.lanes[i]);
      if (machine.lanes[i].pending.empty()) break;
      const OperationPointer operation = machine.lanes[i].pending.front();
      if (!try_effect(machine, lock, operation)) break;
    }
  }
  return machine.n_effects != n_before;
}

void give_up(Machine& machine) {
  report_finding("hang: a stream waits for a word in memory that nobody writes");
  for (Device& device : machine.devices) {
    if (device.died_of == cudaSuccess) device.died_of = cudaErrorLaunchTimeout;
  }
}

}  // namespace

bool try_effect(Machine& machine, Lock& lock, const OperationPointer& last) {
  std::vector<OperationPointer> chain{last};  // each needs the next
  while (!chain.empty()) {
    const OperationPointer operation = chain.back();
    if (is_done(operation)) {
      chain.pop_back();
      continue;
    }
    if (operation->effect == Operation::Effect::Running) {  // by another thread
      if (runs_apart(machine, *operation)) return false;
      machine.changed.wait(lock);
      continue;
    }
    const auto& needed = operation->dependencies;
    const auto open = std::find_if(needed.begin(), needed.end(), [](const auto& d) { return !is_done(d); });
    if (open != needed.end()) {
      chain.push_back(*open);
      continue;
    }
    if (operation->work.kind == WorkKind::WaitValue) {
      const bool is_dead = machine.devices[static_cast<size_t>(operation->work.device)].died_of != cudaSuccess;
      if (!is_dead && !operation->work.is_fulfilled()) return false;
      note_fulfilment(machine, *operation);
    }
    if (runs_apart(machine, *operation)) {
      operation->effect = Operation::Effect::Running;
      machine.host_functions.push_back(operation);
      machine.changed.notify_all();
      return false;
    }
    run_effect(machine, lock, operation);
    chain.pop_back();
  }
  return true;
}

void let_effects_happen(Machine& machine, Lock& lock) {
  switch (machine.options.effects) {
    case Effects::Lazy:
      return;
    case Effects::Eager:
      run_what_can(machine, lock);
      return;
    case Effects::Seeded:
      for (size_t i = 1; i < machine.lanes.size(); ++i) {
        drop_done(machine.lanes[i]);
        const auto& pending = machine.lanes[i].pending;
        if (pending.empty()) continue;
        const Temper temper = temper_of(machine, i);
        if (temper == Temper::Greedy) {
          try_effect(machine, lock, OperationPointer(pending.back()));
        } else if (temper == Temper::Fickle && machine.random() % 3 == 0) {
          try_effect(machine, lock, OperationPointer(pending[machine.random() % pending.size()]));
        }
      }
      return;
  }
}

void wait_for(Machine& machine, Lock& lock, const OperationPointer& operation) {
  if (!operation) return;
  auto last_progress = RealTime::now();
  while (!try_effect(machine, lock, operation)) {
    // What the word waits for may be work of another stream.
    if (run_what_can(machine, lock)) {
      last_progress = RealTime::now();
      continue;
    }
    machine.changed.wait_for(lock, std::chrono::microseconds(100));
    if (Seconds(RealTime::now() - last_progress).count() > machine.options.gives_up_after_seconds) give_up(machine);
  }
  pass_time(machine, lock, 0, operation.get());
  machine.now = std::max(machine.now, operation->end);
  join(machine.host_clock, operation->clock);
  forget_ordered_accesses(machine);
}

bool has_ended(Machine& machine, Lock& lock, const OperationPointer& operation) {
  if (!operation) return true;
  pass_time(machine, lock, machine.now, nullptr);
  if (!operation->is_timed || operation->end > machine.now) return false;
  wait_for(machine, lock, operation);
  return true;
}

void wait_for_watched_kernel(uint64_t nth) {
  Machine& m = machine();
  Lock lock(m.mutex);
  if (nth <= m.n_watched_before || nth > m.n_watched_before + m.watched.size())
    throw std::logic_error("run " + std::to_string(nth) + " of the watched kernel is waited for, which is not there");
  for (; m.n_watched_before + 1 < nth; ++m.n_watched_before) m.watched.pop_front();
  const OperationPointer operation = m.watched.front();
  pass_time(m, lock, 0, operation.get());
  m.now = std::max(m.now, operation->end);
}

void wait_for_device(Machine& machine, Lock& lock, int device) {
  // Lanes of streams that were destroyed and of graphs count too.
  for (size_t i = 1; i < machine.lanes.size(); ++i) {
    const OperationPointer last = machine.lanes[i].last;
    if (last && machine.lanes[i].device == device) wait_for(machine, lock, last);
  }
}

void run_pending_effects() {
  Machine& m = machine();
  Lock lock(m.mutex);
  run_what_can(m, lock);
}

void start_background(Machine& machine) {
  machine.ends_background = false;
  if (machine.options.host_functions_may_wait) {
    machine.host_function_thread = std::thread([&machine] {
      Lock lock(machine.mutex);
      while (!machine.ends_background) {
        if (machine.host_functions.empty()) {
          machine.changed.wait(lock);
          continue;
        }
        const OperationPointer operation = machine.host_functions.front();
        machine.host_functions.pop_front();
        run_effect(machine, lock, operation);
        let_effects_happen(machine, lock);
      }
    });
  }
  if (machine.options.goes_on_after_seconds <= 0) return;
  machine.background = std::thread([&machine] {
    Lock lock(machine.mutex);
    uint64_t n_calls = machine.n_calls;
    auto last_call = RealTime::now();
    const Seconds patience(machine.options.goes_on_after_seconds);
    while (!machine.ends_background) {
      machine.changed.wait_for(lock, patience / 4);
      if (machine.n_calls != n_calls) {
        n_calls = machine.n_calls;
        last_call = RealTime::now();
      } else if (!machine.ends_background && RealTime::now() - last_call > patience) {
        run_what_can(machine, lock);
      }
    }
  });
}

void stop_background(Machine& machine) {
  {
    const Lock lock(machine.mutex);
    machine.ends_background = true;
  }
  machine.changed.notify_all();
  if (machine.background.joinable()) machine.background.join();
  if (machine.host_function_thread.joinable()) machine.host_function_thread.join();
  machine.host_functions.clear();
}

}  // namespace sluice::simt
