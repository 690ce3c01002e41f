// Arithmetic of PTX instructions that C++ has no operator for. Everything rounds as PTX says; what a device approximates
// (rcp.approx, ex2, sin, ...) is computed exactly, or as exactly as the C library does. Results that are no numbers keep the bits that
// the CPU gives them.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace sluice::simt {

template <class To, class From>
inline To bits(From value) {
  return __builtin_bit_cast(To, value);
}

__extension__ using Int128 = __int128;
__extension__ using UInt128 = unsigned __int128;

template <class T>
inline constexpr uint32_t kBits = sizeof(T) * 8;

// ---- integers

template <class T>
inline T shift_left(T value, uint32_t count) {
  return count >= kBits<T> ? T(0) : T(std::make_unsigned_t<T>(value) << count);
}
template <class T>
inline T shift_right(T value, uint32_t count) {
  if (count >= kBits<T>) return std::is_signed_v<T> && value < 0 ? T(-1) : T(0);
  return T(value >> count);
}

inline uint32_t funnel(uint32_t low, uint32_t high, uint32_t right) {
  return uint32_t((uint64_t(high) << 32 | low) >> right);
}
inline uint32_t funnel_left_wrap(uint32_t a, uint32_t b, uint32_t c) {
  return uint32_t((uint64_t(b) << 32 | a) << (c & 31) >> 32);
}
inline uint32_t funnel_left_clamp(uint32_t a, uint32_t b, uint32_t c) {
  return uint32_t((uint64_t(b) << 32 | a) << (c < 32 ? c : 32) >> 32);
}
inline uint32_t funnel_right_wrap(uint32_t a, uint32_t b, uint32_t c) {
  return funnel(a, b, c & 31);
}
inline uint32_t funnel_right_clamp(uint32_t a, uint32_t b, uint32_t c) {
  return funnel(a, b, c < 32 ? c : 32);
}

// Division by zero gives all ones, its remainder the dividend, as devices do.
template <class T>
inline T divide_whole(T a, T b) {
  if (b == 0) return T(-1);
  if (std::is_signed_v<T> && b == T(-1)) return T(0 - std::make_unsigned_t<T>(a));
  return T(a / b);
}
template <class T>
inline T remainder_whole(T a, T b) {
  if (b == 0) return a;
  if (std::is_signed_v<T> && b == T(-1)) return 0;
  return T(a % b);
}
template <class T>
inline T multiply_high(T a, T b) {
  if constexpr (sizeof(T) == 2) return T((int64_t(a) * int64_t(b)) >> 16);
  if constexpr (sizeof(T) == 4)
    return std::is_signed_v<T> ? T((int64_t(a) * int64_t(b)) >> 32) : T((uint64_t(a) * uint64_t(b)) >> 32);
  if constexpr (sizeof(T) == 8) {
    return std::is_signed_v<T> ? T((Int128(a) * Int128(b)) >> 64) : T((UInt128(a) * UInt128(b)) >> 64);
  }
}
template <class T>
inline T low_24(T value) {
  return T(std::make_unsigned_t<T>(value) << 8) >> 8;
}
template <class T>
inline T multiply_24_lo(T a, T b) {
  return T(int64_t(low_24(a)) * int64_t(low_24(b)));
}
template <class T>
inline T multiply_24_hi(T a, T b) {
  return T((int64_t(low_24(a)) * int64_t(low_24(b))) >> 16);
}
template <class T>
inline T absolute_whole(T a) {
  return a < 0 ? T(0 - std::make_unsigned_t<T>(a)) : a;
}
template <class T>
inline T absolute_difference(T a, T b) {
  using Unsigned = std::make_unsigned_t<T>;
  return a < b ? T(Unsigned(b) - Unsigned(a)) : T(Unsigned(a) - Unsigned(b));
}
template <class T>
inline T min_whole(T a, T b) {
  return a < b ? a : b;
}
template <class T>
inline T max_whole(T a, T b) {
  return a > b ? a : b;
}
inline int32_t clamp_32(int64_t value) {
  return int32_t(min_whole<int64_t>(max_whole<int64_t>(value, std::numeric_limits<int32_t>::min()),
                                    std::numeric_limits<int32_t>::max()));
}
inline int32_t add_saturating(int32_t a, int32_t b) {
  return clamp_32(int64_t(a) + b);
}
inline int32_t sub_saturating(int32_t a, int32_t b) {
  return clamp_32(int64_t(a) - b);
}
template <class T>
inline T logical_not(T a) {
  return a == 0;
}

template <class T>
inline uint32_t count_ones(T a) {
  return uint32_t(__builtin_popcountll(a));
}
template <class T>
inline uint32_t count_leading_zeros(T a) {
  return a == 0 ? kBits<T> : uint32_t(__builtin_clzll(a)) - (64 - kBits<T>);
}
template <class T>
inline uint32_t highest_bit(T a) {
  using Unsigned = std::make_unsigned_t<T>;
  const Unsigned u = a < T(0) ? Unsigned(~a) : Unsigned(a);  // of negative numbers the highest zero
  return u == 0 ? 0xffffffffu : kBits<T> - 1 - count_leading_zeros(u);
}
template <class T>
inline uint32_t highest_bit_shift(T a) {
  const uint32_t at = highest_bit(a);
  return at == 0xffffffffu ? at : kBits<T> - 1 - at;
}
template <class T>
inline T reverse_bits(T a) {
  T result = 0;
  for (uint32_t i = 0; i < kBits<T>; ++i) result |= T((a >> i) & 1) << (kBits<T> - 1 - i);
  return result;
}
// Position of the nth set bit from `base` on, upwards for n > 0, downwards for n < 0.
inline uint32_t find_nth_set(uint32_t mask, uint32_t base, int32_t n) {
  if (n == 0) return base < 32 && (mask >> base & 1) ? base : 0xffffffffu;
  const int step = n > 0 ? 1 : -1;
  int left = n > 0 ? n : -n;
  for (int64_t i = base; i >= 0 && i < 32; i += step) {
    if ((mask >> i & 1) && --left == 0) return uint32_t(i);
  }
  return 0xffffffffu;
}
inline uint32_t low_bits_32(uint32_t n) {
  return n >= 32 ? 0xffffffffu : (1u << n) - 1;
}
inline uint32_t bit_mask_clamp(uint32_t at, uint32_t n) {
  return at >= 32 ? 0 : low_bits_32(n) << at;
}
inline uint32_t bit_mask_wrap(uint32_t at, uint32_t n) {
  return low_bits_32(n & 31) << (at & 31);
}

// Only the lowest eight bits of position and length count. Bits above the value are its sign (zeros if it has none).
template <class T>
inline T extract_field(T value, uint32_t position, uint32_t length) {
  position &= 255;
  length &= 255;
  using Unsigned = std::make_unsigned_t<T>;
  if (length == 0) return 0;
  const uint32_t last = position + length - 1 < kBits<T> - 1 ? position + length - 1 : kBits<T> - 1;
  const bool fill = std::is_signed_v<T> && (Unsigned(value) >> last & 1);
  Unsigned result = position < kBits<T> ? Unsigned(Unsigned(value) >> position) : Unsigned(0);
  const uint32_t there = position < kBits<T> ? min_whole(length, kBits<T> - position) : 0;
  if (there < kBits<T>) {
    const Unsigned mask = Unsigned((Unsigned(1) << there) - 1);
    result = (result & mask) | (fill ? Unsigned(~mask) : Unsigned(0));
  }
  return T(result);
}
template <class T>
inline T insert_field(T field, T value, uint32_t position, uint32_t length) {
  position &= 255;
  length &= 255;
  if (position >= kBits<T>) return value;
  const T mask = T((length >= kBits<T> ? T(~T(0)) : T((T(1) << length) - 1)) << position);
  return (value & ~mask) | (T(field << position) & mask);
}

// prmt: each nibble of the selector names one of eight bytes; its highest bit asks for the byte's sign eight times.
inline uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = uint64_t(b) << 32 | a;
  uint32_t result = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t nibble = selector >> (4 * i);
    uint32_t byte = uint32_t(bytes >> (8 * (nibble & 7))) & 255;
    if (nibble & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << (8 * i);
  }
  return result;
}
inline uint32_t permute_by(uint32_t a, uint32_t b, const uint16_t (&selectors)[4], uint32_t which) {
  return permute(a, b, selectors[which & 3]);
}
inline uint32_t permute_f4e(uint32_t a, uint32_t b, uint32_t c) {
  return permute_by(a, b, {0x3210, 0x4321, 0x5432, 0x6543}, c);
}
inline uint32_t permute_b4e(uint32_t a, uint32_t b, uint32_t c) {
  return permute_by(a, b, {0x5670, 0x6701, 0x7012, 0x0123}, c);
}
inline uint32_t permute_rc8(uint32_t a, uint32_t b, uint32_t c) {
  return permute_by(a, b, {0x0000, 0x1111, 0x2222, 0x3333}, c);
}
inline uint32_t permute_ecl(uint32_t a, uint32_t b, uint32_t c) {
  return permute_by(a, b, {0x3210, 0x3211, 0x3222, 0x3333}, c);
}
inline uint32_t permute_ecr(uint32_t a, uint32_t b, uint32_t c) {
  return permute_by(a, b, {0x0000, 0x1110, 0x2210, 0x3210}, c);
}
inline uint32_t permute_rc16(uint32_t a, uint32_t b, uint32_t c) {
  return permute_by(a, b, {0x1010, 0x3232, 0x1010, 0x3232}, c);
}

template <bool is_signed>
inline int32_t byte_of(uint32_t word, int i) {
  const uint32_t byte = word >> (8 * i);
  return is_signed ? int32_t(int8_t(byte)) : int32_t(uint8_t(byte));
}
template <bool is_signed>
inline int32_t half_of(uint32_t word, int i) {
  const uint32_t half = word >> (16 * i);
  return is_signed ? int32_t(int16_t(half)) : int32_t(uint16_t(half));
}
template <bool a_signed, bool b_signed>
inline uint32_t dot_4(uint32_t a, uint32_t b, uint32_t sum) {
  for (int i = 0; i < 4; ++i) sum += uint32_t(byte_of<a_signed>(a, i) * byte_of<b_signed>(b, i));
  return sum;
}
template <bool a_signed, bool b_signed>
inline uint32_t dot_2_low(uint32_t a, uint32_t b, uint32_t sum) {
  return sum + uint32_t(half_of<a_signed>(a, 0) * byte_of<b_signed>(b, 0)) +
         uint32_t(half_of<a_signed>(a, 1) * byte_of<b_signed>(b, 1));
}
template <bool a_signed, bool b_signed>
inline uint32_t dot_2_high(uint32_t a, uint32_t b, uint32_t sum) {
  return sum + uint32_t(half_of<a_signed>(a, 0) * byte_of<b_signed>(b, 2)) +
         uint32_t(half_of<a_signed>(a, 1) * byte_of<b_signed>(b, 3));
}

// ---- floats

enum class Rounding { Nearest, Zero, Down, Up };

inline float flush(float value) {  // subnormal numbers become zeros with their sign
  const uint32_t u = bits<uint32_t>(value);
  return (u & 0x7f800000u) == 0 ? bits<float>(u & 0x80000000u) : value;
}
template <class T>
inline T saturate(T value) {
  return value >= T(1) ? T(1) : value > T(0) ? value : T(0);
}  // no number becomes +0
inline float absolute_float(float a) {
  return __builtin_fabsf(a);
}
inline double absolute_float(double a) {
  return __builtin_fabs(a);
}
inline float fused(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
inline double fused(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}
inline float square_root(float a) {
  return __builtin_sqrtf(a);
}
inline double square_root(double a) {
  return __builtin_sqrt(a);
}
inline float copy_sign(float magnitude, float sign) {
  return __builtin_copysignf(magnitude, sign);
}
inline double copy_sign(double magnitude, double sign) {
  return __builtin_copysign(magnitude, sign);
}
template <class T>
inline bool is_ordered(T a, T b) {
  return !__builtin_isunordered(a, b);
}

inline float reciprocal_root(float a) {
  return float(1.0 / __builtin_sqrt(double(a)));
}
inline double reciprocal_root(double a) {
  return 1.0 / __builtin_sqrt(a);
}
inline float power_of_two(float a) {
  return float(__builtin_exp2(double(a)));
}
inline double power_of_two(double a) {
  return __builtin_exp2(a);
}
inline float logarithm_to_two(float a) {
  return float(__builtin_log2(double(a)));
}
inline float sine(float a) {
  return float(__builtin_sin(double(a)));
}
inline float cosine(float a) {
  return float(__builtin_cos(double(a)));
}
inline float hyperbolic_tangent(float a) {
  return float(__builtin_tanh(double(a)));
}

template <class T>
inline bool is_finite(T a) {
  return __builtin_isfinite(a);
}
template <class T>
inline bool is_infinite(T a) {
  return __builtin_isinf(a);
}
template <class T>
inline bool is_number(T a) {
  return !__builtin_isnan(a);
}
template <class T>
inline bool is_notanumber(T a) {
  return __builtin_isnan(a);
}
template <class T>
inline bool is_normal(T a) {
  return __builtin_isnormal(a);
}
template <class T>
inline bool is_subnormal(T a) {
  return a != 0 && __builtin_isfinite(a) && !__builtin_isnormal(a);
}

// The number of two where one is none; +0 is greater than -0.
template <class T>
inline T min_float(T a, T b) {
  if (a != a) return b;
  if (b != b) return a;
  return a < b || (a == b && __builtin_signbit(a)) ? a : b;
}
template <class T>
inline T max_float(T a, T b) {
  if (a != a) return b;
  if (b != b) return a;
  return a > b || (a == b && !__builtin_signbit(a)) ? a : b;
}
template <class T>
inline T min_float_nan(T a, T b) {
  return a != a || b != b ? std::numeric_limits<T>::quiet_NaN() : min_float(a, b);
}
template <class T>
inline T max_float_nan(T a, T b) {
  return a != a || b != b ? std::numeric_limits<T>::quiet_NaN() : max_float(a, b);
}

template <Rounding mode, class T>
inline T round_whole(T value) {
  if constexpr (sizeof(T) == 4) {
    return mode == Rounding::Nearest ? __builtin_rintf(value)
           : mode == Rounding::Zero  ? __builtin_truncf(value)
           : mode == Rounding::Down  ? __builtin_floorf(value)
                                     : __builtin_ceilf(value);
  } else {
    return mode == Rounding::Nearest ? __builtin_rint(value)
           : mode == Rounding::Zero  ? __builtin_trunc(value)
           : mode == Rounding::Down  ? __builtin_floor(value)
                                     : __builtin_ceil(value);
  }
}
// A whole number in a float, clamped. What is no number becomes 0, or the highest bit alone where one side has 64 bits.
template <class To, class T>
inline To to_whole(T value, uint32_t n_bits, bool from_double) {
  if (value != value) return n_bits == 64 || from_double ? To(uint64_t(1) << (n_bits - 1)) : To(0);
  // 2^(digits) is exact as a float; the largest To is not always.
  constexpr T above = T(uint64_t(1) << (std::numeric_limits<To>::digits - 1)) * 2;
  if (value >= above) return std::numeric_limits<To>::max();
  if (value < (std::is_signed_v<To> ? -above : T(0))) return std::numeric_limits<To>::min();
  return To(value);
}
template <class To, class From>
inline To saturate_whole(From value) {
  const Int128 wide = value;
  if (wide > Int128(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  if (wide < Int128(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  return To(value);
}

// The next float towards where the mode points, when rounding to nearest went the other way. `exact` must tell on which side of
// `nearest` the true value lies.
template <Rounding mode, class Narrow, class Wide>
inline Narrow direct(Narrow nearest, Wide exact) {
  if (mode == Rounding::Nearest || !(exact == exact) || Wide(nearest) == exact || __builtin_isinf(exact))
    return nearest;
  const bool is_above = Wide(nearest) > exact;
  const bool wants_less = mode == Rounding::Down || (mode == Rounding::Zero && exact > 0);
  if (is_above != wants_less) return nearest;
  const Narrow infinity = std::numeric_limits<Narrow>::infinity();
  if constexpr (sizeof(Narrow) == 4)
    return __builtin_nextafterf(nearest, wants_less ? -infinity : infinity);
  else
    return __builtin_nextafter(nearest, wants_less ? -infinity : infinity);
}
template <Rounding mode>
inline float float_of_double(double value) {
  return direct<mode>(float(value), value);
}
template <Rounding mode, class From>
inline float whole_to_f32(From value) {
  return direct<mode>(float(value), static_cast<long double>(value));
}
template <Rounding mode, class From>
inline double whole_to_f64(From value) {
  return direct<mode>(double(value), static_cast<long double>(value));
}

// A sum in float64 whose last bit says whether anything was lost, so that rounding it once more, in any mode, is exact.
inline double odd(double sum, double lost) {
  if (!(lost > 0 || lost < 0) || !__builtin_isfinite(sum)) return sum;
  const uint64_t u = bits<uint64_t>(sum);
  if (u & 1) return sum;
  return bits<double>((lost > 0) == (sum > 0) ? u + 1 : u - 1);
}
inline double add_odd(double a, double b) {
  const double sum = a + b;
  const double b_there = sum - a;
  return odd(sum, (a - (sum - b_there)) + (b - b_there));
}
// Whether a + b is exactly 0, and which zero that is.
template <Rounding mode>
inline bool is_zero_sum(double a, double b, float& zero) {
  if (a != -b || __builtin_isinf(a)) return false;
  const bool both_negative = __builtin_signbit(a) && __builtin_signbit(b);  // two zeros
  const bool differ = __builtin_signbit(a) != __builtin_signbit(b);
  zero = both_negative || (differ && mode == Rounding::Down) ? -0.0f : 0.0f;
  return true;
}
template <Rounding mode>
inline float add_rounded(float a, float b) {
  float zero;
  if (is_zero_sum<mode>(a, b, zero)) return zero;
  return float_of_double<mode>(add_odd(a, b));
}
template <Rounding mode>
inline float sub_rounded(float a, float b) {
  return add_rounded<mode>(a, -b);
}
template <Rounding mode>
inline float mul_rounded(float a, float b) {
  return float_of_double<mode>(double(a) * double(b));
}
template <Rounding mode>
inline float fma_rounded(float a, float b, float c) {
  const double product = double(a) * double(b);  // exact
  float zero;
  if (is_zero_sum<mode>(product, c, zero)) return zero;
  return float_of_double<mode>(add_odd(product, c));
}
template <Rounding mode>
inline float divide_rounded(float a, float b) {
  const double quotient = double(a) / double(b);
  const double lost = __builtin_fma(-quotient, double(b), double(a));
  return float_of_double<mode>(odd(quotient, b > 0 ? lost : -lost));
}
template <Rounding mode>
inline float square_root_rounded(float a) {
  const double root = __builtin_sqrt(double(a));
  return float_of_double<mode>(odd(root, __builtin_fma(-root, root, double(a))));
}
inline uint32_t to_tf32(float value, bool ties_away) {
  const uint32_t u = bits<uint32_t>(value);
  if ((u & 0x7f800000u) == 0x7f800000u) return u;
  return ties_away ? (u + 0x1000u) & ~0x1fffu : (u + 0xfffu + (u >> 13 & 1)) & ~0x1fffu;
}

// ---- atomics: the new value of a word

template <class T>
inline T atomic_add(T old, T value) {
  if constexpr (std::is_signed_v<T> && std::is_integral_v<T>)
    return T(std::make_unsigned_t<T>(old) + std::make_unsigned_t<T>(value));
  else
    return old + value;
}
template <class T>
inline T atomic_min(T old, T value) {
  return value < old ? value : old;
}
template <class T>
inline T atomic_max(T old, T value) {
  return value > old ? value : old;
}
template <class T>
inline T atomic_exchange(T, T value) {
  return value;
}
template <class T>
inline T atomic_and(T old, T value) {
  return old & value;
}
template <class T>
inline T atomic_or(T old, T value) {
  return old | value;
}
template <class T>
inline T atomic_xor(T old, T value) {
  return old ^ value;
}
template <class T>
inline T atomic_increment(T old, T value) {
  return old >= value ? 0 : old + 1;
}
template <class T>
inline T atomic_decrement(T old, T value) {
  return old == 0 || old > value ? value : old - 1;
}
template <class T>
inline T atomic_compare_and_swap(T old, T expected, T value) {
  return old == expected ? value : old;
}

}  // namespace sluice::simt
