#include "tests/cuda/attention_problem.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/reference/attention.h"
#include "kernels/reference/cache_rows.h"

namespace sluice::test {

using namespace kernels;

Visible last_rows(int64_t n_rows, int64_t n_positions) {
  Visible visible(static_cast<size_t>(n_rows));
  std::iota(visible.begin(), visible.end(), n_positions - n_rows + 1);
  return visible;
}

static std::unique_ptr<OnDevice<const void*>> table_of(const std::vector<Sequence::Page>& pages) {
  std::vector<const void*> addresses;
  for (const Sequence::Page& page : pages) addresses.push_back(page->data());
  return std::make_unique<OnDevice<const void*>>(addresses);
}

Sequence::Sequence(const AttentionShape& shape, int64_t n_positions, uint32_t seed, float key_deviation, size_t offset)
    : shape_(shape), n_positions_(n_positions), offset_(offset) {
  key_pages_ = make_pages(shape.key_size, seed, key_deviation, keys);
  if (!shape.is_latent) {
    value_pages_ = make_pages(shape.value_size, seed + 500000, 1, values);
  } else {
    for (int64_t i = 0; i < n_positions; ++i)
      values.insert(values.end(), keys.begin() + i * shape.key_size,
                    keys.begin() + i * shape.key_size + shape.value_size);
  }
  key_table = table_of(key_pages_);
  value_table = shape.is_latent ? table_of(key_pages_) : table_of(value_pages_);
}

// Behind the last position a page has NaNs.
std::vector<Sequence::Page> Sequence::make_pages(int64_t size, uint32_t seed, float deviation,
                                                 std::vector<float>& floats) const {
  const int64_t row_bytes = cache_row_bytes(shape_.type, size);
  std::vector<Page> pages;
  floats.resize(static_cast<size_t>(n_positions_ * shape_.n_kv_heads * size));
  for (int64_t first = 0; first < n_positions_; first += shape_.page_positions) {
    std::vector<std::byte> page(static_cast<size_t>(shape_.n_kv_heads * shape_.page_positions * row_bytes),
                                std::byte{0xFF});
    for (int64_t h = 0; h < shape_.n_kv_heads; ++h)
      for (int64_t i = 0; i < std::min(shape_.page_positions, n_positions_ - first); ++i) {
        const std::vector<float> row = random_floats(static_cast<size_t>(size), seed++, deviation);
        std::byte* const to = &page[static_cast<size_t>((h * shape_.page_positions + i) * row_bytes)];
        reference::store_cache_row(shape_.type, row.data(), size, to);
        reference::load_cache_row(shape_.type, to, size,
                                  &floats[static_cast<size_t>(((first + i) * shape_.n_kv_heads + h) * size)]);
      }
    pages.push_back(std::make_unique<OnDevice<std::byte>>(page, offset_));
  }
  return pages;
}

AttentionRunner::AttentionRunner(const AttentionProblem& problem, const std::vector<float>* given_queries) {
  const AttentionShape& shape = problem.shape;
  cuda::AttentionCall& a = call.attention;
  a.n_heads = shape.n_heads;
  a.n_kv_heads = shape.n_kv_heads;
  a.key_size = shape.key_size;
  a.value_size = shape.value_size;
  a.scale = problem.scale;
  a.type = shape.type;
  a.page_positions = shape.page_positions;
  a.key_row_bytes = cache_row_bytes(shape.type, shape.key_size);
  a.value_row_bytes = shape.is_latent ? a.key_row_bytes : cache_row_bytes(shape.type, shape.value_size);
  a.key_head_bytes = shape.page_positions * a.key_row_bytes;
  a.value_head_bytes = shape.page_positions * a.value_row_bytes;
  call.values_are_keys = shape.is_latent;
  call.pages_are_aligned = problem.page_offset % 16 == 0;

  int64_t n_pieces = 0;  // of the runs so far, with all their rows and heads
  for (const Visible& visible : problem.runs) {
    const int64_t most = std::max<int64_t>(1, *std::max_element(visible.begin(), visible.end()));
    sequences.emplace_back(shape, most, problem.seed + static_cast<uint32_t>(visible.size()) * 10000,
                           problem.key_deviation, problem.page_offset);
    const auto n_rows = static_cast<int64_t>(visible.size());
    cuda::AttentionRun run{static_cast<int32_t>(rows.size()), static_cast<int32_t>(n_rows)};
    call.most_rows = std::max(call.most_rows, n_rows);
    if (problem.n_pieces != 0) {
      const int64_t n = problem.n_pieces != kAsRunsSay ? problem.n_pieces
                                                       : cuda::prefill_pieces(n_rows, shape.n_heads, shape.n_kv_heads,
                                                                              shape.key_size, shape.value_size);
      run.n_pieces = static_cast<int32_t>(n);
      run.first_piece = static_cast<int32_t>(n_pieces);
      call.most_pieces = std::max(call.most_pieces, n);
      n_pieces += n_rows * shape.n_heads * n;
    }
    runs.push_back(run);
    for (const int64_t n : visible)
      rows.push_back({sequences.back().key_table->data(), sequences.back().value_table->data(), n});
  }
  const auto n_rows = static_cast<int64_t>(rows.size());
  queries = given_queries != nullptr ? *given_queries
                                     : random_floats(static_cast<size_t>(n_rows * shape.n_heads * shape.key_size), 5,
                                                     problem.query_deviation);
  queries_on_ = std::make_unique<OnDevice<float>>(queries);
  out = std::make_unique<OnDevice<float>>(static_cast<size_t>(n_rows * shape.n_heads * shape.value_size));
  rows_on = std::make_unique<OnDevice<cuda::AttentionRow>>(rows);
  runs_on_ = std::make_unique<OnDevice<cuda::AttentionRun>>(runs);
  // What nobody wrote is not a number.
  scratch_ = std::make_unique<OnDevice<float>>(std::vector<float>(
      static_cast<size_t>(n_pieces * cuda::attention_piece_floats(shape.value_size)), std::numeric_limits<float>::quiet_NaN()));
  a.rows = rows_on->data();
  a.n_rows = n_rows;
  a.q = queries_on_->data();
  a.q_stride = shape.n_heads * shape.key_size;
  a.out = out->data();
  a.out_stride = shape.n_heads * shape.value_size;
  a.scratch = scratch_->data();
  call.runs = runs_on_->data();
  call.n_runs = static_cast<int64_t>(runs.size());
}

AttentionResult attend(const AttentionProblem& problem, const std::vector<float>* given_queries) {
  const AttentionShape& shape = problem.shape;
  CAPTURE(shape.name);
  const AttentionRunner runner(problem, given_queries);
  const cuda::AttentionCall& a = runner.call.attention;
  cuda::Launches list;
  cuda::attend_prefill(list, runner.call);
  CHECK(list.size() == (problem.n_pieces != 0 ? 2 : 1));
  run(list);

  AttentionResult result;
  result.made = runner.out->values();
  result.expected.resize(result.made.size());
  const double roundings = shape.type == CacheType::Q8_0 ? 2 : 1, u = std::ldexp(1.0, -11);
  for (size_t s = 0; s < runner.runs.size(); ++s) {
    const auto first = static_cast<size_t>(runner.runs[s].first_row);
    const float* const run_q = runner.queries.data() + first * static_cast<size_t>(a.q_stride);
    reference::attention({shape.n_heads, shape.n_kv_heads, shape.key_size, shape.value_size, a.scale}, run_q,
                         runner.sequences[s].keys.data(), runner.sequences[s].values.data(), problem.runs[s].data(),
                         runner.runs[s].n_rows, result.expected.data() + first * static_cast<size_t>(a.out_stride));
    float largest_value = 0;
    for (const float value : runner.sequences[s].values) largest_value = std::max(largest_value, std::abs(value));
    for (size_t i = 0; i < problem.runs[s].size(); ++i)
      for (int64_t h = 0; h < shape.n_heads; ++h) {
        double largest_score = 0;
        for (int64_t c = 0; c < problem.runs[s][i]; ++c) {
          const float* const key = &runner.sequences[s].keys[static_cast<size_t>(
              (c * shape.n_kv_heads + h / (shape.n_heads / shape.n_kv_heads)) * shape.key_size)];
          const float* const query = run_q + (static_cast<int64_t>(i) * shape.n_heads + h) * shape.key_size;
          double score = 0;
          for (int64_t k = 0; k < shape.key_size; ++k) score += std::abs(double{query[k]} * key[k]);
          largest_score = std::max(largest_score, score);
        }
        const double d = std::abs(a.scale) * roundings * u * largest_score;
        const double bound = (2 * d + 3 * u) * largest_value;
        for (int64_t k = 0; k < shape.value_size; ++k) {
          const size_t at = ((first + i) * static_cast<size_t>(shape.n_heads) + static_cast<size_t>(h)) *
                                static_cast<size_t>(shape.value_size) +
                            static_cast<size_t>(k);
          const double difference = std::abs(double{result.made[at]} - result.expected[at]);
          // Not a number is worse than all.
          result.worst =
              std::max(result.worst, std::isnan(difference) ? INFINITY : static_cast<float>(difference / bound));
        }
      }
  }
  return result;
}

}  // namespace sluice::test
