// Products of one quantised row with 8-bit activations, for AVX2 with FMA and F16C. One format a file; formats without
// a function here are dequantised and multiplied as floats.
#pragma once

#include "kernels/format.h"

namespace sluice::kernels::avx2 {

RowProduct multiply_row_q8_0, multiply_row_q4_0, multiply_row_q4_1, multiply_row_q5_0, multiply_row_q5_1;
RowProduct multiply_row_q2_k, multiply_row_q3_k, multiply_row_q4_k, multiply_row_q5_k, multiply_row_q6_k;
RowProduct multiply_row_iq1_s, multiply_row_iq1_m, multiply_row_iq2_xxs, multiply_row_iq2_xs, multiply_row_iq2_s;
RowProduct multiply_row_iq3_xxs, multiply_row_iq3_s, multiply_row_iq4_nl, multiply_row_iq4_xs;
RowProduct multiply_row_mxfp4, multiply_row_tq2_0;

}  // namespace sluice::kernels::avx2
