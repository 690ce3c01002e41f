// Formats that read their input per 32 values: a float scale for 32 weights, or, of NVFP4, for 16.
#include "kernels/cuda/formats/fp4.cuh"
#include "kernels/cuda/formats/iq4.cuh"
#include "kernels/cuda/formats/q1_0.cuh"
#include "kernels/cuda/formats/q4_0.cuh"
#include "kernels/cuda/formats/q4_1.cuh"
#include "kernels/cuda/formats/q5_0.cuh"
#include "kernels/cuda/formats/q5_1.cuh"
#include "kernels/cuda/formats/q8_0.cuh"
#include "kernels/cuda/gemm_row.cuh"

namespace sluice::kernels::cuda {

namespace {

using gguf::TensorType;

// Codes less k, and the scale.
template <class Weights>
__device__ inline GemmUnit unit_less(const Weights& w, uint32_t k) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 8; ++i) unit.codes[i] = less(w.codes[i], k);
  unit.words[0] = __float_as_uint(w.scale);
  return unit;
}
// Codes as they are.
template <class Weights>
__device__ inline GemmUnit unit_of(const Weights& w) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 8; ++i) unit.codes[i] = w.codes[i];
  unit.words[0] = __float_as_uint(w.scale);
  return unit;
}
template <class Weights>
__device__ inline GemmUnit unit_with_offset(const Weights& w) {
  GemmUnit unit = unit_of(w);
  unit.words[1] = __float_as_uint(w.offset);
  return unit;
}
__device__ inline GemmUnit unit_of_signs(const FormatQ1_0::Weights& w) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 8; ++i) unit.codes[i] = less(w.codes[i] << 1, 1);
  unit.words[0] = __float_as_uint(w.scale);
  return unit;
}

}  // namespace

struct BlocksFamily {
  static constexpr bool kIsPer32 = true;
  static constexpr int kScaleValues = 32;

  __device__ static void fill_table(TensorType, uint32_t*) {}
  __device__ static GemmUnit decode(TensorType type, const std::byte* shared, int at, int part, const uint32_t* table) {
    switch (type) {
      case TensorType::Q4_0:
        return unit_less(FormatQ4_0::take(shared, at, part, table), 8);
      case TensorType::Q4_1:
        return unit_with_offset(FormatQ4_1::take(shared, at, part, table));
      case TensorType::Q5_0:
        return unit_less(FormatQ5_0::take(shared, at, part, table), 16);
      case TensorType::Q5_1:
        return unit_with_offset(FormatQ5_1::take(shared, at, part, table));
      case TensorType::Q8_1:
        return unit_of(FormatQ8_1::take(shared, at, part, table));
      case TensorType::IQ4_NL:
        return unit_of(FormatIQ4_NL::take(shared, at, part, table));
      case TensorType::MXFP4:
        return unit_of(FormatMXFP4::take(shared, at, part, table));
      case TensorType::Q1_0:
        return unit_of_signs(FormatQ1_0::take(shared, at, part, table));
      default:
        return unit_of(FormatQ8_0::take(shared, at, part, table));
    }
  }
};

struct HalfBlocksFamily {
  static constexpr bool kIsPer32 = true;
  static constexpr int kScaleValues = 16;

  __device__ static void fill_table(TensorType, uint32_t*) {}
  __device__ static GemmUnit decode(TensorType, const std::byte* shared, int at, int part, const uint32_t* table) {
    const FormatNVFP4::Weights w = FormatNVFP4::take(shared, at, part, table);
    GemmUnit unit;
#pragma unroll
    for (int i = 0; i < 8; ++i) unit.codes[i] = w.codes[i];
    unit.words[0] = __float_as_uint(w.scale0);
    unit.words[1] = __float_as_uint(w.scale1);
    return unit;
  }
};

void add_gemm_blocks(std::vector<GemmFormat>& formats) {
  formats.push_back(gemm_row<BlocksFamily, FormatQ4_0>(TensorType::Q4_0, "multiply tiles Q4_0"));
  formats.push_back(gemm_row<BlocksFamily, FormatQ4_1>(TensorType::Q4_1, "multiply tiles Q4_1", true));
  formats.push_back(gemm_row<BlocksFamily, FormatQ5_0>(TensorType::Q5_0, "multiply tiles Q5_0"));
  formats.push_back(gemm_row<BlocksFamily, FormatQ5_1>(TensorType::Q5_1, "multiply tiles Q5_1", true));
  formats.push_back(gemm_row<BlocksFamily, FormatQ8_0>(TensorType::Q8_0, "multiply tiles Q8_0"));
  formats.push_back(gemm_row<BlocksFamily, FormatQ8_1>(TensorType::Q8_1, "multiply tiles Q8_1"));
  formats.push_back(gemm_row<BlocksFamily, FormatIQ4_NL>(TensorType::IQ4_NL, "multiply tiles IQ4_NL"));
  formats.push_back(gemm_row<BlocksFamily, FormatMXFP4>(TensorType::MXFP4, "multiply tiles MXFP4"));
  formats.push_back(gemm_row<BlocksFamily, FormatQ1_0>(TensorType::Q1_0, "multiply tiles Q1_0"));
  formats.push_back(gemm_row<HalfBlocksFamily, FormatNVFP4>(TensorType::NVFP4, "multiply tiles NVFP4"));
}

}  // namespace sluice::kernels::cuda
