// The resident form of most formats: eight rows side by side, each code as few bits as there are different ones, in
// planes of bits. What a format is in this form is a row of the table below; the code is the same for all.
//
// A group of eight rows is a run of units, of 256 columns or, where activations are Per32, of 32. Memory is read from one
// end to the other. A unit is
//
//   codes  32 * bits bytes for each 32 columns
//   head   the scales
//
// and starts at any multiple of 16 bytes.
//
// Codes: step j of eight is columns 4j to 4j + 3, a byte each, of all rows: 32 bytes. A byte holds the code itself, or its
// index into a table of 16. Of its bits, lowest first,
//
//   bits  planes
//   2     two          a plane of four bits: 4 vectors of 32 bytes; vector v has step 2v in the low nibbles and 2v + 1 in the
//   3     two, one                           high ones
//   4     four         a plane of two bits: 2 vectors; vector v has step 4v + p at bit 2p
//   5     four, one    a plane of one bit: 1 vector, step j at bit one_bit_place(j)
//
// Head:  scale 16 bits x 8 rows | min f16 x 8 rows, with Mins::Float |
//        and for each group of columns in a super-block of 256
//        group scale i8 x 8 rows, of all groups | group min u8 x 8 rows, of all groups, with Mins::Float
//        or both in the nibbles of one byte, the scale low
#pragma once

#include <array>

#include "kernels/resident.h"

namespace sluice::kernels {

// Codes by index. Negative ones make the format signed.
struct CodeTable {
  bool is_used = false;
  std::array<int8_t, 16> codes{};
};

struct SideBySide {
  gguf::TensorType type;
  ActivationFormat activation;
  int bits;           // of a code, or of its index
  int group;          // columns that share a group scale: 16 or 32; 0: there are none, as if all were 1
  Coding::Mins mins;  // Whole: group_min = zero * group_scale, and needs no room
  int zero = 0;
  float factor = 1;  // scale = factor * the stored one, a power of two
  CodeTable table{};
  bool scale_is_bf16 = false;  // else f16
  bool shares_bytes = false;   // group scales and mins are nibbles of the same bytes

  constexpr bool is_per32() const { return activation == ActivationFormat::Per32; }
  constexpr bool has_float_mins() const { return mins == Coding::Mins::Float; }
  constexpr int64_t code_bytes() const { return 32 * bits; }  // of 32 columns
  constexpr int64_t unit_columns() const { return is_per32() ? 32 : 256; }
  constexpr int n_groups() const { return is_per32() || group == 0 ? 0 : 256 / group; }  // in a head
  constexpr int64_t head_at() const { return unit_columns() / 32 * code_bytes(); }
  constexpr int64_t unit_bytes() const { return head_at() + head_bytes(); }
  // Where things are in a head.
  constexpr int64_t mins_at() const { return 2 * kRowGroup; }
  constexpr int64_t group_scales_at() const { return (has_float_mins() ? 4 : 2) * kRowGroup; }
  constexpr int64_t group_mins_at() const { return group_scales_at() + n_groups() * kRowGroup; }
  constexpr int64_t head_bytes() const {
    return group_mins_at() + (has_float_mins() && !shares_bytes ? n_groups() * kRowGroup : 0);
  }

  constexpr bool is_signed() const {
    for (const int8_t code : table.codes)
      if (code < 0) return true;
    return false;
  }
  constexpr int largest_code() const {
    int largest = table.is_used ? 0 : (1 << bits) - 1;
    for (const int code : table.codes) largest = code > largest ? code : -code > largest ? -code : largest;
    return largest;
  }
};

// Bit of step j in a plane of one bit: steps that share the nibbles of a plane of two bits (4v + p and 4v + p + 2) are
// four bits apart.
constexpr int one_bit_place(int step) {
  return step / 4 * 2 + step % 2 + step / 2 % 2 * 4;
}

namespace side_by_side {

constexpr auto Per32 = ActivationFormat::Per32, Per256 = ActivationFormat::Per256;
constexpr auto None = Coding::Mins::None, Whole = Coding::Mins::Whole, Float = Coding::Mins::Float;
using enum gguf::TensorType;

// Codes of formats with signs are moved up by the largest magnitude, as Format::unpack_codes gives them.
constexpr CodeTable kCodesIQ1M = {true, {0, 2, 8, 10, 16, 18}};
constexpr CodeTable kCodesIQ2 = {true, {0, 18, 35, 51, 68, 86}};
constexpr CodeTable kCodesIQ3XXS = {true, {0, 10, 18, 26, 34, 42, 50, 58, 66, 74, 82, 90, 98, 106, 114, 124}};
constexpr CodeTable kCodesIQ3S = {true, {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}};
constexpr CodeTable kCodesMXFP4 = {true, {0, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 24}};
constexpr CodeTable kCodesIQ4 = {true, {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}};

constexpr SideBySide kForms[] = {
    {Q4_0, Per32, 4, 0, Whole, 8},
    {Q4_1, Per32, 4, 0, Float},
    {Q5_0, Per32, 5, 0, Whole, 16},
    {Q5_1, Per32, 5, 0, Float},
    {MXFP4, Per32, 4, 0, Whole, 12, 1, kCodesMXFP4, true},
    {IQ4_NL, Per32, 4, 0, None, 0, 1, kCodesIQ4},
    {Q2_K, Per256, 2, 16, Float, 0, 1, {}, false, true},
    {Q3_K, Per256, 3, 16, Whole, 4},
    {Q4_K, Per256, 4, 32, Float},
    {Q5_K, Per256, 5, 32, Float},
    {IQ1_M, Per256, 3, 16, Whole, 9, 0.125f, kCodesIQ1M},
    {IQ2_XXS, Per256, 3, 32, Whole, 43, 0.125f, kCodesIQ2},
    {IQ2_XS, Per256, 3, 16, Whole, 43, 0.125f, kCodesIQ2},
    {IQ2_S, Per256, 3, 16, Whole, 43, 0.125f, kCodesIQ2},
    {IQ3_XXS, Per256, 4, 32, Whole, 62, 0.25f, kCodesIQ3XXS},
    {IQ3_S, Per256, 4, 32, Whole, 15, 1, kCodesIQ3S},
    {IQ4_XS, Per256, 4, 32, None, 0, 1, kCodesIQ4},
    {TQ1_0, Per256, 2, 0, Whole, 1},
    {TQ2_0, Per256, 2, 0, Whole, 1},
};
constexpr size_t kCount = std::size(kForms);

// ResidentForm::pack of each form. It takes blocks apart as Format::unpack_codes does, and so needs AVX2.
extern const std::array<ResidentForm::Pack*, kCount> kPack;

}  // namespace side_by_side

#if defined(__x86_64__)
namespace avx2 {
extern const std::array<ResidentForm::GroupProduct*, side_by_side::kCount> kSideBySideProducts;
extern const std::array<ResidentForm::FillPanel*, side_by_side::kCount> kSideBySideFills;
}  // namespace avx2
namespace avx512_vnni {
extern const std::array<ResidentForm::GroupProduct*, side_by_side::kCount> kSideBySideProducts;
}
#endif

}  // namespace sluice::kernels
