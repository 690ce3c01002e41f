// A row of the table of kernels that multiply tiles.
#pragma once

#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/gemm_formats.h"

namespace sluice::kernels::cuda {

template <class Family, class Format>
GemmFormat gemm_row(gguf::TensorType type, const char* name, bool has_offsets = false) {
  return {type,
          name,
          reinterpret_cast<const void*>(multiply_tiles<Family>),
          Format::kBlockValues,
          Format::kBlockBytes,
          Format::kTableBytes,
          Family::kIsPer32,
          has_offsets};
}

}  // namespace sluice::kernels::cuda
