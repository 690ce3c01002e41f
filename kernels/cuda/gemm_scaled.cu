// Super-blocks whose sub-blocks of 32 or 16 values have whole scales that codes of 8 bits have no room for.
#include "kernels/cuda/formats/iq1.cuh"
#include "kernels/cuda/formats/iq2.cuh"
#include "kernels/cuda/formats/iq3.cuh"
#include "kernels/cuda/formats/iq4.cuh"
#include "kernels/cuda/formats/q4_k.cuh"
#include "kernels/cuda/formats/q6_k.cuh"
#include "kernels/cuda/gemm_row.cuh"

namespace sluice::kernels::cuda {

namespace {

using gguf::TensorType;

// Sub-block `part` of Q4_K and Q5_K (formats/q4_k.cuh has the layout). Its block lies at a multiple of 16.
template <bool kHasHigh>
__device__ inline GemmUnit take_q45_k(const std::byte* shared, int at, int part) {
  GemmUnit unit;
  uint32_t head[4];
  load_quad(shared, at, head);
  const int q = at + (kHasHigh ? 48 : 16) + part / 2 * 32;
  load_quad(shared, q, unit.codes);
  load_quad(shared, q + 16, unit.codes + 4);
#pragma unroll
  for (int i = 0; i < 8; ++i) unit.codes[i] = unit.codes[i] >> (part % 2 * 4) & 0x0F0F0F0Fu;
  if constexpr (kHasHigh) {
    uint32_t fifths[8];
    load_quad(shared, at + 16, fifths);
    load_quad(shared, at + 32, fifths + 4);
#pragma unroll
    for (int i = 0; i < 8; ++i) unit.codes[i] |= (fifths[i] >> part & 0x01010101u) << 4;
  }
  const int shift = part % 4 * 8;
  const uint32_t s = head[1] >> shift, m = head[2] >> shift, low = head[3] >> shift;
  unit.words[0] = part < 4 ? s & 63 : (low & 15) | (s >> 2 & 0x30);
  const int min = static_cast<int>(part < 4 ? m & 63 : (low >> 4 & 15) | (m >> 2 & 0x30));
  unit.scale = float_of_f16(head[0] & 0xFFFF);
  unit.offset_scale = -float_of_f16(head[0] >> 16);
  unit.offsets = two_halves(min, min);
  return unit;
}

__device__ inline GemmUnit unit_of(const WeightsIQ4& w) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 8; ++i) unit.codes[i] = w.codes[i];
  unit.words[0] = static_cast<uint32_t>(w.s);
  unit.scale = w.scale;
  return unit;
}

__device__ inline GemmUnit unit_of(const WeightsIQ2& w) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 8; ++i) unit.codes[i] = with_signs(w.magnitudes[i], w.signs >> (4 * i));
  unit.words[0] = static_cast<uint32_t>(w.s0);
  unit.words[1] = static_cast<uint32_t>(w.s1);
  unit.scale = w.scale * 0.125f;
  return unit;
}

__device__ inline GemmUnit unit_of(const WeightsIQ3& w) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 8; ++i) unit.codes[i] = with_signs(w.magnitudes[i], w.signs >> (4 * i));
  unit.words[0] = static_cast<uint32_t>(w.s);
  unit.scale = w.scale;
  return unit;
}

// 8 * (grid + delta) of eight values each, whose signs of delta differ.
__device__ inline GemmUnit unit_of(const FormatIQ1_M::Weights& w) {
  GemmUnit unit;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t off = (w.high >> (4 * i) & 8) != 0 ? 9 : 7;
    unit.codes[2 * i] = less((w.points[i] & 0x0F0F0F0Fu) << 3, off);
    unit.codes[2 * i + 1] = less(w.points[i] >> 1 & 0x78787878u, off);
  }
  unit.words[0] = static_cast<uint32_t>(w.s0);
  unit.words[1] = static_cast<uint32_t>(w.s1);
  unit.scale = w.scale * 0.125f;
  return unit;
}

// Values 32 * part to 32 * part + 31 of Q6_K (formats/q6_k.cuh has the layout).
__device__ inline GemmUnit take_q6_k(const std::byte* shared, int at, int part) {
  GemmUnit unit;
  uint32_t high[8];
  load_words(shared, at + part / 4 * 64 + part % 2 * 32, unit.codes);
  load_words(shared, at + 128 + part / 4 * 32, high);
#pragma unroll
  for (int i = 0; i < 8; ++i)
    unit.codes[i] =
        less((unit.codes[i] >> (part / 2 % 2 * 4) & 0x0F0F0F0Fu) | (high[i] >> (part % 4 * 2) & 0x03030303u) << 4, 32);
#pragma unroll
  for (int r = 0; r < 2; ++r)
    unit.words[r] =
        static_cast<uint32_t>(static_cast<int>(static_cast<int8_t>(load_byte(shared, at + 192 + part * 2 + r))));
  unit.scale = float_of_f16(load_u16(shared, at + 208));
  return unit;
}

}  // namespace

struct Scaled32Family {
  static constexpr bool kIsPer32 = false;
  static constexpr int kScaleValues = 32;

  __device__ static void fill_table(TensorType type, uint32_t* table) {
    if (type == TensorType::IQ2_XXS) fill_grid_iq2(kGridIq2Xxs, table);
    if (type == TensorType::IQ3_XXS) fill_grid_iq3_xxs(table);
    if (type == TensorType::IQ3_S) fill_grid_iq3_s(table);
  }
  __device__ static GemmUnit decode(TensorType type, const std::byte* shared, int at, int part, const uint32_t* table) {
    switch (type) {
      case TensorType::Q4_K:
        return take_q45_k<false>(shared, at, part);
      case TensorType::Q5_K:
        return take_q45_k<true>(shared, at, part);
      case TensorType::IQ2_XXS:
        return unit_of(FormatIQ2_XXS::take(shared, at, part, table));
      case TensorType::IQ3_XXS:
        return unit_of(FormatIQ3_XXS::take(shared, at, part, table));
      case TensorType::IQ3_S:
        return unit_of(FormatIQ3_S::take(shared, at, part, table));
      default:
        return unit_of(FormatIQ4_XS::take(shared, at, part, table));
    }
  }
};

struct Scaled16Family {
  static constexpr bool kIsPer32 = false;
  static constexpr int kScaleValues = 16;

  __device__ static void fill_table(TensorType type, uint32_t* table) {
    if (type == TensorType::IQ1_M) fill_grid_iq1(table);
    if (type == TensorType::IQ2_XS) fill_grid_iq2(kGridIq2Xs, table);
    if (type == TensorType::IQ2_S) fill_grid_iq2(kGridIq2S, table);
  }
  __device__ static GemmUnit decode(TensorType type, const std::byte* shared, int at, int part, const uint32_t* table) {
    switch (type) {
      case TensorType::Q6_K:
        return take_q6_k(shared, at, part);
      case TensorType::IQ1_M:
        return unit_of(FormatIQ1_M::take(shared, at, part, table));
      case TensorType::IQ2_XS:
        return unit_of(FormatIQ2_XS::take(shared, at, part, table));
      default:
        return unit_of(FormatIQ2_S::take(shared, at, part, table));
    }
  }
};

void add_gemm_scaled(std::vector<GemmFormat>& formats) {
  formats.push_back(gemm_row<Scaled32Family, FormatQ4_K>(TensorType::Q4_K, "multiply tiles Q4_K", true));
  formats.push_back(gemm_row<Scaled32Family, FormatQ5_K>(TensorType::Q5_K, "multiply tiles Q5_K", true));
  formats.push_back(gemm_row<Scaled32Family, FormatIQ4_XS>(TensorType::IQ4_XS, "multiply tiles IQ4_XS"));
  formats.push_back(gemm_row<Scaled32Family, FormatIQ2_XXS>(TensorType::IQ2_XXS, "multiply tiles IQ2_XXS"));
  formats.push_back(gemm_row<Scaled32Family, FormatIQ3_XXS>(TensorType::IQ3_XXS, "multiply tiles IQ3_XXS"));
  formats.push_back(gemm_row<Scaled32Family, FormatIQ3_S>(TensorType::IQ3_S, "multiply tiles IQ3_S"));
  formats.push_back(gemm_row<Scaled16Family, FormatQ6_K>(TensorType::Q6_K, "multiply tiles Q6_K"));
  formats.push_back(gemm_row<Scaled16Family, FormatIQ1_M>(TensorType::IQ1_M, "multiply tiles IQ1_M"));
  formats.push_back(gemm_row<Scaled16Family, FormatIQ2_XS>(TensorType::IQ2_XS, "multiply tiles IQ2_XS"));
  formats.push_back(gemm_row<Scaled16Family, FormatIQ2_S>(TensorType::IQ2_S, "multiply tiles IQ2_S"));
}

}  // namespace sluice::kernels::cuda
