// What this machine can do, measured: the numbers of a plan.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/device/device.h"
#include "engine/placement/disk.h"
#include "engine/placement/machine.h"

namespace sluice::engine {

// All formats that have kernels of their own, as a machine's file lists them.
std::vector<gguf::TensorType> measured_types();

// Of this machine's cores and memory, in about a second with all types. RAM is what a process may use of it now. The disk's numbers
// are left as they are, and no GPU is listed: none is measured.
Machine measure_cpu(uint32_t n_threads, std::span<const gguf::TensorType> types);
// The same of what the device has measured by now or measures for it.
Machine measure_cpu(Device& device, uint32_t n_threads, std::span<const gguf::TensorType> types);

// How fast a disk is, by some test: measure_reads() or measure_reads_in_folder() (engine/placement/disk.h).
using DiskTest = std::function<ReadRate(const ReadTest& test)>;
// How the disk serves while all threads multiply, and how they do meanwhile: the machine's two numbers. Takes a second. Throws as the
// test does.
void measure_disk(Machine& machine, const DiskTest& disk_test);

}  // namespace sluice::engine
