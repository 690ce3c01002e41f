// What translated kernels call. They are the only ones to include it, besides the runtime.
//
// Addresses are those of the host, in every state space. Shared memory is a window of 4 GiB of which the first part is memory, so
// an offset that is far too large meets nothing.
#pragma once

#include "tests/simt/runtime/half.h"
#include "tests/simt/runtime/kernels.h"
#include "tests/simt/runtime/module.h"

namespace sluice::simt {

struct ThreadIndex {
  uint32_t x, y, z;
  uint32_t lane, warp;
  uint32_t linear;  // in the block
};
struct Running {
  Extent block, grid, index;  // index: of the block that runs
  uint32_t dynamic_shared_offset;
};

#pragma GCC visibility push(hidden)
extern const ThreadIndex* current_thread;
extern Running running;
extern bool watching;  // accesses are checked, counted, or places to switch threads
extern bool counting;  // blocks of code are counted
extern uint64_t shared_base;
#pragma GCC visibility pop

inline bool unlikely(bool condition) {
  return __builtin_expect(condition, 0);
}

// Before every access to global and shared memory when `watching`. May switch threads; does not return if a device would die.
void watch_access(uint64_t address, uint32_t site);
void count_block(uint32_t block);

template <class T>
inline T read(uint64_t address) {
  T value;
  std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof value);
  return value;
}
template <class T>
inline void write(uint64_t address, T value) {
  std::memcpy(reinterpret_cast<void*>(address), &value, sizeof value);
}
// Volatile, relaxed, acquire and release accesses: the host may look at the same word.
template <class T>
inline T read_strong(uint64_t address) {
  T value;
  __atomic_load(reinterpret_cast<T*>(address), &value, __ATOMIC_ACQUIRE);
  return value;
}
template <class T>
inline void write_strong(uint64_t address, T value) {
  __atomic_store(reinterpret_cast<T*>(address), &value, __ATOMIC_RELEASE);
}

inline uint64_t shared_address(uint32_t offset) {
  return shared_base + offset;
}
inline uint32_t shared_offset(uint64_t address) {
  return uint32_t(address - shared_base);
}
inline bool is_shared_address(uint64_t address) {
  return address - shared_base < uint64_t(1) << 32;
}
bool is_local_address(uint64_t address);
bool is_const_address(uint64_t address);
inline bool is_global_address(uint64_t address) {
  return !is_shared_address(address) && !is_local_address(address) && !is_const_address(address);
}

// What orders memory between threads that do not meet at a barrier.
void fence();
void observe(uint64_t address, bool acquires);  // a strong load of that word
void publish(uint64_t address, bool releases);  // a strong store to it
void meet(uint64_t address, bool releases);     // an atomic operation on it

void copy_later(uint64_t to, uint64_t from, uint32_t bytes, uint32_t source_bytes, uint32_t to_site,
                uint32_t from_site);
void commit_copies();
void wait_for_copies(uint32_t groups_left);
void wait_for_all_copies();

enum class Shuffle : uint8_t { Up, Down, Butterfly, Index };
struct Shuffled {
  uint32_t value;
  bool is_in_range;
};
Shuffled shuffle(Shuffle mode, uint32_t value, uint32_t b, uint32_t c, uint32_t mask, uint32_t site);
bool vote_all(bool predicate, uint32_t mask, uint32_t site);
bool vote_any(bool predicate, uint32_t mask, uint32_t site);
bool vote_uni(bool predicate, uint32_t mask, uint32_t site);
uint32_t vote_ballot(bool predicate, uint32_t mask, uint32_t site);
uint32_t match_any(uint64_t value, uint32_t mask, uint32_t site);
uint32_t match_all(uint64_t value, uint32_t mask, uint32_t site);
enum class Reduction : uint8_t { Add, Min, Max, And, Or, Xor };
uint32_t reduce_unsigned(Reduction operation, uint32_t value, uint32_t mask, uint32_t site);
int32_t reduce_signed(Reduction operation, int32_t value, uint32_t mask, uint32_t site);
uint32_t active_lanes();
void synchronize_warp(uint32_t mask, uint32_t site);

// n_tiles (1, 2 or 4) matrices of 8x8 16-bit elements; row i of tile j lies at the address that lane 8 j + i gives.
void load_matrix(uint32_t* tiles, int n_tiles, bool transposed, uint64_t row_address, uint32_t site);

enum class MatrixElement : uint8_t { F16, BF16, TF32, S8, U8 };
enum class MatrixSum : uint8_t { F32, F16, S32 };
struct MatrixShape {
  int m, n, k;
  MatrixElement a, b;
  MatrixSum sum;
  bool saturates;
};
// d = a b + c of a warp, fragments as the PTX ISA lays them out. Sums of floats are computed in float64 and rounded once.
void multiply_matrices(const MatrixShape& shape, uint32_t* d, const uint32_t* a, const uint32_t* b, const uint32_t* c,
                       uint32_t site);

// count: threads that take part (0: all of the block).
void barrier_wait(uint32_t barrier, uint32_t count, bool aligned, uint32_t site);
void barrier_arrive(uint32_t barrier, uint32_t count, bool aligned, uint32_t site);
struct BarrierCount {
  uint32_t n_true, n_threads;
  bool all() const { return n_true == n_threads; }
  bool any() const { return n_true != 0; }
};
BarrierCount barrier_count(uint32_t barrier, uint32_t count, bool predicate, bool aligned, uint32_t site);

void give_way();  // lets others run, as a thread that waits for them must
[[noreturn]] void leave_thread();
[[noreturn]] void trap(uint32_t site);
[[noreturn]] void assertion_failed(const std::byte* message, const std::byte* file, const std::byte* line,
                                   uint32_t site);
uint64_t ticks();
uint32_t warps_in_block();
uint32_t dynamic_shared_bytes();
uint32_t total_shared_bytes();

}  // namespace sluice::simt
