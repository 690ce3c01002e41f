// The 8-bit forms of activations, bit for bit those of kernels/reference, and what makes them along the way.
#include "kernels/cuda/activations.h"

#include <array>
#include <cmath>
#include <limits>

#include "kernels/reference/activations.h"
#include "kernels/reference/rms_norm.h"
#include "kernels/reference/swiglu.h"
#include "tests/cuda/device.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;

namespace {

struct Forms {
  std::vector<int8_t> codes32, codes256;
  std::vector<float> scales32, scales256;
  std::vector<int32_t> sums32, sums256;
};

// As the device should have them: a block with a value that is not finite is zeros.
Forms reference_forms(const std::vector<float>& values, int64_t n_columns) {
  Forms forms;
  for (size_t i = 0; n_columns % 32 == 0 && i < values.size(); i += 32) {
    reference::Activation32 block{};
    reference::quantize_per32(&values[i], 32, &block);
    forms.codes32.insert(forms.codes32.end(), block.q, block.q + 32);
    forms.scales32.push_back(block.scale);
    forms.sums32.push_back(block.sum);
  }
  for (size_t i = 0; n_columns % 256 == 0 && i < values.size(); i += 256) {
    reference::Activation256 block{};
    reference::quantize_per256(&values[i], 256, &block);
    forms.codes256.insert(forms.codes256.end(), block.q, block.q + 256);
    forms.scales256.push_back(block.scale);
    forms.sums256.insert(forms.sums256.end(), block.sums, block.sums + 16);
  }
  return forms;
}

// Activations with room for rows of n_columns values.
struct Room {
  OnDevice<float> values;
  OnDevice<std::byte> memory;
  OnDevice<int32_t> not_finite{std::vector<int32_t>{0}};
  cuda::Activations activations;

  Room(int64_t n_rows, int64_t n_columns, int64_t stride)
      : values(static_cast<size_t>((n_rows - 1) * stride + n_columns)), memory(cuda::form_bytes(n_rows, n_columns)) {
    activations.values = values.data();
    activations.stride = stride;
    activations.n_rows = n_rows;
    activations.n_columns = n_columns;
    cuda::place_forms(activations, memory.data());
  }

  template <class T>
  std::vector<T> fetch(const T* data, int64_t n) const {
    std::vector<T> out(data == nullptr ? 0 : static_cast<size_t>(n));
    if (!out.empty())
      REQUIRE(cudaMemcpy(out.data(), data, out.size() * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return out;
  }
  Forms forms() const {
    const auto& a = activations;
    const int64_t n = a.n_rows * a.n_columns;
    return {fetch(a.per32.codes, n),         fetch(a.per256.codes, n),    fetch(a.per32.scales, n / 32),
            fetch(a.per256.scales, n / 256), fetch(a.per32.sums, n / 32), fetch(a.per256.sums, n / 16)};
  }
  // The rows without what lies between them.
  std::vector<float> rows() const {
    const std::vector<float> all = values.values();
    std::vector<float> rows;
    for (int64_t i = 0; i < activations.n_rows; ++i)
      rows.insert(rows.end(), all.begin() + i * activations.stride,
                  all.begin() + i * activations.stride + activations.n_columns);
    return rows;
  }
};

void check_forms(const Room& room, const std::vector<float>& values) {
  const Forms expected = reference_forms(values, room.activations.n_columns), made = room.forms();
  CHECK(same_bits(made.codes32, expected.codes32));
  CHECK(same_bits(made.scales32, expected.scales32));
  CHECK(same_bits(made.sums32, expected.sums32));
  CHECK(same_bits(made.codes256, expected.codes256));
  CHECK(same_bits(made.scales256, expected.scales256));
  CHECK(same_bits(made.sums256, expected.sums256));
}

// Rows of blocks that are hard to quantise.
std::vector<float> hard_values(int64_t n_rows, int64_t n_columns) {
  const float kLargest = std::numeric_limits<float>::max(), kLeast = std::numeric_limits<float>::denorm_min();
  std::vector<float> values = random_floats(static_cast<size_t>(n_rows * n_columns), 7);
  for (size_t block = 0; block * 32 < values.size(); ++block) {
    float* v = &values[block * 32];
    for (int i = 0; i < 32; ++i) switch (block % 9) {
        case 1:
          v[i] = 0;
          break;
        case 2:
          v[i] = -0.0f;
          break;
        case 3:
          v[i] *= 1e-38f;
          break;  // inverses that overflow, or just do not
        case 4:
          v[i] *= 3e-37f;
          break;
        case 5:
          v[i] = kLeast * static_cast<float>(i);
          break;
        case 6:
          v[i] = static_cast<float>(i % 5 - 2) + 0.5f;
          break;  // halves, with the largest below
        case 7:
          v[i] = i % 2 == 0 ? kLargest : -kLargest / static_cast<float>(i);
          break;
        default:
          break;
      }
    if (block % 9 == 6) v[31] = 127;
  }
  return values;
}

void place_rows(const Room& room, const std::vector<float>& values) {
  const auto& a = room.activations;
  for (int64_t i = 0; i < a.n_rows; ++i)
    REQUIRE(cudaMemcpy(a.values + i * a.stride, &values[static_cast<size_t>(i * a.n_columns)],
                       static_cast<size_t>(a.n_columns) * 4, cudaMemcpyHostToDevice) == cudaSuccess);
}

}  // namespace

TEST_CASE("the 8-bit forms of activations are bit for bit those of the reference") {
  for (const auto [n_rows, n_columns, stride] : {std::array<int64_t, 3>{1, 32, 32},
                                                 {3, 64, 64},
                                                 {2, 256, 257},
                                                 {1, 288, 288},
                                                 {2, 1536, 1540},
                                                 {1, 2304, 2304},
                                                 {1, 5120, 5120}}) {
    CAPTURE(n_columns);
    const Room room(n_rows, n_columns, stride);
    const std::vector<float> values = hard_values(n_rows, n_columns);
    place_rows(room, values);
    cuda::Launches list;
    cuda::quantize(list, room.activations, room.not_finite.data());
    run(list);
    check_forms(room, values);
    CHECK(room.not_finite.values()[0] == 0);
  }
}

TEST_CASE("a block with a value that is not finite is zeros, and said to be so") {
  for (const float bad : {NAN, INFINITY, -INFINITY})
    for (const size_t at : {0, 31, 255, 256, 511}) {
      const Room room(1, 512, 512);
      std::vector<float> values = random_floats(512, 3);
      values[at] = bad;
      place_rows(room, values);
      cuda::Launches list;
      cuda::quantize(list, room.activations, room.not_finite.data());
      run(list);
      check_forms(room, values);
      CHECK(room.not_finite.values()[0] == 1);
    }
}

TEST_CASE("a gated product is that of the reference but for rounding, and its forms are those of its values") {
  for (const int64_t n_columns : {1, 31, 256, 800}) {
    const int64_t n_rows = 2;
    const Room room(n_rows, n_columns, n_columns + 3);
    std::vector<float> gate = random_floats(static_cast<size_t>(n_rows * n_columns), 5, 4);
    const std::vector<float> up = random_floats(gate.size(), 6, 2);
    gate[0] = -INFINITY;
    for (size_t i = 1; i < gate.size() && i < 12; ++i) gate[i] = static_cast<float>(i) * -20.0f;
    const OnDevice<float> gate_on(gate), up_on(up);
    cuda::Launches list;
    cuda::swiglu_quantize(list, gate_on.data(), n_columns, up_on.data(), n_columns, room.activations,
                          room.not_finite.data());
    run(list);
    const std::vector<float> made = room.rows();
    for (size_t i = 0; i < made.size(); ++i) {
      const float expected = reference::silu(gate[i]) * up[i];
      CHECK(std::abs(made[i] - expected) <= 1e-6f * std::abs(expected) + 1e-42f);
    }
    check_forms(room, made);
  }
}

TEST_CASE("a norm adds what changed, norms, and makes the forms of the result") {
  for (const int n_changes : {0, 1, 2})
    for (const int64_t n_columns : {1, 33, 576, 2048, 7168}) {
      CAPTURE(n_columns);
      const int64_t n_rows = 3, stride = n_columns + 1;
      const size_t n = static_cast<size_t>(n_rows * n_columns);
      const Room room(n_rows, n_columns, stride);
      const std::vector<float> x = random_floats(n, 1), change = random_floats(n, 2), too = random_floats(n, 3),
                               weight = random_floats(static_cast<size_t>(n_columns), 4);
      const OnDevice<float> x_on(x), change_on(change), too_on(too), weight_on(weight);
      cuda::ResidualNorm norm;
      norm.x = x_on.data();
      norm.x_stride = n_columns;
      norm.change = n_changes > 0 ? change_on.data() : nullptr;
      norm.change_stride = n_columns;
      norm.change_too = n_changes > 1 ? too_on.data() : nullptr;
      norm.change_too_stride = n_columns;
      norm.weight = weight_on.data();
      norm.epsilon = 1e-5f;
      cuda::Launches list;
      cuda::residual_norm_quantize(list, norm, room.activations, room.not_finite.data());
      run(list);

      std::vector<float> sum = x, expected(n);
      for (size_t i = 0; i < n; ++i) {
        if (n_changes > 0) sum[i] += change[i];
        if (n_changes > 1) sum[i] += too[i];
      }
      CHECK(same_bits(x_on.values(), sum));
      reference::rms_norm(sum.data(), weight.data(), n_rows, n_columns, norm.epsilon, expected.data());
      const std::vector<float> made = room.rows();
      for (size_t i = 0; i < n; ++i) CHECK(std::abs(made[i] - expected[i]) <= 2.5e-7f * std::abs(expected[i]));
      check_forms(room, made);
    }
}

TEST_CASE("activations that make no sense are refused with a sentence") {
  Room room(1, 256, 256);
  cuda::Launches list;
  const auto refused = [&](auto change, const char* words) {
    cuda::Activations broken = room.activations;
    change(broken);
    check_refused([&] { cuda::quantize(list, broken, room.not_finite.data()); }, words);
  };
  refused([](auto& a) { a.n_columns = 48; }, "multiple of 32");
  refused([](auto& a) { a.n_columns = 96; }, "multiple of 256");
  refused([](auto& a) { a.values = nullptr; }, "a place for their values");
  refused([](auto& a) { a.per32.codes += 8; }, "16-byte aligned");
  refused([](auto& a) { a.per256.sums = nullptr; }, "needs scales and sums");
  refused([](auto& a) { a.n_rows = 70000; }, "in parts");
  CHECK(list.empty());
}
