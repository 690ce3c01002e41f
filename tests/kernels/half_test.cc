#include "kernels/reference/half.h"

#include <doctest/doctest.h>

#include "tests/kernels/golden.h"

using namespace sluice::kernels::reference;
using sluice::test::Golden;
using sluice::test::same_bits;

TEST_CASE("every f16 widens to the number that its fields mean") {
  size_t n_wrong = 0;
  for (uint32_t half = 0; half < 65536; ++half) {
    const int exponent = half >> 10 & 31, mantissa = half & 1023;
    double expected = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) expected = mantissa != 0 ? NAN : INFINITY;
    if ((half & 0x8000) != 0) expected = -expected;
    n_wrong += !same_bits(f16_to_f32(static_cast<uint16_t>(half)), static_cast<float>(expected));
  }
  CHECK(n_wrong == 0);
}

TEST_CASE("every 16-bit float that is no NaN survives the way to f32 and back") {
  size_t n_wrong = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if (const float value = f16_to_f32(half); std::isnan(value))
      n_wrong += !std::isnan(f16_to_f32(f32_to_f16(value)));
    else
      n_wrong += f32_to_f16(value) != half;
    if (const float value = bf16_to_f32(half); std::isnan(value))
      n_wrong += !std::isnan(bf16_to_f32(f32_to_bf16(value)));
    else
      n_wrong += f32_to_bf16(value) != half;
  }
  CHECK(n_wrong == 0);
}

TEST_CASE("between two neighbouring f16 the middle goes to the even one, and all else to the nearer") {
  size_t n_wrong = 0;
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const auto low = static_cast<uint16_t>(bits), high = static_cast<uint16_t>(bits + 1);
    const float middle = (f16_to_f32(low) + f16_to_f32(high)) / 2;  // exact in f32
    n_wrong += f32_to_f16(middle) != ((low & 1) == 0 ? low : high);
    n_wrong += f32_to_f16(std::nextafter(middle, 0.0f)) != low;
    n_wrong += f32_to_f16(std::nextafter(middle, INFINITY)) != high;
    n_wrong += f32_to_f16(-middle) != (f32_to_f16(middle) | 0x8000);
  }
  CHECK(n_wrong == 0);
  CHECK(f32_to_f16(std::nextafter(65520.0f, 0.0f)) == 0x7BFF);
  CHECK(f32_to_f16(65520.0f) == 0x7C00);
}

TEST_CASE("narrowing agrees with the goldens") {
  Golden golden("dequantize/half.bin");
  const uint32_t n = golden.read<uint32_t>(1)[0];
  const auto values = golden.read<float>(n);
  const auto f16 = golden.read<uint16_t>(n), bf16 = golden.read<uint16_t>(n);
  CHECK(golden.at_end());
  for (size_t i = 0; i < n; ++i) {
    CAPTURE(values[i]);
    CHECK(same_bits(f16_to_f32(f32_to_f16(values[i])), f16_to_f32(f16[i])));
    CHECK(same_bits(bf16_to_f32(f32_to_bf16(values[i])), bf16_to_f32(bf16[i])));
  }
}
