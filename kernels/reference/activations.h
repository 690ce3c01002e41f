// The 8-bit forms of activations: the numeric contract between reference, AVX2, AVX-512 and CUDA, bit for bit the same
// in all.
//
// A vector is cut into blocks of 32 or of 256 values. With amax the largest magnitude of a block, all in f32 and round
// to nearest:
//
//   inverse = 127 / amax      scale = amax / 127      q = x * inverse, to the nearest whole number, halves to even
//
// so q lies in [-127, 127] and x is about scale * q. When amax is 0, or so small (below about 3.7e-37) that `inverse`
// overflows, the block is zeros with scale 0. Subnormal numbers are not flushed: a scale may be one. A block with an
// infinity or a NaN is refused.
//
// Scales are f32, not f16: activations of large models exceed 65504, and a scale that overflows turns a whole row into
// infinities. The sums of q are kept because formats with an offset (Q4_1, the mins of Q4_K, the zero point of unsigned
// codes) multiply by them.
#pragma once

#include <cstdint>

namespace sluice::kernels::reference {

// For weights in blocks of 32 values (ActivationFormat::Per32). 40 bytes.
struct Activation32 {
  float scale;
  int32_t sum;  // of q
  int8_t q[32];
};

// For weights in super-blocks of 256 values (ActivationFormat::Per256). 292 bytes.
struct Activation256 {
  float scale;
  int16_t sums[16];  // sums[i] of q[16i] to q[16i + 15]
  int8_t q[256];
};

static_assert(sizeof(Activation32) == 40 && sizeof(Activation256) == 292);

// Quantise n_values values, a multiple of 32 (of 256), into n_values / 32 (/ 256) blocks. Return false, with the blocks
// from the offending one on unwritten, when a value is not finite.
bool quantize_per32(const float* values, int64_t n_values, Activation32* blocks);
bool quantize_per256(const float* values, int64_t n_values, Activation256* blocks);

}  // namespace sluice::kernels::reference
