#include "kernels/cpu/multiply.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/tile.h"
#include "kernels/cpu/vector_loops.h"

namespace sluice::kernels {
namespace {

// Weight values that are dequantised at a time: small enough for the first-level cache, a multiple of every block.
constexpr int64_t kPiece = 2048;

// Multiply-adds that a thread takes at least, so that taking them costs little beside the work (some 3 us of it).
constexpr int64_t kTaskWork = 32 * 1024;

// From this many inputs on, decoding a tile of weights into a panel pays.
constexpr int64_t kTileInputs = 4;

// Groups of inputs that meet a decoded tile at a time: their sums stay in the first-level cache.
constexpr int64_t kInputGroupsATile = 40;

// How a product is made.
enum class Way { Dequantise, RowGroups, Tiles };

struct Plan {
  const MatrixProduct* product = nullptr;
  const Format* format = nullptr;
  Dequantize* dequantize = nullptr;
  Way way = Way::Dequantise;
  RowGroupProduct* row_group_product = nullptr;
  ResidentForm::GroupProduct* group_product = nullptr;  // instead, for weights in a resident form
  TileProduct* tile_product = nullptr;
  UnpackCodes* unpack = nullptr;
  ResidentForm::FillPanel* fill_panel = nullptr;
  const InputPanels* input_panels = nullptr;  // that it reads
  int64_t first_tile = 0;                     // in the numbering of all products
  std::vector<const void*> inputs;            // that the other ways read
};

const std::byte* row_of(const Matrix& matrix, int64_t row) {
  return matrix.data + static_cast<uint64_t>(row) * matrix.row_bytes;
}

// The row as floats, piece by piece, times every input: what every machine can do.
void multiply_dequantised(const Plan& plan, int64_t row) {
  const VectorLoops& loops = vector_loops();
  const MatrixProduct& product = *plan.product;
  const Format& format = *plan.format;
  const Matrix& w = product.weights;
  const std::byte* blocks = row_of(w, row);
  for (int64_t i = 0; i < product.n_inputs; ++i) product.out[i * product.out_stride + row] = 0;
  alignas(64) float piece[kPiece];
  for (int64_t at = 0; at < w.n_columns; at += kPiece) {
    const int64_t n = std::min(kPiece, w.n_columns - at);
    const std::byte* from =
        blocks + static_cast<uint64_t>(at / format.layout->block_values) * format.layout->block_bytes;
    plan.dequantize(from, n, piece);
    for (int64_t i = 0; i < product.n_inputs; ++i)
      product.out[i * product.out_stride + row] +=
          loops.dot(piece, static_cast<const float*>(plan.inputs[static_cast<size_t>(i)]) + at, n);
  }
}

const std::byte* group_of(const Matrix& matrix, int64_t row) {
  return matrix.data + static_cast<uint64_t>(row / kRowGroup) * matrix.form->group_bytes(matrix.n_columns);
}

// Rows [begin, begin + kRowGroup) as they lie in the file; those beyond `end` repeat the last one and are thrown away.
void multiply_row_group(const Plan& plan, int64_t begin, int64_t end) {
  const MatrixProduct& product = *plan.product;
  float out[kTileInputs * kRowGroup];
  if (plan.group_product != nullptr) {
    plan.group_product(group_of(product.weights, begin), product.weights.n_columns, plan.inputs.data(),
                       product.n_inputs, out);
  } else {
    const std::byte* rows[kRowGroup];
    for (int64_t r = 0; r < kRowGroup; ++r) rows[r] = row_of(product.weights, std::min(begin + r, end - 1));
    plan.row_group_product(rows, product.weights.n_columns, plan.inputs.data(), product.n_inputs, out);
  }
  const int64_t n_rows = std::min(kRowGroup, end - begin);
  for (int64_t i = 0; i < product.n_inputs; ++i)
    std::copy_n(out + i * kRowGroup, n_rows, product.out + i * product.out_stride + begin);
}

void multiply_tile(const Plan& plan, int64_t begin, int64_t end) {
  const MatrixProduct& product = *plan.product;
  float out[kInputGroupsATile * InputPanels::kLargestGroup * kTileRows];
  TileJob job;
  job.format = plan.format;
  job.dequantize = plan.dequantize;
  job.unpack = plan.unpack;
  job.fill_panel = plan.fill_panel;
  job.n_columns = product.weights.n_columns;
  job.out = out;
  job.form = product.weights.form;
  if (job.form != nullptr)
    for (int64_t g = 0; g < kTileRows / kRowGroup; ++g)
      job.groups[g] = group_of(product.weights, std::min(begin + g * kRowGroup, end - 1));
  else
    for (int64_t r = 0; r < kTileRows; ++r) job.rows[r] = row_of(product.weights, std::min(begin + r, end - 1));
  const InputPanels& panels = *plan.input_panels;
  job.inputs = panels.data();
  job.input_block_bytes = panels.block_bytes();
  job.bytes_an_input = panels.bytes_an_input();
  const auto n_groups = static_cast<int64_t>(panels.groups().size());
  const int64_t n_rows = std::min(kTileRows, end - begin);
  for (int64_t first = 0; first < n_groups; first += kInputGroupsATile) {
    job.input_groups = panels.groups().data() + first;
    job.n_input_groups = std::min(kInputGroupsATile, n_groups - first);
    plan.tile_product(job);
    const int64_t first_input = job.first_input(), n_inputs = job.n_inputs();
    for (int64_t i = 0; i < n_inputs; ++i)
      std::copy_n(out + i * kTileRows, n_rows, product.out + (first_input + i) * product.out_stride + begin);
  }
}

TileKind tile_kind(const Plan& plan, bool reads_codes) {
  if (!reads_codes) return TileKind::Float;
  return plan.format->coding.is_signed ? TileKind::Wide : TileKind::Narrow;
}

// Decides between the ways that the chosen instruction set has. Returns whether the product reads the codes of the
// weights, and so an 8-bit form of the input.
bool choose_way(Plan& plan, bool has_codes) {
  const Isa isa = chosen_isa();
  const MatrixProduct& product = *plan.product;
  RowGroupProduct* row_group_product = plan.format->row_group_product.at(isa);
  const bool reads_codes = has_codes && row_group_product != nullptr;
  // Formats of floats have a product of their own; a quantised one has it for its codes only.
  if (row_group_product != nullptr && (reads_codes || plan.format->activation == ActivationFormat::F32) &&
      product.n_inputs < kTileInputs) {
    plan.way = Way::RowGroups;
    plan.row_group_product = row_group_product;
    if (product.weights.form != nullptr) plan.group_product = product.weights.form->group_product.at(isa);
    return reads_codes;
  }
  plan.tile_product = tile_products(tile_kind(plan, reads_codes)).at(isa);
  if (plan.tile_product != nullptr) plan.way = Way::Tiles;
  plan.unpack = plan.format->unpack_codes.at(isa);
  if (product.weights.form != nullptr) plan.fill_panel = product.weights.form->fill_panel.at(isa);
  return reads_codes;
}

// The input panels of a call, each made once for all products that read it.
class PanelsOfCall {
 public:
  const InputPanels* of(TileKind kind, ActivationFormat format, const MatrixProduct& product) {
    const auto same = [&](const std::unique_ptr<InputPanels>& panels) {
      return panels->is_of(kind, format, *product.x, product.input_rows, product.n_inputs);
    };
    // The products that share inputs stand together.
    const auto found = std::find_if(panels_.rbegin(), panels_.rend(), same);
    if (found != panels_.rend()) return found->get();
    panels_.push_back(std::make_unique<InputPanels>(kind, format, *product.x, product.input_rows, product.n_inputs));
    InputPanels& made = *panels_.back();
    for (const InputPanels::Group& group : made.groups()) groups_.emplace_back(&made, group);
    return &made;
  }

  void make(ThreadPool& pool) {
    pool.run_ranges(static_cast<int64_t>(groups_.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto& [panels, group] = groups_[static_cast<size_t>(i)];
        panels->make(group);
      }
    });
  }

 private:
  std::vector<std::unique_ptr<InputPanels>> panels_;
  std::vector<std::pair<InputPanels*, InputPanels::Group>> groups_;  // of all
};

// Decides how, and makes the inputs in the form that this reads. False when one is not finite.
bool make_plan(ThreadPool& pool, const MatrixProduct& product, PanelsOfCall& panels, Plan& plan) {
  const Activations& x = *product.x;
  plan.product = &product;
  plan.format = &format_of(product.weights.type);
  plan.dequantize = fast_dequantize(product.weights.type);
  const ActivationFormat form = plan.format->activation;
  if (!x.prepare_blocks(pool, form)) return false;
  const bool has_codes = x.is_eight_bit(form);
  const bool reads_codes = choose_way(plan, has_codes);
  if (has_codes && !reads_codes) x.prepare_rounded(pool, form);
  if (plan.way == Way::Tiles) {
    plan.input_panels = panels.of(tile_kind(plan, reads_codes), form, product);
    return true;
  }
  plan.inputs.reserve(static_cast<size_t>(product.n_inputs));
  for (int64_t i = 0; i < product.n_inputs; ++i) {
    const int64_t row = product.input_row(i);
    if (reads_codes)
      plan.inputs.push_back(x.blocks(row, form));
    else
      plan.inputs.push_back(x.values(row, form));
  }
  return true;
}

void multiply_rows(const Plan& plan, int64_t begin, int64_t end) {
  switch (plan.way) {
    case Way::Dequantise:
      for (int64_t row = begin; row < end; ++row) multiply_dequantised(plan, row);
      break;
    case Way::RowGroups:
      for (int64_t row = begin; row < end; row += kRowGroup) multiply_row_group(plan, row, end);
      break;
    case Way::Tiles:
      for (int64_t row = begin; row < end; row += kTileRows) multiply_tile(plan, row, end);
      break;
  }
}

}  // namespace

bool multiply(ThreadPool& pool, std::span<const MatrixProduct> products) {
  // The tiles of all products are numbered through; a thread takes a stretch of them, long at first, so that it reads
  // memory in order.
  std::vector<Plan> plans(products.size());
  PanelsOfCall panels;
  int64_t n_tiles = 0, work = 0;
  for (size_t p = 0; p < products.size(); ++p) {
    if (!make_plan(pool, products[p], panels, plans[p])) return false;
    const Matrix& w = products[p].weights;
    plans[p].first_tile = n_tiles;
    n_tiles += (w.n_rows + kTileRows - 1) / kTileRows;
    work += w.n_rows * w.n_columns * products[p].n_inputs;
  }
  panels.make(pool);
  const int64_t tile_work = std::max<int64_t>(1, work / std::max<int64_t>(1, n_tiles));
  const int64_t least_tiles = std::max<int64_t>(1, kTaskWork / tile_work);
  pool.run_ranges(n_tiles, least_tiles, [&](int64_t begin, int64_t end) {
    const auto after = std::ranges::upper_bound(plans, begin, {}, &Plan::first_tile);
    for (auto plan = after - 1; begin < end; ++plan) {
      const int64_t n_rows = plan->product->weights.n_rows;
      const int64_t first_row = (begin - plan->first_tile) * kTileRows;
      const int64_t last_row = std::min(n_rows, (end - plan->first_tile) * kTileRows);
      if (first_row < last_row) multiply_rows(*plan, first_row, last_row);
      begin = plan->first_tile + (n_rows + kTileRows - 1) / kTileRows;
    }
  });
  return true;
}

void dequantize_row(const Matrix& matrix, int64_t index, float* values) {
  fast_dequantize(matrix.type)(row_of(matrix, index), matrix.n_columns, values);
}

}  // namespace sluice::kernels
