// What compilers make of ordinary C++: tables, functions that are not inlined, switches, local arrays, generic pointers.
#include <cassert>
#include <cstdint>

struct LanguageArguments {
  int64_t* out;
  const int32_t* in;
  int32_t n;
  int32_t choice;
};

struct Pair {
  int32_t number;
  float weight;
  int8_t sign;
};
__constant__ uint64_t grid[300] = {1, 0xfedcba9876543210ull, 3};
__constant__ Pair pairs[3] = {{1, 0.5f, -1}, {2, 2.5f, 1}, {3, -4.0f, -2}};
__device__ const int16_t steps[4] = {-300, 2, 40, 32767};
__device__ const double doubles[2] = {1e100, -0.125};
__device__ int32_t counter = 40;
__device__ const int16_t* const places[2] = {steps, steps + 2};

extern "C" __global__ void tables(LanguageArguments a) {
  const int i = threadIdx.x;
  a.out[8 * i] = int64_t(grid[i % 300]);
  a.out[8 * i + 1] = pairs[i % 3].number * 1000 + int(pairs[i % 3].weight * 10) + pairs[i % 3].sign;
  a.out[8 * i + 2] = steps[i % 4];
  a.out[8 * i + 3] = int64_t(doubles[i % 2] * 8);
  a.out[8 * i + 4] = *places[i % 2];
  a.out[8 * i + 5] = atomicAdd(&counter, 2);
}

__device__ __noinline__ float weigh(Pair pair, const float* table, int at) {
  return pair.number * pair.weight + pair.sign + table[at];
}
__device__ __noinline__ int32_t fibonacci(int32_t n) {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}
__device__ __noinline__ int32_t meet_and_add(int32_t value) {
  __shared__ int32_t sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  atomicAdd(&sum, value);
  __syncthreads();
  return sum;
}

extern "C" __global__ void functions(LanguageArguments a) {
  __shared__ float table[64];
  const int i = threadIdx.x;
  table[i] = 100 * i;
  float own[8];
  for (int k = 0; k < 8; ++k) own[k] = a.in[i] * k;
  own[a.in[i] & 7] += 0.5f;
  __syncthreads();
  const Pair pair{a.in[i], 2.0f, int8_t(-i)};
  const float* either = i % 2 ? table : own;  // a generic pointer: shared or local memory
  a.out[8 * i] = int64_t(2 * weigh(pair, either, a.in[(i + 1) % 64] & 7));
  a.out[8 * i + 1] = fibonacci(i % 12);
  a.out[8 * i + 2] = meet_and_add(i);
}

extern "C" __global__ void switches(LanguageArguments a) {
  const int i = threadIdx.x;
  int64_t value = a.in[i];
  switch (i % 13) {
    case 0:
      value += 7;
      break;
    case 1:
      value *= 3;
      break;
    case 2:
      value -= a.n;
      break;
    case 3:
      value = -value;
      break;
    case 4:
      value ^= 0x55;
      break;
    case 5:
      value <<= 3;  // and on
    case 6:
      value >>= 1;
      break;
    case 7:
      value /= 5;
      break;
    case 8:
      value %= 5;
      break;
    case 9:
      value |= 256;
      break;
    case 10:
      value &= 15;
      break;
    case 11:
      value = 12;
      break;
  }
  a.out[8 * i] = value;
}

extern "C" __global__ void indices(LanguageArguments a) {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned at = block * blockDim.x * blockDim.y * blockDim.z + thread;
  a.out[at] =
      threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z + 1000 * blockIdx.x + 10000 * blockIdx.y + 100000 * blockIdx.z;
}

// Each thread waits until the one before it has written, through a flag in global memory.
extern "C" __global__ void chain(LanguageArguments a) {
  volatile int64_t* flags = a.out + 64;
  const int i = threadIdx.x;
  if (i > 0) {
    while (flags[i - 1] == 0) {
    }
    __threadfence();
  }
  a.out[i] = i == 0 ? 1 : a.out[i - 1] + 1;
  __threadfence();
  flags[i] = 1;
}

extern "C" __global__ void stops(LanguageArguments a) {
  if (a.choice == 0) assert(a.in[threadIdx.x] < a.n);
  if (a.choice == 1 && threadIdx.x == 3) __trap();
  a.out[threadIdx.x] = 5;
}

// A parameter that is indexed where the compiler cannot know.
struct TableArguments {
  int64_t* out;
  int32_t table[16];
};
// The global clock, read twice by each thread.
extern "C" __global__ void clocks(LanguageArguments a) {
  for (int i = 0; i < 2; ++i) {
    unsigned long long now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    a.out[8 * threadIdx.x + i] = static_cast<long long>(now);
  }
}

extern "C" __global__ void parameter_table(TableArguments a) {
  a.out[threadIdx.x] = a.table[threadIdx.x % 16];
}

// A branch through a table, and labels and registers of inner scopes.
extern "C" __global__ void branch_table(LanguageArguments a) {
  const unsigned which = threadIdx.x % 3;
  int32_t result;
  asm volatile(
      "{\n .reg .b32 t;\n targets: .branchtargets first, second, third;\n mov.b32 t, 5;\n brx.idx %1, targets;\n"
      "first: add.s32 t, t, 100;\n bra.uni done;\n second: mul.lo.s32 t, t, 7;\n bra done;\n third: neg.s32 t, t;\n"
      "done: mov.b32 %0, t;\n}"
      : "=r"(result)
      : "r"(which));
  asm volatile("{\n .reg .pred t;\n setp.gt.s32 t, %0, 50;\n @!t bra done;\n add.s32 %0, %0, 1000;\n done:\n}"
               : "+r"(result));
  a.out[threadIdx.x] = result;
}
