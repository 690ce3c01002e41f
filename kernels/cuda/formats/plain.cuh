// F32, F16 and BF16: values that stand alone, multiplied by the floats of the input. Lanes take neighbouring values, so any number
// of columns and any alignment of the input will do.
#pragma once

#include "kernels/cuda/bytes.cuh"
#include "kernels/cuda/input.cuh"

namespace sluice::kernels::cuda {

template <class Number>
struct FormatPlain : ReadsFloats {
  static constexpr int kBlockValues = 1, kBlockBytes = sizeof(Number), kUnitValues = 1, kUnitsABlock = 1;
  static constexpr int kTableBytes = 0, kUnroll = 4;
  __device__ static float add(float weight, const Input& x, int column, int, float sum) {
    return fmaf(weight, x.values[column], sum);
  }
};

struct FormatF32 : FormatPlain<float> {
  __device__ static float take(const std::byte* shared, int at, int, const uint32_t*) {
    return *reinterpret_cast<const float*>(shared + at);
  }
};

struct FormatF16 : FormatPlain<uint16_t> {
  __device__ static float take(const std::byte* shared, int at, int, const uint32_t*) {
    return float_of_f16(load_u16(shared, at));
  }
};

struct FormatBF16 : FormatPlain<uint16_t> {
  __device__ static float take(const std::byte* shared, int at, int, const uint32_t*) {
    return __uint_as_float(load_u16(shared, at) << 16);
  }
};

}  // namespace sluice::kernels::cuda
