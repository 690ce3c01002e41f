// What the formats with super-blocks of 256 values share: a lane takes an eighth of one, or a quarter.
#pragma once

#include "kernels/cuda/bytes.cuh"
#include "kernels/cuda/input.cuh"

namespace sluice::kernels::cuda {

template <int kBytes, int kUnits = 8>
struct FormatBlock256 : ReadsPer256 {
  static constexpr int kBlockValues = 256, kBlockBytes = kBytes, kUnitValues = 256 / kUnits, kUnitsABlock = kUnits;
  static constexpr int kTableBytes = 0, kUnroll = 1;
};

// A lane that takes values 32 * part to 32 * part + 31 of a block: where their codes and sums lie.
__device__ inline const int8_t* codes_of_part(const Input& x, int block, int part) {
  return x.codes + block * 256 + part * 32;
}
struct TwoSums {
  int first, second;  // of 16 codes each
};
__device__ inline TwoSums sums_of_part(const Input& x, int block, int part) {
  const int2 sums = *reinterpret_cast<const int2*>(x.sums + block * 16 + part * 2);
  return {sums.x, sums.y};
}
__device__ inline int sum_of_part(const Input& x, int block, int part) {
  const TwoSums sums = sums_of_part(x, block, part);
  return sums.first + sums.second;
}

}  // namespace sluice::kernels::cuda
