// c = a b^T of 8-bit integers on tensor cores, its tiles fetched some steps ahead: [n_rows, n_k] by [32 * grid.x, n_k]. As kernels are
// written for sm_80, and wrongly in two ways.
#include <cstdint>

struct PipelineArguments {
  const int8_t* a;
  const int8_t* b;
  int32_t* c;
  int32_t n_rows, n_columns, n_k;
  int32_t unused;
};

#if __CUDA_ARCH__ >= 800
constexpr int kStep = 64, kColumns = 32, kPitch = kStep + 16;

// Rows past the end are filled with zeros (16 bytes copied from none).
__device__ void fetch(int8_t* tile, const int8_t* rows, int first_row, int tile_rows, int n_rows, int n_k, int k) {
  for (int i = threadIdx.x; i < tile_rows * (kStep / 16); i += blockDim.x) {
    const int row = i / (kStep / 16), column = i % (kStep / 16) * 16;
    const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(tile + row * kPitch + column));
    const bool is_there = first_row + row < n_rows;
    const int8_t* from = rows + int64_t(is_there ? first_row + row : 0) * n_k + k + column;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(is_there ? 16 : 0));
  }
}

template <int kStages, int kWarps, int kGroupsLeft, bool kHasBarrier>
__device__ void multiply(const PipelineArguments& x) {
  extern __shared__ __align__(16) int8_t tiles[];
  constexpr int kRows = 16 * kWarps, kTile = (kRows + kColumns) * kPitch;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, in_group = lane % 4;
  const int first_row = blockIdx.y * kRows, first_column = blockIdx.x * kColumns;
  int32_t sums[kColumns / 8][4] = {};
  const auto begin = [&](int step) {
    if (step * kStep < x.n_k) {
      int8_t* tile = tiles + step % kStages * kTile;
      fetch(tile, x.a, first_row, kRows, x.n_rows, x.n_k, step * kStep);
      fetch(tile + kRows * kPitch, x.b, first_column, kColumns, x.n_columns, x.n_k, step * kStep);
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  for (int step = 0; step < kStages - 1; ++step) begin(step);
  for (int step = 0; step * kStep < x.n_k; ++step) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kGroupsLeft) : "memory");
    if (kHasBarrier) __syncthreads();
    begin(step + kStages - 1);
    const int8_t* a = tiles + step % kStages * kTile + warp * 16 * kPitch;
    const int8_t* b = tiles + step % kStages * kTile + kRows * kPitch;
    for (int k = 0; k < kStep; k += 32) {
      uint32_t fragment[4];
      const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(a + lane % 16 * kPitch + k + lane / 16 * 16));
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3]) : "r"(at));
      for (int j = 0; j < kColumns / 8; ++j) {
        const int8_t* column = b + (j * 8 + group) * kPitch + k + in_group * 4;
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+r"(sums[j][0]), "+r"(sums[j][1]), "+r"(sums[j][2]), "+r"(sums[j][3])
                     : "r"(fragment[0]), "r"(fragment[1]), "r"(fragment[2]), "r"(fragment[3]),
                       "r"(*reinterpret_cast<const uint32_t*>(column)), "r"(*reinterpret_cast<const uint32_t*>(column + 16)));
      }
    }
  }
  for (int j = 0; j < kColumns / 8; ++j) {
    for (int e = 0; e < 4; ++e) {
      const int row = first_row + warp * 16 + group + 8 * (e / 2);
      if (row < x.n_rows) x.c[int64_t(row) * x.n_columns + first_column + j * 8 + in_group * 2 + e % 2] = sums[j][e];
    }
  }
}

extern "C" __global__ void __launch_bounds__(128) pipeline_2(PipelineArguments x) { multiply<2, 4, 0, true>(x); }
extern "C" __global__ void __launch_bounds__(64) pipeline_4(PipelineArguments x) { multiply<4, 2, 2, true>(x); }
extern "C" __global__ void __launch_bounds__(64) pipeline_waits_for_one_too_few(PipelineArguments x) { multiply<4, 2, 3, true>(x); }
extern "C" __global__ void __launch_bounds__(64) pipeline_without_barrier(PipelineArguments x) { multiply<4, 2, 2, false>(x); }
#endif
