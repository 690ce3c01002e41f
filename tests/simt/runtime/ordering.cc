#include "tests/simt/runtime/ordering.h"
#include "tests/simt/runtime/device.h"
#include "tests/simt/runtime/races.h"
namespace sluice::simt {
void begin_ordering_of_launch() {}
void begin_ordering_of_block() {}
void order_barrier(const Barrier&) {}
void order_warp(const Warp&, uint32_t) {}
void fence() {}
void observe(uint64_t, bool) {}
void publish(uint64_t, bool) {}
void meet(uint64_t, bool) {}
void order_shared_access(uint64_t, uint32_t, SiteKind, uint32_t) {}
void order_global_access(uint64_t, uint32_t, SiteKind, uint32_t) {}
}  // namespace sluice::simt
