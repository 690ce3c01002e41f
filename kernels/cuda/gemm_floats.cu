// Formats of floats: of how many pieces their weights and inputs are, and which 16-bit floats these are.
#include "kernels/cuda/gemm_floats.cuh"

#include "kernels/cuda/float_products.h"
#include "kernels/cuda/gemm_formats.h"

namespace sluice::kernels::cuda {

namespace {

using gguf::TensorType;

// Weights are pieces as they are.
template <int kWords>
__device__ inline void keep_weights(const uint32_t (&words)[kWords], uint32_t (&pieces)[1][4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) pieces[0][i] = words[i];
}

}  // namespace

struct OfBf16 {
  static constexpr bool kHasPowers = false;
  static constexpr int kLeastArchitecture = 80;
  static constexpr int kInputPieces = 3;
  __device__ static uint32_t take_piece(float& low, float& high) { return take_bf16_piece(low, high); }
  __device__ static void multiply_add(float (&sums)[4], const uint32_t (&w)[4], uint32_t x0, uint32_t x1) {
    multiply_add_bf16_16x8x16(sums, w, x0, x1);
  }
};

struct F16Family {
  static constexpr bool kHasPowers = true;
  static constexpr int kLeastArchitecture = 75;
  static constexpr int kBytes = 2, kWeightPieces = 1, kInputPieces = 2, kHalvesTogether = 2;
  __device__ static uint32_t take_piece(float& low, float& high) { return take_f16_piece(low, high); }
  __device__ static void multiply_add(float (&sums)[4], const uint32_t (&w)[4], uint32_t x0, uint32_t x1) {
    multiply_add_16x8x16(sums, w, x0, x1);
  }
  __device__ static void split_weights(const uint32_t (&words)[8], uint32_t (&pieces)[1][4]) {
    keep_weights(words, pieces);
  }
};

struct BF16Family : OfBf16 {
  static constexpr int kBytes = 2, kWeightPieces = 1, kHalvesTogether = 2;
  __device__ static void split_weights(const uint32_t (&words)[8], uint32_t (&pieces)[1][4]) {
    keep_weights(words, pieces);
  }
};

struct F32Family : OfBf16 {
  static constexpr int kBytes = 4, kWeightPieces = 3, kHalvesTogether = 1;  // of more, registers would not do
  __device__ static void split_weights(const uint32_t (&words)[12], uint32_t (&pieces)[3][4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float low = __uint_as_float(words[i * 2]), high = __uint_as_float(words[i * 2 + 1]);
#pragma unroll
      for (int p = 0; p < 3; ++p) pieces[p][i] = take_bf16_piece(low, high);
    }
  }
};

namespace {

// Of a weight's and an input's pieces those that are together as large as the input's last one.
template <class Family>
constexpr int products_of() {
  int n = 0;
  for (int of_weight = 0; of_weight < Family::kWeightPieces; ++of_weight) n += Family::kInputPieces - of_weight;
  return n;
}

template <class Family, TensorType type>
GemmFormat float_row(const char* name) {
  static_assert(products_of<Family>() == float_products(type));
  GemmFormat format{type, name, reinterpret_cast<const void*>(multiply_float_tiles<Family>)};
  format.block_values = 1;
  format.block_bytes = Family::kBytes;
  format.n_float_pieces = Family::kWeightPieces;
  format.least_architecture = Family::kLeastArchitecture;
  return format;
}

}  // namespace

void add_gemm_floats(std::vector<GemmFormat>& formats) {
  formats.push_back(float_row<F32Family, TensorType::F32>("multiply tiles F32"));
  formats.push_back(float_row<F16Family, TensorType::F16>("multiply tiles F16"));
  formats.push_back(float_row<BF16Family, TensorType::BF16>("multiply tiles BF16"));
}

}  // namespace sluice::kernels::cuda
