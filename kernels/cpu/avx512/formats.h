// What AVX-512 has for each format (kernels/cpu/avx2/formats.h says what the names mean), at its two levels. Entered in the
// table of kernels/format.cc; what is not here runs with AVX2.
#pragma once

#include "kernels/format.h"

namespace sluice::kernels {

// F, BW, DQ and VL.
namespace avx512 {}

// And VNNI and VBMI.
namespace avx512_vnni {
RowGroupProduct multiply_iq1_s, multiply_q8_0, multiply_q8_1;
}

}  // namespace sluice::kernels
