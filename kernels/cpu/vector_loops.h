// The inner loops that are the same for every format: products, sums and conversions of contiguous floats.
//
// One source (vector_loops.inc) is compiled once for every instruction set. All of them add in the same order and
// without fused multiply-add, so they give the same bits; a faster set changes only the time.
#pragma once

#include <cstdint>

#include "kernels/isa.h"

namespace sluice::kernels {

struct VectorLoops {
  // Sum of a[i] * b[i]. 32 partial sums, lane i % 32, then added pairwise.
  float (*dot)(const float* a, const float* b, int64_t n);
  // The same with a in half precision.
  float (*dot_half)(const uint16_t* a, const float* b, int64_t n);
  // y[i] += scale * x[i]
  void (*add_scaled)(float scale, const float* x, float* y, int64_t n);
  void (*add_scaled_half)(float scale, const uint16_t* x, float* y, int64_t n);
  // Half precision to float, exact.
  void (*half_to_float)(const uint16_t* half, float* values, int64_t n);
  // Float to half precision, round to nearest even.
  void (*float_to_half)(const float* values, uint16_t* half, int64_t n);
};

// For the chosen instruction set (kernels/cpu/dispatch.h).
const VectorLoops& vector_loops();
// For a machine that runs at `most`.
VectorLoops vector_loops_at(Isa most);

// The compiled sets.
extern const VectorLoops kVectorLoopsBaseline;
#if defined(__x86_64__)
extern const VectorLoops kVectorLoopsAvx2, kVectorLoopsAvx512;
#endif

}  // namespace sluice::kernels
