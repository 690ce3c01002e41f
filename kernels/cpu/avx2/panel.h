// How a tile of rows lies in a panel: side by side, so that one vector holds the same four bytes (two 16-bit numbers, one
// float) of eight rows, and a step multiplies it by four (two, one) values of an input, broadcast from memory.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include <type_traits>

#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/tile.h"
#include "kernels/format.h"

namespace sluice::kernels::avx2 {

constexpr int64_t kPanelRows = 16;
constexpr int kPanels = kTileRows / kPanelRows;  // in a tile, over the same columns: an input meets them in turn
constexpr int kGroups = kPanelRows / kRowGroup;  // of eight rows in a panel

// 256 columns of 16 rows with unsigned codes: 6.5 KiB. The two of a tile and four inputs stay in 32 KiB of first-level
// cache.
struct NarrowPanel {
  alignas(64) uint8_t codes[64][kPanelRows][4];   // of four columns each
  alignas(64) int16_t scales[16][kPanelRows][2];  // a group_scale twice; groups of 32 columns use every other one
  int16_t mins[8][kPanelRows][2];                 // group_mins of two neighbouring groups
  float scale[8][kPanelRows];
  float min[8][kPanelRows];
};

// 256 columns of 16 rows as 16-bit numbers: 8.5 KiB.
struct WidePanel {
  alignas(64) int16_t codes[128][kPanelRows][2];  // times the group's scale
  float scale[8][kPanelRows];
};

// Eight rows of one step of a panel: its first (eight = 0) or second half.
SLUICE_AVX2_STEP __m256i load_group(const void* step, int eight) {
  return _mm256_load_si256(static_cast<const __m256i*>(step) + eight);
}
SLUICE_AVX2_STEP void store_group(void* step, int eight, __m256i values) {
  _mm256_store_si256(static_cast<__m256i*>(step) + eight, values);
}

// to[k * kPanelRows + r] = from[r][k] for 32-bit numbers: eight rows of eight. `from` is from_stride bytes from row to row.
SLUICE_AVX2_STEP void transpose_8x8(const void* from, int64_t from_stride, void* to) {
  const auto* bytes = static_cast<const std::byte*>(from);
  __m256i row[8], pair[8], four[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) row[r] = load_bytes(bytes + r * from_stride);
#pragma GCC unroll 4
  for (int r = 0; r < 8; r += 2) {
    pair[r] = _mm256_unpacklo_epi32(row[r], row[r + 1]);
    pair[r + 1] = _mm256_unpackhi_epi32(row[r], row[r + 1]);
  }
#pragma GCC unroll 2
  for (int r = 0; r < 8; r += 4) {
    four[r] = _mm256_unpacklo_epi64(pair[r], pair[r + 2]);
    four[r + 1] = _mm256_unpackhi_epi64(pair[r], pair[r + 2]);
    four[r + 2] = _mm256_unpacklo_epi64(pair[r + 1], pair[r + 3]);
    four[r + 3] = _mm256_unpackhi_epi64(pair[r + 1], pair[r + 3]);
  }
  auto* out = static_cast<std::byte*>(to);
  constexpr int64_t kStep = kPanelRows * 4;
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + k * kStep),
                       _mm256_permute2x128_si256(four[k], four[k + 4], 0x20));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + (k + 4) * kStep),
                       _mm256_permute2x128_si256(four[k], four[k + 4], 0x31));
  }
}

// For the loops over a panel, which use all registers: inlined into what surrounds them they would share these with it.
#define SLUICE_AVX2_LOOP static __attribute__((noinline))

// Nothing, but the compiler must have the value in a register here. Without it gcc first makes all products of an unrolled
// loop and adds them afterwards, which takes far more registers than there are.
SLUICE_AVX2_STEP void keep_in_register(__m256i& v) {
  asm volatile("" : "+x"(v));
}

// sum += x where the sum stands: gcc's own addition moves the sum about between the rounds of a loop that it keeps rolled.
SLUICE_AVX2_STEP void add_16_bits(__m256i& sum, __m256i x) {
  asm("vpaddw %1, %0, %0" : "+x"(sum) : "x"(x));
}
SLUICE_AVX2_STEP void add_32_bits(__m256i& sum, __m256i x) {
  asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(x));
}

SLUICE_AVX2_STEP __m256i broadcast_four_bytes(const void* p) {
  return _mm256_set1_epi32(static_cast<int>(load_u32(p)));
}

// Calls run(numbers, out, N as a type) for each group of inputs of a job, with their numbers in that block of columns and
// their sums. Groups have up to kLargest inputs.
template <int kLargest, typename Run>
SLUICE_AVX2_STEP void for_input_groups(const TileJob& job, int64_t block, const Run& run) {
  const std::byte* inputs = job.inputs + block * job.input_block_bytes;
  float* out = job.out;
  for (int64_t g = 0; g < job.n_input_groups; ++g) {
    const InputPanels::Group group = job.input_groups[g];
    const std::byte* numbers = inputs + group.first * job.bytes_an_input;
    if constexpr (kLargest >= 4)
      if (group.size == 4) run(numbers, out, std::integral_constant<int, 4>{});
    if (group.size == 3) run(numbers, out, std::integral_constant<int, 3>{});
    if (group.size == 2) run(numbers, out, std::integral_constant<int, 2>{});
    if (group.size == 1) run(numbers, out, std::integral_constant<int, 1>{});
    out += group.size * kTileRows;
  }
}

SLUICE_AVX2_STEP void prefetch_bytes(const std::byte* from, int64_t bytes) {
  for (int64_t line = 0; line < bytes + 63; line += 64)
    _mm_prefetch(reinterpret_cast<const char*>(from + line), _MM_HINT_T1);
}

// Asks for the weights of columns [first, first + n) of some of a tile's rows, ahead of their decoding: a tile reads a few
// lines of each row at a time, which the hardware takes for no stream.
SLUICE_AVX2_STEP void prefetch_rows(const TileJob& job, int64_t first_row, int64_t n_rows, int64_t first, int64_t n) {
  if (first >= job.n_columns) return;
  n = smaller(n, job.n_columns - first);
  if (job.form != nullptr) {
    const int64_t at = first / job.form->unit_columns * job.form->unit_bytes;
    const int64_t bytes = n / job.form->unit_columns * job.form->unit_bytes;
    for (int64_t g = first_row / kRowGroup; g < (first_row + n_rows) / kRowGroup; ++g)
      prefetch_bytes(job.groups[g] + at, bytes);
    return;
  }
  const gguf::TypeLayout& layout = *job.format->layout;
  const auto at = static_cast<int64_t>(layout.block_bytes) * (first / layout.block_values);
  const auto bytes = static_cast<int64_t>(layout.block_bytes) * (n / layout.block_values);
  for (int64_t r = first_row; r < first_row + n_rows; ++r) prefetch_bytes(job.rows[r] + at, bytes);
}

SLUICE_AVX2_STEP void clear_sums(const TileJob& job) {
  const int64_t n = job.n_inputs() * kTileRows;
  for (int64_t i = 0; i < n; i += 8) _mm256_storeu_ps(job.out + i, _mm256_setzero_ps());
}

}  // namespace sluice::kernels::avx2
