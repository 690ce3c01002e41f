// A tile of rows with unsigned codes times many inputs.
//
// vpmaddubsw multiplies 32 codes by 32 bytes of an input and adds neighbours into 16 bits; several such vectors are added
// there as long as the largest sum fits (4-bit codes: 8 vectors, 5-bit: 4, 6-bit: 2), and one vpmaddwd then multiplies
// by the group's scale and widens to 32 bits. So about 2 instructions do 32 multiply-adds. Constants that come off a
// code (the -8 of Q4_0, the mins of Q4_K) are applied to the sums of the activations.
#if defined(__x86_64__)
#include <type_traits>

#include "kernels/cpu/avx2/panel.h"
#include "kernels/cpu/tile_walk.h"

namespace sluice::kernels::avx2 {
namespace {

// Sixteen numbers that come in equal pairs -> eight, in the first half.
SLUICE_AVX2_STEP void keep_every_other(int16_t* sixteen) {
  const __m256i lower =
      _mm256_blend_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(sixteen)), _mm256_setzero_si256(), 0xAA);
  const __m256i packed = _mm256_packus_epi32(lower, lower);
  _mm256_store_si256(reinterpret_cast<__m256i*>(sixteen), _mm256_permute4x64_epi64(packed, 0xD8));
}

}  // namespace

void fill_narrow_panel(const TileJob& job, int64_t first_column, int index, NarrowPanel& panel) {
  if (job.form != nullptr) {
    for (int group = 0; group < kGroups; ++group)
      job.fill_panel(job.groups[index * kGroups + group], job.n_columns, first_column, group, &panel);
    return;
  }
  const Format& format = *job.format;
  const gguf::TypeLayout& layout = *format.layout;
  const bool is_per32 = format.activation == ActivationFormat::Per32;
  const int64_t n_values = smaller(256, job.n_columns - first_column);
  const uint64_t at = static_cast<uint64_t>(first_column / layout.block_values) * layout.block_bytes;
  for (int group = 0; group < kGroups; ++group) {
    CodedValues coded[kRowGroup];
    for (int r = 0; r < kRowGroup; ++r)
      job.unpack(job.rows[index * kPanelRows + group * kRowGroup + r] + at, n_values, coded[r]);
    const int column = group * kRowGroup;
    for (int k = 0; k < 64; k += 8) transpose_8x8(coded[0].codes + 4 * k, sizeof(CodedValues), panel.codes[k][column]);
    if (format.coding.mins != Coding::Mins::None) {
      if (format.coding.group == 32 && !is_per32)
        for (CodedValues& row : coded) keep_every_other(row.group_mins);
      transpose_8x8(coded[0].group_mins, sizeof(CodedValues), panel.mins[0][column]);
    }
    if (is_per32) {
      transpose_8x8(coded[0].scale, sizeof(CodedValues), &panel.scale[0][column]);
      if (format.coding.mins == Coding::Mins::Float)
        transpose_8x8(coded[0].min, sizeof(CodedValues), &panel.min[0][column]);
      continue;
    }
    for (int r = 0; r < kRowGroup; ++r) panel.scale[0][column + r] = coded[r].scale[0];
    if (format.coding.mins == Coding::Mins::Float)
      for (int r = 0; r < kRowGroup; ++r) panel.min[0][column + r] = coded[r].min[0];
    // Pairs of neighbouring groups' scales become each scale twice.
    alignas(32) int16_t pairs[8][kPanelRows][2];
    transpose_8x8(coded[0].group_scales, sizeof(CodedValues), pairs[0][0]);
    const __m256i first_twice = _mm256_set1_epi32(0x01000100),
                  lanes =
                      _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0C0C0C0C, 0, 0x04040404, 0x08080808, 0x0C0C0C0C);
    const __m256i first = _mm256_add_epi8(first_twice, lanes);
    const __m256i second = _mm256_add_epi8(first, _mm256_set1_epi8(2));
    for (int j = 0; j < 8; ++j) {
      const __m256i pair = load_bytes(pairs[j][0]);
      _mm256_store_si256(reinterpret_cast<__m256i*>(panel.scales[2 * j][column]), _mm256_shuffle_epi8(pair, first));
      _mm256_store_si256(reinterpret_cast<__m256i*>(panel.scales[2 * j + 1][column]),
                         _mm256_shuffle_epi8(pair, second));
    }
  }
}

namespace {

// Adds kSteps steps of N inputs, from first_step on, in 16 bits. Sums of two groups of rows and three inputs, their whole
// sums of 32 bits, a step's weights and an input are all the registers there are.
template <int N, int kSteps>
SLUICE_AVX2_STEP void add_steps(const NarrowPanel& panel, int first_step, const int8_t (*q)[N][4],
                                __m256i (&sums)[kGroups][N]) {
#pragma GCC unroll 8
  for (int step = first_step; step < first_step + kSteps; ++step) {
    __m256i weights[kGroups];
    for (int r = 0; r < kGroups; ++r) weights[r] = load_group(panel.codes[step], r);
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      const __m256i x = broadcast_four_bytes(q[step][i]);
#pragma GCC unroll 2
      for (int r = 0; r < kGroups; ++r) {
        const __m256i products = _mm256_maddubs_epi16(weights[r], x);
        if (step == first_step)
          sums[r][i] = products;
        else
          add_16_bits(sums[r][i], products);
      }
    }
  }
}

// Adds a group of 32 columns, under the scales of its groups, to the whole sums.
template <int N, int kSteps, int kGroup>
SLUICE_AVX2_STEP void add_group(const NarrowPanel& panel, int g, const int8_t (*q)[N][4],
                                __m256i (&whole)[kGroups][N]) {
#pragma GCC unroll 4
  for (int part = 0; part < 8; part += kSteps) {
    __m256i sums[kGroups][N];
    add_steps<N, kSteps>(panel, 8 * g + part, q, sums);
    const int scale_index = 2 * g + (kGroup == 16 && part >= 4 ? 1 : 0);
#pragma GCC unroll 2
    for (int r = 0; r < kGroups; ++r) {
      const __m256i scales = load_group(panel.scales[scale_index], r);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) add_32_bits(whole[r][i], _mm256_madd_epi16(sums[r][i], scales));
    }
  }
}

// The same for codes so large that each vector of pairs must be widened by itself.
template <int N, int kGroup>
SLUICE_AVX2_STEP void add_scaled_steps(const NarrowPanel& panel, int g, const int8_t (*q)[N][4],
                                       __m256i (&whole)[kGroups][N]) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m256i scales[kGroups];
    for (int r = 0; r < kGroups; ++r) scales[r] = load_group(panel.scales[2 * g + (kGroup == 16 ? half : 0)], r);
#pragma GCC unroll 4
    for (int step = 8 * g + 4 * half; step < 8 * g + 4 * half + 4; ++step) {
      __m256i weights[kGroups];
      for (int r = 0; r < kGroups; ++r) weights[r] = load_group(panel.codes[step], r);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) {
        const __m256i x = broadcast_four_bytes(q[step][i]);
#pragma GCC unroll 2
        for (int r = 0; r < kGroups; ++r)
          add_32_bits(whole[r][i], _mm256_madd_epi16(_mm256_maddubs_epi16(weights[r], x), scales[r]));
      }
    }
  }
}

// One panel times N inputs with one scale for 256 columns. out: [N, kTileRows].
template <int N, int kSteps, int kGroup, Coding::Mins kMins>
SLUICE_AVX2_LOOP void multiply_per256(const NarrowPanel& panel, const NarrowInputs256<N>& x, float* out) {
  __m256i whole[kGroups][N];
  for (int r = 0; r < kGroups; ++r)
    for (int i = 0; i < N; ++i) whole[r][i] = _mm256_setzero_si256();
#pragma GCC unroll 1
  for (int g = 0; g < 8; ++g)
    if constexpr (kSteps == 1)
      add_scaled_steps<N, kGroup>(panel, g, x.q, whole);
    else
      add_group<N, kSteps, kGroup>(panel, g, x.q, whole);

  constexpr int kPairs = kGroup == 32 ? 4 : 8;
  const auto& pairs = [&]() -> const auto& {
    if constexpr (kGroup == 32)
      return x.sums_of_32;
    else
      return x.sums_of_16;
  }
  ();
  if constexpr (kMins == Coding::Mins::Whole) {
#pragma GCC unroll 2
    for (int j = 0; j < kPairs; ++j)
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) {
        const __m256i pair = broadcast_four_bytes(pairs[j][i]);
#pragma GCC unroll 2
        for (int r = 0; r < kGroups; ++r) {
          whole[r][i] = _mm256_sub_epi32(whole[r][i], _mm256_madd_epi16(load_group(panel.mins[j], r), pair));
          keep_in_register(whole[r][i]);
        }
      }
  }
  __m256 input_scale[N];
  for (int i = 0; i < N; ++i) input_scale[i] = _mm256_broadcast_ss(&x.scale[i]);
#pragma GCC unroll 2
  for (int r = 0; r < kGroups; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      float* to = out + i * kTileRows + 8 * r;
      const __m256 both = _mm256_mul_ps(_mm256_load_ps(panel.scale[0] + 8 * r), input_scale[i]);
      __m256 sum = _mm256_fmadd_ps(both, _mm256_cvtepi32_ps(whole[r][i]), _mm256_loadu_ps(to));
      if constexpr (kMins == Coding::Mins::Float) {
        __m256i away = _mm256_setzero_si256();
#pragma GCC unroll 8
        for (int j = 0; j < kPairs; ++j)
          away = _mm256_add_epi32(away,
                                  _mm256_madd_epi16(load_group(panel.mins[j], r), broadcast_four_bytes(pairs[j][i])));
        const __m256 min = _mm256_mul_ps(_mm256_load_ps(panel.min[0] + 8 * r), input_scale[i]);
        sum = _mm256_fnmadd_ps(min, _mm256_cvtepi32_ps(away), sum);
      }
      _mm256_storeu_ps(to, sum);
    }
}

// One panel times N inputs with a scale for every 32 columns, n_groups of them.
template <int N, int kSteps, Coding::Mins kMins>
SLUICE_AVX2_LOOP void multiply_per32(const NarrowPanel& panel, int64_t n_groups, const NarrowInputs32<N>& x,
                                     float* out) {
  const __m256i ones = _mm256_set1_epi16(1);
  // Whole mins of these formats are all the same. Whole numbers below 2^24 are exact as floats, and so is what comes off.
  const __m256 zero = _mm256_set1_ps(panel.mins[0][0][0]);
#pragma GCC unroll 1
  for (int g = 0; g < n_groups; ++g) {
    __m256i whole[kGroups][N];
#pragma GCC unroll 4
    for (int part = 0; part < 8; part += kSteps) {
      __m256i sums[kGroups][N];
      add_steps<N, kSteps>(panel, 8 * g + part, x.q, sums);
#pragma GCC unroll 2
      for (int r = 0; r < kGroups; ++r)
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
          const __m256i wide = _mm256_madd_epi16(sums[r][i], ones);
          if (part == 0)
            whole[r][i] = wide;
          else
            add_32_bits(whole[r][i], wide);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      const __m256 input_scale = _mm256_broadcast_ss(&x.scale[g][i]);
      const __m256 input_sum = _mm256_broadcast_ss(&x.sums[g][i]);
#pragma GCC unroll 2
      for (int r = 0; r < kGroups; ++r) {
        __m256 value = _mm256_cvtepi32_ps(whole[r][i]);
        if constexpr (kMins == Coding::Mins::Whole) value = _mm256_fnmadd_ps(input_sum, zero, value);
        float* to = out + i * kTileRows + 8 * r;
        __m256 sum = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_load_ps(panel.scale[g] + 8 * r), input_scale), value,
                                     _mm256_loadu_ps(to));
        if constexpr (kMins == Coding::Mins::Float)
          sum = _mm256_fnmadd_ps(_mm256_mul_ps(_mm256_load_ps(panel.min[g] + 8 * r), input_scale), input_sum, sum);
        _mm256_storeu_ps(to, sum);
      }
    }
  }
}

template <int kSteps, int kGroup, Coding::Mins kMins, bool kPer32>
void multiply_tile(const TileJob& job) {
  walk_tile<3, kPanels, NarrowPanel>(
      job, fill_narrow_panel,
      [&]<int N>(const NarrowPanel* panels, int64_t n_columns, const std::byte* x, float* out,
                 std::integral_constant<int, N>) {
        for (int p = 0; p < kPanels; ++p, out += kPanelRows)
          if constexpr (kPer32)
            multiply_per32<N, kSteps, kMins>(panels[p], n_columns / 32, *reinterpret_cast<const NarrowInputs32<N>*>(x),
                                             out);
          else
            multiply_per256<N, kSteps, kGroup, kMins>(panels[p], *reinterpret_cast<const NarrowInputs256<N>*>(x), out);
      });
}

// Vectors of pair sums that may be added in 16 bits: a pair is at most 2 * 127 * largest code.
constexpr int safe_steps(int largest_code) {
  const int steps = 32767 / (254 * largest_code);
  return steps >= 8 ? 8 : steps >= 4 ? 4 : steps >= 2 ? 2 : 1;
}

template <int kSteps, int kGroup>
void multiply_with_mins(const TileJob& job) {
  using enum Coding::Mins;
  const Coding::Mins mins = job.format->coding.mins;
  if (job.format->activation == ActivationFormat::Per32) {
    if constexpr (kGroup == 32)
      mins == Float ? multiply_tile<kSteps, 32, Float, true>(job) : multiply_tile<kSteps, 32, Whole, true>(job);
  } else {
    mins == Float ? multiply_tile<kSteps, kGroup, Float, false>(job) : multiply_tile<kSteps, kGroup, Whole, false>(job);
  }
}

}  // namespace

void multiply_tile_narrow(const TileJob& job) {
  const Coding& coding = job.format->coding;
  const int steps = safe_steps(coding.largest_code);
  // With one step: the codes of 7 bits of some super-blocks, which have no float mins.
  if (coding.group == 32) {
    if (steps == 8) return multiply_with_mins<8, 32>(job);
    if (steps == 4) return multiply_with_mins<4, 32>(job);
    return multiply_tile<1, 32, Coding::Mins::Whole, false>(job);
  }
  if (steps >= 4) return multiply_with_mins<4, 16>(job);
  if (steps == 2) return multiply_with_mins<2, 16>(job);
  return multiply_tile<1, 16, Coding::Mins::Whole, false>(job);
}

}  // namespace sluice::kernels::avx2
#endif
