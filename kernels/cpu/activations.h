// The inputs of matrix products in the forms that the formats ask for.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/format.h"

namespace sluice::kernels {

// Rows of floats, and beside them the 8-bit forms of the numeric contract (kernels/reference/activations.h), each made once
// when a product first asks for it. The rows must outlive the object and stay unchanged.
class Activations {
 public:
  // With eight_bit false every format reads the floats as they are.
  Activations(const float* values, int64_t n_rows, int64_t n_columns, int64_t stride, bool eight_bit)
      : values_(values), n_rows_(n_rows), n_columns_(n_columns), stride_(stride), eight_bit_(eight_bit) {}

  int64_t n_rows() const { return n_rows_; }
  int64_t n_columns() const { return n_columns_; }

  // Makes the form. Returns false when a value is not finite: such rows have no 8-bit form. Not thread-safe.
  bool prepare(ThreadPool& pool, ActivationFormat format) const;

  // Row i as the format sees it: d * q for the 8-bit forms, as floats. The form must have been prepared.
  const float* row(int64_t i, ActivationFormat format) const;

 private:
  bool is_rounded(ActivationFormat format) const {
    return eight_bit_ && (format == ActivationFormat::Per32 || format == ActivationFormat::Per256);
  }

  const float* values_;
  int64_t n_rows_;
  int64_t n_columns_;
  int64_t stride_;
  bool eight_bit_;
  mutable std::array<std::vector<float>, 2> rounded_;  // Per32, Per256; empty until prepared
};

}  // namespace sluice::kernels
