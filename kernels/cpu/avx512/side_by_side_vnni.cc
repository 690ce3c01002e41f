// Products with few inputs of rows that lie side by side (kernels/cpu/side_by_side.h), with VNNI and VBMI: eight rows in the
// lanes of a vector of 256 bits.
//
// A vector of 512 bits would hold two steps, each with four bytes of the input of its own; the shuffle that brings those to
// its two halves costs as much as the second product does here, where four bytes are broadcast as they are loaded
// (docs/performance.md). What AVX-512 gives is the sum of four products in 32 bits, so that
//
//   - codes need not be moved to the lowest bits: steps that stand `kUp` bits higher have sums of their own
//   - what is to come off for the zero of the codes is where a sum starts
//   - codes with signs are moved up by 128
//
// and a permutation of bytes that ignores the upper bits of an index.
#if defined(__x86_64__)
#include <utility>

#include "kernels/cpu/avx2/side_by_side.h"
#include "kernels/cpu/avx512/dot_vnni.h"

namespace sluice::kernels::avx512_vnni {
namespace {

using namespace avx2;  // its steps for this form
using side_by_side::kCount;
using side_by_side::kForms;

// Of a form, what its products go by.
struct Plan {
  int up = 0;     // bits that the codes of half of the steps stand higher
  int zero = 0;   // a code less this is what is multiplied; Mins::Float comes off otherwise
  int group = 0;  // columns under one sum: 16 or 32
  enum class Scaling {
    None,        // there are no group scales
    Pairs,       // the sum of a group fits in 16 bits: a product of pairs whose second number counts for nothing
    PairsTwice,  // the sums of the lower and the higher steps fit, one by one
    Whole,       // a product of 32 bits
  } scaling = Scaling::None;
};
constexpr Plan plan_of(const SideBySide& form) {
  Plan plan;
  plan.up = form.table.is_used || form.bits == 5 ? 0 : form.bits == 2 ? 2 : 4;
  plan.zero = form.is_signed() ? 128 : form.mins == Coding::Mins::Whole ? form.zero : 0;
  plan.group = form.group == 16 ? 16 : 32;
  if (form.n_groups() == 0) return plan;
  const int above =
      form.largest_code() - (form.is_signed() ? 0 : plan.zero);  // a signed one is moved up and down again
  const int below = form.is_signed() ? 0 : plan.zero;
  const int largest = 127 * plan.group * (above > below ? above : below);
  const bool is_apart = plan.zero == 0 && plan.up > 0;
  plan.scaling = largest <= 32767                   ? Plan::Scaling::Pairs
                 : is_apart && largest <= 2 * 32767 ? Plan::Scaling::PairsTwice
                                                    : Plan::Scaling::Whole;
  return plan;
}
template <size_t kIndex>
constexpr Plan kPlan = plan_of(kForms[kIndex]);

// The codes by the low five bits of a byte, of which the upper ones may be anything.
struct Table32 {
  alignas(32) uint8_t codes[32];
};
constexpr Table32 table_of(const SideBySide& form) {
  Table32 table{};
  for (int i = 0; i < 32; ++i)
    table.codes[i] = static_cast<uint8_t>(form.table.codes[static_cast<size_t>(i % (1 << form.bits))] +
                                          (form.is_signed() ? 128 : 0));
  return table;
}
template <size_t kIndex>
constexpr Table32 kTable = table_of(kForms[kIndex]);

template <size_t kIndex>
SLUICE_AVX512_STEP __m256i look_up(__m256i indices) {
  return _mm256_permutexvar_epi8(indices, load_bytes(kTable<kIndex>.codes));
}

// Bits of a where the mask has ones, else of b; and (a & mask) | b.
SLUICE_AVX512_STEP __m256i choose_bits(__m256i mask, __m256i a, __m256i b) {
  return _mm256_ternarylogic_epi32(mask, a, b, 0xCA);
}
SLUICE_AVX512_STEP __m256i and_or(__m256i a, __m256i mask, __m256i b) {
  return _mm256_ternarylogic_epi32(a, mask, b, 0xEA);
}

constexpr bool is_higher(int bits, int p) {
  return bits == 3 ? p >= 2 : p % 2 == 1;
}

// The codes of steps 4 * half to 4 * half + 3; those that is_higher() names `up` bits higher.
template <size_t kIndex>
SLUICE_AVX512_STEP void load_codes(const std::byte* codes, int half, __m256i (&steps)[4]) {
  constexpr SideBySide kForm = kForms[kIndex];
  const auto vector = [codes](int v) __attribute__((always_inline)) {
    return load_once(codes + 32 * v);
  };
  const auto masked = [](__m256i v, int mask) __attribute__((always_inline)) {
    return _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(mask)));
  };
  if constexpr (kForm.bits == 2) {
    const __m256i four = vector(half), upper = _mm256_srli_epi16(four, 4);
    steps[0] = masked(four, 0x03);
    steps[1] = masked(four, 0x0C);
    steps[2] = masked(upper, 0x03);
    steps[3] = masked(upper, 0x0C);
  } else if constexpr (kForm.bits == 3) {
    const __m256i four = vector(half), third = vector(2);
#pragma GCC unroll 2
    for (int p = 0; p < 2; ++p) {
      const __m256i both =
          choose_bits(_mm256_set1_epi8(0x33), shifted(four, -2 * p), shifted(third, 2 - one_bit_place(4 * half + p)));
      steps[p] = kForm.table.is_used ? look_up<kIndex>(both) : masked(both, 0x07);
      steps[p + 2] = kForm.table.is_used ? look_up<kIndex>(_mm256_srli_epi16(both, 4)) : masked(both, 0x70);
    }
  } else {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const __m256i two = vector(2 * half + v);
      if constexpr (kForm.table.is_used) {
        steps[2 * v] = look_up<kIndex>(two);
        steps[2 * v + 1] = look_up<kIndex>(_mm256_srli_epi16(two, 4));
      } else {
        steps[2 * v] = masked(two, 0x0F);
        steps[2 * v + 1] = kForm.bits == 4 ? masked(two, 0xF0) : masked(_mm256_srli_epi16(two, 4), 0x0F);
      }
    }
    if constexpr (kForm.bits == 5) {
      const __m256i fifth = vector(4);
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p)
        steps[p] = and_or(shifted(fifth, 4 - one_bit_place(4 * half + p)), _mm256_set1_epi8(0x10), steps[p]);
    }
  }
}

// Sums of the codes of 32 columns times the input, of half of the columns each where groups are so short.
template <size_t kIndex>
struct Sums {
  static constexpr int kGroups = 32 / kPlan<kIndex>.group;
  __m256i plain[kGroups], higher[kGroups];

  // Both together.
  SLUICE_AVX512_STEP __m256i whole(const Sums& sums, int group) {
    if constexpr (kPlan<kIndex>.up == 0) return sums.plain[group];
    return _mm256_add_epi32(sums.plain[group], _mm256_srai_epi32(sums.higher[group], kPlan<kIndex>.up));
  }
};

// q: the inputs at these columns. Sums start at what `plain` holds.
template <size_t kIndex, int N>
SLUICE_AVX512_STEP void add_columns(const std::byte* codes, const int8_t* const (&q)[N], Sums<kIndex> (&sums)[N]) {
  constexpr int kGroups = Sums<kIndex>::kGroups, kUp = kPlan<kIndex>.up;
  for (int i = 0; i < N; ++i)
    for (int g = 0; g < kGroups; ++g) sums[i].higher[g] = _mm256_setzero_si256();
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m256i steps[4];
    load_codes<kIndex>(codes, half, steps);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p)
#pragma GCC unroll 3
      for (int i = 0; i < N; ++i) {
        const int group = half * (kGroups - 1);
        __m256i& sum = kUp > 0 && is_higher(kForms[kIndex].bits, p) ? sums[i].higher[group] : sums[i].plain[group];
        add_dot(sum, steps[p], q[i] + 4 * (4 * half + p));
      }
  }
}

// Eight bytes as numbers of 32 bits.
SLUICE_AVX512_STEP __m256i widen_signed(const std::byte* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
SLUICE_AVX512_STEP __m256i widen_unsigned(const std::byte* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

// The scale of group g of a head. For products of pairs its upper half is zero.
template <size_t kIndex>
SLUICE_AVX512_STEP __m256i group_scale(const std::byte* head, int g) {
  constexpr SideBySide kForm = kForms[kIndex];
  const std::byte* bytes = head + kForm.group_scales_at() + kRowGroup * g;
  if constexpr (kForm.shares_bytes) return _mm256_and_si256(widen_unsigned(bytes), _mm256_set1_epi32(15));
  if constexpr (kForm.has_float_mins()) return widen_unsigned(bytes);  // six bits
  const __m256i scale = widen_signed(bytes);
  return kPlan<kIndex>.scaling == Plan::Scaling::Whole ? scale : _mm256_and_si256(scale, _mm256_set1_epi32(0xFFFF));
}

// Pairs of mins, for the sums of the input's 16 and 16 values.
template <size_t kIndex>
SLUICE_AVX512_STEP __m256i pairs_of_mins(const std::byte* head, int g) {
  constexpr SideBySide kForm = kForms[kIndex];
  if constexpr (kForm.group == 16) {
    static_assert(kForm.shares_bytes || !kForm.has_float_mins());
    const __m128i two_groups =
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(head + kForm.group_scales_at() + 2 * kRowGroup * g));
    const __m256i by_row = _mm256_setr_epi8(0, -1, 8, -1, 1, -1, 9, -1, 2, -1, 10, -1, 3, -1, 11, -1,  //
                                            4, -1, 12, -1, 5, -1, 13, -1, 6, -1, 14, -1, 7, -1, 15, -1);
    return _mm256_srli_epi16(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(two_groups), by_row), 4);
  } else {
    return bytes_each_twice(head + kForm.group_mins_at() + kRowGroup * g);
  }
}

// whole += the sums of 32 columns, g of eight, under their groups' scales. The two vectors of an input are to be added:
// one addition waits for another there.
template <size_t kIndex, int N>
SLUICE_AVX512_STEP void add_scaled(const std::byte* head, int g, const Sums<kIndex> (&sums)[N],
                                   __m256i (&whole)[N][2]) {
  using Of = Sums<kIndex>;
  constexpr auto kScaling = kPlan<kIndex>.scaling;
#pragma GCC unroll 2
  for (int part = 0; part < Of::kGroups; ++part) {
    __m256i scale = _mm256_setzero_si256();
    if constexpr (kScaling != Plan::Scaling::None) scale = group_scale<kIndex>(head, Of::kGroups * g + part);
#pragma GCC unroll 3
    for (int i = 0; i < N; ++i) {
      if constexpr (kScaling == Plan::Scaling::PairsTwice) {
        add_pairs(whole[i][0], sums[i].plain[part], scale);
        add_pairs(whole[i][1], _mm256_srai_epi32(sums[i].higher[part], kPlan<kIndex>.up), scale);
      } else if constexpr (kScaling == Plan::Scaling::Pairs) {
        add_pairs(whole[i][part], Of::whole(sums[i], part), scale);
      } else if constexpr (kScaling == Plan::Scaling::Whole) {
        whole[i][part] = _mm256_add_epi32(whole[i][part], _mm256_mullo_epi32(Of::whole(sums[i], part), scale));
      } else {
        whole[i][part] = _mm256_add_epi32(whole[i][part], Of::whole(sums[i], part));
      }
    }
  }
}

// Where the sums of a block of 256 columns start: of columns 16 * (2g + part) and up at [part][g].
struct Starts {
  alignas(32) int32_t at[2][8];
};
template <size_t kIndex>
SLUICE_AVX512_STEP void fill_starts(const int16_t* input_sums, Starts& starts) {
  constexpr Plan kThis = kPlan<kIndex>;
  const __m256i sums = load_bytes(input_sums);
  const auto store = [](int32_t * to, __m256i v) __attribute__((always_inline)) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), v);
  };
  if constexpr (kThis.group == 32) {
    store(starts.at[0], _mm256_madd_epi16(sums, _mm256_set1_epi16(static_cast<int16_t>(-kThis.zero))));
  } else {
    store(starts.at[0], _mm256_madd_epi16(sums, _mm256_set1_epi32(-kThis.zero & 0xFFFF)));
    store(starts.at[1], _mm256_madd_epi16(sums, _mm256_set1_epi32(-kThis.zero * 65536)));
  }
}

template <size_t kIndex, int N>
SLUICE_AVX512_STEP void multiply_per256(const std::byte* unit, int64_t n_columns, const void* const* inputs,
                                        float* out) {
  constexpr SideBySide kForm = kForms[kIndex];
  constexpr bool kHasZero = kPlan<kIndex>.zero != 0;
  const reference::Activation256* x[N];
  __m256 sums[N];
  for (int i = 0; i < N; ++i) {
    x[i] = static_cast<const reference::Activation256*>(inputs[i]);
    sums[i] = _mm256_setzero_ps();
  }
  for (int64_t b = 0; b < n_columns / 256; ++b, unit += kForm.unit_bytes()) {
    const std::byte* codes = unit;
    const std::byte* head = unit + kForm.head_at();
    prefetch_ahead<kForm.head_bytes()>(head);
    __m256i whole[N][2], away[N];
    Starts starts[N];
    for (int i = 0; i < N; ++i) {
      whole[i][0] = whole[i][1] = away[i] = _mm256_setzero_si256();
      if constexpr (kHasZero) fill_starts<kIndex>(x[i][b].sums, starts[i]);
    }
#pragma GCC unroll 1
    for (int g = 0; g < 8; ++g, codes += kForm.code_bytes()) {
      prefetch_ahead<kForm.code_bytes()>(codes);
      const int8_t* q[N];
      Sums<kIndex> products[N];
      for (int i = 0; i < N; ++i) {
        q[i] = x[i][b].q + 32 * g;
        for (int part = 0; part < Sums<kIndex>::kGroups; ++part)
          products[i].plain[part] = kHasZero ? _mm256_set1_epi32(starts[i].at[part][g]) : _mm256_setzero_si256();
      }
      add_columns<kIndex, N>(codes, q, products);
      add_scaled<kIndex, N>(head, g, products, whole);
      if constexpr (kForm.has_float_mins()) {
        const __m256i mins = pairs_of_mins<kIndex>(head, g);
        for (int i = 0; i < N; ++i) add_pairs(away[i], mins, x[i][b].sums + 2 * g);
      }
    }
    const __m256 scale = scales_of_head<kIndex>(head);
    for (int i = 0; i < N; ++i) {
      const __m256 input_scale = _mm256_set1_ps(x[i][b].scale);
      const __m256i both = _mm256_add_epi32(whole[i][0], whole[i][1]);
      sums[i] = _mm256_fmadd_ps(_mm256_mul_ps(scale, input_scale), _mm256_cvtepi32_ps(both), sums[i]);
      if constexpr (kForm.has_float_mins())
        sums[i] = _mm256_fnmadd_ps(_mm256_mul_ps(mins_of_head<kIndex>(head), input_scale), _mm256_cvtepi32_ps(away[i]),
                                   sums[i]);
    }
  }
  for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + i * kRowGroup, sums[i]);
}

template <size_t kIndex, int N>
SLUICE_AVX512_STEP void multiply_per32(const std::byte* unit, int64_t n_columns, const void* const* inputs,
                                       float* out) {
  constexpr SideBySide kForm = kForms[kIndex];
  constexpr int kZero = kPlan<kIndex>.zero;
  const reference::Activation32* x[N];
  __m256 sums[N];
  for (int i = 0; i < N; ++i) {
    x[i] = static_cast<const reference::Activation32*>(inputs[i]);
    sums[i] = _mm256_setzero_ps();
  }
#pragma GCC unroll 1
  for (int64_t g = 0; g < n_columns / 32; ++g, unit += kForm.unit_bytes()) {
    prefetch_ahead<kForm.unit_bytes()>(unit);
    const int8_t* q[N];
    Sums<kIndex> products[N];
    for (int i = 0; i < N; ++i) {
      q[i] = x[i][g].q;
      products[i].plain[0] = _mm256_setzero_si256();
      if constexpr (kZero != 0)  // the sum fits in 16 bits: (-zero, 0) times (sum, its sign)
        products[i].plain[0] =
            _mm256_madd_epi16(_mm256_set1_epi32(-kZero & 0xFFFF), broadcast_four_bytes(&x[i][g].sum));
    }
    add_columns<kIndex, N>(unit, q, products);
    const std::byte* head = unit + kForm.head_at();
    const __m256 scale = scales_of_head<kIndex>(head);
    for (int i = 0; i < N; ++i) {
      const __m256 input_scale = _mm256_set1_ps(x[i][g].scale);
      sums[i] = _mm256_fmadd_ps(_mm256_mul_ps(scale, input_scale),
                                _mm256_cvtepi32_ps(Sums<kIndex>::whole(products[i], 0)), sums[i]);
      if constexpr (kForm.has_float_mins())
        sums[i] = _mm256_fnmadd_ps(_mm256_mul_ps(mins_of_head<kIndex>(head), input_scale),
                                   _mm256_set1_ps(static_cast<float>(x[i][g].sum)), sums[i]);
    }
  }
  for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + i * kRowGroup, sums[i]);
}

template <size_t kIndex, int N>
void multiply(const std::byte* group, int64_t n_columns, const void* const* inputs, float* out) {
  if constexpr (kForms[kIndex].is_per32())
    multiply_per32<kIndex, N>(group, n_columns, inputs, out);
  else
    multiply_per256<kIndex, N>(group, n_columns, inputs, out);
}

template <size_t kIndex>
void multiply_group(const std::byte* group, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                    float* out) {
  for (; n_inputs >= 3; n_inputs -= 3, inputs += 3, out += 3 * kRowGroup)
    multiply<kIndex, 3>(group, n_columns, inputs, out);
  if (n_inputs == 2) multiply<kIndex, 2>(group, n_columns, inputs, out);
  if (n_inputs == 1) multiply<kIndex, 1>(group, n_columns, inputs, out);
}

template <size_t... kIndex>
constexpr std::array<ResidentForm::GroupProduct*, kCount> all(std::index_sequence<kIndex...>) {
  return {multiply_group<kIndex>...};
}

}  // namespace

constinit const std::array<ResidentForm::GroupProduct*, kCount> kSideBySideProducts =
    all(std::make_index_sequence<kCount>());

}  // namespace sluice::kernels::avx512_vnni
#endif
