// What AVX2 (with FMA and F16C) has for each format: products of a group of rows with few inputs, and the codes of a row
// for the products of a tile with many. A family of formats a file.
#pragma once

#include "kernels/format.h"

namespace sluice::kernels::avx2 {

RowGroupProduct multiply_f32, multiply_f16, multiply_bf16;  // inputs in float32
RowGroupProduct multiply_q4_0, multiply_q4_1, multiply_q5_0, multiply_q5_1, multiply_q8_0, multiply_q8_1;
RowGroupProduct multiply_q2_k, multiply_q3_k, multiply_q4_k, multiply_q5_k, multiply_q6_k, multiply_q8_k;
RowGroupProduct multiply_iq1_s, multiply_iq1_m, multiply_iq2_xxs, multiply_iq2_xs, multiply_iq2_s;
RowGroupProduct multiply_iq3_xxs, multiply_iq3_s, multiply_iq4_nl, multiply_iq4_xs;
RowGroupProduct multiply_mxfp4, multiply_tq1_0, multiply_tq2_0, multiply_q1_0;

UnpackCodes unpack_q4_0, unpack_q4_1, unpack_q5_0, unpack_q5_1, unpack_q8_0, unpack_q8_1;
UnpackCodes unpack_q2_k, unpack_q3_k, unpack_q4_k, unpack_q5_k, unpack_q6_k, unpack_q8_k;
UnpackCodes unpack_iq1_s, unpack_iq1_m, unpack_iq2_xxs, unpack_iq2_xs, unpack_iq2_s;
UnpackCodes unpack_iq3_xxs, unpack_iq3_s, unpack_iq4_nl, unpack_iq4_xs;
UnpackCodes unpack_mxfp4, unpack_tq1_0, unpack_tq2_0, unpack_q1_0;

}  // namespace sluice::kernels::avx2
