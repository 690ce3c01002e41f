// The block that runs: its threads as fibers, its warps, its barriers. One at a time in a process (run_grid holds a lock), so this
// is one object, and nothing of it is thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/simt/runtime/device.h"
#include "tests/simt/runtime/fibers.h"

namespace sluice::simt {

inline constexpr uint32_t kNoSite = 0xffffffffu;

enum class ThreadState : uint8_t { New, Ready, AtCollective, AtBarrier, Done };

struct PendingCopy {
  uint64_t to, from;
  uint32_t bytes, source_bytes;
  uint32_t group;
  uint32_t to_site;
  bool is_there;  // the data was written when the copy was issued
};

enum class CollectiveKind : uint8_t { Shuffle, Vote, Match, Reduce, SynchronizeWarp, LoadMatrix, MultiplyMatrices };

struct Thread : ThreadIndex {
  Stack* stack = nullptr;
  ThreadState state = ThreadState::New;
  uint32_t site = kNoSite;  // where it waits
  // Of a collective operation that it waits in.
  CollectiveKind kind{};
  uint32_t mask = 0;
  void* request = nullptr;
  // Of a barrier.
  uint8_t barrier = 0;
  BarrierCount barrier_result{};
  std::vector<PendingCopy> copies;
  uint32_t copy_group = 0;
  uint32_t n_strong_in_a_row = 0;
};

struct Warp {
  Thread* threads = nullptr;
  uint32_t index = 0;
  uint32_t exist = 0;  // lanes
  uint32_t ready = 0;
  uint32_t waiting = 0;  // in a collective
  uint32_t exited = 0;
};

struct Barrier {
  uint32_t n_arrived = 0;
  uint32_t count = 0;  // of threads; 0: all
  uint32_t n_true = 0;
  uint32_t site = kNoSite;        // of the first who came
  uint32_t first = 0;             // thread
  std::vector<uint32_t> arrived;  // linear indices, also of those that do not wait
};

struct Block {
  const Kernel* kernel = nullptr;
  const std::byte* parameters = nullptr;
  int device = 0;
  uint32_t dynamic_bytes = 0;
  uint32_t n_threads = 0;
  uint32_t linear = 0;  // of the block in its grid
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  Barrier barriers[16];
  uint32_t n_live = 0;
  uint32_t ready_warps = 0;
  uint32_t current_warp = 0;
  uint64_t random = 1;
  void* main_context = nullptr;
  bool is_aborted = false;
};
extern Block block;

Thread* this_thread();
uint32_t next_random();

// Stops this thread until another makes it ready; the caller has set its state.
void wait_here();
void make_ready(Warp& warp, uint32_t lanes);
// Called by whoever completed what others waited for: makes them ready and, in random order, lets one of them go first.
void go_on_with(Warp& warp, uint32_t others);
// Another thread may run now.
void give_turn();

// Runs all threads of a block. False: aborted, with a finding.
bool run_block(Extent index, uint32_t linear);
// Ends the grid; the finding has been reported.
[[noreturn]] void abort_grid();

// Of collectives: a lane left while others of its warp wait.
void lane_exited(Warp& warp);

// "kernel gemv, kernels.cu:12", and "thread (1,0,0) of block (0,0,0)".
std::string place_of(uint32_t site);
std::string name_of(const ThreadIndex& thread);
std::string readable_name(const char* mangled);
// Reports a finding about the current thread, once for each kind and pair of places of a launch, and a few at most.
// what: "shared memory race"; the sentence goes on with `detail`.
void find_fault(const char* what, uint32_t site, const std::string& detail, uint32_t other_site = kNoSite);
void begin_findings_of_launch();

}  // namespace sluice::simt
