// What AVX-512 has for each format (kernels/cpu/avx2/formats.h says what the names mean), at its two levels. Entered in the
// table of kernels/format.cc; what is not here runs with AVX2.
#pragma once

#include "kernels/format.h"

namespace sluice::kernels {

// F, BW, DQ and VL.
namespace avx512 {
RowGroupProduct multiply_iq2_xxs, multiply_iq2_xs, multiply_iq3_xxs, multiply_iq3_s, multiply_iq4_xs;
RowGroupProduct multiply_iq1_m, multiply_iq1_s, multiply_q2_k, multiply_q3_k, multiply_q4_k, multiply_q5_k,
    multiply_q6_k;
RowGroupProduct multiply_q4_0, multiply_q4_1, multiply_q5_0, multiply_q5_1, multiply_q8_0, multiply_q8_1;
RowGroupProduct multiply_iq4_nl, multiply_mxfp4, multiply_tq1_0, multiply_tq2_0, multiply_q8_k, multiply_q1_0;
}  // namespace avx512

// And VNNI and VBMI.
namespace avx512_vnni {
RowGroupProduct multiply_iq1_m, multiply_iq1_s, multiply_iq2_xxs, multiply_iq2_xs, multiply_iq2_s;
RowGroupProduct multiply_iq3_xxs, multiply_iq3_s, multiply_iq4_xs;
RowGroupProduct multiply_q2_k, multiply_q3_k, multiply_q4_k, multiply_q5_k, multiply_q6_k;
RowGroupProduct multiply_q4_0, multiply_q4_1, multiply_q5_0, multiply_q5_1, multiply_q8_0, multiply_q8_1;
RowGroupProduct multiply_iq4_nl, multiply_mxfp4, multiply_tq1_0, multiply_tq2_0, multiply_q8_k, multiply_q1_0;
}  // namespace avx512_vnni

}  // namespace sluice::kernels
