#include "tests/emulator/instruction_counts.h"

#include <x86intrin.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/row_operations.h"
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

template <typename Work>
void print_operation(const char* name, double n_values, const Work& work) {
  work();  // what is made once is not counted
  const uint64_t before = __rdtsc();
  work();
  std::printf("operation %s %.2f\n", name, static_cast<double>(__rdtsc() - before) / n_values);
}

void print_attention(int64_t n_heads) {
  constexpr int64_t kPositions = 512, kSize = 128;
  const std::vector<uint16_t> rows(kPositions * kSize);
  const std::vector<float> q(static_cast<size_t>(n_heads * kSize), 0.5f);
  const void* const page = rows.data();
  const kernels::KeysAndValues context{&page, &page, kPositions, kernels::CacheType::F16, kSize * 2, kSize * 2, 0, 0};
  std::vector<float> out(q.size());
  const kernels::AttentionRow row{q.data(), &context, kPositions, out.data()};
  kernels::ThreadPool pool(1);
  const std::string name = "attention_of_" + std::to_string(n_heads);
  print_operation(name.c_str(), static_cast<double>(n_heads * kPositions * kSize), [&] {
    kernels::attend(pool, {n_heads, 1, kSize, kSize, 0.1f}, &row, 1);
  });
}

}  // namespace

void print_operation_counts() {
  constexpr int64_t kValues = 4096;
  const kernels::RowOperations& operations = kernels::row_operations();
  const std::vector<float> x(kValues, 0.5f), y(kValues, 0.25f);
  std::vector<float> out(x);
  std::vector<kernels::reference::Activation32> per32(kValues / 32);
  std::vector<kernels::reference::Activation256> per256(kValues / 256);
  std::vector<std::byte> row(kValues * sizeof(float));
  print_operation("quantize_per32", kValues, [&] { operations.quantize_per32(x.data(), kValues, per32.data()); });
  print_operation("quantize_per256", kValues, [&] { operations.quantize_per256(x.data(), kValues, per256.data()); });
  print_operation("rms_norm", kValues, [&] { operations.rms_norm(x.data(), y.data(), kValues, 1e-6f, out.data()); });
  print_operation("swiglu", kValues, [&] { operations.swiglu(out.data(), y.data(), kValues); });
  print_operation("rope_interleaved", kValues,
                  [&] { operations.rope(out.data(), kValues / 2, true, x.data(), y.data()); });
  print_operation("rope_halves", kValues, [&] { operations.rope(out.data(), kValues / 2, false, x.data(), y.data()); });
  print_operation("softmax", kValues, [&] { operations.softmax(x.data(), kValues, out.data()); });
  const float* const rows[] = {x.data(), y.data(), x.data(), y.data()};
  print_operation("weighted_sum_of_4", kValues,
                  [&] { operations.weighted_sum(rows, y.data(), 4, kValues, out.data()); });
  for (const auto& [type, name] : {std::pair(kernels::CacheType::F16, "f16"),
                                   {kernels::CacheType::BF16, "bf16"},
                                   {kernels::CacheType::Q8_0, "q8_0"}}) {
    print_operation((std::string("store_") + name).c_str(), kValues,
                    [&] { operations.store_cache_row(type, x.data(), kValues, row.data()); });
    print_operation((std::string("load_") + name).c_str(), kValues,
                    [&] { operations.load_cache_row(type, row.data(), kValues, out.data()); });
  }
  print_attention(1);
  print_attention(16);
}

void print_instruction_counts() {
  for (const kernels::Format& format : kernels::all_formats()) {
    if (format.activation == kernels::ActivationFormat::None) continue;
    const gguf::TypeLayout& layout = *format.layout;
    const uint64_t row_bytes = static_cast<uint64_t>(kColumns / layout.block_values) * layout.block_bytes;
    // Zeros: kernels do not branch on weights. NVFP4, which has none, does.
    const std::vector<std::byte> blocks(row_bytes * kRows);
    const kernels::Matrix matrix{format.type, blocks.data(), kRows, kColumns, row_bytes};
    const std::string one = count(matrix, 1), many = count(matrix, 16), form = count_form(format, blocks);
    std::printf("count %s %s %s %s\n", std::string(layout.name).c_str(), one.c_str(), many.c_str(), form.c_str());
  }
}

}  // namespace sluice::test
