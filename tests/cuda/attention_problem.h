// Problems of attention on tensor cores: sequences whose pages are on the device, and the launch against the reference over the values that
// the cache holds.
//
// How far the two may be apart. Queries and the weights of the softmax are rounded to 16-bit floats, and so are keys and values of Q8_0:
// each by at most u = 2^-11 of itself. A score is then off by no more than d = scale * n u sum |q k|, n being 1 or 2 of query and key, so
// a weight by 2 d of itself (its own score and the softmax's sum), and by 2 u for its rounding and that of its value. Sums in floats add
// some 2^-22 of what is summed. The result, an average of values by these weights, is off by at most
//     (2 d + 3 u) * the largest value,
// with d of the largest score. Roundings differ in direction, so results are much nearer: of the cases here the worst is at 0.025 of it,
// and kOfBound is asked for.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cuda/attention_prefill.h"
#include "tests/cuda/device.h"

namespace sluice::test {

using kernels::CacheType;

inline constexpr float kOfBound = 0.06f;

struct AttentionShape {
  const char* name;
  int64_t n_heads, n_kv_heads, key_size, value_size;
  CacheType type = CacheType::F16;
  bool is_latent = false;  // keys are values too
  int64_t page_positions = 64;
};

// Rows of a sequence: how many positions each sees.
using Visible = std::vector<int64_t>;
Visible last_rows(int64_t n_rows, int64_t n_positions);

// A sequence's keys and values: what the cache holds of them, as floats [n_positions, n_kv_heads, size], and in pages on the device.
class Sequence {
 public:
  using Page = std::unique_ptr<OnDevice<std::byte>>;

  Sequence(const AttentionShape& shape, int64_t n_positions, uint32_t seed, float key_deviation, size_t offset);

  std::vector<float> keys, values;
  std::unique_ptr<OnDevice<const void*>> key_table, value_table;

 private:
  std::vector<Page> make_pages(int64_t size, uint32_t seed, float deviation, std::vector<float>& floats) const;

  AttentionShape shape_;
  int64_t n_positions_;
  size_t offset_;  // of pages, from where they are aligned
  std::vector<Page> key_pages_, value_pages_;
};

inline constexpr int64_t kAsRunsSay = -1;

struct AttentionProblem {
  AttentionShape shape;
  std::vector<Visible> runs;
  float scale = 0.1f, query_deviation = 1, key_deviation = 1;
  size_t page_offset = 0;
  uint32_t seed = 1;
  // Into how many pieces each run's context is cut at most; kAsRunsSay: into prefill_pieces(); 0: attention is not split.
  int64_t n_pieces = 0;
};

struct AttentionResult {
  std::vector<float> made, expected;
  float worst = 0;  // of all heads of rows: the largest difference, as a part of the bound above
};

// What runs a problem on the device; its memory lives as long as it does.
class AttentionRunner {
 public:
  explicit AttentionRunner(const AttentionProblem& problem, const std::vector<float>* given_queries = nullptr);

  kernels::cuda::PrefillCall call;
  std::vector<float> queries;
  std::vector<Sequence> sequences;
  std::vector<kernels::cuda::AttentionRow> rows;
  std::vector<kernels::cuda::AttentionRun> runs;
  std::unique_ptr<OnDevice<kernels::cuda::AttentionRow>> rows_on;
  std::unique_ptr<OnDevice<float>> out;

 private:
  std::unique_ptr<OnDevice<float>> queries_on_, scratch_;
  std::unique_ptr<OnDevice<kernels::cuda::AttentionRun>> runs_on_;
};

AttentionResult attend(const AttentionProblem& problem, const std::vector<float>* given_queries = nullptr);

}  // namespace sluice::test
