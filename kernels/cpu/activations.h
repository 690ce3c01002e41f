// The inputs of matrix products in the forms that the formats ask for.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/format.h"
#include "kernels/reference/activations.h"

namespace sluice::kernels {

// Rows of floats, and beside them the 8-bit forms of the numeric contract (kernels/reference/activations.h), each made
// once when a product first asks for it. The rows must outlive the object and stay unchanged.
class Activations {
 public:
  // With eight_bit false every format reads the floats as they are.
  Activations(const float* values, int64_t n_rows, int64_t n_columns, int64_t stride, bool eight_bit)
      : values_(values), n_rows_(n_rows), n_columns_(n_columns), stride_(stride), eight_bit_(eight_bit) {}

  int64_t n_rows() const { return n_rows_; }
  int64_t n_columns() const { return n_columns_; }
  // Whether a format reads an 8-bit form.
  bool is_eight_bit(ActivationFormat format) const {
    return eight_bit_ && (format == ActivationFormat::Per32 || format == ActivationFormat::Per256);
  }

  // Makes the 8-bit form, where the format reads one. Returns false when a value is not finite: such rows have none.
  // Not thread-safe.
  bool prepare_blocks(ThreadPool& pool, ActivationFormat format) const;
  // Makes scale * q as floats, for rows that are dequantised before they are multiplied. After prepare_blocks().
  void prepare_rounded(ThreadPool& pool, ActivationFormat format) const;

  // Row i in its 8-bit form: an array of Activation32 or Activation256. Prepared before.
  const void* blocks(int64_t i, ActivationFormat format) const;
  // Row i as floats: rounded ones for a format that reads an 8-bit form (prepared before), else the row itself.
  const float* values(int64_t i, ActivationFormat format) const;

 private:
  const float* values_;
  int64_t n_rows_;
  int64_t n_columns_;
  int64_t stride_;
  bool eight_bit_;
  // Empty until prepared.
  mutable std::vector<reference::Activation32> per32_;
  mutable std::vector<reference::Activation256> per256_;
  mutable std::vector<float> rounded_per32_, rounded_per256_;
};

}  // namespace sluice::kernels
