// The grids of the IQ formats laid out for fast kernels: a value a byte.
#pragma once

#include <cstdint>

namespace sluice::kernels {

struct IqTables {
  uint64_t iq1[2048];           // t + 1 for the values t = -1, 0, 1: unsigned, as byte products want them
  uint32_t iq1_two_bits[2048];  // the same: values i and 4 + i at bits 0 and 2 of byte i
  uint64_t iq2_xxs[256];        // magnitudes
  uint64_t iq2_xs[512];
  uint64_t iq2_s[1024];
  uint32_t iq3_xxs[256];  // four values an entry
  uint32_t iq3_s[512];
  uint64_t signs[128];  // by seven stored sign bits: 1 or -1 in each byte
  // The same for permutations of bytes. Magnitudes are numbered from the smallest: byte [h][e] has columns 4h + i of entry e at
  // bits 2i, or columns 2h + i at bits 3i.
  alignas(64) uint8_t iq2_xxs_two_bits[2][256];
  alignas(64) uint8_t iq2_xs_two_bits[2][512];
  alignas(64) uint8_t iq2_s_two_bits[2][1024];
  alignas(64) uint8_t iq3_xxs_three_bits[2][256];
  alignas(64) uint8_t iq3_s_three_bits[2][512];
  // Both bytes of an entry as a word, for permutations of words.
  alignas(64) uint16_t iq2_xxs_words[256];
  alignas(64) uint16_t iq2_xs_words[512];
  alignas(64) uint16_t iq3_xxs_words[256];
  alignas(64) uint16_t iq3_s_words[512];
  alignas(64) uint8_t sign_bits[128];  // bit i is set where value i is negative
};

// Unpacked from kernels/reference/iq_grids.h once, on first use.
const IqTables& iq_tables();

}  // namespace sluice::kernels
