#include "kernels/cuda/heads.h"

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/cache_store.cuh"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/quantize.cuh"

namespace sluice::kernels::cuda {

namespace {

struct PartArguments {
  float* x;
  int64_t x_stride;
  const float* norm;
  void* const* places;
  int64_t head_bytes;
  int32_t n_heads;
  int32_t size;
  int32_t n_normed;
  int32_t turned_from;
  CacheType type;
  uint8_t unused[7];
};

struct HeadsArguments {
  PartArguments parts[kMostHeadParts];  // those that are not there have no heads
  Activations forms;
  int32_t* not_finite;
  const float* cosines;
  int64_t cosines_stride;
  const float* sines;
  int64_t sines_stride;
  int32_t n_pairs;
  reference::RopePairs pairs;
  float epsilon;
  int32_t unused;
};

// A thread block takes a head of a row: blockIdx.x counts the heads of all parts, blockIdx.y is the row.
__global__ void __launch_bounds__(256) finish_heads_of_rows(const HeadsArguments a) {
  extern __shared__ __align__(16) float values[];
  __shared__ double sums[32];
  const int64_t row = blockIdx.y;
  int head = blockIdx.x;
  PartArguments part = a.parts[0];
#pragma unroll
  for (int i = 1; i < kMostHeadParts; ++i)
    if (head >= part.n_heads) {
      head -= part.n_heads;
      part = a.parts[i];
    }
  const bool has_forms = a.forms.values != nullptr && blockIdx.x == 0;
  float* const x = part.x + row * part.x_stride + static_cast<int64_t>(head) * part.size;

  double sum = 0;
  for (int i = threadIdx.x; i < part.size; i += blockDim.x) {
    const float value = x[i];
    values[i] = value;
    if (i < part.n_normed) sum += static_cast<double>(value) * value;
  }
  // Each thread goes on with the values that it has loaded itself.
  if (part.n_normed > 0) {
    const double mean = sum_of_block(sum, sums) / static_cast<double>(part.n_normed);
    const float factor = static_cast<float>(1 / sqrt(mean + static_cast<double>(a.epsilon)));
    for (int i = threadIdx.x; i < part.n_normed; i += blockDim.x) values[i] = values[i] * factor * part.norm[i];
  }
  __syncthreads();
  if (part.turned_from >= 0) {
    const bool is_interleaved = a.pairs == reference::RopePairs::Interleaved;
    for (int pair = threadIdx.x; pair < a.n_pairs; pair += blockDim.x) {
      float& first = values[part.turned_from + (is_interleaved ? 2 * pair : pair)];
      float& second = values[part.turned_from + (is_interleaved ? 2 * pair + 1 : pair + a.n_pairs)];
      const float cosine = a.cosines[row * a.cosines_stride + pair], sine = a.sines[row * a.sines_stride + pair];
      const float before = first, after = second;
      first = before * cosine - after * sine;
      second = before * sine + after * cosine;
    }
    __syncthreads();
  }
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_warps = blockDim.x / 32;
  if (part.places != nullptr) {
    std::byte* const to = static_cast<std::byte*>(part.places[row]) + head * part.head_bytes;
    for (int block = warp; block * 32 < part.size; block += n_warps) {
      const bool is_there = block * 32 + lane < part.size;
      store_cache_columns(part.type, to, block, is_there ? values[block * 32 + lane] : 0.0f, is_there);
    }
    return;
  }
  for (int i = threadIdx.x; i < part.size; i += blockDim.x) x[i] = values[i];
  if (!has_forms) return;
  for (int block = warp; block * 256 < part.size; block += n_warps)
    write_forms(a.forms, row, block, load_eight(values, block * 256 + lane * 8, part.size), a.not_finite);
}

}  // namespace

void finish_heads(Launches& list, const HeadsCall& call) {
  require(call.n_parts > 0 && call.n_parts <= kMostHeadParts, "One to three kinds of heads are finished together.");
  HeadsArguments a{};
  const int64_t n_rows = call.parts[0].x.n_rows;
  int64_t n_heads = 0, largest = 0;
  for (int i = 0; i < call.n_parts; ++i) {
    const HeadPart& part = call.parts[i];
    require(part.x.n_rows == n_rows && part.n_heads > 0 && part.size > 0 && part.size <= kMostHeadColumns &&
                part.n_heads * part.size == part.x.n_columns && (part.x.data != nullptr || n_rows == 0),
            "Heads of at most 4096 columns fill the rows that they are in.");
    for (int k = 0; k < i; ++k) require(call.parts[k].x.data != part.x.data, "Heads are finished twice at once.");
    require(part.n_normed >= 0 && part.n_normed <= part.size && (part.n_normed == 0 || part.norm != nullptr),
            "The norm of a head has other columns than the head.");
    require(part.turned_from < 0 ||
                (part.turned_from + 2 * call.cosines.n_columns <= part.size && call.cosines.n_rows == n_rows &&
                 call.sines.n_rows == n_rows && call.sines.n_columns == call.cosines.n_columns),
            "A rotation needs angles for each row, and heads that they fit.");
    a.parts[i] = {part.x.data,
                  part.x.stride,
                  part.norm,
                  part.places,
                  part.head_bytes,
                  static_cast<int32_t>(part.n_heads),
                  static_cast<int32_t>(part.size),
                  static_cast<int32_t>(part.n_normed),
                  static_cast<int32_t>(part.turned_from),
                  part.type,
                  {}};
    n_heads += part.n_heads;
    largest = std::max(largest, part.size);
  }
  require(call.forms.values == nullptr || (call.forms.values == call.parts[0].x.data && call.parts[0].n_heads == 1 &&
                                           call.parts[0].places == nullptr &&
                                           call.forms.n_columns == call.parts[0].size && call.not_finite != nullptr),
          "The forms of a head are made where it goes back to its place and is alone in its row.");
  a.forms = call.forms;
  a.not_finite = call.not_finite;
  a.cosines = call.cosines.data;
  a.cosines_stride = call.cosines.stride;
  a.sines = call.sines.data;
  a.sines_stride = call.sines.stride;
  a.n_pairs = static_cast<int32_t>(call.cosines.n_columns);
  a.pairs = call.pairs;
  a.epsilon = call.epsilon;
  const int64_t n_threads = largest > 256 ? 256 : largest > 64 ? 128 : 64;
  append_launch(list, "Finishing heads", reinterpret_cast<const void*>(finish_heads_of_rows), "finish heads",
                {n_heads, n_rows}, n_threads, largest * static_cast<int64_t>(sizeof(float)), a);
}

}  // namespace sluice::kernels::cuda
