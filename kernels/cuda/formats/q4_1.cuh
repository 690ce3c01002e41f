// Q4_1   20 bytes, 32 values | scale f16 | offset f16 | q 16 |   value = scale * q + offset
//          q: values 0 to 15 in the low nibbles, 16 to 31 in the high ones
#pragma once

#include "kernels/cuda/formats/block32.cuh"

namespace sluice::kernels::cuda {

struct FormatQ4_1 : FormatWithOffset<20> {
  __device__ static Weights take(const std::byte* shared, int at, int, const uint32_t*) {
    Weights w;
    uint32_t words[5];
    load_words(shared, at, words);
    const uint32_t packed[4] = {words[1], words[2], words[3], words[4]};
    unpack_nibbles(packed, w.codes);
    w.scale = float_of_f16(words[0] & 0xFFFF);
    w.offset = float_of_f16(words[0] >> 16);
    return w;
  }
};

}  // namespace sluice::kernels::cuda
