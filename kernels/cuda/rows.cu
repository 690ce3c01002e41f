#include "kernels/cuda/rows.h"

#include <cfloat>

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/bytes.cuh"
#include "kernels/cuda/cache_store.cuh"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/silu.cuh"

namespace sluice::kernels::cuda {

namespace {

constexpr int64_t kThreads = 256;

void check(const FloatRows& rows) {
  require(rows.n_rows >= 0 && rows.n_columns >= 0 && (rows.data != nullptr || rows.n_rows * rows.n_columns == 0),
          "Rows of floats need a place and sizes that are not negative.");
}
void check_alike(const FloatRows& x, const FloatRows& y) {
  check(x);
  check(y);
  require(x.n_rows == y.n_rows && x.n_columns == y.n_columns, "Rows that are worked on together differ in shape.");
}

// Element by element.

enum class Element : int32_t { Copy, Add, Swiglu };

struct ElementArguments {
  float* x;
  int64_t x_stride;
  const float* y;
  int64_t y_stride;
  int64_t n_columns;
  Element element;
  int32_t unused;
};

__global__ void __launch_bounds__(kThreads) each_element(const ElementArguments a) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= a.n_columns) return;
  float& x = a.x[blockIdx.y * a.x_stride + column];
  const float y = a.y[blockIdx.y * a.y_stride + column];
  x = a.element == Element::Copy ? y : a.element == Element::Add ? x + y : silu(x) * y;
}

void append_elements(Launches& list, const char* name, Element element, const FloatRows& x, const FloatRows& y) {
  check_alike(x, y);
  const ElementArguments a{x.data, x.stride, y.data, y.stride, x.n_columns, element, 0};
  append_launch(list, "An operation on rows", reinterpret_cast<const void*>(each_element), name,
                {divide_up(x.n_columns, kThreads), x.n_rows}, kThreads, 0, a);
}

// Norms: a thread block takes a group of a row.

struct NormArguments {
  const float* x;
  int64_t x_stride;
  const float* weight;
  float* out;
  int64_t out_stride;
  int64_t group_size;
  float epsilon;
  int32_t unused;
};

__global__ void __launch_bounds__(kThreads) norm_groups(const NormArguments a) {
  __shared__ double sums[32];
  const float* const x = a.x + blockIdx.y * a.x_stride + blockIdx.x * a.group_size;
  float* const out = a.out + blockIdx.y * a.out_stride + blockIdx.x * a.group_size;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < a.group_size; i += blockDim.x) sum += static_cast<double>(x[i]) * x[i];
  const double mean = sum_of_block(sum, sums) / static_cast<double>(a.group_size);
  const float factor = static_cast<float>(1 / sqrt(mean + static_cast<double>(a.epsilon)));
  for (int64_t i = threadIdx.x; i < a.group_size; i += blockDim.x)
    out[i] = x[i] * factor * (a.weight != nullptr ? a.weight[i] : 1.0f);
}

// Rotations: a thread takes a pair.

struct RopeArguments {
  float* x;
  int64_t x_stride;
  const float* cosines;
  int64_t cosines_stride;
  const float* sines;
  int64_t sines_stride;
  int64_t head_stride;
  int32_t n_heads;
  int32_t n_pairs;
  reference::RopePairs pairs;
  int32_t unused;
};

__global__ void __launch_bounds__(kThreads) rotate_pairs(const RopeArguments a) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= static_cast<int64_t>(a.n_heads) * a.n_pairs) return;
  const int64_t head = index / a.n_pairs, pair = index % a.n_pairs;
  float* const values = a.x + blockIdx.y * a.x_stride + head * a.head_stride;
  const bool is_interleaved = a.pairs == reference::RopePairs::Interleaved;
  float& first = values[is_interleaved ? 2 * pair : pair];
  float& second = values[is_interleaved ? 2 * pair + 1 : pair + a.n_pairs];
  const float cosine = a.cosines[blockIdx.y * a.cosines_stride + pair],
              sine = a.sines[blockIdx.y * a.sines_stride + pair];
  const float x = first, y = second;
  first = x * cosine - y * sine;
  second = x * sine + y * cosine;
}

// Rows of caches: a warp takes 32 columns of a head.

struct CacheArguments {
  float* x;
  int64_t x_stride;
  void* const* place;  // to store to, or to load from
  int64_t row_bytes;
  int64_t head_bytes;
  int32_t n_columns;  // of a head
  int32_t n_blocks;   // of 32 columns, of a head
  CacheType type;
  uint8_t unused[7];
};

__global__ void __launch_bounds__(kThreads) store_cache(const CacheArguments a) {
  const int warp = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warp >= a.n_blocks) return;
  const int64_t row = blockIdx.y, head = blockIdx.z;
  const int column = warp * 32 + lane;
  const bool is_there = column < a.n_columns;
  const float x = is_there ? a.x[row * a.x_stride + head * a.n_columns + column] : 0.0f;
  std::byte* const to = static_cast<std::byte*>(*a.place) + head * a.head_bytes + row * a.row_bytes;
  store_cache_columns(a.type, to, warp, x, is_there);
}

__global__ void __launch_bounds__(kThreads) load_cache(const CacheArguments a) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= a.n_columns) return;
  const std::byte* const from = static_cast<const std::byte*>(*a.place) + blockIdx.y * a.row_bytes;
  float x;
  if (a.type == CacheType::Q8_0) {
    const std::byte* const block = from + column / 32 * 34;
    x = float_of_f16(*reinterpret_cast<const uint16_t*>(block)) *
        static_cast<float>(static_cast<int8_t>(block[2 + column % 32]));
  } else if (a.type == CacheType::F32) {
    x = reinterpret_cast<const float*>(from)[column];
  } else {
    const uint32_t bits = reinterpret_cast<const uint16_t*>(from)[column];
    x = a.type == CacheType::F16 ? float_of_f16(bits) : __uint_as_float(bits << 16);
  }
  a.x[blockIdx.y * a.x_stride + column] = x;
}

struct WeightedSumArguments {
  const float* y;
  int64_t y_stride;
  const int32_t* places;
  const float* weights;
  float* out;
  int64_t out_stride;
  int64_t n_columns;
  int64_t n_used;
};

__global__ void __launch_bounds__(kThreads) weighted_sum_rows(const WeightedSumArguments a) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= a.n_columns) return;
  float sum = 0;
  for (int64_t k = blockIdx.y * a.n_used; k < (blockIdx.y + 1) * a.n_used; ++k)
    sum = fmaf(a.weights[k], a.y[a.places[k] * a.y_stride + column], sum);
  a.out[blockIdx.y * a.out_stride + column] = sum;
}

}  // namespace

void copy_rows(Launches& list, const FloatRows& from, const FloatRows& to) {
  append_elements(list, "copy", Element::Copy, to, from);
}
void add_rows(Launches& list, const FloatRows& x, const FloatRows& y) {
  append_elements(list, "add", Element::Add, x, y);
}
void swiglu(Launches& list, const FloatRows& gate, const FloatRows& up) {
  append_elements(list, "swiglu", Element::Swiglu, gate, up);
}

void rms_norm(Launches& list, const FloatRows& x, const float* weight, int64_t weight_size, float epsilon,
              const FloatRows& out) {
  check_alike(x, out);
  require(weight_size > 0 && x.n_columns % weight_size == 0, "A norm's weights do not divide the columns.");
  const NormArguments a{x.data, x.stride, weight, out.data, out.stride, weight_size, epsilon, 0};
  const int64_t n_threads = weight_size <= 128 ? 32 : kThreads;
  append_launch(list, "A norm", reinterpret_cast<const void*>(norm_groups), "rms norm",
                {x.n_columns / weight_size, x.n_rows}, n_threads, 0, a);
}

void rope(Launches& list, const FloatRows& x, int64_t n_heads, int64_t head_stride, reference::RopePairs pairs,
          const FloatRows& cosines, const FloatRows& sines) {
  check(x);
  check_alike(cosines, sines);
  require(cosines.n_rows == x.n_rows, "A rotation needs angles for each row.");
  require(n_heads >= 0 && head_stride >= 0 &&
              (n_heads == 0 || (n_heads - 1) * head_stride + cosines.n_columns * 2 <= x.n_columns),
          "A rotation's heads do not fit its rows.");
  const RopeArguments a{x.data,
                        x.stride,
                        cosines.data,
                        cosines.stride,
                        sines.data,
                        sines.stride,
                        head_stride,
                        static_cast<int32_t>(n_heads),
                        static_cast<int32_t>(cosines.n_columns),
                        pairs,
                        0};
  append_launch(list, "A rotation", reinterpret_cast<const void*>(rotate_pairs), "rope",
                {divide_up(n_heads * cosines.n_columns, kThreads), x.n_rows}, kThreads, 0, a);
}

void store_cache_rows(Launches& list, const FloatRows& x, int64_t n_heads, CacheType type, void* const* to,
                      int64_t row_bytes, int64_t head_bytes) {
  check(x);
  require(to != nullptr && n_heads > 0 && x.n_columns % n_heads == 0, "Rows of a cache need a place and whole heads.");
  const int64_t n_columns = x.n_columns / n_heads, n_blocks = divide_up(n_columns, 32);
  require(row_bytes >= cache_row_bytes(type, n_columns),
          "Rows of a cache overlap: there is too little from one to the next.");
  const CacheArguments a{
      x.data, x.stride, to, row_bytes, head_bytes, static_cast<int32_t>(n_columns), static_cast<int32_t>(n_blocks),
      type,   {}};
  const int64_t n_warps = n_blocks < 8 ? n_blocks : 8;
  append_launch(list, "Storing to a cache", reinterpret_cast<const void*>(store_cache), "store cache",
                {n_warps == 0 ? 0 : divide_up(n_blocks, n_warps), x.n_rows, n_heads}, n_warps * 32, 0, a);
}

void load_cache_rows(Launches& list, CacheType type, const void* const* from, int64_t row_bytes, const FloatRows& x) {
  check(x);
  require(from != nullptr, "Rows of a cache need a place.");
  const CacheArguments a{
      x.data, x.stride, const_cast<void* const*>(from), row_bytes, 0, static_cast<int32_t>(x.n_columns), 0, type, {}};
  append_launch(list, "Loading from a cache", reinterpret_cast<const void*>(load_cache), "load cache",
                {divide_up(x.n_columns, kThreads), x.n_rows}, kThreads, 0, a);
}

void weighted_sum(Launches& list, const FloatRows& y, const int32_t* places, const float* weights, int64_t n_used,
                  const FloatRows& out) {
  check(y);
  check(out);
  require(y.n_columns == out.n_columns && n_used >= 0, "A weighted sum's rows differ in length.");
  require(places != nullptr && weights != nullptr, "A weighted sum needs places and weights.");
  const WeightedSumArguments a{y.data, y.stride, places, weights, out.data, out.stride, out.n_columns, n_used};
  append_launch(list, "A weighted sum", reinterpret_cast<const void*>(weighted_sum_rows), "weighted sum",
                {divide_up(out.n_columns, kThreads), out.n_rows}, kThreads, 0, a);
}

}  // namespace sluice::kernels::cuda
