// Single instructions over edge values, against plain C++ that is written from the PTX ISA and shares nothing with the emulator.
#include <array>
#include <bit>
#include <cfenv>
#include <cmath>
#include <functional>
#include <limits>

#include "tests/simt/launching.h"

namespace sluice::simt {
namespace {

using Value = uint64_t;
using Expected = std::function<Value(Value a, Value b, Value c)>;

struct OperandArguments {
  const Value* a;
  const Value* b;
  const Value* c;
  Value* out;
  int64_t n;
};

float f32(Value v) {
  return std::bit_cast<float>(uint32_t(v));
}
double f64(Value v) {
  return std::bit_cast<double>(v);
}
Value of(float f) {
  return std::bit_cast<uint32_t>(f);
}
Value of(double d) {
  return std::bit_cast<uint64_t>(d);
}
int32_t s32(Value v) {
  return int32_t(uint32_t(v));
}
uint32_t u32(Value v) {
  return uint32_t(v);
}
int64_t s64(Value v) {
  return int64_t(v);
}
Value of32(int64_t v) {
  return uint32_t(uint64_t(v));
}
int64_t clamped(int64_t v, int64_t low, int64_t high) {
  return v < low ? low : v > high ? high : v;
}

// Bit i of a word, 0 beyond its end.
template <class Word>
int bit(Word w, int64_t i) {
  return i >= 0 && i < int64_t(sizeof(w) * 8) ? int(w >> i & 1) : 0;
}

// The fields of the PTX ISA's pseudocode, a bit at a time.
template <class Word>
Value extract(Word a, uint32_t b, uint32_t c, bool is_signed) {
  const int top = int(sizeof(a) * 8) - 1;
  const int position = int(b & 255), length = int(c & 255);
  const int sign = !is_signed || length == 0 ? 0 : bit(a, std::min(position + length - 1, top));
  Word d = 0;
  for (int i = 0; i <= top; ++i) {
    const int value = i < length && position + i <= top ? bit(a, position + i) : sign;
    d |= Word(value) << i;
  }
  return d;
}
template <class Word>
Value insert(Word a, Word b, uint32_t c, uint32_t d) {
  const int position = int(c & 255), length = int(d & 255);
  for (int i = 0; i < length && position + i < int(sizeof(a) * 8); ++i) {
    b = Word(b & ~(Word(1) << (position + i))) | Word(bit(a, i)) << (position + i);
  }
  return b;
}
Value by_bits(uint32_t a, uint32_t b, uint32_t c, int table) {
  uint32_t d = 0;
  for (int i = 0; i < 32; ++i) d |= uint32_t(table >> (bit(a, i) << 2 | bit(b, i) << 1 | bit(c, i)) & 1) << i;
  return d;
}
Value bytes_of(uint32_t a, uint32_t b, std::array<int, 4> from) {  // from[i]: the source of byte i
  uint32_t d = 0;
  for (int i = 0; i < 4; ++i)
    d |= (from[size_t(i)] < 4 ? a >> 8 * from[size_t(i)] & 255 : b >> 8 * (from[size_t(i)] - 4) & 255) << 8 * i;
  return d;
}
Value selected_bytes(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t nibble = c >> 4 * i & 15;
    uint32_t byte = u32(bytes_of(a, b, {int(nibble & 7), 0, 0, 0})) & 255;
    if (nibble & 8) byte = byte >= 128 ? 255 : 0;
    d |= byte << 8 * i;
  }
  return d;
}
int64_t part(uint32_t word, int i, int width, bool is_signed) {
  int64_t v = word >> width * i & ((1u << width) - 1);
  return is_signed && v >> (width - 1) ? v - (int64_t(1) << width) : v;
}
Expected dot_4(bool a_signed, bool b_signed) {
  return [=](Value a, Value b, Value c) {
    int64_t sum = s32(c);
    for (int i = 0; i < 4; ++i) sum += part(u32(a), i, 8, a_signed) * part(u32(b), i, 8, b_signed);
    return of32(sum);
  };
}
Value find_nth(uint32_t mask, uint32_t base, int offset) {  // as the PTX ISA's pseudocode
  if (offset == 0) return bit(mask, base) ? base : 0xffffffffu;
  int64_t at = int64_t(base);
  int count = std::abs(offset);
  const int step = offset > 0 ? 1 : -1;
  for (; at >= 0 && at < 32; at += step) {
    if (bit(mask, at) && --count == 0) return Value(at);
  }
  return 0xffffffffu;
}

// The CPU's own rounding modes; volatile keeps the compiler from computing in another one.
template <class T, class Operation>
T rounded(int mode, Operation operation) {
  const int before = std::fegetround();
  std::fesetround(mode);
  volatile T result = operation();
  std::fesetround(before);
  return result;
}
template <class T>
T keep(T value) {
  volatile T kept = value;
  return kept;
}

int64_t whole(double v, int mode, int64_t low, int64_t high) {
  if (std::isnan(v)) return 0;
  const double r = rounded<double>(mode, [&] { return std::nearbyint(keep(v)); });
  if (r <= double(low)) return low;
  if (r >= double(high)) return high;
  return int64_t(r);
}

// f16 and bf16 from their definition: the nearest of all numbers with such a code. Slow and plain.
struct Format {
  int exponent_bits, fraction_bits;
  double value(uint32_t code) const {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = int(code >> fraction_bits) & ((1 << exponent_bits) - 1);
    const int fraction = int(code) & ((1 << fraction_bits) - 1);
    double v = 0;
    if (exponent == (1 << exponent_bits) - 1)
      v = fraction == 0 ? std::numeric_limits<double>::infinity() : std::nan("");
    else if (exponent == 0)
      v = std::ldexp(fraction, 1 - bias - fraction_bits);
    else
      v = std::ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
    return code >> 15 ? -v : v;
  }
  // exact: to which less than a unit of the last place of a long double was lost.
  uint32_t nearest(long double exact, bool towards_zero = false) const {
    if (std::isnan(exact)) return 0x7fff;
    const uint32_t sign = std::signbit(exact) ? 0x8000 : 0;
    const long double magnitude = std::fabs(exact);
    const uint32_t infinity = uint32_t((1 << exponent_bits) - 1) << fraction_bits;
    if (std::isinf(exact)) return sign | infinity;
    uint32_t low = 0, high = infinity;  // value(low) <= magnitude < value(high)
    while (high - low > 1) {
      const uint32_t middle = (low + high) / 2;
      (static_cast<long double>(value(middle)) <= magnitude ? low : high) = middle;
    }
    if (towards_zero) return sign | low;
    const long double below = value(low);
    const long double above = high == infinity ? below + (below - static_cast<long double>(value(low - 1)))
                                               : static_cast<long double>(value(high));
    if (magnitude - below > above - magnitude || (magnitude - below == above - magnitude && low % 2 == 1))
      return sign | high;
    return sign | low;
  }
};
constexpr Format kF16{5, 10}, kBF16{8, 7};

// A sum that is off by less than a unit of the last place of a long double, on the right side of every coarser number.
long double sum_of(long double a, long double b) {
  const long double sum = a + b, b_there = sum - a;
  const long double lost = (a - (sum - b_there)) + (b - b_there);
  if (!(lost > 0) && !(lost < 0)) return sum;
  return std::nextafter(sum, lost > 0 ? HUGE_VALL : -HUGE_VALL);
}

template <class Operation>
Value in_pairs(Value a, Value b, Value c, Operation operation) {
  return operation(uint16_t(a), uint16_t(b), uint16_t(c)) |
         operation(uint16_t(a >> 16), uint16_t(b >> 16), uint16_t(c >> 16)) << 16;
}
Expected fma_of(Format format) {
  return [=](Value a, Value b, Value c) {
    return in_pairs(a, b, c, [&](uint32_t x, uint32_t y, uint32_t z) {
      return format.nearest(sum_of(static_cast<long double>(format.value(x)) * format.value(y), format.value(z)));
    });
  };
}
// The greater or lesser number, the one number where there is one.
float least(float a, float b, bool greatest) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  if (a == b) return std::signbit(a) != greatest ? a : b;
  return (a < b) != greatest ? a : b;
}

Expected least_of(Format format, bool greatest, bool nan_wins) {
  return [=](Value a, Value b, Value c) {
    return in_pairs(a, b, c, [&](uint32_t x, uint32_t y, uint32_t) -> uint32_t {
      const double p = format.value(x), q = format.value(y);
      if (std::isnan(p) || std::isnan(q))
        return nan_wins || (std::isnan(p) && std::isnan(q)) ? 0x7fff : std::isnan(p) ? y : x;
      if (p == q) return std::signbit(p) != greatest ? x : y;
      return (p < q) != greatest ? x : y;
    });
  };
}

float without_subnormal(float v) {
  return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v;
}
float between_0_and_1(float v) {
  return std::isnan(v) ? 0 : v <= 0 ? 0 : v >= 1 ? 1 : v;
}

struct Instruction {
  std::string name;
  Expected expected;
  enum Result {
    Word,
    Float32,
    Float64,
    HalfF16,
    HalfF16x2,
    HalfBF16,
    HalfBF16x2
  } result = Word;  // in which NaN is NaN
  int architecture = 75;
};

std::vector<Instruction> instructions() {
  using I = Instruction;
  std::vector<I> all{
      {"add_sat", [](Value a, Value b, Value) { return of32(clamped(int64_t(s32(a)) + s32(b), INT32_MIN, INT32_MAX)); }},
      {"sub_sat", [](Value a, Value b, Value) { return of32(clamped(int64_t(s32(a)) - s32(b), INT32_MIN, INT32_MAX)); }},
      {"mul_hi_s32", [](Value a, Value b, Value) { return of32(int64_t(s32(a)) * s32(b) >> 32); }},
      {"mul_hi_u32", [](Value a, Value b, Value) { return Value(u32(a)) * u32(b) >> 32; }},
      {"mad_hi_s32", [](Value a, Value b, Value c) { return of32((int64_t(s32(a)) * s32(b) >> 32) + s32(c)); }},
      {"mad_lo_s32", [](Value a, Value b, Value c) { return Value(uint32_t(Value(u32(a)) * u32(b) + u32(c))); }},
      {"mul24_s32", [](Value a, Value b, Value) { return of32(int64_t(s32(a << 8) >> 8) * (s32(b << 8) >> 8)); }},
      {"mul24_hi_u32", [](Value a, Value b, Value) { return of32(int64_t((a & 0xffffff) * (b & 0xffffff) >> 16)); }},
      {"sad_s32", [](Value a, Value b, Value c) { return of32(std::abs(int64_t(s32(a)) - s32(b)) + s32(c)); }},
      {"sad_u32", [](Value a, Value b, Value c) { return of32(std::abs(int64_t(u32(a)) - int64_t(u32(b))) + s32(c)); }},
      {"div_s32", [](Value a, Value b, Value) { return s32(b) == 0 ? 0xffffffffu : of32(int64_t(s32(a)) / s32(b)); }},
      {"div_u32", [](Value a, Value b, Value) { return u32(b) == 0 ? 0xffffffffu : Value(u32(a) / u32(b)); }},
      {"rem_s32", [](Value a, Value b, Value) { return s32(b) == 0 ? u32(a) : of32(int64_t(s32(a)) % s32(b)); }},
      {"rem_u32", [](Value a, Value b, Value) { return u32(b) == 0 ? u32(a) : Value(u32(a) % u32(b)); }},
      {"min_s32", [](Value a, Value b, Value) { return of32(std::min(s32(a), s32(b))); }},
      {"max_u32", [](Value a, Value b, Value) { return Value(std::max(u32(a), u32(b))); }},
      {"abs_s32", [](Value a, Value, Value) { return of32(std::abs(int64_t(s32(a)))); }},
      {"neg_s32", [](Value a, Value, Value) { return of32(-int64_t(s32(a))); }},
      {"popc_b32", [](Value a, Value, Value) { return Value(std::popcount(u32(a))); }},
      {"clz_b32", [](Value a, Value, Value) { return Value(std::countl_zero(u32(a))); }},
      {"brev_b32", [](Value a, Value, Value) { Value d = 0; for (int i = 0; i < 32; ++i) d |= Value(bit(u32(a), i)) << (31 - i); return d; }},
      {"bfind_u32", [](Value a, Value, Value) { return of32(31 - std::countl_zero(u32(a))); }},
      {"bfind_s32", [](Value a, Value, Value) { return of32(31 - std::countl_zero(s32(a) < 0 ? ~u32(a) : u32(a))); }},
      {"bfind_shiftamt_u32", [](Value a, Value, Value) { return u32(a) == 0 ? 0xffffffffu : Value(std::countl_zero(u32(a))); }},
      {"cnot_b32", [](Value a, Value, Value) { return Value(u32(a) == 0); }},
      {"bfe_u32", [](Value a, Value b, Value c) { return extract(u32(a), u32(b), u32(c), false); }},
      {"bfe_s32", [](Value a, Value b, Value c) { return extract(u32(a), u32(b), u32(c), true); }},
      {"bfi_b32", [](Value a, Value b, Value c) { return insert(u32(a), uint32_t(0x0f5a3c96), u32(b), u32(c)); }},
      {"shf_l_wrap", [](Value a, Value b, Value c) { return Value(u32((Value(u32(b)) << 32 | u32(a)) << (c & 31) >> 32)); }},
      {"shf_l_clamp", [](Value a, Value b, Value c) { const uint32_t n = std::min(u32(c), 32u); return n == 32 ? u32(a) : Value(u32((Value(u32(b)) << 32 | u32(a)) << n >> 32)); }},
      {"shf_r_wrap", [](Value a, Value b, Value c) { return Value(u32((Value(u32(b)) << 32 | u32(a)) >> (c & 31))); }},
      {"shf_r_clamp", [](Value a, Value b, Value c) { const uint32_t n = std::min(u32(c), 32u); return n == 32 ? u32(b) : Value(u32((Value(u32(b)) << 32 | u32(a)) >> n)); }},
      {"shl_b32", [](Value a, Value b, Value) { return u32(b) > 31 ? 0 : Value(u32(a << u32(b))); }},
      {"shr_u32", [](Value a, Value b, Value) { return u32(b) > 31 ? 0 : Value(u32(a) >> u32(b)); }},
      {"shr_s32", [](Value a, Value b, Value) { return of32(int64_t(s32(a)) >> std::min(u32(b), 63u)); }},
      {"prmt", [](Value a, Value b, Value c) { return selected_bytes(u32(a), u32(b), u32(c)); }},
      {"prmt_f4e", [](Value a, Value b, Value c) { const int s = int(c & 3); return bytes_of(u32(a), u32(b), {s, s + 1, s + 2, s + 3}); }},
      {"prmt_b4e", [](Value a, Value b, Value c) { const int s = int(c & 3); return bytes_of(u32(a), u32(b), {s, (s + 7) % 8, (s + 6) % 8, (s + 5) % 8}); }},
      {"prmt_rc8", [](Value a, Value b, Value c) { const int s = int(c & 3); return bytes_of(u32(a), u32(b), {s, s, s, s}); }},
      {"prmt_ecl", [](Value a, Value b, Value c) { const int s = int(c & 3); return bytes_of(u32(a), u32(b), {s, std::max(s, 1), std::max(s, 2), 3}); }},
      {"prmt_ecr", [](Value a, Value b, Value c) { const int s = int(c & 3); return bytes_of(u32(a), u32(b), {0, std::min(s, 1), std::min(s, 2), s}); }},
      {"prmt_rc16", [](Value a, Value b, Value c) { const int s = int(c & 1) * 2; return bytes_of(u32(a), u32(b), {s, s + 1, s, s + 1}); }},
      {"dp4a_ss", dot_4(true, true)}, {"dp4a_su", dot_4(true, false)}, {"dp4a_us", dot_4(false, true)}, {"dp4a_uu", dot_4(false, false)},
      {"dp2a_lo_ss", [](Value a, Value b, Value c) { return of32(s32(c) + part(u32(a), 0, 16, true) * part(u32(b), 0, 8, true) + part(u32(a), 1, 16, true) * part(u32(b), 1, 8, true)); }},
      {"dp2a_hi_us", [](Value a, Value b, Value c) { return of32(s32(c) + part(u32(a), 0, 16, false) * part(u32(b), 2, 8, true) + part(u32(a), 1, 16, false) * part(u32(b), 3, 8, true)); }},
      {"bmsk_clamp", [](Value a, Value b, Value) { uint32_t d = 0; for (int64_t i = 0; i < 32; ++i) if (i >= int64_t(u32(a)) && i < int64_t(u32(a)) + int64_t(u32(b))) d |= 1u << i; return Value(d); }},
      {"bmsk_wrap", [](Value a, Value b, Value) { uint32_t d = 0; for (uint32_t i = 0; i < 32; ++i) if (i >= (a & 31) && i < (a & 31) + (b & 31)) d |= 1u << i; return Value(d); }},
      {"slct_s32", [](Value a, Value b, Value c) { return Value(s32(c) >= 0 ? u32(a) : u32(b)); }},
      {"fns", [](Value a, Value b, Value c) { return find_nth(u32(a), u32(b) & 31, s32(c) % 5); }},
      {"mul_lo_s16", [](Value a, Value b, Value) { return Value(uint16_t(a * b)); }},
      {"mul_hi_u16", [](Value a, Value b, Value) { return Value(uint16_t(a)) * uint16_t(b) >> 16; }},
      {"min_s16", [](Value a, Value b, Value) { return Value(uint16_t(std::min(int16_t(a), int16_t(b)))); }},
      {"mul_hi_s64", [](Value a, Value b, Value) { // by halves
         const int64_t ah = s64(a) >> 32, bh = s64(b) >> 32; const Value al = u32(a), bl = u32(b);
         const int64_t m1 = ah * int64_t(bl) + int64_t(al * bl >> 32), m2 = int64_t(al) * bh + (m1 & 0xffffffff);
         return Value(ah * bh + (m1 >> 32) + (m2 >> 32)); }},
      {"mul_hi_u64", [](Value a, Value b, Value) {
         const Value ah = a >> 32, bh = b >> 32, al = u32(a), bl = u32(b), m1 = ah * bl + (al * bl >> 32), m2 = al * bh + u32(m1);
         return ah * bh + (m1 >> 32) + (m2 >> 32); }},
      {"min_s64", [](Value a, Value b, Value) { return Value(std::min(s64(a), s64(b))); }},
      {"brev_b64", [](Value a, Value, Value) { Value d = 0; for (int i = 0; i < 64; ++i) d |= Value(bit(a, i)) << (63 - i); return d; }},
      {"popc_b64", [](Value a, Value, Value) { return Value(std::popcount(a)); }},
      {"clz_b64", [](Value a, Value, Value) { return Value(std::countl_zero(a)); }},
      {"bfind_s64", [](Value a, Value, Value) { return of32(63 - std::countl_zero(s64(a) < 0 ? ~a : a)); }},
      {"bfe_s64", [](Value a, Value b, Value c) { return extract(a, u32(b), u32(c), true); }},
      {"bfe_u64", [](Value a, Value b, Value c) { return extract(a, u32(b), u32(c), false); }},
      {"bfi_b64", [](Value a, Value b, Value c) { return insert(a, Value(0x0123456789abcdef), u32(b), u32(c)); }},
      {"shr_s64", [](Value a, Value b, Value) { return Value(s64(a) >> std::min(u32(b), 63u)); }},
      {"shl_b64", [](Value a, Value b, Value) { return u32(b) > 63 ? 0 : a << u32(b); }},
      {"mad_wide_s32", [](Value a, Value b, Value c) { return Value(int64_t(s32(a)) * s32(b)) + c; }},
      {"mul_wide_u32", [](Value a, Value b, Value) { return Value(u32(a)) * u32(b); }},
      {"cvt_rni_s32_f32", [](Value a, Value, Value) { return of32(whole(f32(a), FE_TONEAREST, INT32_MIN, INT32_MAX)); }},
      {"cvt_rzi_s32_f32", [](Value a, Value, Value) { return of32(whole(f32(a), FE_TOWARDZERO, INT32_MIN, INT32_MAX)); }},
      {"cvt_rmi_s32_f32", [](Value a, Value, Value) { return of32(whole(f32(a), FE_DOWNWARD, INT32_MIN, INT32_MAX)); }},
      {"cvt_rpi_u32_f32", [](Value a, Value, Value) { return of32(whole(f32(a), FE_UPWARD, 0, UINT32_MAX)); }},
      {"cvt_rzi_s8_f32", [](Value a, Value, Value) { return of32(whole(f32(a), FE_TOWARDZERO, -128, 127)); }},
      {"cvt_rni_f32_f32", [](Value a, Value, Value) { return of(std::nearbyint(f32(a))); }, I::Float32},
      {"cvt_rmi_f32_f32", [](Value a, Value, Value) { return of(std::floor(f32(a))); }, I::Float32},
      {"cvt_sat_f32_f32", [](Value a, Value, Value) { return of(between_0_and_1(f32(a))); }},
      {"cvt_ftz_f32_f32", [](Value a, Value, Value) { return of(without_subnormal(f32(a))); }, I::Float32},
      {"cvt_rzi_s64_f32", [](Value a, Value, Value) { const float f = f32(a); return std::isnan(f) ? Value(1) << 63 : Value(f >= 0x1p63f ? INT64_MAX : f < -0x1p63f ? INT64_MIN : int64_t(f)); }},
      {"cvt_rzi_u64_f64", [](Value a, Value, Value) { const double d = f64(a); return std::isnan(d) ? Value(1) << 63 : d >= 0x1p64 ? UINT64_MAX : d <= 0 ? 0 : Value(d); }},
      {"cvt_rzi_s32_f64", [](Value a, Value, Value) { return std::isnan(f64(a)) ? Value(1) << 31 : of32(whole(f64(a), FE_TOWARDZERO, INT32_MIN, INT32_MAX)); }},
      {"cvt_s8_s32", [](Value a, Value, Value) { return of32(int8_t(a)); }},
      {"cvt_sat_s8_s32", [](Value a, Value, Value) { return of32(clamped(s32(a), -128, 127)); }},
      {"cvt_sat_u8_s32", [](Value a, Value, Value) { return of32(clamped(s32(a), 0, 255)); }},
      {"cvt_sat_u16_s32", [](Value a, Value, Value) { return of32(clamped(s32(a), 0, 65535)); }},
      {"cvt_sat_s32_s64", [](Value a, Value, Value) { return of32(clamped(s64(a), INT32_MIN, INT32_MAX)); }},
      {"cvt_s64_s32", [](Value a, Value, Value) { return Value(int64_t(s32(a))); }},
      {"cvt_u64_u32", [](Value a, Value, Value) { return Value(u32(a)); }},
      {"cvt_rn_f16_f32", [](Value a, Value, Value) { return Value(kF16.nearest(f32(a))); }, I::HalfF16},
      {"cvt_rz_f16_f32", [](Value a, Value, Value) { return Value(kF16.nearest(f32(a), true)); }, I::HalfF16},
      {"cvt_f32_f16", [](Value a, Value, Value) { return of(float(kF16.value(uint16_t(a)))); }, I::Float32},
      {"cvt_rni_s32_f16", [](Value a, Value, Value) { return of32(whole(kF16.value(uint16_t(a)), FE_TONEAREST, INT32_MIN, INT32_MAX)); }},
      {"cvt_rn_f16_s32", [](Value a, Value, Value) { return Value(kF16.nearest(s32(a))); }},
      {"cvt_rn_f16x2_f32", [](Value a, Value b, Value) { return Value(kF16.nearest(f32(a))) << 16 | kF16.nearest(f32(b)); }, I::HalfF16x2, 80},
      {"cvt_rn_bf16_f32", [](Value a, Value, Value) { return Value(kBF16.nearest(f32(a))); }, I::HalfBF16, 80},
      {"cvt_rz_bf16_f32", [](Value a, Value, Value) { return Value(kBF16.nearest(f32(a), true)); }, I::HalfBF16, 80},
      {"cvt_rn_relu_bf16x2_f32", [](Value a, Value b, Value) { const auto one = [](float f) { return std::isnan(f) ? 0x7fffu : std::signbit(f) ? 0u : kBF16.nearest(f); }; return Value(one(f32(a))) << 16 | one(f32(b)); }, I::HalfBF16x2, 80},
      {"cvt_rna_tf32_f32", [](Value a, Value, Value) { return std::isfinite(f32(a)) ? Value((u32(a) + 0x1000) & 0xffffe000) : Value(u32(a)); }, I::Float32, 80},
      {"min_f32", [](Value a, Value b, Value) { return of(least(f32(a), f32(b), false)); }, I::Float32},
      {"max_f32", [](Value a, Value b, Value) { return of(least(f32(a), f32(b), true)); }, I::Float32},
      {"add_ftz_f32", [](Value a, Value b, Value) { return of(without_subnormal(without_subnormal(f32(a)) + without_subnormal(f32(b)))); }, I::Float32},
      {"mul_ftz_sat_f32", [](Value a, Value b, Value) { return of(between_0_and_1(without_subnormal(without_subnormal(f32(a)) * without_subnormal(f32(b))))); }},
      {"copysign_f32", [](Value a, Value b, Value) { return Value((u32(a) & 0x80000000u) | (u32(b) & 0x7fffffffu)); }},
      {"rcp_approx", [](Value a, Value, Value) { return of(1.0f / f32(a)); }, I::Float32},
      {"rsqrt_approx", [](Value a, Value, Value) { return of(float(1.0L / std::sqrt(static_cast<long double>(f32(a))))); }, I::Float32},
      {"ex2_approx", [](Value a, Value, Value) { return of(float(std::exp2(static_cast<long double>(f32(a))))); }, I::Float32},
      {"lg2_approx", [](Value a, Value, Value) { return of(float(std::log2(static_cast<long double>(f32(a))))); }, I::Float32},
      {"tanh_approx", [](Value a, Value, Value) { return of(float(std::tanh(static_cast<long double>(f32(a))))); }, I::Float32},
      {"setp_combined", [](Value a, Value b, Value c) { const bool r = u32(c) != 0, p = s32(a) < s32(b); return Value(p && r) + (!p && r ? 2 : 0); }},
      {"set_lt_u32_s32", [](Value a, Value b, Value) { return Value(s32(a) < s32(b) ? 0xffffffffu : 0); }},
      {"fma_f16x2", fma_of(kF16), I::HalfF16x2},
      {"fma_bf16x2", fma_of(kBF16), I::HalfBF16x2, 80},
      {"fma_f16", [](Value a, Value b, Value c) { return fma_of(kF16)(uint16_t(a), uint16_t(b), uint16_t(c)) & 0xffff; }, I::HalfF16},
      {"add_f16x2", [](Value a, Value b, Value c) { return in_pairs(a, b, c, [](uint32_t x, uint32_t y, uint32_t) { return kF16.nearest(static_cast<long double>(kF16.value(x)) + kF16.value(y)); }); }, I::HalfF16x2},
      {"mul_f16x2", [](Value a, Value b, Value c) { return in_pairs(a, b, c, [](uint32_t x, uint32_t y, uint32_t) { return kF16.nearest(static_cast<long double>(kF16.value(x)) * kF16.value(y)); }); }, I::HalfF16x2},
      {"max_f16", [](Value a, Value b, Value) { return least_of(kF16, true, false)(uint16_t(a), uint16_t(b), 0) & 0xffff; }, I::HalfF16, 80},
      {"min_nan_f16x2", least_of(kF16, false, true), I::HalfF16x2, 80},
      {"min_bf16x2", least_of(kBF16, false, false), I::HalfBF16x2, 80},
      {"set_gt_f16x2", [](Value a, Value b, Value c) { return in_pairs(a, b, c, [](uint32_t x, uint32_t y, uint32_t) -> uint32_t { return kF16.value(x) > kF16.value(y) ? 0x3c00 : 0; }); }},
  };
  for (int table : {0x80, 0xfe, 0x96, 0xf8, 0xea, 0xec, 0xca, 0xe8, 0x6a, 0x78, 0xc0, 0xfc, 0x3c,
                    0x30, 0xa8, 0xe0, 0x40, 0x28, 0x60, 0xa0, 0x88, 0x1b, 0x00, 0xff, 0x47}) {
    char name[16];
    std::snprintf(name, sizeof name, "lop3_0x%02x", unsigned(table));
    all.push_back({name, [table](Value a, Value b, Value c) { return by_bits(u32(a), u32(b), u32(c), table); }});
  }
  const std::pair<const char*, int> modes[] = {
      {"rn", FE_TONEAREST}, {"rz", FE_TOWARDZERO}, {"rm", FE_DOWNWARD}, {"rp", FE_UPWARD}};
  for (const auto& [mode_name, mode_number] : modes) {
    const std::string m = mode_name;
    const int mode = mode_number;
    all.push_back({"cvt_" + m + "_f32_s32",
                   [=](Value a, Value, Value) { return of(rounded<float>(mode, [&] { return float(keep(s32(a))); })); },
                   I::Float32});
    all.push_back({"cvt_" + m + "_f32_s64",
                   [=](Value a, Value, Value) { return of(rounded<float>(mode, [&] { return float(keep(s64(a))); })); },
                   I::Float32});
    all.push_back({"cvt_" + m + "_f32_u64",
                   [=](Value a, Value, Value) {
                     return of(rounded<float>(mode, [&] { return float(static_cast<long double>(keep(a))); }));
                   },
                   I::Float32});
    all.push_back(
        {"cvt_" + m + "_f64_s64",
         [=](Value a, Value, Value) { return of(rounded<double>(mode, [&] { return double(keep(s64(a))); })); },
         I::Float64});
    all.push_back({"cvt_" + m + "_f32_f64",
                   [=](Value a, Value, Value) { return of(rounded<float>(mode, [&] { return float(keep(f64(a))); })); },
                   I::Float32});
    all.push_back(
        {"add_" + m + "_f32",
         [=](Value a, Value b, Value) { return of(rounded<float>(mode, [&] { return keep(f32(a)) + keep(f32(b)); })); },
         I::Float32});
    all.push_back(
        {"mul_" + m + "_f32",
         [=](Value a, Value b, Value) { return of(rounded<float>(mode, [&] { return keep(f32(a)) * keep(f32(b)); })); },
         I::Float32});
    all.push_back(
        {"div_" + m + "_f32",
         [=](Value a, Value b, Value) { return of(rounded<float>(mode, [&] { return keep(f32(a)) / keep(f32(b)); })); },
         I::Float32});
    all.push_back(
        {"sqrt_" + m + "_f32",
         [=](Value a, Value, Value) { return of(rounded<float>(mode, [&] { return std::sqrt(keep(f32(a))); })); },
         I::Float32});
    all.push_back({"fma_" + m + "_f32",
                   [=](Value a, Value b, Value c) {
                     return of(
                         rounded<float>(mode, [&] { return std::fma(keep(f32(a)), keep(f32(b)), keep(f32(c))); }));
                   },
                   I::Float32});
  }
  const std::pair<const char*, std::function<bool(float, float)>> comparisons[] = {
      {"eq", [](float a, float b) { return a == b; }},
      {"ne", [](float a, float b) { return a < b || a > b; }},
      {"lt", [](float a, float b) { return a < b; }},
      {"le", [](float a, float b) { return a <= b; }},
      {"gt", [](float a, float b) { return a > b; }},
      {"ge", [](float a, float b) { return a >= b; }},
      {"equ", [](float a, float b) { return std::isunordered(a, b) || a == b; }},
      {"neu", [](float a, float b) { return std::isunordered(a, b) || a != b; }},
      {"ltu", [](float a, float b) { return std::isunordered(a, b) || a < b; }},
      {"leu", [](float a, float b) { return std::isunordered(a, b) || a <= b; }},
      {"gtu", [](float a, float b) { return std::isunordered(a, b) || a > b; }},
      {"geu", [](float a, float b) { return std::isunordered(a, b) || a >= b; }},
      {"num", [](float a, float b) { return !std::isunordered(a, b); }},
      {"nan", [](float a, float b) { return std::isunordered(a, b); }}};
  for (const auto& [name, compare] : comparisons) {
    const auto met = compare;
    all.push_back(
        {std::string("setp_") + name + "_f32", [met](Value a, Value b, Value) { return Value(met(f32(a), f32(b))); }});
  }
  return all;
}

// Whether two results are the same, or neither a number.
bool same(Instruction::Result kind, Value a, Value b) {
  if (a == b) return true;
  const auto both_nan = [](Format format, Value x, Value y) {
    return std::isnan(format.value(uint16_t(x))) && std::isnan(format.value(uint16_t(y)));
  };
  const auto half = [&](Format format, int at) {
    const uint16_t x = uint16_t(a >> at), y = uint16_t(b >> at);
    return x == y || both_nan(format, x, y);
  };
  switch (kind) {
    case Instruction::Word:
      return false;
    case Instruction::Float32:
      return std::isnan(f32(a)) && std::isnan(f32(b));
    case Instruction::Float64:
      return std::isnan(f64(a)) && std::isnan(f64(b));
    case Instruction::HalfF16:
      return half(kF16, 0);
    case Instruction::HalfBF16:
      return half(kBF16, 0);
    case Instruction::HalfF16x2:
      return half(kF16, 0) && half(kF16, 16);
    case Instruction::HalfBF16x2:
      return half(kBF16, 0) && half(kBF16, 16);
  }
  return false;
}

// Edges of whole numbers, floats, halves and bytes, and some that are nothing special.
const std::vector<Value>& edge_values() {
  static const std::vector<Value> values = [] {
    std::vector<Value> v;
    for (Value w :
         {0x00000000ull, 0x00000001ull, 0x00000002ull, 0x00000005ull, 0x0000001full, 0x00000020ull, 0x00000021ull,
          0x000000ffull, 0x00000100ull, 0x7fffffffull, 0x80000000ull, 0x80000001ull, 0xffffffffull, 0xfffffffeull,
          0x80ff7f01ull, 0x7f80ff00ull, 0x0000ffffull, 0x12345678ull, 0xfedcba98ull, 0x3f800000ull, 0xbf800000ull,
          0x3f000000ull, 0x40200000ull, 0xc0600000ull, 0x4f000000ull, 0xcf000000ull, 0x4b000001ull, 0x7f7fffffull,
          0x7f800000ull, 0xff800000ull, 0x7fc00000ull, 0x00800000ull, 0x007fffffull, 0x33800000ull, 0x477fe000ull,
          0x477ff000ull, 0x38800000ull, 0x33000001ull, 0x3c003c00ull, 0x7bff0400ull, 0x8001fc00ull, 0x7e0003ffull,
          0x42fe0000ull, 0x41234567ull, 0x3f80ffffull, 0x3f808000ull}) {
      v.push_back(w);
    }
    for (Value w : {0x8000000000000000ull, 0x7fffffffffffffffull, 0xffffffffffffffffull, 0x3ff0000000000001ull,
                    0xbff8000010000000ull, 0x43e0000000000000ull, 0x43f0000000000000ull, 0x41dfffffffe00000ull,
                    0x7ff8000000000000ull, 0x0123456789abcdefull, 0x0000008000000001ull, 0x0020000000000001ull,
                    0x36a0000000000001ull}) {
      v.push_back(w);
    }
    return v;
  }();
  return values;
}

TEST_CASE("Every instruction means what the PTX ISA says, over edge values") {
  const std::vector<Value>& edges = edge_values();
  std::vector<Value> a, b, c;
  for (size_t i = 0; i < edges.size(); ++i) {
    for (size_t j = 0; j < edges.size(); ++j) {
      for (size_t k : {size_t(3), (i + 2 * j) % edges.size(), (7 * i + j) % edges.size()}) {
        a.push_back(edges[i]);
        b.push_back(edges[j]);
        c.push_back(edges[k]);
      }
    }
  }
  const DeviceArray<Value> da(a), db(b), dc(c), out(a.size());
  GridOptions options;
  options.check = false;
  const OptionsForNow now(options);
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const Instruction& instruction : instructions()) {
      if (architecture < instruction.architecture) continue;
      CAPTURE(instruction.name);
      CAPTURE(architecture);
      REQUIRE(launch(("op_" + instruction.name).c_str(), {uint32_t(a.size() + 255) / 256}, {256}, 0,
                     OperandArguments{da.get(), db.get(), dc.get(), out.get(), int64_t(a.size())}) == GridResult::Done);
      int n_wrong = 0;
      for (size_t i = 0; i < a.size() && n_wrong < 3; ++i) {
        const Value expected = instruction.expected(a[i], b[i], c[i]);
        if (same(instruction.result, out[i], expected)) continue;
        ++n_wrong;
        char text[160];
        std::snprintf(text, sizeof text, "of %llx, %llx, %llx: %llx, expected %llx",
                      static_cast<unsigned long long>(a[i]), static_cast<unsigned long long>(b[i]),
                      static_cast<unsigned long long>(c[i]), static_cast<unsigned long long>(out[i]),
                      static_cast<unsigned long long>(expected));
        CHECK_MESSAGE(false, text);
      }
      CHECK(n_wrong == 0);
    }
  }
  CHECK(joined(take_findings()) == "");
}

}  // namespace
}  // namespace sluice::simt
