#include "kernels/cuda/multiply.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/experts.h"
#include "kernels/cuda/gemm_experts.h"
#include "kernels/cuda/gemm_products.h"
#include "kernels/cuda/gemv_arguments.h"
#include "kernels/cuda/gemv_formats.h"
#include "kernels/cuda/gemv_shape.h"
#include "kernels/cuda/gemv_together.cuh"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/matrix_checks.h"
#include "kernels/cuda/product_places.h"

namespace sluice::kernels::cuda {

namespace {

const GemvFormat& gemv_format(gguf::TensorType type) {
  if (const GemvFormat* format = find_gemv_format(type)) return *format;
  throw std::invalid_argument("Matrices of type " + std::string(format_of(type).layout->name) +
                              " cannot be multiplied on the GPU.");
}

// What comes from the matrix and the input; the rest is zeros.
GemvArguments arguments_of(const Matrix& matrix, const Activations& input, const GemvShape& shape) {
  GemvArguments a{};
  const ActivationFormat activation = format_of(matrix.type).activation;
  if (activation != ActivationFormat::F32) {
    const EightBitForm& form = activation == ActivationFormat::Per32 ? input.per32 : input.per256;
    a.codes = form.codes;
    a.scales = form.scales;
    a.sums = form.sums;
  } else {
    a.values = input.values;
    a.values_stride = input.stride;
  }
  a.row_bytes = static_cast<int64_t>(matrix.row_bytes);
  a.n_outputs = static_cast<int32_t>(matrix.n_outputs);
  a.n_columns = static_cast<int32_t>(matrix.n_inputs);
  a.log2_lanes = shape.log2_lanes;
  a.units_a_row = shape.units_a_row;
  a.units_a_piece = shape.units_a_piece;
  a.n_pieces = shape.n_pieces;
  a.n_rounds = shape.n_rounds;
  a.piece_bytes = shape.piece_bytes;
  a.slot_bytes = shape.slot_bytes;
  return a;
}

GemvShape shape_of(const Matrix& matrix, int64_t n_matrices, int64_t n_passes) {
  const GemvFormat& format = gemv_format(matrix.type);
  return gemv_shape({matrix.n_outputs, matrix.n_inputs, static_cast<int64_t>(matrix.row_bytes), n_matrices, n_passes,
                     format.block_values, format.block_bytes, format.unit_values, format.table_bytes});
}

void check_forms(const OutputForms& forms, const float* output, int64_t n_rows, int64_t n_columns) {
  if (forms.n_done == nullptr) return;
  require(forms.to.values == output && forms.to.n_rows >= n_rows && forms.to.n_columns == n_columns &&
              forms.not_finite != nullptr,
          "The 8-bit forms of a product's outputs are not those of its outputs.");
}

void append(Launches& list, const GemvFormat& format, const void* kernel, const GemvShape& shape, int64_t y, int64_t z,
            const GemvArguments& arguments) {
  append_launch(list, "A product", kernel, format.name, {shape.n_blocks, y, z}, shape.n_warps * 32, shape.shared_bytes,
                arguments);
}

}  // namespace

int64_t n_output_blocks(int64_t n_rows, int64_t n_columns) {
  return n_rows * divide_up(n_columns, 256);
}

bool can_multiply(gguf::TensorType type) {
  return find_gemv_format(type) != nullptr;
}

void multiply(Launches& list, const MatrixProducts& products) {
  const Matrix& matrix = products.matrix;
  check_matrix(matrix, true);
  const GemvFormat& format = gemv_format(matrix.type);
  if (products.n_matrices <= 0 || products.n_inputs_each <= 0) return;
  check_input(
      matrix, products.input,
      (products.n_matrices - 1) * products.input_matrix_step + (products.n_inputs_each - 1) * products.input_row_step);
  require(products.input_matrix_step >= 0 && products.input_row_step >= 0,
          "The steps between a product's inputs are negative.");
  require(products.n_matrices == 1 || products.matrix_stride % alignment_of(matrix.type) == 0,
          "Matrices that are multiplied side by side must lie a multiple of 2 bytes (of the element's size for floats) "
          "apart.");
  require(products.n_matrices == 1 || matrix.bias == nullptr,
          "Matrices that are multiplied side by side have no bias.");
  require(products.output != nullptr, "A product has no place for its output.");
  require(products.forms.n_done == nullptr ||
              (products.n_inputs_each == 1 &&
               (products.n_matrices == 1 || products.output_matrix_stride == matrix.n_outputs)),
          "The 8-bit forms of outputs are made for one input, and outputs without gaps.");
  check_forms(products.forms, products.output, 1, products.n_matrices * matrix.n_outputs);

  if (!products.adds && is_multiplied_by_tiles(matrix.type, products.n_inputs_each))
    return append_tiles(list, products);
  const bool is_single = products.n_inputs_each == 1;
  const int64_t n_input_blocks = is_single ? 1 : divide_up(products.n_inputs_each, 4);
  const GemvShape shape = shape_of(matrix, products.n_matrices * n_input_blocks, 1);
  GemvArguments a = arguments_of(matrix, products.input, shape);
  set_places(a, products);
  a.mode = GemvMode::Products;
  a.adds = products.adds ? 1 : 0;
  // As quantize() makes none where there are none to make.
  if (products.forms.to.per32.codes != nullptr || products.forms.to.per256.codes != nullptr)
    a.after.forms = products.forms;
  append(list, format, is_single ? format.one_input : format.four_inputs, shape, n_input_blocks, products.n_matrices,
         a);
}

bool can_multiply_together(gguf::TensorType type) {
  using gguf::TensorType;
  return type == TensorType::Q4_K || type == TensorType::Q5_K || type == TensorType::Q6_K;
}

void multiply_together(Launches& list, std::span<const MatrixProducts> products) {
  require(!products.empty() && products.size() <= kMostTogether,
          "One to three matrices are multiplied together, not more.");
  TogetherArguments a{};
  int64_t n_blocks = 0, shared_bytes = 0;
  for (size_t i = 0; i < kMostTogether; ++i) {
    GemvPart& part = a.parts[i];
    if (i >= products.size()) {
      part.end_block = a.parts[i - 1].end_block;
      continue;
    }
    const MatrixProducts& one = products[i];
    const Matrix& matrix = one.matrix;
    check_matrix(matrix, true);
    require(can_multiply_together(matrix.type), "Matrices of this type are not multiplied together with others.");
    require(one.n_matrices == 1 && one.n_inputs_each == 1 && !one.adds && one.forms.n_done == nullptr &&
                one.output != nullptr,
            "What is multiplied together is single matrices and one input.");
    require(matrix.n_inputs == products[0].matrix.n_inputs && one.input.per256.codes == products[0].input.per256.codes,
            "Matrices that are multiplied together share their input.");
    check_input(matrix, one.input, 0);
    const GemvShape shape = shape_of(matrix, 1, 1);
    if (i == 0) a.common = arguments_of(matrix, one.input, shape);
    const int64_t n_groups = 32 >> shape.log2_lanes;
    n_blocks += divide_up(matrix.n_outputs, n_groups * shape.n_rounds * kGemvWarps);
    require(n_blocks <= 0x7FFFFFFF, "Matrices that are multiplied together have too many rows.");
    shared_bytes = std::max(shared_bytes, kGemvWarps * kGemvSlots * n_groups * shape.slot_bytes);
    part = {matrix.data,
            matrix.bias,
            one.output,
            static_cast<int64_t>(matrix.row_bytes),
            static_cast<int32_t>(matrix.n_outputs),
            shape.log2_lanes,
            shape.units_a_row,
            shape.units_a_piece,
            shape.n_pieces,
            shape.n_rounds,
            shape.piece_bytes,
            shape.slot_bytes,
            static_cast<int32_t>(n_blocks),
            matrix.type};
  }
  a.common.n_inputs = 1;
  append_launch(list, "A product", together_kernel(), "multiply together", {n_blocks}, kGemvWarps * 32, shared_bytes,
                a);
}

void multiply_gated(Launches& list, const Matrix& gate, const Matrix& up, const Activations& input,
                    const OutputForms& hidden) {
  check_matrix(gate, true);
  check_matrix(up, true);
  const GemvFormat& format = gemv_format(gate.type);
  check_input(gate, input, 0);
  require(gate.type == up.type && gate.n_outputs == up.n_outputs && gate.n_inputs == up.n_inputs &&
              gate.row_bytes == up.row_bytes && gate.bias == nullptr && up.bias == nullptr,
          "Gate and up of one launch have one format and shape, and no bias.");
  require(hidden.to.values != nullptr, "A gated product has no place for its output.");
  check_forms(hidden, hidden.to.values, 1, gate.n_outputs);
  const GemvShape shape = shape_of(gate, 1, 2);
  GemvArguments a = arguments_of(gate, input, shape);
  a.weights = gate.data;
  a.matrix_stride = up.data - gate.data;
  a.output = hidden.to.values;
  a.n_inputs = 1;
  a.n_used = 1;
  a.mode = GemvMode::GateUp;
  a.after.forms = hidden;
  append(list, format, format.one_input, shape, 1, 1, a);
}

bool note_end(Launches& list, uint64_t* moment) {
  if (list.empty()) return false;
  Launch& last = list.back();
  if (last.argument_bytes != sizeof(GemvArguments) || std::strncmp(last.name, "multiply ", 9) != 0) return false;
  GemvArguments a;
  std::memcpy(static_cast<void*>(&a), last.arguments, sizeof a);
  a.after.ended = moment;
  set_arguments(last, a);
  return true;
}

void multiply_experts(Launches& list, const ExpertsCall& call) {
  for (const Matrix* matrix : {&call.gate, &call.up, &call.down}) {
    check_matrix(*matrix, false);
    gemv_format(matrix->type);
  }
  const int64_t n_rows = call.input.n_rows, n_slots = n_rows * call.n_used;
  if (n_rows <= 0 || call.n_used <= 0) return;
  require(call.n_used <= kMostExpertsUsed, "A token uses more than 64 experts.");
  require(call.up.n_outputs == call.gate.n_outputs && call.up.n_inputs == call.gate.n_inputs,
          "An expert's gate and up matrices differ in shape.");
  require(call.down.n_inputs == call.gate.n_outputs,
          "An expert's down matrix does not fit the rows of its gate matrix.");
  require(call.places != nullptr && call.ids != nullptr && call.weights != nullptr,
          "Experts need their places, ids and weights in device memory.");
  require(call.hidden.values != nullptr && call.output != nullptr, "Experts have no place for their output.");
  check_input(call.gate, call.input, n_rows - 1);
  check_input(call.up, call.input, n_rows - 1);
  check_input(call.down, call.hidden, n_slots - 1);

  if (are_multiplied_by_tiles(call)) return append_expert_tiles(list, call);
  const bool is_fused = call.gate.type == call.up.type;
  const bool reads_forms = format_of(call.down.type).activation != ActivationFormat::F32;
  Activations hidden = call.hidden;
  hidden.n_rows = n_slots;
  OutputForms forms;
  if (reads_forms && call.n_done != nullptr) forms = {hidden, call.n_done, call.not_finite};
  check_forms(forms, call.hidden.values, n_slots, call.gate.n_outputs);
  auto append_first = [&](const Matrix& matrix, GemvMode mode) {
    const GemvFormat& format = gemv_format(matrix.type);
    const GemvShape shape = shape_of(matrix, n_slots, is_fused ? 2 : 1);
    GemvArguments a = arguments_of(matrix, call.input, shape);
    a.places = call.places;
    a.ids = call.ids;
    a.output = call.hidden.values;
    a.output_stride = call.hidden.stride;
    a.n_inputs = 1;
    a.n_used = static_cast<int32_t>(call.n_used);
    a.mode = mode;
    if (mode != GemvMode::Gate) a.after.forms = forms;
    append(list, format, format.one_input, shape, n_slots, 1, a);
  };
  if (is_fused) {
    append_first(call.gate, GemvMode::GateUp);
  } else {
    append_first(call.gate, GemvMode::Gate);
    append_first(call.up, GemvMode::Up);
  }
  if (reads_forms && forms.n_done == nullptr) quantize(list, hidden, call.not_finite);

  const GemvFormat& format = gemv_format(call.down.type);
  const GemvShape shape = shape_of(call.down, n_rows, call.n_used);
  GemvArguments a = arguments_of(call.down, call.hidden, shape);
  a.places = call.places;
  a.ids = call.ids;
  a.expert_weights = call.weights;
  a.output = call.output;
  a.output_stride = call.output_stride;
  a.n_inputs = 1;
  a.n_used = static_cast<int32_t>(call.n_used);
  a.mode = GemvMode::Down;
  append(list, format, format.one_input, shape, n_rows, 1, a);
}

}  // namespace sluice::kernels::cuda
