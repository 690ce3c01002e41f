#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/cpu/share_work.h"

namespace sluice::kernels {
namespace {

// Query vectors that go through the context together: some heads of one key-value head, of some neighbouring rows.
struct QueryBlock {
  int64_t first_row, n_rows;
  int64_t kv_head;
  int64_t first_head, n_heads;
  int64_t most_visible;   // of its rows
  int64_t first_partial;  // number of its first vector among all; partial results lie in this order

  int64_t n_queries() const { return n_rows * n_heads; }
};

// A partial or whole result of `n` query vectors: see AttentionTile.
struct Result {
  float* maxima;
  float* sums;
  float* weighted;
};

struct Plan {
  std::vector<QueryBlock> blocks;
  int64_t n_vectors = 0;
  int64_t n_stretches = 0;  // of the longest context
  int64_t n_splits = 1;     // tasks that share the stretches of a block
};

int64_t stretches_for(int64_t n_positions) {
  return (n_positions + kContextStretch - 1) / kContextStretch;
}

// A multiple of four heads where there are as many: that is how registers are tiled.
int64_t halve_heads(int64_t n_heads) {
  return std::max<int64_t>(4, (n_heads / 2 + 3) / 4 * 4);
}

// Blocks as large as fit a tile, because a block converts its part of the context once; smaller ones, and several tasks
// a block, where there would be too few tasks for the threads.
Plan make_plan(const AttentionHeads& heads, const AttentionRow* rows, int64_t n_rows, int64_t n_threads) {
  Plan plan;
  for (int64_t i = 0; i < n_rows; ++i) plan.n_stretches = std::max(plan.n_stretches, stretches_for(rows[i].n_visible));
  const int64_t group = heads.n_heads / heads.n_kv_heads;
  int64_t heads_a_block = std::min(group, kTileQueries);
  const int64_t wanted_tasks = n_threads == 1 ? 1 : 4 * n_threads;
  if (n_rows * heads.n_kv_heads < wanted_tasks) {
    const auto n_tasks = [&] {
      return n_rows * heads.n_kv_heads * ((group + heads_a_block - 1) / heads_a_block) * plan.n_stretches;
    };
    while (heads_a_block > 4 && n_tasks() < wanted_tasks) heads_a_block = halve_heads(heads_a_block);
  }
  const int64_t rows_a_block = std::max<int64_t>(1, kTileQueries / heads_a_block);

  // Rows that see most come first, so that the last tasks are short ones.
  for (int64_t end = n_rows; end > 0;) {
    int64_t begin = end - 1;
    while (begin > 0 && end - begin < rows_a_block && rows[begin - 1].context == rows[begin].context) --begin;
    int64_t most_visible = 0;
    for (int64_t i = begin; i < end; ++i) most_visible = std::max(most_visible, rows[i].n_visible);
    for (int64_t kv_head = 0; kv_head < heads.n_kv_heads; ++kv_head)
      for (int64_t h = 0; h < group; h += heads_a_block) {
        const int64_t n_heads = std::min(heads_a_block, group - h);
        plan.blocks.push_back(
            {begin, end - begin, kv_head, kv_head * group + h, n_heads, most_visible, plan.n_vectors});
        plan.n_vectors += plan.blocks.back().n_queries();
      }
    end = begin;
  }
  const auto n_blocks = static_cast<int64_t>(plan.blocks.size());
  plan.n_splits = std::clamp<int64_t>((wanted_tasks + n_blocks - 1) / n_blocks, 1, plan.n_stretches);
  return plan;
}

// Memory of a thread, kept from call to call; aligned to 64 bytes.
float* thread_scratch(size_t n_floats) {
  static thread_local std::vector<float> memory;
  if (memory.size() < n_floats + 16) memory.resize(n_floats + 16);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return memory.data() + (64 - address % 64) % 64 / sizeof(float);
}

// `total` takes in `part`, which follows it in the context, for one query vector.
void merge(const Result& total, const Result& part, int64_t value_size) {
  if (part.sums[0] == 0) return;  // it saw nothing there
  if (total.maxima[0] == -std::numeric_limits<float>::infinity()) {
    total.maxima[0] = part.maxima[0];
    total.sums[0] = part.sums[0];
    std::copy_n(part.weighted, value_size, total.weighted);
    return;
  }
  const float maximum = std::max(total.maxima[0], part.maxima[0]);
  const float old_factor = std::exp(total.maxima[0] - maximum), new_factor = std::exp(part.maxima[0] - maximum);
  total.maxima[0] = maximum;
  total.sums[0] = total.sums[0] * old_factor + part.sums[0] * new_factor;
  for (int64_t c = 0; c < value_size; ++c)
    total.weighted[c] = total.weighted[c] * old_factor + part.weighted[c] * new_factor;
}

class Attention {
 public:
  Attention(const AttentionHeads& heads, const AttentionRow* rows, const Plan& plan)
      : heads_(heads),
        rows_(rows),
        plan_(plan),
        key_stride_(tile_stride(heads.key_size)),
        value_stride_(tile_stride(heads.value_size)) {
    if (plan.n_splits > 1) partial_.resize(static_cast<size_t>(plan.n_stretches * plan.n_vectors * partial_size()));
  }

  // The part `split` of the context of a block.
  void attend_block(const QueryBlock& block, int64_t split) {
    const int64_t n = block.n_queries();
    float* memory = thread_scratch(static_cast<size_t>(n * (key_stride_ + 2 * value_stride_) + 4 * kTileQueries +
                                                       tile_scratch_floats(heads_.key_size, heads_.value_size)));
    const auto take = [&](int64_t n_floats) {
      float* taken = memory;
      memory += n_floats;
      return taken;
    };
    AttentionTile tile{rows_[block.first_row].context, block.kv_head, heads_.key_size, heads_.value_size, heads_.scale};
    tile.scratch = take(tile_scratch_floats(heads_.key_size, heads_.value_size));
    float* queries = take(n * key_stride_);
    int64_t n_visible[kTileQueries];
    gather_queries(block, queries, n_visible);
    tile.n_queries = n;
    tile.queries = queries;
    tile.n_visible = n_visible;
    const Result part{take(kTileQueries), take(kTileQueries), take(n * value_stride_)};
    const Result total{take(kTileQueries), take(kTileQueries), take(n * value_stride_)};
    std::fill_n(total.maxima, n, -std::numeric_limits<float>::infinity());

    const int64_t n_stretches = stretches_for(block.most_visible);
    const int64_t begin = n_stretches * split / plan_.n_splits, end = n_stretches * (split + 1) / plan_.n_splits;
    for (int64_t stretch = begin; stretch < end; ++stretch) {
      const Result to = plan_.n_splits > 1 ? partial(block, stretch) : part;
      tile.begin = stretch * kContextStretch;
      tile.end = std::min(tile.begin + kContextStretch, block.most_visible);
      tile.maxima = to.maxima;
      tile.sums = to.sums;
      tile.weighted = to.weighted;
      attend_tile()(tile);
      if (plan_.n_splits > 1) continue;
      for (int64_t q = 0; q < n; ++q) merge(vector_of(total, q), vector_of(part, q), heads_.value_size);
    }
    if (plan_.n_splits > 1) return;
    for (int64_t q = 0; q < n; ++q) finish(block, q, vector_of(total, q));
  }

  // Merges the partial results of query vector q of a block.
  void merge_splits(const QueryBlock& block, int64_t q) {
    const Result total = vector_of(partial(block, 0), q);
    for (int64_t stretch = 1; stretch < stretches_for(block.most_visible); ++stretch)
      merge(total, vector_of(partial(block, stretch), q), heads_.value_size);
    finish(block, q, total);
  }

 private:
  int64_t partial_size() const { return 2 + value_stride_; }

  Result partial(const QueryBlock& block, int64_t stretch) {
    float* at = partial_.data() + (stretch * plan_.n_vectors + block.first_partial) * partial_size();
    const int64_t n = block.n_queries();
    return {at, at + n, at + 2 * n};
  }

  Result vector_of(const Result& result, int64_t q) const {
    return {result.maxima + q, result.sums + q, result.weighted + q * value_stride_};
  }

  // Vectors in the order of rows, then heads.
  void gather_queries(const QueryBlock& block, float* queries, int64_t* n_visible) const {
    for (int64_t q = 0; q < block.n_queries(); ++q, queries += key_stride_) {
      const AttentionRow& row = rows_[block.first_row + q / block.n_heads];
      const int64_t head = block.first_head + q % block.n_heads;
      n_visible[q] = row.n_visible;
      std::copy_n(row.query + head * heads_.key_size, heads_.key_size, queries);
      std::fill(queries + heads_.key_size, queries + key_stride_, 0.0f);
    }
  }

  void finish(const QueryBlock& block, int64_t q, const Result& result) const {
    const AttentionRow& row = rows_[block.first_row + q / block.n_heads];
    float* out = row.out + (block.first_head + q % block.n_heads) * heads_.value_size;
    const float inverse = 1.0f / result.sums[0];
    for (int64_t c = 0; c < heads_.value_size; ++c) out[c] = result.weighted[c] * inverse;
  }

  const AttentionHeads& heads_;
  const AttentionRow* rows_;
  const Plan& plan_;
  int64_t key_stride_, value_stride_;
  std::vector<float> partial_;  // [n_stretches, n_vectors, partial_size()], a block's vectors together
};

}  // namespace

void attend(ThreadPool& pool, const AttentionHeads& heads, const AttentionRow* rows, int64_t n_rows) {
  const Plan plan = make_plan(heads, rows, n_rows, pool.n_threads());
  Attention attention(heads, rows, plan);
  int64_t n_products = 0;
  for (int64_t i = 0; i < n_rows; ++i)
    n_products += rows[i].n_visible * heads.n_heads * (heads.key_size + heads.value_size);
  // A byte for a multiplication: a core does about as many of either in a nanosecond.
  share_work(pool, static_cast<int64_t>(plan.blocks.size()) * plan.n_splits, n_products, [&](int64_t task) {
    attention.attend_block(plan.blocks[static_cast<size_t>(task / plan.n_splits)], task % plan.n_splits);
  });
  if (plan.n_splits == 1) return;
  const int64_t merged_bytes = plan.n_vectors * plan.n_stretches * heads.value_size * 4;
  share_work(pool, static_cast<int64_t>(plan.blocks.size()), merged_bytes, [&](int64_t i) {
    const QueryBlock& block = plan.blocks[static_cast<size_t>(i)];
    for (int64_t q = 0; q < block.n_queries(); ++q) attention.merge_splits(block, q);
  });
}

}  // namespace sluice::kernels
