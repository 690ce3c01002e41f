// Activations in device memory, with the 8-bit forms that quantised matrices read (the numeric contract of
// kernels/reference/activations.h: scales, sums and codes are bit for bit those of the CPU; they lie apart here, because a warp
// reads codes of neighbouring columns at once).
#pragma once

#include <cstdint>

#include "kernels/cuda/answer.h"
#include "kernels/cuda/launch.h"

namespace sluice::kernels::cuda {

// One 8-bit form of n_rows vectors: row i of each array begins i times its stride further on.
struct EightBitForm {
  int8_t* codes = nullptr;  // [n_rows, n_columns], 16-byte aligned rows; null: not there
  float* scales = nullptr;  // [n_rows, n_columns / 32] or [n_rows, n_columns / 256]
  int32_t* sums =
      nullptr;  // of the codes of 32 values, [n_rows, n_columns / 32], Per32; of 16 values, [n_rows, n_columns / 16], Per256
};

// [n_rows, n_columns]. A form is there only where n_columns is a multiple of its block.
struct Activations {
  float* values = nullptr;
  int64_t stride = 0;  // floats from one row of values to the next; the forms have no gaps between rows
  int64_t n_rows = 0;
  int64_t n_columns = 0;
  EightBitForm per32;
  EightBitForm per256;
};

// Bytes of both forms together, and the forms laid out from `memory` (device memory, 64-byte aligned) on.
uint64_t form_bytes(int64_t n_rows, int64_t n_columns);
void place_forms(Activations& activations, void* memory);

// Makes both forms of the values (where n_columns allows them). Where a value is not finite the block is zeros and *not_finite
// becomes 1: a word of device memory that whoever waits for the stream looks at.
void quantize(Launches& list, const Activations& activations, int32_t* not_finite);

// The same fused with what comes before it:
// values = silu(gate) * up, then both forms. gate and up [n_rows, n_columns]; values may be gate.
void swiglu_quantize(Launches& list, const float* gate, int64_t gate_stride, const float* up, int64_t up_stride,
                     const Activations& activations, int32_t* not_finite);

struct ResidualNorm {
  float* x = nullptr;  // [n_rows, n_columns] of the activations
  int64_t x_stride = 0;
  const float* change = nullptr;  // added to x first, [n_rows, n_columns]; may be null
  int64_t change_stride = 0;
  const float* change_too = nullptr;  // added after it (a shared expert's output); may be null
  int64_t change_too_stride = 0;
  Answer answer;  // behind the wait for it: goes into the change before that is added; without change_too
  const float* weight = nullptr;  // [n_columns]
  float epsilon = 0;
};

// x += change (+ change_too); values = x / sqrt(mean(x^2) + epsilon) * weight; then both forms. The mean is summed in float64 or
// with an error as small (kernels/reference/rms_norm.h); the order of the sum is fixed.
void residual_norm_quantize(Launches& list, const ResidualNorm& norm, const Activations& activations,
                            int32_t* not_finite);

}  // namespace sluice::kernels::cuda
