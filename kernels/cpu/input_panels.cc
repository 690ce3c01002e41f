#include "kernels/cpu/input_panels.h"

#include <algorithm>
#include <cstring>

namespace sluice::kernels {
namespace {

using reference::Activation256;
using reference::Activation32;

int64_t input_bytes(TileKind kind, ActivationFormat format) {
  switch (kind) {
    case TileKind::Narrow:
      return format == ActivationFormat::Per32 ? sizeof(NarrowInputs32<1>) : sizeof(NarrowInputs256<1>);
    case TileKind::Wide:
      return sizeof(WideInputs<1>);
    case TileKind::Float:
      break;
  }
  return sizeof(FloatInputs<1>);
}

// A group of N takes N times the bytes of a group of one, so that groups of any sizes lie one behind the other.
static_assert(sizeof(NarrowInputs256<3>) == 3 * sizeof(NarrowInputs256<1>));
static_assert(sizeof(NarrowInputs32<3>) == 3 * sizeof(NarrowInputs32<1>));
static_assert(sizeof(WideInputs<4>) == 4 * sizeof(WideInputs<1>));

// Wide sums of four inputs stay in registers; narrow ones are of two kinds, and float ones of four rows.
int largest_group(TileKind kind) {
  return kind == TileKind::Wide ? InputPanels::kLargestGroup : 3;
}

// Fours (or threes), without a last group of one, which would use a quarter of what it loads.
std::vector<InputPanels::Group> groups_of(int64_t n_inputs, int largest) {
  std::vector<InputPanels::Group> groups;
  for (int64_t first = 0; first < n_inputs;) {
    const int64_t left = n_inputs - first;
    const int64_t size = left == largest + 1 ? (left + 1) / 2 : std::min<int64_t>(left, largest);
    groups.push_back({first, static_cast<int>(size)});
    first += size;
  }
  return groups;
}

// q[0, n_values) of an input to the places of input i.
template <int N>
void place_bytes(const int8_t* q, int64_t n_values, int i, int8_t (*to)[N][4]) {
  for (int64_t k = 0; k < n_values / 4; ++k) std::memcpy(to[k][i], q + 4 * k, 4);
}
template <int N>
void place_wide(const int8_t* q, int64_t n_values, int i, int16_t (*to)[N][2]) {
  for (int64_t k = 0; k < n_values / 2; ++k) {
    to[k][i][0] = q[2 * k];
    to[k][i][1] = q[2 * k + 1];
  }
}

template <int N>
void place(const Activation256& x, int i, NarrowInputs256<N>& to) {
  place_bytes<N>(x.q, 256, i, to.q);
  for (int j = 0; j < 8; ++j) std::memcpy(to.sums_of_16[j][i], x.sums + 2 * j, 4);
  for (int g = 0; g < 8; ++g) to.sums_of_32[g / 2][i][g % 2] = static_cast<int16_t>(x.sums[2 * g] + x.sums[2 * g + 1]);
  to.scale[i] = x.scale;
}

template <int N>
void place(const Activation32* x, int64_t n_groups, int i, NarrowInputs32<N>& to) {
  for (int64_t g = 0; g < n_groups; ++g) {
    place_bytes<N>(x[g].q, 32, i, to.q + 8 * g);
    to.scale[g][i] = x[g].scale;
    to.sums[g][i] = static_cast<float>(x[g].sum);
  }
}

template <int N>
void place(const Activation256& x, int i, WideInputs<N>& to) {
  place_wide<N>(x.q, 256, i, to.q);
  to.scale[0][i] = x.scale;
}

template <int N>
void place(const Activation32* x, int64_t n_groups, int i, WideInputs<N>& to) {
  for (int64_t g = 0; g < n_groups; ++g) {
    place_wide<N>(x[g].q, 32, i, to.q + 16 * g);
    to.scale[g][i] = x[g].scale;
  }
}

template <int N>
void place(const float* x, int64_t n_values, int i, FloatInputs<N>& to) {
  for (int64_t k = 0; 8 * k < n_values; ++k)
    std::memcpy(to.values[k][i], x + 8 * k,
                static_cast<size_t>(std::min<int64_t>(8, n_values - 8 * k)) * sizeof(float));
}

}  // namespace

InputPanels::InputPanels(TileKind kind, ActivationFormat format, const Activations& x, const int32_t* input_rows,
                         int64_t n_inputs)
    : kind_(kind),
      format_(format),
      x_(&x),
      input_rows_(input_rows),
      n_inputs_(n_inputs),
      n_blocks_((x.n_columns() + kPanelColumns - 1) / kPanelColumns),
      bytes_an_input_(input_bytes(kind, format)),
      groups_(groups_of(n_inputs, largest_group(kind))),
      memory_(new std::byte[static_cast<size_t>(n_blocks_ * n_inputs * bytes_an_input_)]) {}

void InputPanels::make(const Group& group) {
  switch (group.size) {
    case 1:
      return make_group<1>(group.first);
    case 2:
      return make_group<2>(group.first);
    case 3:
      return make_group<3>(group.first);
    default:
      return make_group<4>(group.first);
  }
}

template <int N>
void InputPanels::make_group(int64_t first) {
  const int64_t n_columns = x_->n_columns();
  for (int64_t block = 0; block < n_blocks_; ++block) {
    const int64_t column = block * kPanelColumns;
    const int64_t n_values = std::min(kPanelColumns, n_columns - column);
    std::byte* to = memory_.get() + (block * n_inputs_ + first) * bytes_an_input_;
    if (n_values < kPanelColumns) std::memset(to, 0, static_cast<size_t>(N * bytes_an_input_));
    for (int i = 0; i < N; ++i) {
      const int64_t row = input_rows_ != nullptr ? input_rows_[first + i] : first + i;
      if (kind_ == TileKind::Float) {
        place<N>(x_->values(row, format_) + column, n_values, i, *reinterpret_cast<FloatInputs<N>*>(to));
      } else if (format_ == ActivationFormat::Per32) {
        const auto* from = static_cast<const Activation32*>(x_->blocks(row, format_)) + column / 32;
        if (kind_ == TileKind::Narrow)
          place<N>(from, n_values / 32, i, *reinterpret_cast<NarrowInputs32<N>*>(to));
        else
          place<N>(from, n_values / 32, i, *reinterpret_cast<WideInputs<N>*>(to));
      } else {
        const auto& from = static_cast<const Activation256*>(x_->blocks(row, format_))[block];
        if (kind_ == TileKind::Narrow)
          place<N>(from, i, *reinterpret_cast<NarrowInputs256<N>*>(to));
        else
          place<N>(from, i, *reinterpret_cast<WideInputs<N>*>(to));
      }
    }
  }
}

}  // namespace sluice::kernels
