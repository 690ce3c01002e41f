#include "bench/gpu/count_cases.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <random>
#include <stdexcept>

#include "bench/gpu/case_parts.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_prefill.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/heads.h"
#include "kernels/cuda/rows.h"

namespace sluice::bench {

namespace {

using kernels::CacheType;

constexpr int64_t kPagePositions = 128;

constexpr Shape kProducts[] = {
    {"DeepSeek-R1", "q_a", 1536, 7168},
    {"DeepSeek-R1", "q_b", 24576, 1536},
    {"DeepSeek-R1", "kv_a", 576, 7168},
    {"DeepSeek-R1", "o", 7168, 16384},
    {"DeepSeek-R1", "dense gate", 18432, 7168},
    {"DeepSeek-R1", "dense down", 7168, 18432},
    {"DeepSeek-R1", "shared gate", 2048, 7168},
    {"DeepSeek-R1", "shared down", 7168, 2048},
    {"DeepSeek-R1", "output", 129280, 7168},
    {"Llama-8B", "q, o", 4096, 4096},
    {"Llama-8B", "k, v", 1024, 4096},
    {"Llama-8B", "gate, up", 14336, 4096},
    {"Llama-8B", "down", 4096, 14336},
    {"Llama-8B", "output", 128256, 4096},
    {"Qwen3-30B", "q", 4096, 2048},
    {"Qwen3-30B", "output", 151936, 2048},
};
constexpr Shape kExperts[] = {{"DeepSeek-R1", "experts", 2048, 7168}, {"Qwen3-30B", "experts", 768, 2048}};
constexpr Shape kRouters[] = {{"DeepSeek-R1", "router", 256, 7168}, {"Qwen3-30B", "router", 128, 2048}};
constexpr TensorType kFormats[] = {TensorType::IQ1_S, TensorType::IQ2_XXS, TensorType::Q4_K, TensorType::Q5_K,
                                   TensorType::Q6_K,  TensorType::Q8_0,    TensorType::F16,  TensorType::F32};

CountCase product(const Shape& shape, TensorType type, const CaseMemory& memory) {
  Zeros zeros(memory);
  gpu::MatrixProducts products;
  products.matrix = matrix_of(type, shape.n_outputs, shape.n_columns, memory.random);
  products.input = zeros.activations(1, shape.n_columns);
  products.output = zeros.take<float>(shape.n_outputs);
  products.output_stride = shape.n_outputs;
  gpu::Launches list;
  gpu::multiply(list, products);
  return {shape.model,
          shape.place,
          name_of(type),
          list.at(0),
          static_cast<uint64_t>(shape.n_outputs * shape.n_columns),
          bytes_of(products.matrix),
          input_bytes(type, shape.n_columns) + static_cast<uint64_t>(shape.n_outputs) * 4};
}

// Both launches of a layer's experts, and the one between them.
void append_experts(std::vector<CountCase>& cases, const Shape& shape, TensorType type, const CaseMemory& memory) {
  Zeros zeros(memory);
  gpu::ExpertsCall call;
  call.gate = call.up = matrix_of(type, shape.n_outputs, shape.n_columns, nullptr);
  call.down = matrix_of(type, shape.n_columns, shape.n_outputs, nullptr);
  std::vector<gpu::ExpertPlace> places;
  std::vector<int32_t> ids;
  const uint64_t step = memory.random_bytes / (3 * kExpertsUsed) / 256 * 256;
  for (int64_t i = 0; i < kExpertsUsed; ++i) {
    const std::byte* const first = memory.random + static_cast<uint64_t>(i) * 3 * step;
    places.push_back({first, first + step, first + 2 * step});
    ids.push_back(static_cast<int32_t>(i));
  }
  call.places = zeros.take(places);
  call.ids = zeros.take(ids);
  call.weights = zeros.take<float>(kExpertsUsed);
  call.n_used = kExpertsUsed;
  call.input = zeros.activations(1, shape.n_columns);
  call.hidden = zeros.activations(kExpertsUsed, shape.n_outputs);
  call.output = zeros.take<float>(shape.n_columns);
  call.output_stride = shape.n_columns;
  call.not_finite = zeros.take<int32_t>(1);
  gpu::Launches list;
  gpu::multiply_experts(list, call);
  const uint64_t n = static_cast<uint64_t>(shape.n_outputs * shape.n_columns), used = kExpertsUsed;
  const uint64_t hidden_floats = used * static_cast<uint64_t>(shape.n_outputs);
  cases.push_back({shape.model, std::string(shape.place) + " gate, up", name_of(type), list.front(), 2 * used * n,
                   2 * used * bytes_of(call.gate), input_bytes(type, shape.n_columns) + hidden_floats * 4});
  if (list.size() == 3)
    cases.push_back({shape.model, std::string(shape.place) + " quantise", name_of(type), list[1], 0, 0,
                     hidden_floats * 4 + used * gpu::form_bytes(1, shape.n_outputs)});
  cases.push_back({shape.model, std::string(shape.place) + " down", name_of(type), list.back(), used * n,
                   used * bytes_of(call.down),
                   used * input_bytes(type, shape.n_outputs) + static_cast<uint64_t>(shape.n_columns) * 4});
}

// MLA's key part, absorbed into the query: 128 heads of [128, 512], between which the value parts lie.
CountCase across(TensorType type, const CaseMemory& memory) {
  constexpr int64_t kHeads = 128, kRows = 128, kColumns = 512;
  Zeros zeros(memory);
  gpu::TransposedProducts products;
  products.matrix = matrix_of(type, kRows, kColumns, memory.random);
  products.n_matrices = kHeads;
  products.matrix_stride = static_cast<int64_t>(2 * bytes_of(products.matrix));
  products.input = zeros.take<float>(kHeads * 192);
  products.input_matrix_stride = 192;
  products.output = zeros.take<float>(kHeads * 576);
  products.output_matrix_stride = 576;
  gpu::Launches list;
  gpu::multiply_transposed(list, products);
  return {"DeepSeek-R1",
          "kv_b, across",
          name_of(type),
          list.at(0),
          kHeads * kRows * kColumns,
          kHeads * bytes_of(products.matrix),
          kHeads * (kRows + kColumns) * 4};
}

struct AttentionShape {
  const char* model;
  int64_t n_heads, n_kv_heads, key_size, value_size;
  bool is_latent;
};
constexpr int64_t kLatentTilePositions = 16;  // Latent576 in kernels/cuda/attention_prefill.cu
constexpr AttentionShape kAttention[] = {{"Llama-8B", 32, 8, 128, 128, false}, {"DeepSeek-R1", 128, 1, 576, 512, true}};

// One row. Heads that share a latent row attend together, in as many pieces as the engine makes (engine/device/attention_choice.h); others page
// by page. Keys of the first are zeros, so that nothing overflows.
void append_attention(std::vector<CountCase>& cases, const AttentionShape& shape, CacheType type, int64_t n_positions,
                      const CaseMemory& memory) {
  Zeros zeros(memory);
  gpu::PrefillCall prefill;
  gpu::AttentionCall& call = prefill.attention;
  call.n_heads = shape.n_heads;
  call.n_kv_heads = shape.n_kv_heads;
  call.key_size = shape.key_size;
  call.value_size = shape.value_size;
  call.type = type;
  call.page_positions = kPagePositions;
  call.key_row_bytes = kernels::cache_row_bytes(type, shape.key_size);
  call.value_row_bytes = shape.is_latent ? call.key_row_bytes : kernels::cache_row_bytes(type, shape.value_size);
  call.key_head_bytes = call.key_row_bytes * kPagePositions;
  call.value_head_bytes = call.value_row_bytes * kPagePositions;
  const int64_t n_pages = n_positions / kPagePositions;
  const uint64_t key_page = static_cast<uint64_t>(call.key_head_bytes * shape.n_kv_heads);
  const uint64_t value_page = shape.is_latent ? 0 : static_cast<uint64_t>(call.value_head_bytes * shape.n_kv_heads);
  std::vector<const void*> keys, values;
  const uint64_t n_places = memory.random_bytes / (key_page + value_page);
  for (int64_t i = 0; i < n_pages; ++i) {
    if (shape.is_latent) {
      keys.push_back(zeros.take<std::byte>(static_cast<int64_t>(key_page)));
      continue;
    }
    const std::byte* const page = memory.random + static_cast<uint64_t>(i) % n_places * (key_page + value_page);
    keys.push_back(page);
    values.push_back(page + key_page);
  }
  gpu::AttentionRow row;
  row.key_pages = zeros.take(keys);
  row.value_pages = shape.is_latent ? row.key_pages : zeros.take(values);
  row.n_visible = n_positions;
  call.rows = zeros.take(std::vector<gpu::AttentionRow>{row});
  call.n_rows = 1;
  call.most_pieces = n_pages;
  call.q = zeros.take<float>(shape.n_heads * shape.key_size);
  call.q_stride = shape.n_heads * shape.key_size;
  call.out = zeros.take<float>(shape.n_heads * shape.value_size);
  call.out_stride = shape.n_heads * shape.value_size;
  const int64_t n_pieces =
      shape.is_latent
          ? std::min(n_pages, gpu::prefill_pieces(1, shape.n_heads, shape.n_kv_heads, shape.key_size, shape.value_size))
          : n_pages;
  const int64_t scratch = gpu::attention_scratch_floats(1, shape.n_heads, shape.value_size, n_pieces);
  call.scratch = zeros.take<float>(scratch);
  // As latent attention has it a row for each head, else one.
  const int64_t n_parts = shape.is_latent ? shape.n_heads : 1;
  call.forms = {call.out, call.out_stride / n_parts, n_parts, call.out_stride / n_parts, {}, {}};
  const uint64_t form_bytes = gpu::form_bytes(n_parts, call.forms.n_columns);
  gpu::place_forms(call.forms, zeros.take<std::byte>(static_cast<int64_t>(form_bytes)));
  call.not_finite = zeros.take<int32_t>(1);
  gpu::Launches list;
  if (shape.is_latent) {
    prefill.values_are_keys = true;
    prefill.runs = zeros.take(std::vector<gpu::AttentionRun>{{0, 1, static_cast<int32_t>(n_pieces), 0}});
    prefill.n_runs = prefill.most_rows = 1;
    prefill.most_pieces = n_pieces;
    gpu::attend_prefill(list, prefill);
  } else {
    gpu::attend(list, call);
  }
  const char* const format = type == CacheType::F16 ? "F16" : "Q8_0";
  const std::string context = " at " + std::to_string(n_positions);
  const uint64_t columns = static_cast<uint64_t>(shape.key_size + (shape.is_latent ? 0 : shape.value_size));
  cases.push_back({shape.model, "attend" + context, format, list.at(0),
                   static_cast<uint64_t>(n_positions * shape.n_kv_heads) * columns,
                   static_cast<uint64_t>(n_pages) * (key_page + value_page),
                   static_cast<uint64_t>(shape.n_heads * shape.key_size + scratch) * 4});
  if (shape.is_latent) cases.back().n_stages = static_cast<uint64_t>(n_positions / n_pieces / kLatentTilePositions);
  cases.push_back({shape.model, "join, quantise" + context, format, list.at(1), 0, 0,
                   static_cast<uint64_t>(scratch + shape.n_heads * shape.value_size) * 4 + form_bytes});
}

// A micro-batch of 512 rows at one key head and its query heads. Every row sees as many positions, so that all thread blocks do the same:
// bench/gpu/attention.py goes on from two such numbers to those of real contexts, and to all key heads. Keys and values are zeros, so
// that nothing overflows; queries of all rows are the same, and results go to the same place, because those of R1 would take too much room.
struct PrefillShape {
  const char* model;
  const char* place;
  int64_t heads_per_group, key_size, value_size;
  bool is_latent;
};
constexpr PrefillShape kPrefill[] = {{"Llama-8B", "prefill", 4, 128, 128, false},
                                     {"DeepSeek-R1", "prefill, expanded", 1, 192, 128, false},
                                     {"DeepSeek-R1", "prefill, absorbed", 128, 576, 512, true}};
constexpr int64_t kPrefillRows = 512;

CountCase prefill(const PrefillShape& shape, CacheType type, int64_t n_visible, const CaseMemory& memory) {
  Zeros zeros(memory);
  gpu::PrefillCall call;
  gpu::AttentionCall& a = call.attention;
  a.n_heads = shape.heads_per_group;
  a.n_kv_heads = 1;
  a.key_size = shape.key_size;
  a.value_size = shape.value_size;
  a.type = type;
  a.page_positions = kPagePositions;
  a.key_row_bytes = kernels::cache_row_bytes(type, shape.key_size);
  a.value_row_bytes = shape.is_latent ? a.key_row_bytes : kernels::cache_row_bytes(type, shape.value_size);
  std::vector<const void*> keys, values;
  for (int64_t i = 0; i < n_visible; i += kPagePositions) {
    keys.push_back(zeros.take<std::byte>(kPagePositions * a.key_row_bytes));
    values.push_back(shape.is_latent ? keys.back() : zeros.take<std::byte>(kPagePositions * a.value_row_bytes));
  }
  const void* const* const key_pages = zeros.take(keys);
  const void* const* const value_pages = zeros.take(values);
  a.rows = zeros.take(std::vector<gpu::AttentionRow>(kPrefillRows, {key_pages, value_pages, n_visible}));
  a.n_rows = kPrefillRows;
  a.q = zeros.take<float>(shape.heads_per_group * shape.key_size);
  a.out = zeros.take<float>(shape.heads_per_group * shape.value_size);
  call.values_are_keys = shape.is_latent;
  call.runs = zeros.take(std::vector<gpu::AttentionRun>{{0, kPrefillRows}});
  call.n_runs = 1;
  call.most_rows = kPrefillRows;
  gpu::Launches list;
  gpu::attend_prefill(list, call);
  return {shape.model, std::string(shape.place) + " seeing " + std::to_string(n_visible),
          type == CacheType::F16 ? "F16" : "Q8_0", list.at(0)};
}

void visit_small(const CaseMemory& memory, const std::function<void(const CountCase&)>& visit) {
  auto append = [&](const char* model, const char* place, uint64_t bytes,
                    const std::function<void(gpu::Launches&, Zeros&)>& make) {
    Zeros zeros(memory);
    gpu::Launches list;
    make(list, zeros);
    visit({model, place, "", list.at(0), 0, 0, bytes});
  };
  struct Width {
    const char* model;
    int64_t n_columns;
  };
  for (const Width& width : {Width{"Llama-8B", 4096}, Width{"DeepSeek-R1", 7168}, Width{"Qwen3-30B", 2048}}) {
    const int64_t n = width.n_columns;
    append(width.model, "norm, quantise", static_cast<uint64_t>(n) * 20 + gpu::form_bytes(1, n),
           [&](gpu::Launches& list, Zeros& zeros) {
             const gpu::Activations to = zeros.activations(1, n);
             gpu::ResidualNorm norm;
             norm.x = zeros.take<float>(n);
             norm.change = zeros.take<float>(n);
             norm.weight = zeros.take<float>(n);
             norm.epsilon = 1e-5f;
             gpu::residual_norm_quantize(list, norm, to, zeros.take<int32_t>(1));
           });
  }
  for (const Width& width : {Width{"Llama-8B", 14336}, Width{"DeepSeek-R1", 2048}}) {
    const int64_t n = width.n_columns;
    append(width.model, "swiglu, quantise", static_cast<uint64_t>(n) * 12 + gpu::form_bytes(1, n),
           [&](gpu::Launches& list, Zeros& zeros) {
             const gpu::Activations to = zeros.activations(1, n);
             const float* const gate = zeros.take<float>(n);
             gpu::swiglu_quantize(list, gate, n, zeros.take<float>(n), n, to, zeros.take<int32_t>(1));
           });
  }
  for (const Width& width : {Width{"Llama-8B", 4096}, Width{"DeepSeek-R1", 16384}}) {
    const int64_t n = width.n_columns;
    append(width.model, "quantise", static_cast<uint64_t>(n) * 4 + gpu::form_bytes(1, n),
           [&](gpu::Launches& list, Zeros& zeros) {
             gpu::quantize(list, zeros.activations(1, n), zeros.take<int32_t>(1));
           });
  }
  struct Routing {
    const char* model;
    kernels::reference::RouterRule rule;
  };
  for (const Routing& routing :
       {Routing{"DeepSeek-R1", {256, 8, kernels::reference::Gating::Sigmoid, true, 2.5f, 8, 4}},
        Routing{"Qwen3-30B", {128, 8, kernels::reference::Gating::Softmax, true}}})
    append(routing.model, "route", static_cast<uint64_t>(routing.rule.n_experts) * 4,
           [&](gpu::Launches& list, Zeros& zeros) {
             gpu::RouterCall call;
             call.rule = routing.rule;
             call.logits = zeros.take<float>(routing.rule.n_experts);
             call.logits_stride = routing.rule.n_experts;
             call.n_rows = 1;
             call.ids = zeros.take<int32_t>(8);
             call.weights = zeros.take<float>(8);
             gpu::route(list, call);
           });
  struct Rotation {
    const char* model;
    int64_t n_heads, head_size, n_dims;
  };
  for (const Rotation& rotation : {Rotation{"Llama-8B", 32, 128, 128}, Rotation{"DeepSeek-R1", 128, 192, 64}}) {
    const int64_t n = rotation.n_heads * rotation.head_size;
    append(rotation.model, "rope", static_cast<uint64_t>(rotation.n_heads * rotation.n_dims) * 8,
           [&](gpu::Launches& list, Zeros& zeros) {
             const gpu::FloatRows x{zeros.take<float>(n), 1, n, n};
             const int64_t half = rotation.n_dims / 2;
             const gpu::FloatRows cosines{zeros.take<float>(half), 1, half, half};
             const gpu::FloatRows sines{zeros.take<float>(half), 1, half, half};
             gpu::rope(list, x, rotation.n_heads, rotation.head_size, kernels::reference::RopePairs::Interleaved,
                       cosines, sines);
           });
  }
  // Queries and keys that are turned, and keys and values on their way to the cache.
  append("Llama-8B", "finish heads", (4096 + 2 * 1024) * 6, [&](gpu::Launches& list, Zeros& zeros) {
    gpu::HeadsCall call;
    const auto rows = [&](int64_t n) { return gpu::FloatRows{zeros.take<float>(n), 1, n, n}; };
    const auto places = [&] { return zeros.take(std::vector<void*>{zeros.take<std::byte>(8 * 128 * 256)}); };
    call.n_parts = 3;
    call.parts[0] = {rows(4096), 32, 128, nullptr, 0, 0};
    call.parts[1] = {rows(1024), 8, 128, nullptr, 0, 0, places(), CacheType::F16, 256 * 128};
    call.parts[2] = {rows(1024), 8, 128, nullptr, 0, -1, places(), CacheType::F16, 256 * 128};
    call.cosines = rows(64);
    call.sines = rows(64);
    gpu::finish_heads(list, call);
  });
  // The norms of q_a and of the latent, the forms of the first, the rotation and the cache row of the second.
  append("DeepSeek-R1", "finish heads", (1536 + 512) * 12 + 576 * 6 + gpu::form_bytes(1, 1536),
         [&](gpu::Launches& list, Zeros& zeros) {
           gpu::HeadsCall call;
           const auto rows = [&](int64_t n) { return gpu::FloatRows{zeros.take<float>(n), 1, n, n}; };
           call.forms = zeros.activations(1, 1536);
           call.n_parts = 2;
           call.parts[0] = {{call.forms.values, 1, 1536, 1536}, 1, 1536, zeros.take<float>(1536), 1536};
           call.parts[1] = {rows(576),
                            1,
                            576,
                            zeros.take<float>(512),
                            512,
                            512,
                            zeros.take(std::vector<void*>{zeros.take<std::byte>(2 * 576)}),
                            CacheType::F16};
           call.not_finite = zeros.take<int32_t>(1);
           call.epsilon = 1e-6f;
           call.cosines = rows(32);
           call.sines = rows(32);
           gpu::finish_heads(list, call);
         });
  append("Llama-8B", "store cache", 1024 * 6, [&](gpu::Launches& list, Zeros& zeros) {
    const gpu::FloatRows x{zeros.take<float>(1024), 1, 1024, 1024};
    void* const page = zeros.take<std::byte>(8 * 128 * 256);
    gpu::store_cache_rows(list, x, 8, CacheType::F16, zeros.take(std::vector<void*>{page}), 256, 256 * 128);
  });
}

}  // namespace

CaseMemory allocate_case_memory(uint64_t random_bytes, uint64_t zero_bytes) {
  CaseMemory memory;
  memory.random_bytes = random_bytes;
  memory.zero_bytes = zero_bytes;
  // As often as it takes to fill so many bytes.
  auto allocate = [](uint64_t bytes, const std::vector<uint64_t>& content) {
    void* place = nullptr;
    if (cudaMalloc(&place, bytes) != cudaSuccess)
      throw std::runtime_error("The device has no " + std::to_string(bytes >> 20) + " MiB of memory.");
    for (uint64_t done = 0; done < bytes; done += content.size() * 8)
      if (cudaMemcpy(static_cast<std::byte*>(place) + done, content.data(), std::min(bytes - done, content.size() * 8),
                     cudaMemcpyHostToDevice) != cudaSuccess)
        throw std::runtime_error("Copying to the device failed.");
    return static_cast<std::byte*>(place);
  };
  // The indices of grids decide which banks their tables are read from: they must be as various as those of a model.
  std::mt19937_64 random(1);
  std::vector<uint64_t> content(kCountedBytes / 8);
  for (uint64_t& word : content) word = random();
  memory.random = allocate(memory.random_bytes, content);
  memory.zeros = allocate(memory.zero_bytes, std::vector<uint64_t>(memory.zero_bytes / 8, 0));
  return memory;
}

void visit_count_cases(const CaseMemory& memory, const std::function<void(const CountCase&)>& visit) {
  std::vector<CountCase> cases;
  auto visit_all = [&] {
    for (const CountCase& one : cases) visit(one);
    cases.clear();
  };
  for (const TensorType type : kFormats) {
    for (const Shape& shape : kProducts) visit(product(shape, type, memory));
    for (const Shape& shape : kExperts) {
      append_experts(cases, shape, type, memory);
      visit_all();
    }
    visit(across(type, memory));
  }
  for (const Shape& shape : kRouters) visit(product(shape, TensorType::F32, memory));
  for (const AttentionShape& shape : kAttention)
    for (const CacheType type : {CacheType::F16, CacheType::Q8_0})
      for (const int64_t n_positions : {4096, 32768}) {
        append_attention(cases, shape, type, n_positions, memory);
        visit_all();
      }
  for (const PrefillShape& shape : kPrefill)
    for (const CacheType type : {CacheType::F16, CacheType::Q8_0})
      for (const int64_t n_visible : {1024, 2048}) visit(prefill(shape, type, n_visible, memory));
  visit_small(memory, visit);
}

}  // namespace sluice::bench
