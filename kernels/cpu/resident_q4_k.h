// Q4_K with eight rows side by side, so that one load of an input serves them all and no sum is added across a vector.
// 4.63 bits a weight instead of 4.5: the 6-bit scales become bytes.
//
// A weight of Q4_K is scale*s * q - min*m (kernels/cpu/avx2/q4_k_q5_k.cc). A group of eight rows is a run of super-blocks of 256
// columns, each
//
//   codes  1024 bytes | 32 vectors of 32 bytes; vector v holds columns 8v to 8v + 7: four bytes a row, column 8v + i in the
//                       low nibble of byte i and column 8v + 4 + i in its high one
//   heads   160 bytes | scale f16 x 8 rows | min f16 x 8 rows | s u8 [8 sub-blocks][8 rows] |
//                     | m u8 [4 pairs of sub-blocks][8 rows][2] |
//
// with the codes of all super-blocks first and their heads after them.
#pragma once

#include "kernels/resident.h"

namespace sluice::kernels {

namespace resident_q4_k {
constexpr int64_t kCodeBytes = 1024, kHeadBytes = 160;
constexpr int64_t kMinsAt = 16, kGroupScalesAt = 32, kGroupMinsAt = 96;  // in a head
}  // namespace resident_q4_k

extern const ResidentForm kResidentQ4K;

#if defined(__x86_64__)
namespace avx2 {
ResidentForm::GroupProduct multiply_resident_q4_k;
ResidentForm::FillPanel fill_panel_resident_q4_k;
}  // namespace avx2
#endif

}  // namespace sluice::kernels
