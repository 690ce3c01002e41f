// The grids of the IQ formats: facts of the file format, kept packed. make_iq_grids.py writes iq_grids.cc.
//
// An entry is one point of a grid in 16 bits: 8 values of 2 bits each (IQ1, IQ2) or 4 values of 4 bits each (IQ3), the
// first value in the lowest bits. The functions below say what the bits mean.
#pragma once

#include <bit>
#include <cstdint>

namespace sluice::kernels::reference {

extern const uint16_t kGridIq1[2048];    // IQ1_S and IQ1_M, 8 values: -1, 0 or 1
extern const uint16_t kGridIq2Xxs[256];  // 8 values: 8, 25 or 43
extern const uint16_t kGridIq2Xs[512];   // the same
extern const uint16_t kGridIq2S[1024];   // the same
extern const uint16_t kGridIq3Xxs[256];  // 4 values: 4, 12, 20, 28, 36, 44, 52 or 62
extern const uint16_t kGridIq3S[512];    // 4 values: the odd numbers from 1 to 15

// Value i (0 to 7, in IQ3 0 to 3) of a grid entry.
constexpr int iq1_value(uint16_t entry, int i) {
  return (entry >> (2 * i) & 3) - 1;
}

constexpr int iq2_value(uint16_t entry, int i) {
  constexpr int8_t kMagnitudes[4] = {8, 25, 43, 0};  // no entry has the fourth
  return kMagnitudes[entry >> (2 * i) & 3];
}

constexpr int iq3_xxs_value(uint16_t entry, int i) {
  constexpr int8_t kMagnitudes[8] = {4, 12, 20, 28, 36, 44, 52, 62};
  return kMagnitudes[entry >> (4 * i) & 7];
}

constexpr int iq3_s_value(uint16_t entry, int i) {
  return 2 * (entry >> (4 * i) & 7) + 1;
}

// Eight sign bits (1 is minus) from seven stored ones: the eighth makes the number of minuses even.
constexpr uint32_t iq_signs(uint32_t seven_bits) {
  return seven_bits | static_cast<uint32_t>(std::popcount(seven_bits) & 1) << 7;
}

// The values of IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

}  // namespace sluice::kernels::reference
