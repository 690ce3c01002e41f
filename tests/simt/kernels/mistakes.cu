// Kernels with one planted mistake each, and beside each the same without it.
#include <cstdint>

struct MistakeArguments {
  float* out;
  const float* in;
  int n;
  unsigned* counter;
};

#define MISTAKE(name) extern "C" __global__ void wrong_##name(MistakeArguments a)
#define CORRECT(name) extern "C" __global__ void right_##name(MistakeArguments a)

__device__ __forceinline__ void copy_16_later(void* to, const void* from) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to))), "l"(from));
#else
  *static_cast<float4*>(to) = *static_cast<const float4*>(from);
#endif
}
__device__ __forceinline__ void commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_all() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group 0;" ::: "memory");
#endif
}

MISTAKE(missing_barrier) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = a.in[t];
  a.out[t] = tile[127 - t];
}
CORRECT(missing_barrier) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = a.in[t];
  __syncthreads();
  a.out[t] = tile[127 - t];
}

// A tile that is filled again while others still read it.
MISTAKE(missing_second_barrier) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  float sum = 0;
  for (int i = 0; i < 2; ++i) {
    tile[t] = a.in[t] + i;
    __syncthreads();
    sum += tile[127 - t];
  }
  a.out[t] = sum;
}
CORRECT(missing_second_barrier) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  float sum = 0;
  for (int i = 0; i < 2; ++i) {
    tile[t] = a.in[t] + i;
    __syncthreads();
    sum += tile[127 - t];
    __syncthreads();
  }
  a.out[t] = sum;
}

// Half of the threads read what the others write: in order, all reads come first.
MISTAKE(write_after_read) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = a.in[t];
  __syncthreads();
  if (t < 64) a.out[t] = tile[t + 64];
  else tile[t] = 0;
}
CORRECT(write_after_read) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = a.in[t];
  __syncthreads();
  if (t < 64) a.out[t] = tile[t + 64];
  __syncthreads();
  if (t >= 64) tile[t] = 0;
}
MISTAKE(global_write_after_read) {
  const int t = threadIdx.x;
  if (t < 64) a.out[t] = a.out[t + 64];
  else a.out[t] = a.in[t];
}
CORRECT(global_write_after_read) {
  const int t = threadIdx.x;
  if (t < 64) a.out[t] = a.out[t + 64];
  __syncthreads();
  if (t >= 64) a.out[t] = a.in[t];
}

// Three lanes read a word, and one writes it after it has met only one of the other two.
MISTAKE(write_before_all_have_read) {
  __shared__ float word;
  const int t = threadIdx.x;
  if (t == 0) word = a.in[0];
  __syncthreads();
  if (t < 3) a.out[t] = word;
  if (t == 1 || t == 2) __syncwarp(6);
  if (t == 2) word = 0;
}
CORRECT(write_before_all_have_read) {
  __shared__ float word;
  const int t = threadIdx.x;
  if (t == 0) word = a.in[0];
  __syncthreads();
  if (t < 3) a.out[t] = word;
  if (t < 3) __syncwarp(7);
  if (t == 2) word = 0;
}

MISTAKE(global_read_out_of_bounds) { a.out[threadIdx.x] = a.in[threadIdx.x + a.n - 64]; }
CORRECT(global_read_out_of_bounds) { a.out[threadIdx.x] = a.in[threadIdx.x + a.n - 128]; }

MISTAKE(two_barriers) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = a.in[t];
  if (t < 64) {
    asm volatile("bar.sync 0;" ::: "memory");
    a.out[t] = tile[127 - t];
  } else {
    asm volatile("bar.sync 0;" ::: "memory");
    a.out[t] = 2 * tile[127 - t];
  }
}
CORRECT(two_barriers) {   // one half each meets at its own, which says how many it is for
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = a.in[t];
  if (t < 64) {
    asm volatile("bar.sync 1, 64;" ::: "memory");
    a.out[t] = tile[63 - t];
  } else {
    asm volatile("bar.sync 2, 64;" ::: "memory");
    a.out[t] = tile[191 - t];
  }
}

MISTAKE(uninitialised_shared) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  if (t < 100) tile[t] = a.in[t];
  __syncthreads();
  a.out[t] = tile[t];
}
CORRECT(uninitialised_shared) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = t < 100 ? a.in[t] : 0.0f;
  __syncthreads();
  a.out[t] = tile[t];
}

MISTAKE(late_wait) {
  __shared__ __align__(16) float stage[128];
  const int t = threadIdx.x;
  if (t < 32) copy_16_later(&stage[4 * t], a.in + 4 * t);
  commit();
  __syncthreads();
  a.out[t] = stage[t];
  wait_all();
}
// The wait comes first, but only for the thread's own copies: the barrier must come after it.
MISTAKE(wait_after_barrier) {
  __shared__ __align__(16) float stage[128];
  const int t = threadIdx.x;
  if (t < 32) copy_16_later(&stage[4 * t], a.in + 4 * t);
  commit();
  __syncthreads();
  wait_all();
  a.out[t] = stage[127 - t];
}
CORRECT(late_wait) {
  __shared__ __align__(16) float stage[128];
  const int t = threadIdx.x;
  if (t < 32) copy_16_later(&stage[4 * t], a.in + 4 * t);
  commit();
  wait_all();
  __syncthreads();
  a.out[t] = stage[t];
}

MISTAKE(missing_syncwarp) {
  __shared__ float tile[32];
  const int t = threadIdx.x;
  if (t < 32) {
    tile[t] = a.in[t];
    a.out[t] = tile[31 - t];
  }
}
CORRECT(missing_syncwarp) {
  __shared__ float tile[32];
  const int t = threadIdx.x;
  if (t < 32) {
    tile[t] = a.in[t];
    __syncwarp();
    a.out[t] = tile[31 - t];
  }
}

MISTAKE(full_mask) {
  const int t = threadIdx.x;
  if ((t & 31) < 16) a.out[t] = __shfl_xor_sync(0xffffffffu, a.in[t], 1);
}
CORRECT(full_mask) {
  const int t = threadIdx.x;
  if ((t & 31) < 16) a.out[t] = __shfl_xor_sync(0x0000ffffu, a.in[t], 1);
}

MISTAKE(early_exit) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  if (t == 5) return;
  tile[t] = a.in[t];
  __syncthreads();
  a.out[t] = tile[0];
}
CORRECT(early_exit) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t] = t == 5 ? 0.0f : a.in[t];
  __syncthreads();
  if (t == 5) return;
  a.out[t] = tile[0];
}

MISTAKE(shared_write_out_of_bounds) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  tile[t + 1] = a.in[t];
  __syncthreads();
  a.out[t] = tile[t + 1];
}
CORRECT(shared_write_out_of_bounds) {
  __shared__ float tile[129];
  const int t = threadIdx.x;
  tile[t + 1] = a.in[t];
  __syncthreads();
  a.out[t] = tile[t + 1];
}

MISTAKE(dynamic_shared_out_of_bounds) {
  extern __shared__ float dynamic[];
  const int t = threadIdx.x;
  dynamic[t + 1] = a.in[t];
  __syncthreads();
  a.out[t] = dynamic[t + 1];
}
CORRECT(dynamic_shared_out_of_bounds) {
  extern __shared__ float dynamic[];
  const int t = threadIdx.x;
  dynamic[t] = a.in[t];
  __syncthreads();
  a.out[t] = dynamic[127 - t];
}

MISTAKE(sum_without_atomics) { a.out[0] += a.in[threadIdx.x]; }
CORRECT(sum_without_atomics) { atomicAdd(&a.out[0], a.in[threadIdx.x]); }

// Of two blocks, with one thread each that matters.
MISTAKE(blocks_write_one_word) {
  if (threadIdx.x == 0) a.out[0] = a.in[blockIdx.x];
}
CORRECT(blocks_write_one_word) {
  if (threadIdx.x == 0) a.out[blockIdx.x] = a.in[blockIdx.x];
}

MISTAKE(warps_write_one_word) {
  __shared__ float tile[32];
  const int t = threadIdx.x;
  float sum = a.in[t];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  tile[t & 31] = sum;
  __syncthreads();
  a.out[t] = tile[t & 31];
}
CORRECT(warps_write_one_word) {
  __shared__ float tile[32];
  const int t = threadIdx.x;
  float sum = a.in[t];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (t < 32) tile[t] = sum;
  __syncthreads();
  a.out[t] = tile[t & 31];
}

MISTAKE(half_a_block_at_a_barrier) {
  if (threadIdx.x < 64) __syncthreads();
  a.out[threadIdx.x] = a.in[threadIdx.x];
}
CORRECT(half_a_block_at_a_barrier) {
  if (threadIdx.x < 64) asm volatile("bar.sync 1, 64;" ::: "memory");
  a.out[threadIdx.x] = a.in[threadIdx.x];
}

// One half waits for the other at a barrier, and that one at another.
MISTAKE(deadlock) {
  if (threadIdx.x < 64) asm volatile("bar.sync 1, 128;" ::: "memory");
  else asm volatile("bar.sync 2, 128;" ::: "memory");
  a.out[threadIdx.x] = a.in[threadIdx.x];
}
CORRECT(deadlock) {
  if (threadIdx.x < 64) asm volatile("bar.sync 1, 128;" ::: "memory");
  else asm volatile("bar.arrive 1, 128;" ::: "memory");
  a.out[threadIdx.x] = a.in[threadIdx.x];
}

MISTAKE(misaligned_vector) {
  *reinterpret_cast<float2*>(a.out + threadIdx.x * 2 % 126 + 1) = make_float2(a.in[threadIdx.x], 0);
}
CORRECT(misaligned_vector) {
  if (threadIdx.x < 64) *reinterpret_cast<float2*>(a.out + threadIdx.x * 2) = make_float2(a.in[threadIdx.x], 0);
}

// What these read is decided by the test: freed memory, and memory of the host.
extern "C" __global__ void read_one(MistakeArguments a) { a.out[threadIdx.x] = a.in[0]; }

// Partial sums of blocks, joined by the last one; the fence makes them seen.
MISTAKE(missing_fence) {
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    a.out[1 + blockIdx.x] = a.in[blockIdx.x];
    is_last = atomicAdd(a.counter, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (is_last && threadIdx.x == 0) {
    float sum = 0;
    for (unsigned i = 0; i < gridDim.x; ++i) sum += a.out[1 + i];
    a.out[0] = sum;
  }
}
CORRECT(missing_fence) {
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    a.out[1 + blockIdx.x] = a.in[blockIdx.x];
    __threadfence();
    is_last = atomicAdd(a.counter, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (is_last && threadIdx.x == 0) {
    __threadfence();
    float sum = 0;
    for (unsigned i = 0; i < gridDim.x; ++i) sum += a.out[1 + i];
    a.out[0] = sum;
  }
}

// Warps of one thread block store and count; whoever comes last reads what all lanes of all stored.
MISTAKE(warps_count_without_a_fence) {
  a.out[threadIdx.x] = a.in[threadIdx.x];
  __syncwarp();
  unsigned n = 0;
  if (threadIdx.x % 32 == 0) n = atomicAdd(a.counter, 1u);
  __syncwarp();
  if (__shfl_sync(0xffffffffu, n, 0) == 3) a.out[threadIdx.x] = a.out[127 - threadIdx.x] + a.out[(threadIdx.x + 32) % 128];
}
CORRECT(warps_count_without_a_fence) {
  a.out[threadIdx.x] = a.in[threadIdx.x];
  __syncwarp();
  unsigned n = 0;
  if (threadIdx.x % 32 == 0) {
    __threadfence();
    n = atomicAdd(a.counter, 1u);
    __threadfence();
  }
  __syncwarp();
  if (__shfl_sync(0xffffffffu, n, 0) != 3) return;
  float sum = 0;
  for (int i = 0; i < 128; ++i) sum += a.out[i];
  __syncwarp();
  if (threadIdx.x % 32 == 0) a.out[0] = sum;
}

MISTAKE(lane_not_in_its_mask) { a.out[threadIdx.x] = __shfl_xor_sync(0x7fffffffu, a.in[threadIdx.x], 1); }
CORRECT(lane_not_in_its_mask) { a.out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, a.in[threadIdx.x], 1); }

// Half of a warp, ordered by its own mask, over and over; then ordinary reuse of what all lanes have read.
extern "C" __global__ void right_warp_reuse(MistakeArguments a) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  const unsigned mask = t & 16 ? 0xffff0000u : 0x0000ffffu;
  tile[t] = a.in[t];
  for (int i = 0; i < 3; ++i) {
    __syncwarp(mask);
    const float neighbour = tile[t ^ 1];
    __syncwarp(mask);
    tile[t] = neighbour + 1;
  }
  __syncthreads();
  a.out[t] = tile[5];
  __syncthreads();
  if (t == 7) tile[5] = 0;
  __syncthreads();
  a.out[t] += tile[5];
}
