// Numbers of 16 bits: f16 (IEEE) and bf16, one in 16 bits or two in 32 (the first in the low bits). Sums and products are those of the
// exact result rounded once.
#pragma once

#include "tests/simt/runtime/arithmetic.h"

namespace sluice::simt {

// Where the machine converts f16 itself the compiler's type for it does, without <immintrin.h>, which takes longer to compile than
// most kernels.
inline float float_of_f16(uint16_t h) {
#if defined(__F16C__) && defined(__FLT16_MANT_DIG__)
  return float(bits<_Float16>(h));
#else
  const uint32_t sign = uint32_t(h & 0x8000u) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
  if (exponent == 31) return bits<float>(sign | 0x7f800000u | fraction << 13 | (fraction ? 0x400000u : 0u));
  if (exponent != 0) return bits<float>(sign | (exponent + 112) << 23 | fraction << 13);
  return bits<float>(sign | bits<uint32_t>(float(fraction) * 0x1p-24f));
#endif
}

// Rounds a float64 to a format with `fraction` bits behind the point and a least exponent; returns the bits without the sign.
template <Rounding mode, int fraction, int least_exponent, int greatest_exponent>
inline uint16_t narrow(double value) {
  const uint64_t u = bits<uint64_t>(value);
  const uint16_t sign = uint16_t(u >> 63 << 15);
  constexpr uint16_t infinity = uint16_t((greatest_exponent - least_exponent + 2) << fraction);
  if (value != value) return 0x7fff;  // as devices do
  const double magnitude = __builtin_fabs(value);
  if (__builtin_isinf(value)) return uint16_t(sign | infinity);
  if (magnitude == 0) return sign;
  int exponent = int(u >> 52 & 2047) - 1023;
  if (exponent < least_exponent) exponent = least_exponent;
  // The value in units of its last place: below 2^(fraction + 1).
  const double units = bits<double>(uint64_t(1023 + fraction - exponent) << 52) * magnitude;
  double whole = mode == Rounding::Nearest ? __builtin_rint(units) : __builtin_trunc(units);
  if (whole != units && ((mode == Rounding::Up && !sign) || (mode == Rounding::Down && sign))) whole += 1;
  const uint32_t code = uint32_t(int64_t(whole)) + (uint32_t(exponent - least_exponent) << fraction);
  if (code >= infinity) {  // too large: the largest number where rounding goes towards zero
    const bool inward = mode == Rounding::Zero || (mode == Rounding::Up && sign) || (mode == Rounding::Down && !sign);
    return uint16_t(sign | (inward ? infinity - 1 : infinity));
  }
  return uint16_t(sign | code);
}
template <Rounding mode>
inline uint16_t f16_of_double(double value) {
  return narrow<mode, 10, -14, 15>(value);
}
template <Rounding mode>
inline uint16_t bf16_of_double(double value) {
  return narrow<mode, 7, -126, 127>(value);
}
template <Rounding mode>
inline uint16_t f16_of_float_rounded(float value) {
  return f16_of_double<mode>(value);
}
template <Rounding mode>
inline uint16_t bf16_of_float_rounded(float value) {
  return bf16_of_double<mode>(value);
}
template <Rounding mode, class From>
inline uint16_t f16_of_whole(From value) {
  return f16_of_double<mode>(double(value));
}  // past 2^53 it is infinite anyway
template <Rounding mode, class From>
inline uint16_t bf16_of_whole(From value) {
  const double near = double(value);
  const long double lost = static_cast<long double>(value) - static_cast<long double>(near);
  return bf16_of_double<mode>(odd(near, double(lost)));
}

inline uint16_t f16_of_float(float value) {
#if defined(__F16C__) && defined(__FLT16_MANT_DIG__)
  if (value != value) return 0x7fff;
  return bits<uint16_t>(_Float16(value));
#else
  return f16_of_double<Rounding::Nearest>(value);
#endif
}
inline float float_of_bf16(uint16_t h) {
  return bits<float>(uint32_t(h) << 16);
}
inline uint16_t bf16_of_float(float value) {
  if (value != value) return 0x7fff;
  const uint32_t u = bits<uint32_t>(value);
  return uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

struct F16 {
  static float wide(uint16_t h) { return float_of_f16(h); }
  static uint16_t narrow(float v) { return f16_of_float(v); }
  static uint16_t narrow(double v) { return f16_of_double<Rounding::Nearest>(v); }
  static constexpr uint16_t kOne = 0x3c00, kLargest = 0x7bff, kInfinity = 0x7c00;
};
struct BF16 {
  static float wide(uint16_t h) { return float_of_bf16(h); }
  static uint16_t narrow(float v) { return bf16_of_float(v); }
  static uint16_t narrow(double v) { return bf16_of_double<Rounding::Nearest>(v); }
  static constexpr uint16_t kOne = 0x3f80, kLargest = 0x7f7f, kInfinity = 0x7f80;
};

template <class Half>
inline bool half_is_nan(uint16_t a) {
  return (a & 0x7fff) > Half::kInfinity;
}
// A float64 holds sums of two exactly or with the last bit set (odd), so narrowing rounds once.
template <class Half>
inline uint16_t half_add(uint16_t a, uint16_t b) {
  return Half::narrow(add_odd(Half::wide(a), Half::wide(b)));
}
template <class Half>
inline uint16_t half_sub(uint16_t a, uint16_t b) {
  return Half::narrow(add_odd(Half::wide(a), -double(Half::wide(b))));
}
template <class Half>
inline uint16_t half_mul(uint16_t a, uint16_t b) {
  return Half::narrow(double(Half::wide(a)) * double(Half::wide(b)));
}
template <class Half>
inline uint16_t half_fma(uint16_t a, uint16_t b, uint16_t c) {
  return Half::narrow(add_odd(double(Half::wide(a)) * double(Half::wide(b)), Half::wide(c)));
}
template <class Half>
inline uint16_t half_min(uint16_t a, uint16_t b) {
  if (half_is_nan<Half>(a)) return half_is_nan<Half>(b) ? 0x7fff : b;
  if (half_is_nan<Half>(b)) return a;
  const float x = Half::wide(a), y = Half::wide(b);
  return x < y || (x == y && a >> 15) ? a : b;
}
template <class Half>
inline uint16_t half_max(uint16_t a, uint16_t b) {
  if (half_is_nan<Half>(a)) return half_is_nan<Half>(b) ? 0x7fff : b;
  if (half_is_nan<Half>(b)) return a;
  const float x = Half::wide(a), y = Half::wide(b);
  return x > y || (x == y && !(a >> 15)) ? a : b;
}
template <class Half>
inline uint16_t half_min_nan(uint16_t a, uint16_t b) {
  return half_is_nan<Half>(a) || half_is_nan<Half>(b) ? 0x7fff : half_min<Half>(a, b);
}
template <class Half>
inline uint16_t half_max_nan(uint16_t a, uint16_t b) {
  return half_is_nan<Half>(a) || half_is_nan<Half>(b) ? 0x7fff : half_max<Half>(a, b);
}
template <class Half>
inline uint16_t half_flush(uint16_t a) {
  return (a & Half::kInfinity) == 0 ? a & 0x8000 : a;
}
template <class Half>
inline uint16_t half_saturate(uint16_t a) {
  const float x = Half::wide(a);
  return x >= 1 ? Half::kOne : x > 0 ? a : 0;
}
template <class Half>
inline uint16_t half_relu(uint16_t a) {
  return half_is_nan<Half>(a) ? 0x7fff : a >> 15 ? 0 : a;
}
template <class Half>
inline uint16_t half_finite(uint16_t a) {
  return (a & 0x7fff) == Half::kInfinity ? uint16_t((a & 0x8000) | Half::kLargest) : a;
}
template <class Half>
inline uint16_t half_power_of_two(uint16_t a) {
  return Half::narrow(__builtin_exp2(double(Half::wide(a))));
}
template <class Half>
inline uint16_t half_hyperbolic_tangent(uint16_t a) {
  return Half::narrow(__builtin_tanh(double(Half::wide(a))));
}

template <uint16_t (*one)(uint16_t)>
inline uint32_t in_both(uint32_t a) {
  return one(uint16_t(a)) | uint32_t(one(uint16_t(a >> 16))) << 16;
}
template <uint16_t (*one)(uint16_t, uint16_t)>
inline uint32_t in_both(uint32_t a, uint32_t b) {
  return one(uint16_t(a), uint16_t(b)) | uint32_t(one(uint16_t(a >> 16), uint16_t(b >> 16))) << 16;
}
template <uint16_t (*one)(uint16_t, uint16_t, uint16_t)>
inline uint32_t in_both(uint32_t a, uint32_t b, uint32_t c) {
  return one(uint16_t(a), uint16_t(b), uint16_t(c)) |
         uint32_t(one(uint16_t(a >> 16), uint16_t(b >> 16), uint16_t(c >> 16))) << 16;
}

// The names that translated code calls: f16_add, f16x2_add, bf16_add, bf16x2_add and so on.
#define SLUICE_SIMT_HALF_1(operation)              \
  inline uint16_t f16_##operation(uint16_t a) {    \
    return half_##operation<F16>(a);               \
  }                                                \
  inline uint16_t bf16_##operation(uint16_t a) {   \
    return half_##operation<BF16>(a);              \
  }                                                \
  inline uint32_t f16x2_##operation(uint32_t a) {  \
    return in_both<half_##operation<F16>>(a);      \
  }                                                \
  inline uint32_t bf16x2_##operation(uint32_t a) { \
    return in_both<half_##operation<BF16>>(a);     \
  }
#define SLUICE_SIMT_HALF_2(operation)                          \
  inline uint16_t f16_##operation(uint16_t a, uint16_t b) {    \
    return half_##operation<F16>(a, b);                        \
  }                                                            \
  inline uint16_t bf16_##operation(uint16_t a, uint16_t b) {   \
    return half_##operation<BF16>(a, b);                       \
  }                                                            \
  inline uint32_t f16x2_##operation(uint32_t a, uint32_t b) {  \
    return in_both<half_##operation<F16>>(a, b);               \
  }                                                            \
  inline uint32_t bf16x2_##operation(uint32_t a, uint32_t b) { \
    return in_both<half_##operation<BF16>>(a, b);              \
  }
SLUICE_SIMT_HALF_1(flush)
SLUICE_SIMT_HALF_1(saturate)
SLUICE_SIMT_HALF_1(relu)
SLUICE_SIMT_HALF_1(finite)
SLUICE_SIMT_HALF_1(power_of_two)
SLUICE_SIMT_HALF_1(hyperbolic_tangent)
SLUICE_SIMT_HALF_2(add)
SLUICE_SIMT_HALF_2(sub)
SLUICE_SIMT_HALF_2(mul)
SLUICE_SIMT_HALF_2(min)
SLUICE_SIMT_HALF_2(max)
SLUICE_SIMT_HALF_2(min_nan)
SLUICE_SIMT_HALF_2(max_nan)
#undef SLUICE_SIMT_HALF_1
#undef SLUICE_SIMT_HALF_2
inline uint16_t f16_fma(uint16_t a, uint16_t b, uint16_t c) {
  return half_fma<F16>(a, b, c);
}
inline uint16_t bf16_fma(uint16_t a, uint16_t b, uint16_t c) {
  return half_fma<BF16>(a, b, c);
}
inline uint32_t f16x2_fma(uint32_t a, uint32_t b, uint32_t c) {
  return in_both<half_fma<F16>>(a, b, c);
}
inline uint32_t bf16x2_fma(uint32_t a, uint32_t b, uint32_t c) {
  return in_both<half_fma<BF16>>(a, b, c);
}

}  // namespace sluice::simt
