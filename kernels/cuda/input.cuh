// An input of a product as the formats read it, and whole-number products of its codes.
#pragma once

#include <cstdint>

#include "kernels/cuda/gemv_arguments.h"

namespace sluice::kernels::cuda {

// One row of Activations: of the 8-bit forms the one that the format reads, or the floats.
struct Input {
  const int8_t* codes;
  const float* scales;
  const int32_t* sums;
  const float* values;
};

// What a format reads: bases of the kernels' formats. row() is input `row`, further() the one `rows` on from another.
struct ReadsFloats {
  __device__ static Input row(const GemvArguments& a, int64_t row) {
    return {nullptr, nullptr, nullptr, a.values + row * a.values_stride};
  }
  __device__ static Input further(const GemvArguments& a, const Input& input, int64_t rows) {
    return {nullptr, nullptr, nullptr, input.values + rows * a.values_stride};
  }
};

// Sums of kSumValues codes, a scale for kScaleValues.
template <int kScaleValues, int kSumValues>
struct ReadsCodes {
  __device__ static Input row(const GemvArguments& a, int64_t row) {
    return {a.codes + row * a.n_columns, a.scales + row * (a.n_columns / kScaleValues),
            a.sums + row * (a.n_columns / kSumValues), nullptr};
  }
  __device__ static Input further(const GemvArguments& a, const Input& input, int64_t rows) {
    return {input.codes + rows * a.n_columns, input.scales + rows * (a.n_columns / kScaleValues),
            input.sums + rows * (a.n_columns / kSumValues), nullptr};
  }
};
using ReadsPer32 = ReadsCodes<32, 32>;
using ReadsPer256 = ReadsCodes<256, 16>;

// sum + w[0..15] . codes[0..15]; codes at a multiple of 16 bytes. Whole numbers, exact.
__device__ inline int dot_16(const uint32_t* words, const int8_t* codes, int sum) {
  const int4 x = *reinterpret_cast<const int4*>(codes);
  sum = __dp4a(static_cast<int>(words[0]), x.x, sum);
  sum = __dp4a(static_cast<int>(words[1]), x.y, sum);
  sum = __dp4a(static_cast<int>(words[2]), x.z, sum);
  return __dp4a(static_cast<int>(words[3]), x.w, sum);
}
// The same for weights from 0 to 255.
__device__ inline int dot_16_unsigned(const uint32_t* words, const int8_t* codes, int sum) {
  const int4 x = *reinterpret_cast<const int4*>(codes);
  const auto add = [&](uint32_t w, int c) { asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(w), "r"(c)); };
  add(words[0], x.x);
  add(words[1], x.y);
  add(words[2], x.z);
  add(words[3], x.w);
  return sum;
}
__device__ inline int dot_32(const uint32_t (&words)[8], const int8_t* codes) {
  return dot_16(words + 4, codes + 16, dot_16(words, codes, 0));
}

}  // namespace sluice::kernels::cuda
