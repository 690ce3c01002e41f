// What every call has in common, and faults.
#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"

namespace sluice::simt {

int& current_device() {
  thread_local int device = 0;
  return device;
}
cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}
bool& is_in_host_function() {
  thread_local bool is_in = false;
  return is_in;
}
double& host_function_work() {
  thread_local double seconds = 0;
  return seconds;
}

std::vector<MemoryRange>& effect_ranges() {
  thread_local std::vector<MemoryRange> ranges;
  return ranges;
}

Call::Call(const char* name, CallRules rules) : name_(name), lock_(machine().mutex) {
  Machine& machine = m();
  ++machine.n_calls;
  if (rules.takes_time) machine.now += machine.options.call_seconds;
  if (current_device() >= static_cast<int>(machine.devices.size())) current_device() = 0;
  if (is_in_host_function()) {
    report_finding(std::string("misuse of the runtime: ") + name +
                   " called in a function that cudaLaunchHostFunc runs");
    refusal_ = cudaErrorNotPermitted;
  } else if (rules.needs_driver && machine.options.driver == Driver::NoDevice) {
    refusal_ = cudaErrorNoDevice;
  } else if (rules.needs_driver && machine.options.driver != Driver::Present) {
    refusal_ = cudaErrorInsufficientDriver;
  } else if (!rules.works_on_dead_device) {
    refusal_ = machine.devices[static_cast<size_t>(current_device())].died_of;
  }
  if (refusal_ != cudaSuccess) last_error() = refusal_;
}

cudaError_t Call::done(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error() = error;
  return error;
}

cudaError_t Call::misuse(cudaError_t error, const std::string& sentence) {
  report_finding("misuse of the runtime: " + std::string(name_) + ": " + sentence);
  return done(error);
}

void inject_fault(const Fault& fault) {
  Machine& m = machine();
  const Lock lock(m.mutex);
  m.faults.push_back({fault, 0});
}

cudaError_t next_fault(Machine& machine, FaultPoint point) {
  cudaError_t error = cudaSuccess;
  for (PendingFault& pending : machine.faults) {
    if (pending.fault.point != point) continue;
    ++pending.n_seen;
    if (pending.n_seen >= pending.fault.nth && pending.n_seen - pending.fault.nth < pending.fault.n_times) {
      error = static_cast<cudaError_t>(pending.fault.error);
    }
  }
  return error;
}

}  // namespace sluice::simt
