// The rows of a pass, sorted by the experts that they use: a launch that sorts, one or two for gate, up and SwiGLU, one that rounds,
// and for down products of a part of the columns and their weighted sums, as often as it takes.
//
// Down's products have a place for each pair, and sums of a row's are made in the router's order: no result depends on the order in
// which pairs were sorted. That place is the floats of `hidden`, which nobody needs once they are rounded; they have room for as many
// columns as an expert is wide. A down matrix of floats reads them, and its products go where the rounded forms would be, into room for
// 0.6 as many (0.3, where there are forms per 32 values alone).
#include "kernels/cuda/gemm_experts.h"

#include <algorithm>

#include "kernels/cuda/gemm_products.h"
#include "kernels/cuda/launches.h"
#include "kernels/format.h"

namespace sluice::kernels::cuda {

namespace {

constexpr int kMostExperts = 1024;  // as route.cu
constexpr int kSortThreads = 1024;

// A pair alone costs gemv.cuh a pass over its expert, and a tile is taken to cost about four (a judgement, as kGemmInputs is).
constexpr int64_t kPairsAnExpert = 4;

struct Sorting {
  int32_t* n_tiles;
  ExpertTile* tiles;
  int32_t* order;
};

struct SortArguments {
  const int32_t* ids;
  Sorting to;
  int32_t n_experts;
  int32_t n_slots;
  int32_t tile_pairs;
  int32_t unused;
};

// One thread block: counts each expert's pairs, adds up, and puts the pairs in their places.
__global__ void __launch_bounds__(kSortThreads) sort_by_expert(const SortArguments a) {
  __shared__ int counts[kMostExperts], ends[kMostExperts], tile_ends[kMostExperts];
  const int expert = threadIdx.x;
  counts[expert] = 0;
  __syncthreads();
  for (int slot = threadIdx.x; slot < a.n_slots; slot += kSortThreads) atomicAdd(&counts[a.ids[slot]], 1);
  __syncthreads();
  const int n_pairs = counts[expert], n_tiles = (n_pairs + a.tile_pairs - 1) / a.tile_pairs;
  ends[expert] = n_pairs;
  tile_ends[expert] = n_tiles;
  for (int distance = 1; distance < kMostExperts; distance *= 2) {
    __syncthreads();
    const int before = expert >= distance ? ends[expert - distance] : 0;
    const int tiles_before = expert >= distance ? tile_ends[expert - distance] : 0;
    __syncthreads();
    ends[expert] += before;
    tile_ends[expert] += tiles_before;
  }
  const int first = ends[expert] - n_pairs, first_tile = tile_ends[expert] - n_tiles;
  for (int i = 0; i < n_tiles; ++i)
    a.to.tiles[first_tile + i] = {expert, first + i * a.tile_pairs, min(a.tile_pairs, n_pairs - i * a.tile_pairs), 0};
  if (expert == kMostExperts - 1) *a.to.n_tiles = tile_ends[expert];
  __syncthreads();
  counts[expert] = first;  // where its next pair goes
  __syncthreads();
  for (int slot = threadIdx.x; slot < a.n_slots; slot += kSortThreads)
    a.to.order[atomicAdd(&counts[a.ids[slot]], 1)] = slot;
}

struct SumArguments {
  const ExpertPlace* places;
  const int32_t* ids;
  const float* weights;
  const float* products;  // [n_rows * n_used, stride]
  int64_t product_stride;
  float* output;
  int64_t output_stride;
  int32_t n_used;
  int32_t n_outputs;
};

// output[row] = the weighted products of the experts that are here, in the router's order.
__global__ void __launch_bounds__(256) sum_experts(const SumArguments a) {
  const int output = blockIdx.x * blockDim.x + threadIdx.x;
  if (output >= a.n_outputs) return;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * a.n_used;
  float sum = 0;
#pragma unroll 1
  for (int k = 0; k < a.n_used; ++k)
    if (a.places[a.ids[first + k]].down != nullptr)
      sum = fmaf(a.weights[first + k], a.products[(first + k) * a.product_stride + output], sum);
  a.output[blockIdx.y * a.output_stride + output] = sum;
}

// Tiles of any size that pairs may need.
int64_t most_tiles(int64_t n_experts, int64_t n_slots, int64_t tile_pairs) {
  return std::min(n_slots, n_slots / tile_pairs + n_experts);
}

Sorting place_sorting(std::byte* memory, int64_t n_experts, int64_t n_slots) {
  Sorting sorting;
  sorting.n_tiles = reinterpret_cast<int32_t*>(memory);
  sorting.tiles = reinterpret_cast<ExpertTile*>(memory + 16);
  sorting.order = reinterpret_cast<int32_t*>(sorting.tiles + most_tiles(n_experts, n_slots, kGemmWarpInputs));
  return sorting;
}

// Warps of a tile that has room for half as many pairs again as an expert has on average, so that most have one tile.
int warps_for(int64_t pairs_an_expert) {
  int n_warps = 1;
  while (n_warps < kGemmMostWarps && n_warps * kGemmWarpInputs * 2 < pairs_an_expert * 3) n_warps *= 2;
  return n_warps;
}

// Where down's products go.
struct ProductRoom {
  float* values = nullptr;  // null: there is none
  int64_t stride = 0;       // floats
};
ProductRoom room_for_products(const ExpertsCall& call) {
  if (format_of(call.down.type).activation != ActivationFormat::F32) return {call.hidden.values, call.hidden.stride};
  const int64_t n_slots = call.input.n_rows * call.n_used;
  const int64_t n_floats = static_cast<int64_t>(form_bytes(n_slots, call.hidden.n_columns) / sizeof(float));
  const int64_t stride = std::min(call.down.n_outputs, n_floats / n_slots);
  if (call.hidden.per32.codes == nullptr || call.hidden.n_rows != n_slots || stride == 0) return {};
  return {reinterpret_cast<float*>(call.hidden.per32.codes), stride};
}

}  // namespace

uint64_t sorting_bytes(int64_t n_experts, int64_t n_rows, int64_t n_used) {
  const int64_t n_slots = n_rows * n_used;
  if (n_experts <= 0 || n_experts > kMostExperts || n_slots < kPairsAnExpert * n_experts) return 0;
  return 16 + static_cast<uint64_t>(most_tiles(n_experts, n_slots, kGemmWarpInputs)) * sizeof(ExpertTile) +
         static_cast<uint64_t>(n_slots) * 4;
}

bool are_multiplied_by_tiles(const ExpertsCall& call) {
  return call.sorting != nullptr && sorting_bytes(call.n_experts, call.input.n_rows, call.n_used) != 0 &&
         find_gemm_format(call.gate.type) != nullptr && find_gemm_format(call.up.type) != nullptr &&
         find_gemm_format(call.down.type) != nullptr && room_for_products(call).values != nullptr;
}

void append_expert_tiles(Launches& list, const ExpertsCall& call) {
  const int64_t n_rows = call.input.n_rows, n_slots = n_rows * call.n_used;
  const Sorting sorting = place_sorting(call.sorting, call.n_experts, n_slots);
  int n_warps = warps_for(n_slots / call.n_experts);
  // All launches have the same tiles, so the least that one of them allows.
  for (const Matrix* matrix : {&call.gate, &call.up, &call.down}) {
    const GemmWork work = tile_work(*matrix, *find_gemm_format(matrix->type));
    while (n_warps > 1 && gemm_shape_of_warps(work, n_warps).shared_bytes > work.most_shared_bytes) n_warps /= 2;
  }
  const int64_t tile_pairs = int64_t{n_warps} * kGemmWarpInputs,
                n_tiles = most_tiles(call.n_experts, n_slots, tile_pairs);

  const SortArguments sort{call.ids,
                           sorting,
                           static_cast<int32_t>(call.n_experts),
                           static_cast<int32_t>(n_slots),
                           static_cast<int32_t>(tile_pairs),
                           0};
  append_launch(list, "Sorting by expert", reinterpret_cast<const void*>(sort_by_expert), "sort by expert", {},
                kSortThreads, 0, sort);

  // Of the rows from `first` to `end` of a matrix.
  auto append = [&](const Matrix& matrix, const Activations& input, GemmMode mode, const ProductRoom& to, int64_t first,
                    int64_t end) {
    const GemmFormat& format = *find_gemm_format(matrix.type);
    const GemmShape shape = gemm_shape_of_warps(tile_work(matrix, format), n_warps);
    GemmArguments a = tile_arguments(matrix, input, format, shape);
    a.places = call.places;
    a.tiles = sorting.tiles;
    a.n_tiles = sorting.n_tiles;
    a.order = sorting.order;
    a.output = to.values;
    a.output_stride = to.stride;
    a.first_output = static_cast<int32_t>(first);
    a.end_output = static_cast<int32_t>(end);
    a.n_used = static_cast<int32_t>(call.n_used);
    a.mode = mode;
    const int64_t rows_a_tile = mode == GemmMode::GateUp ? kGemmRows / 2 : kGemmRows;
    append_launch(list, "A product", format.kernel, format.name, {n_tiles, divide_up(end - first, rows_a_tile)},
                  n_warps * 32, shape.shared_bytes, a);
  };

  const ProductRoom to_hidden{call.hidden.values, call.hidden.stride};
  if (call.gate.type == call.up.type) {
    append(call.gate, call.input, GemmMode::GateUp, to_hidden, 0, call.gate.n_outputs);
  } else {
    append(call.gate, call.input, GemmMode::Gate, to_hidden, 0, call.gate.n_outputs);
    append(call.up, call.input, GemmMode::Up, to_hidden, 0, call.up.n_outputs);
  }
  Activations hidden = call.hidden;
  hidden.n_rows = n_slots;
  if (format_of(call.down.type).activation != ActivationFormat::F32) quantize(list, hidden, call.not_finite);

  const ProductRoom products = room_for_products(call);
  const int64_t n_outputs = call.down.n_outputs;
  int64_t n_at_once = std::min(n_outputs, products.stride);
  if (n_at_once < n_outputs && n_at_once > kGemmRows) n_at_once = n_at_once / kGemmRows * kGemmRows;  // whole tiles
  for (int64_t first = 0; first < n_outputs; first += n_at_once) {
    const int64_t end = std::min(first + n_at_once, n_outputs);
    append(call.down, call.hidden, GemmMode::Down, products, first, end);
    const SumArguments sum{call.places,
                           call.ids,
                           call.weights,
                           products.values,
                           products.stride,
                           call.output + first,
                           call.output_stride,
                           static_cast<int32_t>(call.n_used),
                           static_cast<int32_t>(end - first)};
    append_launch(list, "A sum of experts", reinterpret_cast<const void*>(sum_experts), "sum experts",
                  {divide_up(end - first, 256), n_rows}, 256, 0, sum);
  }
}

}  // namespace sluice::kernels::cuda
