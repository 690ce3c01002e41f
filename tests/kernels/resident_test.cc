// Resident forms hold the same numbers as the blocks they are made of: products have the same bits.
#include "kernels/resident.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/multiply.h"
#include "tests/kernels/random_blocks.h"

using namespace sluice;
using kernels::kRowGroup;

namespace {

struct AlignedDelete {
  void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{64}); }
};
using AlignedBytes = std::unique_ptr<std::byte, AlignedDelete>;

AlignedBytes aligned_bytes(uint64_t n) {
  return AlignedBytes(static_cast<std::byte*>(::operator new (n, std::align_val_t{64})));
}

AlignedBytes pack(const kernels::ResidentForm& form, const std::vector<std::byte>& bytes, int64_t n_rows,
                  int64_t n_columns) {
  AlignedBytes packed = aligned_bytes(form.bytes(n_rows, n_columns));
  const uint64_t row_bytes = bytes.size() / static_cast<uint64_t>(n_rows);
  for (int64_t row = 0; row < n_rows; row += kRowGroup) {
    const std::byte* rows[kRowGroup];
    for (int64_t r = 0; r < kRowGroup; ++r)
      rows[r] = bytes.data() + static_cast<uint64_t>(std::min(row + r, n_rows - 1)) * row_bytes;
    form.pack(rows, n_columns, packed.get() + static_cast<uint64_t>(row / kRowGroup) * form.group_bytes(n_columns));
  }
  return packed;
}

// The lengths of rows to try: formats with a scale for every 32 columns need no whole super-blocks.
std::vector<int64_t> row_lengths(const kernels::ResidentForm& form) {
  return form.unit_columns == 32 ? std::vector<int64_t>{32, 64, 256, 576, 2048} : std::vector<int64_t>{256, 768, 2048};
}

// Whether products of rows in blocks and in the form have the same bits, for few inputs and for many.
void check_products(kernels::ThreadPool& pool, const kernels::Format& format, const kernels::ResidentForm& form,
                    const std::vector<std::byte>& blocks, int64_t n_rows, int64_t n_columns,
                    const std::vector<float>& x) {
  const AlignedBytes packed = pack(form, blocks, n_rows, n_columns);
  const uint64_t row_bytes = blocks.size() / static_cast<uint64_t>(n_rows);
  for (const int64_t n_inputs : {1, 2, 3, 4, 9}) {
    CAPTURE(n_inputs);
    const kernels::Activations input(x.data(), n_inputs, n_columns, n_columns, true);
    std::vector<float> of_file(static_cast<size_t>(n_inputs * n_rows)), of_form(of_file.size());
    const kernels::Matrix file{format.type, blocks.data(), n_rows, n_columns, row_bytes};
    const kernels::Matrix resident{format.type, packed.get(), n_rows, n_columns, 0, &form};
    const kernels::MatrixProduct products[] = {{file, &input, nullptr, n_inputs, of_file.data(), n_rows},
                                               {resident, &input, nullptr, n_inputs, of_form.data(), n_rows}};
    REQUIRE(kernels::multiply(pool, products));
    CHECK(std::memcmp(of_file.data(), of_form.data(), of_file.size() * sizeof(float)) == 0);
  }
}

// Calls visit(format, form) for each form that this machine has products for.
template <typename Visit>
void for_forms(const Visit& visit) {
  for (const kernels::Format& format : kernels::all_formats()) {
    const kernels::ResidentForm* form = kernels::resident_form(format.type);
    if (form == nullptr || form->group_product.at(kernels::chosen_isa()) == nullptr) continue;
    CAPTURE(std::string(format.layout->name));
    visit(format, *form);
  }
}

constexpr int64_t kInputs = 9;

std::vector<float> random_inputs(int64_t n_columns) {
  std::mt19937 random(3);
  std::vector<float> x(static_cast<size_t>(kInputs * n_columns));
  for (float& v : x) v = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  return x;
}

std::vector<std::byte> random_rows(const kernels::Format& format, int64_t n_rows, int64_t n_columns) {
  return test::random_blocks(format, static_cast<size_t>(n_rows * n_columns / format.layout->block_values), 17);
}

}  // namespace

TEST_CASE("a resident form multiplies to the same bits as the blocks") {
  kernels::ThreadPool pool(2);
  for_forms([&](const kernels::Format& format, const kernels::ResidentForm& form) {
    for (const int64_t n_columns : row_lengths(form))
      for (const int64_t n_rows : {1, 8, 21, 64}) {
        CAPTURE(n_columns);
        CAPTURE(n_rows);
        check_products(pool, format, form, random_rows(format, n_rows, n_columns), n_rows, n_columns,
                       random_inputs(n_columns));
      }
  });
}

TEST_CASE("a resident form keeps the least and the largest scales") {
  kernels::ThreadPool pool(1);
  constexpr int64_t kRows = 16, kColumns = 768;
  for_forms([&](const kernels::Format& format, const kernels::ResidentForm& form) {
    auto blocks = random_rows(format, kRows, kColumns);
    test::set_extreme_scales(format, blocks);
    check_products(pool, format, form, blocks, kRows, kColumns, random_inputs(kColumns));
  });
}

TEST_CASE("a resident form adds up the largest codes and inputs") {
  kernels::ThreadPool pool(1);
  constexpr int64_t kRows = 8, kColumns = 512;
  for_forms([&](const kernels::Format& format, const kernels::ResidentForm& form) {
    for (const int fill : {0x00, 0x77, 0x88, 0xFF})
      for (const float value : {1.0f, -1.0f}) {
        CAPTURE(fill);
        CAPTURE(value);
        auto blocks = random_rows(format, kRows, kColumns);
        test::fill_codes(format, blocks, static_cast<std::byte>(fill));
        const std::vector<float> x(static_cast<size_t>(kInputs * kColumns), value);
        check_products(pool, format, form, blocks, kRows, kColumns, x);
      }
  });
}

TEST_CASE("a resident form that can be turned back gives the blocks byte for byte") {
  size_t n_forms = 0;
  for_forms([&](const kernels::Format& format, const kernels::ResidentForm& form) {
    if (form.restore_row == nullptr) return;
    ++n_forms;
    for (const int64_t n_columns : row_lengths(form)) {
      CAPTURE(n_columns);
      constexpr int64_t kRows = 21;
      const auto blocks = random_rows(format, kRows, n_columns);
      const uint64_t row_bytes = blocks.size() / static_cast<uint64_t>(kRows);
      const AlignedBytes packed = pack(form, blocks, kRows, n_columns);
      std::vector<std::byte> row(row_bytes);
      for (int64_t r = 0; r < kRows; ++r) {
        form.restore_row(packed.get() + static_cast<uint64_t>(r / kRowGroup) * form.group_bytes(n_columns),
                         r % kRowGroup, n_columns, row.data());
        REQUIRE(std::memcmp(row.data(), blocks.data() + static_cast<uint64_t>(r) * row_bytes, row_bytes) == 0);
      }
    }
  });
  if (kernels::chosen_isa() == kernels::Isa::Avx2) CHECK(n_forms > 0);
}

TEST_CASE("the formats that memory does not bind from blocks have a resident form") {
  using enum gguf::TensorType;
  if (kernels::chosen_isa() != kernels::Isa::Avx2) return;
  for (const gguf::TensorType type : {IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS, Q2_K,
                                      Q3_K,  Q4_K,  Q5_K,    Q4_0,   Q4_1,  Q5_0,    Q5_1,  MXFP4,  TQ1_0,  TQ2_0}) {
    CAPTURE(static_cast<int>(type));
    CHECK(kernels::resident_form(type) != nullptr);
  }
  for (const gguf::TensorType type : {F16, Q6_K, Q8_0}) CHECK(kernels::resident_form(type) == nullptr);
}
