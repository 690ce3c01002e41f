#include "kernels/cuda/gemm_products.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>

#include "kernels/cuda/launches.h"
#include "kernels/cuda/product_places.h"

namespace sluice::kernels::cuda {

namespace {

// What the current device gives a thread block beside what kernels have for good, but at least what all give (sm_75: 64 KiB) and not
// so much that nothing is left for a first-level cache.
int64_t most_shared_bytes() {
  constexpr int64_t kLeast = 62 * 1024, kMost = 96 * 1024, kOwn = 2 * 1024;
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    return kLeast;
  return std::clamp<int64_t>(bytes - kOwn, kLeast, kMost);
}

}  // namespace

GemmWork tile_work(const Matrix& matrix, const GemmFormat& format) {
  GemmWork work;
  work.n_outputs = matrix.n_outputs;
  work.block_values = format.block_values;
  work.block_bytes = format.block_bytes;
  work.table_bytes = format.table_bytes;
  work.reads_per_32 = format.reads_per_32;
  work.n_float_pieces = format.n_float_pieces;
  work.most_shared_bytes = most_shared_bytes();
  return work;
}

// What comes from the matrix and the input; the rest is zeros.
GemmArguments tile_arguments(const Matrix& matrix, const Activations& input, const GemmFormat& format,
                             const GemmShape& shape) {
  GemmArguments a{};
  if (format.n_float_pieces > 0) {
    a.values = input.values;
    a.values_stride = input.stride;
  } else {
    const EightBitForm& form = format.reads_per_32 ? input.per32 : input.per256;
    a.codes = form.codes;
    a.scales = form.scales;
    a.sums = form.sums;
  }
  a.row_bytes = static_cast<int64_t>(matrix.row_bytes);
  a.n_outputs = a.end_output = static_cast<int32_t>(matrix.n_outputs);
  a.n_columns = static_cast<int32_t>(matrix.n_inputs);
  a.type = matrix.type;
  a.log2_block_values = std::countr_zero(static_cast<uint32_t>(format.block_values));
  a.block_bytes = format.block_bytes;
  a.raw_bytes = shape.raw_bytes;
  a.raw_pitch = shape.raw_pitch;
  a.table_bytes = format.table_bytes;
  a.has_offsets = format.has_offsets ? 1 : 0;
  return a;
}

bool is_multiplied_by_tiles(gguf::TensorType type, int64_t n_inputs_each) {
  return n_inputs_each >= kGemmInputs && find_gemm_format(type) != nullptr;
}

void append_tiles(Launches& list, const MatrixProducts& products, int n_warps) {
  const Matrix& matrix = products.matrix;
  const GemmFormat& format = *find_gemm_format(matrix.type);
  GemmWork work = tile_work(matrix, format);
  work.n_inputs = products.n_inputs_each;
  work.n_matrices = products.n_matrices;
  const GemmShape shape = n_warps == 0 ? gemm_shape(work) : gemm_shape_of_warps(work, n_warps);
  GemmArguments a = tile_arguments(matrix, products.input, format, shape);
  set_places(a, products);
  a.mode = GemmMode::Products;
  append_launch(list, "A product", format.kernel, format.name,
                {shape.n_input_tiles, shape.n_row_tiles, products.n_matrices}, shape.n_warps * 32, shape.shared_bytes,
                a);
}

}  // namespace sluice::kernels::cuda
