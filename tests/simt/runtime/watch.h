// What is looked at before an access: whether a device would survive it, what it means for other threads, and how it is counted.
#pragma once

#include <cstdint>

#include "tests/simt/runtime/block.h"

namespace sluice::simt {

// At the beginning of a launch: which modules' variables may be touched.
void begin_watching_launch();

// An access that an instruction did not make itself: a row of ldmatrix, the arrival of an asynchronous copy.
void check_access(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site);

// Where an address lies: "tile+20 (shared)", "byte 400 of an allocation of 396 bytes".
std::string describe_address(uint64_t address);

// From a signal handler's point of view: an access that met nothing.
void report_fault_of_memory(uint64_t address);

}  // namespace sluice::simt
