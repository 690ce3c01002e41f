// The CPU as a device: a thread pool and the kernels of kernels/cpu.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/device/device.h"

namespace sluice::engine {

// n_threads at least 1; with pin_threads all but the calling one are bound to a core each. With eight_bit_activations quantised matrices read their inputs in the 8-bit forms of the
// numeric contract, else in float32. Throws Error(Device) when the system has no more threads.
std::unique_ptr<Device> make_cpu_device(uint32_t n_threads, bool pin_threads, bool eight_bit_activations);

}  // namespace sluice::engine
