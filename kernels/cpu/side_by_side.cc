#include "kernels/cpu/side_by_side.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/reference/half.h"

namespace sluice::kernels::side_by_side {
namespace {

// Steps of four columns: a byte a column, eight rows.
using Step = uint32_t[kRowGroup];

// The codes of 32 columns: eight steps.
void pack_codes(const Step* steps, int bits, uint32_t* to) {
  if (bits >= 4) {
    for (int v = 0; v < 4; ++v, to += kRowGroup)
      for (int r = 0; r < kRowGroup; ++r)
        to[r] = (steps[2 * v][r] & 0x0F0F0F0F) | (steps[2 * v + 1][r] & 0x0F0F0F0F) << 4;
  } else {
    for (int v = 0; v < 2; ++v, to += kRowGroup)
      for (int r = 0; r < kRowGroup; ++r) {
        to[r] = 0;
        for (int p = 0; p < 4; ++p) to[r] |= (steps[4 * v + p][r] & 0x03030303) << (2 * p);
      }
  }
  if (bits % 2 == 1) {
    const int from = bits - 1;
    for (int r = 0; r < kRowGroup; ++r) {
      to[r] = 0;
      for (int j = 0; j < 8; ++j) to[r] |= (steps[j][r] >> from & 0x01010101) << one_bit_place(j);
    }
  }
}

// Four codes -> four indices.
uint32_t indices_of(uint32_t codes, const uint8_t* index_of) {
  return index_of[codes & 255] | static_cast<uint32_t>(index_of[codes >> 8 & 255]) << 8 |
         static_cast<uint32_t>(index_of[codes >> 16 & 255]) << 16 | static_cast<uint32_t>(index_of[codes >> 24]) << 24;
}

uint16_t stored_scale(const SideBySide& form, float scale) {
  scale /= form.factor;  // exact: a power of two
  return form.scale_is_bf16 ? reference::f32_to_bf16(scale) : reference::f32_to_f16(scale);
}

// The head of unit h of 256 columns.
void pack_head(const SideBySide& form, const CodedValues* rows, int h, std::byte* head) {
  auto* halves = reinterpret_cast<uint16_t*>(head);
  auto* scales = reinterpret_cast<uint8_t*>(head + form.group_scales_at());
  auto* mins = reinterpret_cast<uint8_t*>(head + form.group_mins_at());
  for (int r = 0; r < kRowGroup; ++r) {
    halves[r] = stored_scale(form, rows[r].scale[h]);
    if (form.has_float_mins()) halves[form.mins_at() / 2 + r] = reference::f32_to_f16(rows[r].min[h]);
    for (int g = 0; g < form.n_groups(); ++g) {
      const int sixteen = g * form.group / 16;
      const auto scale = static_cast<uint8_t>(rows[r].group_scales[sixteen]);
      const auto min = static_cast<uint8_t>(rows[r].group_mins[sixteen]);
      scales[g * kRowGroup + r] = form.shares_bytes ? static_cast<uint8_t>(scale | min << 4) : scale;
      if (form.has_float_mins() && !form.shares_bytes) mins[g * kRowGroup + r] = min;
    }
  }
}

void pack_group(const SideBySide& form, const std::byte* const* rows, int64_t n_columns, std::byte* group) {
  const Format& format = format_of(form.type);
  const gguf::TypeLayout& layout = *format.layout;
  UnpackCodes* unpack = format.unpack_codes.avx2;
  uint8_t index_of[256] = {};  // by code
  // Of a code that stands in the table twice (the two zeros of MXFP4, what fills up a short table) the first place.
  for (size_t i = 16; i-- > 0;) index_of[static_cast<uint8_t>(form.table.codes[i])] = static_cast<uint8_t>(i);

  std::byte* unit = group;
  for (int64_t first = 0; first < n_columns; first += 256) {
    const int64_t n = std::min<int64_t>(256, n_columns - first);
    const uint64_t at = static_cast<uint64_t>(first / layout.block_values) * layout.block_bytes;
    CodedValues coded[kRowGroup];
    Step steps[64];
    for (int r = 0; r < kRowGroup; ++r) {
      unpack(rows[r] + at, n, coded[r]);
      for (int j = 0; j < 64; ++j) {
        uint32_t four;
        std::memcpy(&four, coded[r].codes + 4 * j, sizeof four);
        steps[j][r] = form.table.is_used ? indices_of(four, index_of) : four;
      }
    }
    const auto columns = static_cast<int>(form.unit_columns());
    for (int h = 0; h < n / columns; ++h, unit += form.unit_bytes()) {
      for (int g = 0; g < columns / 32; ++g)
        pack_codes(steps + 8 * (h * columns / 32 + g), form.bits,
                   reinterpret_cast<uint32_t*>(unit + g * form.code_bytes()));
      pack_head(form, coded, h, unit + form.head_at());
    }
  }
}

template <size_t kIndex>
void pack(const std::byte* const* rows, int64_t n_columns, std::byte* group) {
  pack_group(kForms[kIndex], rows, n_columns, group);
}

template <size_t... kIndex>
constexpr std::array<ResidentForm::Pack*, kCount> all(std::index_sequence<kIndex...>) {
  return {pack<kIndex>...};
}

}  // namespace

constinit const std::array<ResidentForm::Pack*, kCount> kPack = all(std::make_index_sequence<kCount>());

}  // namespace sluice::kernels::side_by_side
