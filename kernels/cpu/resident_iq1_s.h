// IQ1_S with its grid looked up once: two bits a weight instead of indices. 2.19 bits a weight in all.
//
// A weight of IQ1_S is scale/8 * (2s + 1) * (8u - 8 + 8 delta), u = 0, 1, 2 (kernels/cpu/avx2/iq1.cc). A group of eight rows
// is a run of units of 256 columns, which memory is read through from one end to the other, each
//
//   codes   512 bytes | 16 vectors of 32 bytes; vector c holds columns 16c to 16c + 15: four bytes a row, and bits 2p of
//                       byte i of row r are u of column 16c + 4p + i
//   head     48 bytes | scale f16 x 8 rows | 8 x u32: bits 4r of number g are s (3 bits) and "delta is -1/8" of row r in
//                       columns 32g to 32g + 31
//
// and starts at any multiple of 16 bytes.
#pragma once

#include "kernels/resident.h"

namespace sluice::kernels {

namespace resident_iq1_s {
constexpr int64_t kCodeBytes = 512, kHeadBytes = 48, kUnitBytes = kCodeBytes + kHeadBytes;
}

extern const ResidentForm kResidentIQ1S;

#if defined(__x86_64__)
namespace avx2 {
ResidentForm::GroupProduct multiply_resident_iq1_s;
ResidentForm::FillPanel fill_panel_resident_iq1_s;
}  // namespace avx2
namespace avx512_vnni {
ResidentForm::GroupProduct multiply_resident_iq1_s;
}
#endif

}  // namespace sluice::kernels
