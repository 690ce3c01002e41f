// A row of the table of kernels that multiply.
#pragma once

#include "kernels/cuda/gemv.cuh"
#include "kernels/cuda/gemv_formats.h"

namespace sluice::kernels::cuda {

template <class Format>
GemvFormat gemv_row(gguf::TensorType type, const char* name) {
  return {type,
          name,
          reinterpret_cast<const void*>(multiply_rows<Format, 1>),
          reinterpret_cast<const void*>(multiply_rows<Format, 4>),
          Format::kBlockValues,
          Format::kBlockBytes,
          Format::kUnitValues,
          Format::kTableBytes};
}

}  // namespace sluice::kernels::cuda
