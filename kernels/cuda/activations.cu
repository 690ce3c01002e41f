#include "kernels/cuda/activations.h"

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/clock.cuh"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/quantize.cuh"
#include "kernels/cuda/residual_norm_arguments.h"
#include "kernels/cuda/silu.cuh"

namespace sluice::kernels::cuda {

namespace {

struct QuantizeArguments {
  Activations to;
  const float* gate;  // null: the values are there already
  int64_t gate_stride;
  const float* up;
  int64_t up_stride;
  int32_t* not_finite;
};

// A warp takes 256 columns of a row.
__global__ void __launch_bounds__(128) quantize_rows(const QuantizeArguments a) {
  const int64_t row = blockIdx.y;
  const int block = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  const int64_t first = static_cast<int64_t>(block) * 256 + threadIdx.x % 32 * 8;
  if (static_cast<int64_t>(block) * 256 >= a.to.n_columns) return;
  LaneValues x;
  if (a.gate != nullptr) {
    x = load_eight(a.gate + row * a.gate_stride, first, a.to.n_columns);
    const LaneValues up = load_eight(a.up + row * a.up_stride, first, a.to.n_columns);
#pragma unroll
    for (int i = 0; i < 8; ++i) x.v[i] = silu(x.v[i]) * up.v[i];
    store_eight(a.to.values + row * a.to.stride, first, a.to.n_columns, x);
  } else {
    x = load_eight(a.to.values + row * a.to.stride, first, a.to.n_columns);
  }
  write_forms(a.to, row, block, x, a.not_finite);
}

// x += change and the host's answer; the thread's part of the sum of squares. The host's memory is read past all caches, and a thread's
// reads are under way together: each takes a microsecond over PCIe.
__device__ double add_change_and_answer(const ResidualNormArguments& a, int64_t row) {
  constexpr int kAtOnce = 8;
  const int64_t n_columns = a.to.n_columns;
  if (threadIdx.x == 0 && row == 0) a.answer.moments->went_on = nanoseconds();
  const uint2 head = __ldcv(reinterpret_cast<const uint2*>(a.answer.head));  // pass, has_rows
  const bool is_ours = head.x == *a.answer.pass, has_rows = is_ours && head.y != 0;
  if (!is_ours && threadIdx.x == 0 && row == 0) *a.answer.unanswered = 1;
  float* const x_row = a.x + row * a.x_stride;
  double sum = 0;
#pragma unroll 1
  for (int64_t begin = threadIdx.x; begin < n_columns; begin += kAtOnce * blockDim.x) {
    float results[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int64_t i = begin + k * blockDim.x;
      results[k] = i < n_columns ? __ldcv(a.answer.results + row * n_columns + i) : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int64_t i = begin + k * blockDim.x;
      if (i >= n_columns) continue;
      float change = a.change[row * a.change_stride + i];
      if (has_rows)
        change = a.answer.replaces != 0 ? results[k] : change + results[k];
      else if (is_ours && a.answer.replaces != 0)
        change = 0;
      const float x = x_row[i] + change;
      x_row[i] = x;
      sum += static_cast<double>(x) * x;
    }
  }
  return sum;
}

// A thread block takes a row.
__global__ void __launch_bounds__(1024) residual_norm_rows(const ResidualNormArguments a) {
  __shared__ double sums[32];
  const int64_t row = blockIdx.x, n_columns = a.to.n_columns;
  float* const x_row = a.x + row * a.x_stride;
  double sum = 0;
  if (a.answer.head != nullptr) {
    sum = add_change_and_answer(a, row);
  } else {
    for (int64_t i = threadIdx.x; i < n_columns; i += blockDim.x) {
      float x = x_row[i];
      if (a.change != nullptr) {
        x += a.change[row * a.change_stride + i];
        if (a.change_too != nullptr) x += a.change_too[row * a.change_too_stride + i];
        x_row[i] = x;
      }
      sum += static_cast<double>(x) * x;
    }
  }
  const double mean = sum_of_block(sum, sums) / static_cast<double>(n_columns);
  const float factor = static_cast<float>(1 / sqrt(mean + static_cast<double>(a.epsilon)));
  for (int block = threadIdx.x / 32; static_cast<int64_t>(block) * 256 < n_columns; block += blockDim.x / 32) {
    const int64_t first = static_cast<int64_t>(block) * 256 + threadIdx.x % 32 * 8;
    LaneValues x = load_eight(x_row, first, n_columns);
    const LaneValues weight = load_eight(a.weight, first, n_columns);
#pragma unroll
    for (int i = 0; i < 8; ++i) x.v[i] = x.v[i] * factor * weight.v[i];
    store_eight(a.to.values + row * a.to.stride, first, n_columns, x);
    write_forms(a.to, row, block, x, a.not_finite);
  }
}

void check(const Activations& to, const int32_t* not_finite) {
  require(to.n_rows >= 0 && to.n_columns > 0 && to.values != nullptr && not_finite != nullptr,
          "Activations need columns, a place for their values, and a word that says whether one is not finite.");
  require(to.per32.codes == nullptr || to.n_columns % 32 == 0,
          "The 8-bit form per 32 values needs a number of columns that is a multiple of 32.");
  require(to.per256.codes == nullptr || to.n_columns % 256 == 0,
          "The 8-bit form per 256 values needs a number of columns that is a multiple of 256.");
  for (const EightBitForm* form : {&to.per32, &to.per256})
    require(form->codes == nullptr || (form->scales != nullptr && form->sums != nullptr &&
                                       reinterpret_cast<uintptr_t>(form->codes) % 16 == 0 &&
                                       reinterpret_cast<uintptr_t>(form->sums) % 16 == 0),
            "An 8-bit form needs scales and sums, and 16-byte aligned codes and sums.");
}

constexpr int64_t kWarps = 4;

}  // namespace

uint64_t form_bytes(int64_t n_rows, int64_t n_columns) {
  Activations counted;
  counted.n_rows = n_rows;
  counted.n_columns = n_columns;
  place_forms(counted, nullptr);
  const std::byte* end = nullptr;
  if (n_columns % 32 == 0) end = reinterpret_cast<std::byte*>(counted.per32.sums + n_rows * (n_columns / 32));
  if (n_columns % 256 == 0) end = reinterpret_cast<std::byte*>(counted.per256.sums + n_rows * (n_columns / 16));
  return (reinterpret_cast<uintptr_t>(end) + 63) / 64 * 64;
}

void place_forms(Activations& activations, void* memory) {
  uintptr_t at = reinterpret_cast<uintptr_t>(memory);
  auto take = [&](int64_t bytes) {
    const uintptr_t place = at;
    at += static_cast<uintptr_t>(divide_up(bytes, 64) * 64);
    return place;
  };
  const int64_t n_rows = activations.n_rows, n_columns = activations.n_columns;
  auto place = [&](EightBitForm& form, int64_t scale_values, int64_t sum_values) {
    form = {};
    if (n_columns % scale_values != 0) return;
    form.codes = reinterpret_cast<int8_t*>(take(n_rows * n_columns));
    form.scales = reinterpret_cast<float*>(take(n_rows * (n_columns / scale_values) * 4));
    form.sums = reinterpret_cast<int32_t*>(take(n_rows * (n_columns / sum_values) * 4));
  };
  place(activations.per32, 32, 32);
  place(activations.per256, 256, 16);
}

void quantize(Launches& list, const Activations& activations, int32_t* not_finite) {
  check(activations, not_finite);
  if (activations.per32.codes == nullptr && activations.per256.codes == nullptr) return;
  const QuantizeArguments a{activations, nullptr, 0, nullptr, 0, not_finite};
  append_launch(list, "A quantisation", reinterpret_cast<const void*>(quantize_rows), "quantize",
                {divide_up(activations.n_columns, 256 * kWarps), activations.n_rows}, kWarps * 32, 0, a);
}

void swiglu_quantize(Launches& list, const float* gate, int64_t gate_stride, const float* up, int64_t up_stride,
                     const Activations& activations, int32_t* not_finite) {
  check(activations, not_finite);
  require(gate != nullptr && up != nullptr, "A gated product needs its gate and up values.");
  const QuantizeArguments a{activations, gate, gate_stride, up, up_stride, not_finite};
  append_launch(list, "A gated product", reinterpret_cast<const void*>(quantize_rows), "swiglu quantize",
                {divide_up(activations.n_columns, 256 * kWarps), activations.n_rows}, kWarps * 32, 0, a);
}

void residual_norm_quantize(Launches& list, const ResidualNorm& norm, const Activations& activations,
                            int32_t* not_finite) {
  check(activations, not_finite);
  require(norm.x != nullptr && norm.weight != nullptr, "A norm needs its vector and its weights.");
  require(norm.change != nullptr || norm.change_too == nullptr, "A norm has a second change without a first.");
  const Answer& answer = norm.answer;
  require(
      answer.head == nullptr || (norm.change != nullptr && norm.change_too == nullptr && answer.results != nullptr &&
                                 answer.pass != nullptr && answer.unanswered != nullptr && answer.moments != nullptr),
      "The host's answer is added to one change, with all that it is checked by.");
  const ResidualNormArguments a{activations,        norm.x,          norm.x_stride,          norm.change,
                                norm.change_stride, norm.change_too, norm.change_too_stride, norm.answer,
                                norm.weight,        not_finite,      norm.epsilon,           0};
  const int64_t n_threads = activations.n_columns > 4096 ? 1024 : activations.n_columns > 1024 ? 512 : 128;
  append_launch(list, "A norm", reinterpret_cast<const void*>(residual_norm_rows), "residual norm quantize",
                {activations.n_rows}, n_threads, 0, a);
}

}  // namespace sluice::kernels::cuda
