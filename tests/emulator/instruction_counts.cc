#include "tests/emulator/instruction_counts.h"

#include <x86intrin.h>

#include <cstdio>
#include <string>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/multiply.h"
#include "kernels/resident.h"
#include "tests/emulator/packed.h"

namespace sluice::test {
namespace {

constexpr int64_t kRows = 64, kColumns = 2048;

std::string count(const kernels::Matrix& matrix, int64_t n_inputs) {
  static kernels::ThreadPool pool(1);
  const std::vector<float> x(static_cast<size_t>(n_inputs * kColumns), 0.5f);
  std::vector<float> out(static_cast<size_t>(n_inputs * kRows));
  const kernels::Activations input(x.data(), n_inputs, kColumns, kColumns, true);
  const kernels::MatrixProduct product{matrix, &input, nullptr, n_inputs, out.data(), kRows};
  kernels::multiply(pool, std::span(&product, 1));  // makes the 8-bit form of the input
  const uint64_t before = __rdtsc();
  kernels::multiply(pool, std::span(&product, 1));
  const auto taken = static_cast<double>(__rdtsc() - before);
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", taken / static_cast<double>(kRows * kColumns * n_inputs));
  return text;
}

std::string count_form(const kernels::Format& format, const std::vector<std::byte>& blocks) {
  const kernels::ResidentForm* form = kernels::resident_form(format.type);
  if (form == nullptr || form->group_product.at(kernels::chosen_isa()) == nullptr) return "-";
  const AlignedBytes packed = pack(*form, blocks, kRows, kColumns);
  return count({format.type, packed.get(), kRows, kColumns, 0, form}, 1);
}

}  // namespace

void print_instruction_counts() {
  for (const kernels::Format& format : kernels::all_formats()) {
    if (format.activation == kernels::ActivationFormat::None) continue;
    const gguf::TypeLayout& layout = *format.layout;
    const uint64_t row_bytes = static_cast<uint64_t>(kColumns / layout.block_values) * layout.block_bytes;
    const std::vector<std::byte> blocks(row_bytes * kRows);  // zeros take as many instructions as other weights
    const kernels::Matrix matrix{format.type, blocks.data(), kRows, kColumns, row_bytes};
    const std::string one = count(matrix, 1), many = count(matrix, 16), form = count_form(format, blocks);
    std::printf("count %s %s %s %s\n", std::string(layout.name).c_str(), one.c_str(), many.c_str(), form.c_str());
  }
}

}  // namespace sluice::test
