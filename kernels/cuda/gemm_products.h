// Products with many inputs, by kernels/cuda/gemm.cuh and gemm_floats.cuh.
#pragma once

#include "kernels/cuda/gemm_arguments.h"
#include "kernels/cuda/gemm_formats.h"
#include "kernels/cuda/gemm_shape.h"
#include "kernels/cuda/multiply.h"

namespace sluice::kernels::cuda {

// From so many inputs a matrix on it is multiplied by tiles, in formats that have such kernels. gemv.cuh decodes each weight once for
// every 4 inputs, a tile of one warp once for 32; but it has few warps that hide its latencies. Three passes of the former are taken to
// cost what the latter does: a judgement, which no GPU has been asked about yet.
inline constexpr int64_t kGemmInputs = 12;

bool is_multiplied_by_tiles(gguf::TensorType type, int64_t n_inputs_each);

// multiply()'s checks have been made. n_warps: of a tile; 0: as kernels/cuda/gemm_shape.h chooses.
void append_tiles(Launches& list, const MatrixProducts& products, int n_warps = 0);

// What the shape of a matrix's tiles depends on, but for the numbers of inputs and matrices; and of the arguments what comes from the
// matrix, the input and the shape, the rest being zeros.
GemmWork tile_work(const Matrix& matrix, const GemmFormat& format);
GemmArguments tile_arguments(const Matrix& matrix, const Activations& input, const GemmFormat& format,
                             const GemmShape& shape);

}  // namespace sluice::kernels::cuda
