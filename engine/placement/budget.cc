#include "engine/placement/budget.h"

#include <algorithm>

namespace sluice::engine {

// For stacks of threads and tables of the allocator. A given budget is to be kept within some percent; of the free memory of a
// machine others need their share.
static constexpr uint64_t kLeastMargin = uint64_t{8} << 20;
static constexpr uint64_t kGivenMargin = 128;  // one part in
static constexpr uint64_t kFreeMargin = 20;

MemoryBudget memory_budget(uint64_t given_bytes, uint64_t free_bytes, uint64_t program_bytes,
                           const SessionMemory& session) {
  MemoryBudget budget;
  budget.ram_bytes = given_bytes > 0 ? given_bytes : free_bytes + program_bytes;
  budget.margin_bytes = std::max(kLeastMargin, budget.ram_bytes / (given_bytes > 0 ? kGivenMargin : kFreeMargin));
  budget.program_bytes = program_bytes;
  budget.session_bytes = session.bytes();
  budget.prompt_bytes = session.pass_bytes - session.small_pass_bytes;
  budget.weight_bytes = budget.ram_bytes - std::min(budget.ram_bytes, budget.other_bytes());
  return budget;
}

bool wants_disk(const StoreOptions& options, const MemoryBudget& budget, uint64_t weight_bytes) {
  if (options.storage != Storage::Automatic) return options.storage == Storage::Disk;
  return options.store_bytes > 0 || weight_bytes > budget.weight_bytes;
}

bool wants_pinned_experts(const StoreOptions& options) {
  return options.storage != Storage::Mapped;
}

}  // namespace sluice::engine
