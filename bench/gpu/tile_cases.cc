// Products with many inputs, by tiles.
#include <cuda_runtime_api.h>

#include <stdexcept>

#include "bench/gpu/case_parts.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/start.h"

namespace sluice::bench {

namespace {

CountCase tiles(const Shape& shape, TensorType type, int64_t n_inputs, const CaseMemory& memory) {
  constexpr int64_t kOutputStride = 512;
  Zeros zeros(memory);
  gpu::MatrixProducts products;
  products.matrix = matrix_of(type, shape.n_outputs, shape.n_columns, memory.random);
  products.output = zeros.take<float>(n_inputs * kOutputStride);
  products.output_stride = kOutputStride;
  gpu::Activations& x = products.input;
  x.n_rows = n_inputs;
  x.n_columns = shape.n_columns;
  if (kernels::format_of(type).activation == kernels::ActivationFormat::F32) {
    x.stride = shape.n_columns;
    x.values = zeros.take_or_begin<float>(n_inputs * shape.n_columns, 2 * 256 * shape.n_columns);  // of two tiles
  } else {
    gpu::place_forms(x, zeros.take<std::byte>(static_cast<int64_t>(gpu::form_bytes(n_inputs, shape.n_columns))));
  }
  products.n_inputs_each = n_inputs;
  gpu::Launches list;
  gpu::multiply(list, products);
  return {shape.model,
          std::string(shape.place) + " x " + std::to_string(n_inputs),
          name_of(type),
          list.at(0),
          static_cast<uint64_t>(shape.n_outputs * shape.n_columns),
          bytes_of(products.matrix),
          static_cast<uint64_t>(n_inputs) *
              (input_bytes(type, shape.n_columns) + static_cast<uint64_t>(shape.n_outputs) * 4),
          static_cast<uint64_t>(n_inputs),
          shape.n_columns};
}

// R1's experts of a pass of 4096 rows, each of which uses 8 of 256: gate and up with SwiGLU, and of down what is made at once. Rows
// choose so that each expert has 128, and the first two have the first rows.
void visit_expert_tiles(const CaseMemory& memory, const std::function<void(const CountCase&)>& visit) {
  constexpr int64_t kRows = 4096, kExperts = 256, kPairs = kRows * kExpertsUsed, kEach = kPairs / kExperts;
  constexpr int64_t kColumns = 7168, kHidden = 2048, kOfFirst = kEach * kExpertsUsed;
  constexpr TensorType kType = TensorType::IQ1_S;
  Zeros zeros(memory);
  gpu::ExpertsCall call;
  call.gate = call.up = matrix_of(kType, kHidden, kColumns, nullptr);
  call.down = matrix_of(kType, kColumns, kHidden, nullptr);
  const uint64_t bytes = bytes_of(call.gate), n_apart = memory.random_bytes / (3 * bytes);
  std::vector<gpu::ExpertPlace> places;
  for (uint64_t i = 0; i < kExperts; ++i) {
    const std::byte* const first = memory.random + i % n_apart * 3 * bytes;
    places.push_back({first, first + bytes, first + 2 * bytes});
  }
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < kRows; ++row)
    for (int64_t k = 0; k < kExpertsUsed; ++k) ids.push_back(static_cast<int32_t>(row / kEach * kExpertsUsed + k));
  auto rows_of = [&](int64_t n_rows, int64_t n_columns, int64_t of_first_blocks) {
    gpu::Activations x;
    x.n_rows = n_rows;
    x.n_columns = x.stride = n_columns;
    x.per256.codes = zeros.take_or_begin<int8_t>(n_rows * n_columns, of_first_blocks * n_columns);
    x.per256.scales = zeros.take_or_begin<float>(n_rows * (n_columns / 256), of_first_blocks * (n_columns / 256));
    x.per256.sums = zeros.take_or_begin<int32_t>(n_rows * (n_columns / 16), of_first_blocks * (n_columns / 16));
    return x;
  };
  call.places = zeros.take(places);
  call.ids = zeros.take(ids);
  call.weights = zeros.take<float>(kPairs);
  call.n_used = kExpertsUsed;
  call.n_experts = kExperts;
  call.sorting = zeros.take<std::byte>(static_cast<int64_t>(gpu::sorting_bytes(kExperts, kRows, kExpertsUsed)));
  call.input = rows_of(kRows, kColumns, kEach);
  call.hidden = rows_of(kPairs, kHidden, kOfFirst);
  call.hidden.values = zeros.take_or_begin<float>(kPairs * kHidden, kOfFirst * kHidden);
  call.output = zeros.take<float>(1);  // nothing is added up
  call.output_stride = kColumns;
  call.not_finite = zeros.take<int32_t>(1);
  gpu::Launches list;
  gpu::multiply_experts(list, call);
  if (gpu::start(list.at(0), nullptr) != cudaSuccess || cudaDeviceSynchronize() != cudaSuccess)
    throw std::runtime_error("Pairs could not be sorted by expert.");
  auto visit_launch = [&](size_t i, const char* place, uint64_t n_matrices, int64_t n_columns) {
    gpu::Launch launch = list.at(i);
    launch.grid[0] = kExperts;  // tiles that are there
    visit({"DeepSeek-R1", std::string(place) + " x " + std::to_string(kEach), name_of(kType), launch,
           n_matrices * kExperts * static_cast<uint64_t>(kHidden * n_columns),
           n_matrices * kExperts * bytes_of(matrix_of(kType, kHidden, n_columns, nullptr)),
           (n_matrices == 2 ? kRows : kPairs) * input_bytes(kType, n_columns) +
               static_cast<uint64_t>(kPairs * kHidden) * 4,
           static_cast<uint64_t>(kEach), n_columns});
  };
  visit_launch(1, "experts gate, up", 2, kColumns);
  visit_launch(3, "experts down, 2048 rows", 1, kHidden);
}

}  // namespace

void visit_tile_cases(const CaseMemory& memory, const std::function<void(const CountCase&)>& visit) {
  for (const Shape& shape : {Shape{"Llama-8B", "gate, up", 14336, 4096}, Shape{"Llama-8B", "k, v", 1024, 4096}})
    for (const TensorType type : {TensorType::Q4_K, TensorType::IQ1_S})
      for (const int64_t n_inputs : {512, 4096}) visit(tiles(shape, type, n_inputs, memory));
  for (const TensorType type : {TensorType::F16, TensorType::BF16, TensorType::F32})
    for (const int64_t n_inputs : {512, 4096})
      visit(tiles({"Llama-8B", "gate, up", 14336, 4096}, type, n_inputs, memory));
  visit(tiles({"DeepSeek-R1", "router", 256, 7168}, TensorType::F32, 4096, memory));
  visit_expert_tiles(memory, visit);
}

}  // namespace sluice::bench
