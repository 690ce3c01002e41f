// Resident forms hold the same numbers as the blocks they are made of: products have the same bits, and the blocks come
// back byte for byte.
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

}  // namespace

TEST_CASE("a resident form gives the blocks back and multiplies to the same bits") {
  kernels::ThreadPool pool(2);
  size_t n_forms = 0;
  for (const kernels::Format& format : kernels::all_formats()) {
    const kernels::ResidentForm* form = kernels::resident_form(format.type);
    if (form == nullptr) continue;
    ++n_forms;
    CAPTURE(std::string(format.layout->name));
    for (const int64_t n_columns : {256, 768, 2048})
      for (const int64_t n_rows : {1, 8, 21, 64}) {
        CAPTURE(n_columns);
        CAPTURE(n_rows);
        const auto bytes =
            test::random_blocks(format, static_cast<size_t>(n_rows * n_columns / format.layout->block_values), 17);
        const uint64_t row_bytes = bytes.size() / static_cast<size_t>(n_rows);
        const AlignedBytes packed = pack(*form, bytes, n_rows, n_columns);
        std::vector<std::byte> row(row_bytes);
        for (int64_t r = 0; r < n_rows; ++r) {
          form->restore_row(packed.get() + static_cast<uint64_t>(r / kRowGroup) * form->group_bytes(n_columns),
                            r % kRowGroup, n_columns, row.data());
          REQUIRE(std::memcmp(row.data(), bytes.data() + static_cast<uint64_t>(r) * row_bytes, row_bytes) == 0);
        }
        if (form->group_product.at(kernels::chosen_isa()) == nullptr) continue;
        std::mt19937 random(3);
        std::vector<float> x(static_cast<size_t>(9 * n_columns));
        for (float& v : x) v = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
        for (const int64_t n_inputs : {1, 2, 3, 4, 9}) {
          const kernels::Activations input(x.data(), n_inputs, n_columns, n_columns, true);
          std::vector<float> of_file(static_cast<size_t>(n_inputs * n_rows)), of_form(of_file.size());
          const kernels::Matrix file{format.type, bytes.data(), n_rows, n_columns, row_bytes};
          const kernels::Matrix resident{format.type, packed.get(), n_rows, n_columns, 0, form};
          const kernels::MatrixProduct products[] = {{file, &input, nullptr, n_inputs, of_file.data(), n_rows},
                                                     {resident, &input, nullptr, n_inputs, of_form.data(), n_rows}};
          REQUIRE(kernels::multiply(pool, products));
          CHECK(std::memcmp(of_file.data(), of_form.data(), of_file.size() * sizeof(float)) == 0);
        }
      }
  }
  CHECK(n_forms > 0);
}
