#include "engine/device/cuda/attention.h"

#include <algorithm>
#include <vector>

#include "engine/device/attention_choice.h"
#include "kernels/cuda/attention.h"

namespace sluice::engine::cuda {

namespace gpu = kernels::cuda;

namespace {

int64_t pages_of(const CacheView& view, int32_t n_visible) {
  return (int64_t{n_visible} + view.page_positions - 1) / view.page_positions;
}

// What each row sees. Tables of pages have as many words as there may be pages, so that what comes behind them stays where it is.
std::vector<gpu::AttentionRow> rows_of(Pass& pass, std::span<const CacheView* const> caches,
                                       std::span<const int32_t> n_visible, int64_t most_pages) {
  std::vector<gpu::AttentionRow> rows;
  const CacheView* last = nullptr;
  const void* const* keys = nullptr;
  const void* const* values = nullptr;
  for (size_t i = 0; i < caches.size(); ++i) {
    if (caches[i] != last) {
      last = caches[i];
      int64_t n_pages = 0;
      for (size_t j = i; j < caches.size() && caches[j] == last; ++j)
        n_pages = std::max(n_pages, pages_of(*last, n_visible[j]));
      std::vector<const void*> pages(static_cast<size_t>(most_pages));
      std::copy_n(last->key_pages, n_pages, pages.begin());
      keys = values = pass.tables(std::span<const void* const>(pages));
      if (last->value_pages != last->key_pages) {
        std::copy_n(last->value_pages, n_pages, pages.begin());
        values = pass.tables(std::span<const void* const>(pages));
      }
    }
    rows.push_back({keys, values, n_visible[i]});
  }
  return rows;
}

// All but the rows, and what is made of them.
gpu::AttentionCall call_of(const AttentionShape& shape, const CacheView& view) {
  gpu::AttentionCall call;
  call.n_heads = shape.n_heads;
  call.n_kv_heads = shape.n_kv_heads;
  call.key_size = shape.key_size;
  call.value_size = shape.value_size;
  call.scale = shape.scale;
  call.type = view.type;
  call.page_positions = view.page_positions;
  call.key_row_bytes = view.key_row_bytes;
  call.value_row_bytes = view.value_row_bytes;
  call.key_head_bytes = view.key_head_bytes;
  call.value_head_bytes = view.value_head_bytes;
  return call;
}

bool are_pages_aligned(const CacheView& cache, int64_t n_pages) {
  for (int64_t p = 0; p < n_pages; ++p)
    for (const void* page : {cache.key_pages[p], cache.value_pages[p]})
      if (reinterpret_cast<uintptr_t>(page) % 16 != 0) return false;
  return true;
}

}  // namespace

void append_attention(Pass& pass, Scratch& scratch, const AttentionShape& shape, Rows q,
                      std::span<const CacheView* const> caches, std::span<const int32_t> n_visible, Rows out,
                      const gpu::Activations* forms) {
  if (q.n_rows == 0) return;
  const CacheView& view = *caches[0];
  const int64_t most_pages = pages_with_room(n_visible, view.page_positions);
  const std::vector<gpu::AttentionRow> rows = rows_of(pass, caches, n_visible, most_pages);
  gpu::AttentionCall call = call_of(shape, view);
  call.rows = pass.cells(std::span<const gpu::AttentionRow>(rows));
  call.n_rows = q.n_rows;
  call.most_pieces = most_pages;
  call.q = q.data;
  call.q_stride = q.stride;
  call.out = out.data;
  call.out_stride = out.stride;

  const AttentionParts parts = attention_parts(shape, caches);
  if (forms != nullptr && parts.is_one_call()) {
    call.forms = *forms;
    call.not_finite = pass.not_finite();
  }
  const auto attend_together = [&](const std::vector<gpu::AttentionRun>& runs, bool is_split, float* to) {
    gpu::PrefillCall prefill;
    prefill.attention = call;
    prefill.attention.scratch = to;
    prefill.values_are_keys = view.value_pages == view.key_pages;
    for (const gpu::AttentionRun& run : runs) {
      prefill.most_rows = std::max<int64_t>(prefill.most_rows, run.n_rows);
      if (is_split) prefill.most_pieces = std::max<int64_t>(prefill.most_pieces, run.n_pieces);
      const auto seen = n_visible.subspan(static_cast<size_t>(run.first_row), static_cast<size_t>(run.n_rows));
      const CacheView& cache = *caches[static_cast<size_t>(run.first_row)];
      prefill.pages_are_aligned =
          prefill.pages_are_aligned && are_pages_aligned(cache, pages_of(cache, *std::ranges::max_element(seen)));
    }
    prefill.runs = pass.cells(std::span<const gpu::AttentionRun>(runs));
    prefill.n_runs = static_cast<int64_t>(runs.size());
    gpu::attend_prefill(pass.launches(), prefill);
  };
  if (!parts.whole.empty()) {
    std::vector<gpu::AttentionRun> runs;
    for (const AttentionRange& range : parts.whole)
      runs.push_back({static_cast<int32_t>(range.first_row), static_cast<int32_t>(range.n_rows)});
    attend_together(runs, false, nullptr);
  }
  if (!parts.split.empty()) {
    const std::vector<gpu::AttentionRun> runs = split_runs(shape, parts.split, most_pages);
    const ScratchLease lease(scratch, split_scratch_bytes(shape, runs));
    attend_together(runs, true, reinterpret_cast<float*>(lease.data()));
  }
  for (const AttentionRange& range : parts.one_by_one) {
    gpu::AttentionCall some = call;
    some.rows = call.rows + range.first_row;
    some.n_rows = range.n_rows;
    some.q = q.row(range.first_row);
    some.out = out.row(range.first_row);
    const ScratchLease lease(scratch, one_by_one_scratch_bytes(shape, range, most_pages));
    some.scratch = reinterpret_cast<float*>(lease.data());
    gpu::attend(pass.launches(), some);
  }
  if (forms != nullptr && !parts.is_one_call()) gpu::quantize(pass.launches(), *forms, pass.not_finite());
}

}  // namespace sluice::engine::cuda
