// Marks on every byte of shared memory, and on every word or byte of global memory that a launch touched: who wrote and read it last,
// and when.
#pragma once

#include <cstdint>

#include "tests/simt/runtime/module.h"

namespace sluice::simt {

void order_shared_access(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site);
void order_global_access(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site);

// At the beginning of a launch: those of earlier ones mean nothing any more, but take memory.
void forget_marks_of_global_memory();

}  // namespace sluice::simt
