// The 8-bit forms of 256 neighbouring values by one warp (kernels/reference/activations.h, bit for bit).
#pragma once

#include <cfloat>
#include <cstdint>

#include "kernels/cuda/activations.h"

namespace sluice::kernels::cuda {

// Lane l has values 8l to 8l + 7 of the block.
struct LaneValues {
  float v[8];
};

// The largest magnitude of some values, and whether one is not finite.
struct Magnitude {
  float largest = 0;
  bool is_finite = true;
};
__device__ inline Magnitude magnitude_of(const LaneValues& x) {
  Magnitude m;
#pragma unroll
  for (float v : x.v) {
    m.is_finite = m.is_finite && fabsf(v) <= FLT_MAX;
    m.largest = fmaxf(m.largest, fabsf(v));
  }
  return m;
}
// Of the lanes whose numbers differ in the bits from `from` to `to` (powers of two, both included).
__device__ inline Magnitude join_lanes(Magnitude m, int from, int to) {
  for (int distance = from; distance <= to; distance *= 2) {
    m.largest = fmaxf(m.largest, __shfl_xor_sync(0xFFFFFFFFu, m.largest, distance));
    m.is_finite = (__shfl_xor_sync(0xFFFFFFFFu, m.is_finite ? 1 : 0, distance) != 0) && m.is_finite;
  }
  return m;
}

struct LaneCodes {
  uint32_t words[2];
  float scale;
  int sum;  // of the lane's own eight
};
__device__ inline LaneCodes make_codes(const LaneValues& x, const Magnitude& m) {
  const float inverse = 127 / m.largest;  // infinite for zeros and what is next to them
  const bool is_zero = !m.is_finite || !(inverse <= FLT_MAX);
  LaneCodes codes{{0, 0}, is_zero ? 0.0f : m.largest / 127, 0};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int q = is_zero ? 0 : __float2int_rn(x.v[i] * inverse);
    codes.sum += q;
    codes.words[i / 4] |= static_cast<uint32_t>(q & 0xFF) << (i % 4 * 8);
  }
  return codes;
}

// Writes what block `block` of 256 values of row `row` gives; only values before n_columns are there, and the others are zeros.
// All lanes of the warp call it.
__device__ inline void write_forms(const Activations& to, int64_t row, int block, const LaneValues& x,
                                   int32_t* not_finite) {
  const int lane = threadIdx.x % 32;
  const int64_t first = static_cast<int64_t>(block) * 256 + lane * 8;
  const bool is_there = first < to.n_columns;
  const Magnitude of_32 = join_lanes(magnitude_of(x), 1, 2);
  if (is_there && !of_32.is_finite) atomicExch(not_finite, 1);
  if (to.per32.codes != nullptr) {
    const LaneCodes codes = make_codes(x, of_32);
    int sum = codes.sum + __shfl_xor_sync(0xFFFFFFFFu, codes.sum, 1);
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 2);
    if (is_there) {
      *reinterpret_cast<uint2*>(to.per32.codes + row * to.n_columns + first) =
          make_uint2(codes.words[0], codes.words[1]);
      if (lane % 4 == 0) {
        to.per32.scales[row * (to.n_columns / 32) + first / 32] = codes.scale;
        to.per32.sums[row * (to.n_columns / 32) + first / 32] = sum;
      }
    }
  }
  if (to.per256.codes != nullptr) {  // whole blocks only, so every lane is there
    const LaneCodes codes = make_codes(x, join_lanes(of_32, 4, 16));
    const int sum = codes.sum + __shfl_xor_sync(0xFFFFFFFFu, codes.sum, 1);
    *reinterpret_cast<uint2*>(to.per256.codes + row * to.n_columns + first) =
        make_uint2(codes.words[0], codes.words[1]);
    if (lane == 0) to.per256.scales[row * (to.n_columns / 256) + block] = codes.scale;
    if (lane % 2 == 0) to.per256.sums[row * (to.n_columns / 16) + first / 16] = sum;
  }
}

// The lane's eight of n_columns floats, zeros behind the end; in two wide loads where the address allows it.
__device__ inline LaneValues load_eight(const float* row, int64_t first, int64_t n_columns) {
  LaneValues x;
  if (first + 8 <= n_columns && reinterpret_cast<uintptr_t>(row + first) % 16 == 0) {
    const float4 low = *reinterpret_cast<const float4*>(row + first),
                 high = *reinterpret_cast<const float4*>(row + first + 4);
    x.v[0] = low.x, x.v[1] = low.y, x.v[2] = low.z, x.v[3] = low.w;
    x.v[4] = high.x, x.v[5] = high.y, x.v[6] = high.z, x.v[7] = high.w;
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) x.v[i] = first + i < n_columns ? row[first + i] : 0.0f;
  }
  return x;
}
__device__ inline void store_eight(float* row, int64_t first, int64_t n_columns, const LaneValues& x) {
  if (first + 8 <= n_columns && reinterpret_cast<uintptr_t>(row + first) % 16 == 0) {
    *reinterpret_cast<float4*>(row + first) = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
    *reinterpret_cast<float4*>(row + first + 4) = make_float4(x.v[4], x.v[5], x.v[6], x.v[7]);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (first + i < n_columns) row[first + i] = x.v[i];
  }
}

}  // namespace sluice::kernels::cuda
