// The inputs of tiles (kernels/cpu/tile.h), cut into blocks of columns and interleaved, so that a tile reads them in one
// direction from beginning to end: block of columns by block of columns, and in a block group of inputs by group.
//
// Inputs far apart would meet in the first-level cache's banks: rows that are a multiple of 4 KiB apart halve the speed of
// a loop that reads four of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cpu/activations.h"

namespace sluice::kernels {

// What tiles multiply: codes as bytes, codes as 16-bit numbers, or floats.
enum class TileKind { Narrow, Wide, Float };

// What a block holds for N inputs of a group; an input's numbers stand at place [..][i].

// 256 columns with one scale, for codes multiplied as bytes.
template <int N>
struct NarrowInputs256 {
  int8_t q[64][N][4];
  int16_t sums_of_16[8][N][2];  // of q in 16 neighbouring columns, two neighbours
  int16_t sums_of_32[4][N][2];  // of q in 32
  float scale[N];
};

// 256 columns with a scale for 32; zeros where a row has ended.
template <int N>
struct NarrowInputs32 {
  int8_t q[64][N][4];
  float scale[8][N];
  float sums[8][N];  // of q, as floats
};

// 256 columns, for codes multiplied as 16-bit numbers. Where one scale holds for all, it is scale[0].
template <int N>
struct WideInputs {
  int16_t q[128][N][2];
  float scale[8][N];
};

// 256 columns of floats; zeros where a row has ended.
template <int N>
struct FloatInputs {
  float values[32][N][8];
};

// The columns of a block.
inline constexpr int64_t kPanelColumns = 256;

class InputPanels {
 public:
  // The most inputs of a group, by what the registers of a tile hold.
  static constexpr int kLargestGroup = 4;
  struct Group {
    int64_t first;  // input
    int size;
  };

  // Of rows input_rows[i] of x (null: of rows i), i in [0, n_inputs), as weights of `format` read them. Makes nothing yet.
  InputPanels(TileKind kind, ActivationFormat format, const Activations& x, const int32_t* input_rows,
              int64_t n_inputs);

  // Whether it holds just this.
  bool is_of(TileKind kind, ActivationFormat format, const Activations& x, const int32_t* input_rows,
             int64_t n_inputs) const {
    return kind_ == kind && format_ == format && x_ == &x && input_rows_ == input_rows && n_inputs_ == n_inputs;
  }

  const std::vector<Group>& groups() const { return groups_; }
  // The numbers of group g in columns kPanelColumns * b onwards stand at data() + b * block_bytes() + g.first *
  // bytes_an_input(): one of the structs above, with N the group's size.
  const std::byte* data() const { return memory_.get(); }
  int64_t block_bytes() const { return n_inputs_ * bytes_an_input_; }
  int64_t bytes_an_input() const { return bytes_an_input_; }

  // Writes all blocks of a group. What it reads must have been prepared in x. Groups may be made by several threads.
  void make(const Group& group);

 private:
  template <int N>
  void make_group(int64_t first);

  TileKind kind_;
  ActivationFormat format_;
  const Activations* x_;
  const int32_t* input_rows_;
  int64_t n_inputs_;
  int64_t n_blocks_;
  int64_t bytes_an_input_;  // in a block
  std::vector<Group> groups_;
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace sluice::kernels
