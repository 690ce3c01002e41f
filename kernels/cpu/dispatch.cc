// The one place that decides which instruction set the CPU kernels use.
#include "kernels/cpu/dispatch.h"

#include <cstdlib>
#include <stdexcept>
#include <type_traits>

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/dequantize.h"
#include "kernels/cpu/isa_features.h"
#include "kernels/cpu/row_operations.h"
#include "kernels/cpu/tile.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/resident.h"

namespace sluice::kernels {
namespace {

constexpr Isa kLevels[kIsaCount] = {Isa::Reference, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni};

// The tables of functions. In those of the higher levels, what is not there is null.
const ByIsa<const VectorLoops> kVectorLoops = {
    .reference = &kVectorLoopsBaseline,
    .avx2 = SLUICE_X86(&kVectorLoopsAvx2),
    .avx512 = SLUICE_X86(&kVectorLoopsAvx512),
};
const ByIsa<const RowOperations> kRowOperations = {
    .reference = &kRowOperationsBaseline,
    .avx2 = SLUICE_X86(&kRowOperationsAvx2),
    .avx512 = SLUICE_X86(&kRowOperationsAvx512),
};
constexpr ByIsa<AttendTile> kAttendTile = {
    .reference = attend_tile_baseline,
    .avx2 = SLUICE_X86(attend_tile_avx2),
    .avx512 = SLUICE_X86(attend_tile_avx512),
};

// Calls visit(name, pointer to member) for every function of a table.
template <typename Visit>
void visit_entries(const VectorLoops*, const Visit& visit) {
  visit("dot", &VectorLoops::dot);
  visit("dot_half", &VectorLoops::dot_half);
  visit("add_scaled", &VectorLoops::add_scaled);
  visit("add_scaled_half", &VectorLoops::add_scaled_half);
  visit("half_to_float", &VectorLoops::half_to_float);
  visit("float_to_half", &VectorLoops::float_to_half);
}
template <typename Visit>
void visit_entries(const RowOperations*, const Visit& visit) {
  visit("store_cache_row", &RowOperations::store_cache_row);
  visit("load_cache_row", &RowOperations::load_cache_row);
  visit("quantize_per32", &RowOperations::quantize_per32);
  visit("quantize_per256", &RowOperations::quantize_per256);
  visit("rms_norm", &RowOperations::rms_norm);
  visit("rope", &RowOperations::rope);
  visit("swiglu", &RowOperations::swiglu);
  visit("add", &RowOperations::add);
  visit("weighted_sum", &RowOperations::weighted_sum);
  visit("add_weighted_rows", &RowOperations::add_weighted_rows);
  visit("sigmoid", &RowOperations::sigmoid);
  visit("softmax", &RowOperations::softmax);
}

// One function of a table at all levels.
template <typename Table, typename Function>
ByIsa<std::remove_pointer_t<Function>> entry_by_isa(const ByIsa<const Table>& tables, Function Table::*entry) {
  const auto of = [&](const Table* table) -> Function { return table != nullptr ? table->*entry : nullptr; };
  return {of(tables.reference), of(tables.avx2), of(tables.avx512), of(tables.avx512_vnni)};
}

template <typename Table>
Table table_at(const ByIsa<const Table>& tables, Isa most) {
  Table table{};
  const auto take = [&](const char*, auto entry) { table.*entry = entry_by_isa(tables, entry).at(most); };
  visit_entries(tables.reference, take);
  return table;
}

std::string missing_features(Isa isa) {
  std::string names;
  for (const IsaFeature& feature : isa_features())
    if (feature.isa <= isa && !feature.found) names += (names.empty() ? "" : ", ") + std::string(feature.name);
  return names;
}

}  // namespace

bool machine_has(Isa isa) {
  return missing_features(isa).empty();
}

Isa choose_isa(const char* forced) {
  if (forced == nullptr || *forced == '\0') {
    Isa best = Isa::Reference;
    for (const Isa isa : kLevels)
      if (machine_has(isa)) best = isa;
    return best;
  }
  std::string names;
  for (const Isa isa : kLevels) {
    names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
    if (forced != isa_name(isa)) continue;
    if (const std::string missing = missing_features(isa); !missing.empty())
      throw std::invalid_argument("SLUICE_ISA asks for " + std::string(forced) + ", but this machine lacks " + missing +
                                  "; unset it to use the best that there is.");
    return isa;
  }
  throw std::invalid_argument("SLUICE_ISA is '" + std::string(forced) + "'; it can be one of " + names + ".");
}

Isa chosen_isa() {
  static const Isa chosen = choose_isa(std::getenv("SLUICE_ISA"));
  return chosen;
}

VectorLoops vector_loops_at(Isa most) {
  return table_at(kVectorLoops, most);
}
const VectorLoops& vector_loops() {
  static const VectorLoops loops = vector_loops_at(chosen_isa());
  return loops;
}

RowOperations row_operations_at(Isa most) {
  return table_at(kRowOperations, most);
}
const RowOperations& row_operations() {
  static const RowOperations operations = row_operations_at(chosen_isa());
  return operations;
}

AttendTile* attend_tile_at(Isa most) {
  return kAttendTile.at(most);
}
AttendTile* attend_tile() {
  return attend_tile_at(chosen_isa());
}

std::vector<KernelLevel> kernel_levels(Isa most) {
  std::vector<KernelLevel> levels;
  const auto add = [&](std::string_view kind, std::string_view name, const auto& by_isa) {
    levels.push_back({kind, std::string(name), by_isa.level(most)});
  };
  for (const Format& format : all_formats())
    if (format.activation != ActivationFormat::None) add("rows", format.layout->name, format.row_group_product);
  for (const Format& format : all_formats())
    if (format.activation != ActivationFormat::None && format.activation != ActivationFormat::F32)
      add("codes for tiles", format.layout->name, format.unpack_codes);
  add("tiles", "narrow", tile_products(TileKind::Narrow));
  add("tiles", "wide", tile_products(TileKind::Wide));
  add("tiles", "float", tile_products(TileKind::Float));
  for (const Format& format : all_formats())
    if (const ResidentForm* form = resident_form(format.type))
      add("resident forms", format.layout->name, form->group_product);
  for (const Format& format : all_formats())
    if (const ResidentForm* form = resident_form(format.type))
      add("forms in tiles", format.layout->name, form->fill_panel);
  for (const Format& format : all_formats())
    if (format.activation != ActivationFormat::None)
      add("dequantising", format.layout->name, dequantize_functions(format));
  add("attention", "tile", kAttendTile);
  visit_entries(kRowOperations.reference, [&](const char* name, auto entry) {
    add("row operations", name, entry_by_isa(kRowOperations, entry));
  });
  visit_entries(kVectorLoops.reference,
                [&](const char* name, auto entry) { add("vector loops", name, entry_by_isa(kVectorLoops, entry)); });
  return levels;
}

}  // namespace sluice::kernels
