// Intrinsics as plain loops over the lanes of a vector: what tests/simde/intrinsics_512.h is made of.
//
// A lane that a mask leaves out is neither read nor written, as on the machine, so the address sanitizer sees what is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice::simulated {

template <typename T, typename Vector>
struct Lanes {
  static constexpr size_t kCount = sizeof(Vector) / sizeof(T);
  T at[kCount];
};

template <typename T, typename Vector>
Lanes<T, Vector> lanes_of(Vector vector) {
  Lanes<T, Vector> lanes;
  std::memcpy(&lanes, &vector, sizeof vector);
  return lanes;
}

template <typename T, typename Vector>
Vector vector_of(const Lanes<T, Vector>& lanes) {
  Vector vector;
  std::memcpy(static_cast<void*>(&vector), &lanes, sizeof vector);
  return vector;
}

// Element by element.
template <typename T, typename Vector, typename Function>
Vector map(Vector x, const Function& function) {
  auto lanes = lanes_of<T>(x);
  for (T& lane : lanes.at) lane = function(lane);
  return vector_of<T>(lanes);
}
template <typename T, typename Vector, typename Function>
Vector map(Vector x, Vector y, const Function& function) {
  auto lanes = lanes_of<T>(x);
  const auto others = lanes_of<T>(y);
  for (size_t i = 0; i < lanes.kCount; ++i) lanes.at[i] = function(lanes.at[i], others.at[i]);
  return vector_of<T>(lanes);
}

// To lanes of another type; as many as both vectors have, the rest zeros.
template <typename To, typename ToVector, typename From, typename FromVector>
ToVector convert(FromVector x) {
  const auto from = lanes_of<From>(x);
  Lanes<To, ToVector> to{};
  for (size_t i = 0; i < from.kCount && i < to.kCount; ++i) to.at[i] = static_cast<To>(from.at[i]);
  return vector_of<To>(to);
}
template <typename To, typename ToVector, typename From, typename FromVector, typename Function>
ToVector convert_by(FromVector x, const Function& function) {
  const auto from = lanes_of<From>(x);
  Lanes<To, ToVector> to{};
  for (size_t i = 0; i < from.kCount && i < to.kCount; ++i) to.at[i] = function(from.at[i]);
  return vector_of<To>(to);
}

template <typename T, typename Vector>
Vector load_masked(Vector others, uint64_t mask, const void* from) {
  auto lanes = lanes_of<T>(others);
  for (size_t i = 0; i < lanes.kCount; ++i)
    if ((mask >> i & 1) != 0) std::memcpy(&lanes.at[i], static_cast<const char*>(from) + i * sizeof(T), sizeof(T));
  return vector_of<T>(lanes);
}

template <typename T, typename Vector>
void store_masked(void* to, uint64_t mask, Vector x) {
  const auto lanes = lanes_of<T>(x);
  for (size_t i = 0; i < lanes.kCount; ++i)
    if ((mask >> i & 1) != 0) std::memcpy(static_cast<char*>(to) + i * sizeof(T), &lanes.at[i], sizeof(T));
}

// The comparisons of _MM_CMPINT_ENUM.
template <typename T, typename Vector>
uint64_t compare(Vector x, Vector y, int comparison) {
  const auto a = lanes_of<T>(x), b = lanes_of<T>(y);
  uint64_t mask = 0;
  for (size_t i = 0; i < a.kCount; ++i) {
    const bool equal = a.at[i] == b.at[i], less = a.at[i] < b.at[i];
    const bool results[] = {equal, less, equal || less, false, !equal, !less, !(equal || less), true};
    mask |= static_cast<uint64_t>(results[comparison & 7]) << i;
  }
  return mask;
}

// Halves upon halves, as compilers do on the machine: sums of floats have the same bits.
template <typename T, typename Vector, typename Function>
T reduce(Vector x, const Function& function) {
  auto lanes = lanes_of<T>(x);
  for (size_t n = lanes.kCount / 2; n > 0; n /= 2)
    for (size_t i = 0; i < n; ++i) lanes.at[i] = function(lanes.at[i], lanes.at[i + n]);
  return lanes.at[0];
}

template <typename T, typename Index, typename Vector, typename IndexVector>
Vector gather(Vector others, uint64_t mask, IndexVector indices, const void* base, int64_t scale) {
  auto lanes = lanes_of<T>(others);
  const auto at = lanes_of<Index>(indices);
  for (size_t i = 0; i < lanes.kCount && i < at.kCount; ++i)
    if ((mask >> i & 1) != 0)
      std::memcpy(&lanes.at[i], static_cast<const char*>(base) + static_cast<int64_t>(at.at[i]) * scale, sizeof(T));
  return vector_of<T>(lanes);
}

// Every 128 bits apart: lane i of the result is lane `choose` bits [2i, 2i + 2) of x.
template <typename T, size_t kGroup, typename Vector>
Vector shuffle_in_groups(Vector x, unsigned choose) {
  const auto from = lanes_of<T>(x);
  auto to = from;
  for (size_t i = 0; i < from.kCount; ++i) to.at[i] = from.at[i / kGroup * kGroup + (choose >> (2 * (i % kGroup)) & 3)];
  return vector_of<T>(to);
}

// Four quarters of 128 bits: two chosen of x, two of y.
template <typename Vector>
Vector shuffle_quarters(Vector x, Vector y, unsigned choose) {
  struct Quarter {
    uint64_t half[2];
  };
  const auto a = lanes_of<Quarter>(x), b = lanes_of<Quarter>(y);
  auto to = a;
  for (size_t i = 0; i < 4; ++i) to.at[i] = (i < 2 ? a : b).at[choose >> (2 * i) & 3];
  return vector_of<Quarter>(to);
}

// The lanes of low, then those of high, from lane `shift` on; in groups of kGroup lanes.
template <typename T, size_t kGroup, typename Vector>
Vector align_right(Vector high, Vector low, size_t shift) {
  const auto h = lanes_of<T>(high), l = lanes_of<T>(low);
  auto to = l;
  for (size_t i = 0; i < l.kCount; ++i) {
    const size_t first = i / kGroup * kGroup, from = i % kGroup + shift;
    to.at[i] = T{};
    if (from < kGroup)
      to.at[i] = l.at[first + from];
    else if (from < 2 * kGroup)
      to.at[i] = h.at[first + from - kGroup];
  }
  return vector_of<T>(to);
}

// A vector with part `index` of `Part`'s size set, or that part of it.
template <typename Vector, typename Part>
Vector insert_part(Vector whole, Part part, size_t index) {
  auto parts = lanes_of<Part>(whole);
  parts.at[index] = part;
  return vector_of<Part>(parts);
}
template <typename Part, typename Vector>
Part extract_part(Vector whole, size_t index) {
  return lanes_of<Part>(whole).at[index];
}

}  // namespace sluice::simulated
