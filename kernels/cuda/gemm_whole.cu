// Super-blocks whose sub-scales are multiplied into the codes: the tensor cores add 256 columns without a pause.
#include "kernels/cuda/formats/iq1.cuh"
#include "kernels/cuda/formats/q2_k.cuh"
#include "kernels/cuda/formats/q3_k.cuh"
#include "kernels/cuda/formats/q8_k.cuh"
#include "kernels/cuda/formats/tq.cuh"
#include "kernels/cuda/gemm_row.cuh"

namespace sluice::kernels::cuda {

namespace {

using gguf::TensorType;

// scale * (2s + 1) * (grid + delta): (2s + 1) * grid is a code from -15 to 15, and (2s + 1) times the sign of delta an offset, of
// which the eighth is in its scale.
__device__ inline GemmUnit unit_of(const FormatIQ1_S::Weights& w) {
  GemmUnit unit;
  const int factor = static_cast<int>((w.high >> 11 & 14) | 1);
  const uint32_t f = static_cast<uint32_t>(factor), less_one = 0x80808080u - f * 0x01010101u;  // points are grid + 1
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    unit.codes[2 * i] = ((w.points[i] & 0x0F0F0F0Fu) * f + less_one) ^ 0x80808080u;
    unit.codes[2 * i + 1] = ((w.points[i] >> 4 & 0x0F0F0F0Fu) * f + less_one) ^ 0x80808080u;
  }
  unit.scale = w.scale;
  unit.offset_scale = w.scale * 0.125f;
  const int offset = (w.high & 0x8000) != 0 ? -factor : factor;
  unit.offsets = two_halves(offset, offset);
  return unit;
}

// s * q is from 0 to 45.
__device__ inline GemmUnit unit_of(const FormatQ2_K::Weights& w) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 8; ++i) unit.codes[i] = w.codes[i] * (w.scales >> (i / 4 * 8) & 15);
  unit.scale = float_of_f16(w.scale_and_min & 0xFFFF);
  unit.offset_scale = -float_of_f16(w.scale_and_min >> 16);
  unit.offsets = two_halves(static_cast<int>(w.scales >> 4 & 15), static_cast<int>(w.scales >> 12));
  return unit;
}

// (s - 32) * (q - 4) is from -124 to 128, so its opposite is a code.
__device__ inline GemmUnit unit_of(const FormatQ3_K::Weights& w) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    unit.codes[i] = times((0x84848484u - w.codes[i]) ^ 0x80808080u, i < 4 ? w.s0 : w.s1);  // 4 - q
  unit.scale = -w.scale;
  return unit;
}

__device__ inline GemmUnit unit_of(const WeightsTernary& w) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 8; ++i) unit.codes[i] = less(w.codes[i], 1);
  unit.scale = w.scale;
  return unit;
}

__device__ inline GemmUnit unit_of(const FormatQ8_K::Weights& w) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 8; ++i) unit.codes[i] = w.codes[i];
  unit.scale = w.scale;
  return unit;
}

}  // namespace

struct WholeFamily {
  static constexpr bool kIsPer32 = false;
  static constexpr int kScaleValues = 256;

  __device__ static void fill_table(TensorType type, uint32_t* table) {
    if (type == TensorType::IQ1_S) fill_grid_iq1(table);
  }
  __device__ static GemmUnit decode(TensorType type, const std::byte* shared, int at, int part, const uint32_t* table) {
    switch (type) {
      case TensorType::IQ1_S:
        return unit_of(FormatIQ1_S::take(shared, at, part, table));
      case TensorType::Q2_K:
        return unit_of(FormatQ2_K::take(shared, at, part, table));
      case TensorType::Q3_K:
        return unit_of(FormatQ3_K::take(shared, at, part, table));
      case TensorType::TQ1_0:
        return unit_of(FormatTQ1_0::take(shared, at, part, table));
      case TensorType::TQ2_0:
        return unit_of(FormatTQ2_0::take(shared, at, part, table));
      default:
        return unit_of(FormatQ8_K::take(shared, at, part, table));
    }
  }
};

void add_gemm_whole(std::vector<GemmFormat>& formats) {
  formats.push_back(gemm_row<WholeFamily, FormatIQ1_S>(TensorType::IQ1_S, "multiply tiles IQ1_S", true));
  formats.push_back(gemm_row<WholeFamily, FormatQ2_K>(TensorType::Q2_K, "multiply tiles Q2_K", true));
  formats.push_back(gemm_row<WholeFamily, FormatQ3_K>(TensorType::Q3_K, "multiply tiles Q3_K"));
  formats.push_back(gemm_row<WholeFamily, FormatTQ1_0>(TensorType::TQ1_0, "multiply tiles TQ1_0"));
  formats.push_back(gemm_row<WholeFamily, FormatTQ2_0>(TensorType::TQ2_0, "multiply tiles TQ2_0"));
  formats.push_back(gemm_row<WholeFamily, FormatQ8_K>(TensorType::Q8_K, "multiply tiles Q8_K"));
}

}  // namespace sluice::kernels::cuda
