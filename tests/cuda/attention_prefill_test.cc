// Attention of many positions at once, against the reference over the values that the cache holds.
//
// How far the two may be apart. Queries and the weights of the softmax are rounded to 16-bit floats, and so are keys and values of Q8_0:
// each by at most u = 2^-11 of itself. A score is then off by no more than d = scale * n u sum |q k|, n being 1 or 2 of query and key, so
// a weight by 2 d of itself (its own score and the softmax's sum), and by 2 u for its rounding and that of its value. Sums in floats add
// some 2^-22 of what is summed. The result, an average of values by these weights, is off by at most
//     (2 d + 3 u) * the largest value,
// with d of the largest score. Roundings differ in direction, so results are much nearer: of the cases here the worst is at 0.025 of it,
// and kOfBound is asked for.
#include "kernels/cuda/attention_prefill.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "kernels/reference/attention.h"
#include "kernels/reference/cache_rows.h"
#include "tests/cuda/device.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;

namespace {

constexpr float kOfBound = 0.06f;

struct Shape {
  const char* name;
  int64_t n_heads, n_kv_heads, key_size, value_size;
  CacheType type = CacheType::F16;
  bool is_latent = false;  // keys are values too
  int64_t page_positions = 64;
};

// Rows of a sequence: how many positions each sees.
using Visible = std::vector<int64_t>;
Visible last_rows(int64_t n_rows, int64_t n_positions) {
  Visible visible(static_cast<size_t>(n_rows));
  std::iota(visible.begin(), visible.end(), n_positions - n_rows + 1);
  return visible;
}

// A sequence's keys and values: what the cache holds of them, as floats [n_positions, n_kv_heads, size], and in pages on the device.
class Sequence {
 public:
  using Page = std::unique_ptr<OnDevice<std::byte>>;

  Sequence(const Shape& shape, int64_t n_positions, uint32_t seed, float key_deviation, size_t offset)
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

  std::vector<float> keys, values;
  std::unique_ptr<OnDevice<const void*>> key_table, value_table;

 private:
  static std::unique_ptr<OnDevice<const void*>> table_of(const std::vector<Page>& pages) {
    std::vector<const void*> addresses;
    for (const Page& page : pages) addresses.push_back(page->data());
    return std::make_unique<OnDevice<const void*>>(addresses);
  }

  // Behind the last position a page has NaNs.
  std::vector<Page> make_pages(int64_t size, uint32_t seed, float deviation, std::vector<float>& floats) const {
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

  Shape shape_;
  int64_t n_positions_;
  size_t offset_;  // of pages, from where they are aligned
  std::vector<Page> key_pages_, value_pages_;
};

struct Problem {
  Shape shape;
  std::vector<Visible> runs;
  float scale = 0.1f, query_deviation = 1, key_deviation = 1;
  size_t page_offset = 0;
  uint32_t seed = 1;
};

struct Result {
  std::vector<float> made, expected;
  float worst = 0;  // of all heads of rows: the largest difference, as a part of the bound above
};

Result attend(const Problem& problem, const std::vector<float>* given_queries = nullptr) {
  const Shape& shape = problem.shape;
  CAPTURE(shape.name);
  cuda::PrefillCall call;
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

  std::vector<Sequence> sequences;
  std::vector<cuda::AttentionRow> rows;
  std::vector<cuda::AttentionRun> runs;
  for (const Visible& visible : problem.runs) {
    const int64_t most = std::max<int64_t>(1, *std::max_element(visible.begin(), visible.end()));
    sequences.emplace_back(shape, most, problem.seed + static_cast<uint32_t>(visible.size()) * 10000,
                           problem.key_deviation, problem.page_offset);
    runs.push_back({static_cast<int32_t>(rows.size()), static_cast<int32_t>(visible.size())});
    call.most_rows = std::max(call.most_rows, static_cast<int64_t>(visible.size()));
    for (const int64_t n : visible)
      rows.push_back({sequences.back().key_table->data(), sequences.back().value_table->data(), n});
  }
  const auto n_rows = static_cast<int64_t>(rows.size());
  const std::vector<float> q =
      given_queries != nullptr
          ? *given_queries
          : random_floats(static_cast<size_t>(n_rows * shape.n_heads * shape.key_size), 5, problem.query_deviation);
  const OnDevice<float> q_on(q), out(static_cast<size_t>(n_rows * shape.n_heads * shape.value_size));
  const OnDevice<cuda::AttentionRow> rows_on(rows);
  const OnDevice<cuda::AttentionRun> runs_on(runs);
  a.rows = rows_on.data();
  a.n_rows = n_rows;
  a.q = q_on.data();
  a.q_stride = shape.n_heads * shape.key_size;
  a.out = out.data();
  a.out_stride = shape.n_heads * shape.value_size;
  call.runs = runs_on.data();
  call.n_runs = static_cast<int64_t>(runs.size());
  cuda::Launches list;
  cuda::attend_prefill(list, call);
  CHECK(list.size() == 1);
  run(list);

  Result result;
  result.made = out.values();
  result.expected.resize(result.made.size());
  const double roundings = shape.type == CacheType::Q8_0 ? 2 : 1, u = std::ldexp(1.0, -11);
  for (size_t s = 0; s < runs.size(); ++s) {
    const auto first = static_cast<size_t>(runs[s].first_row);
    const float* const run_q = q.data() + first * static_cast<size_t>(a.q_stride);
    reference::attention({shape.n_heads, shape.n_kv_heads, shape.key_size, shape.value_size, a.scale}, run_q,
                         sequences[s].keys.data(), sequences[s].values.data(), problem.runs[s].data(), runs[s].n_rows,
                         result.expected.data() + first * static_cast<size_t>(a.out_stride));
    float largest_value = 0;
    for (const float value : sequences[s].values) largest_value = std::max(largest_value, std::abs(value));
    for (size_t i = 0; i < problem.runs[s].size(); ++i)
      for (int64_t h = 0; h < shape.n_heads; ++h) {
        double largest_score = 0;
        for (int64_t c = 0; c < problem.runs[s][i]; ++c) {
          const float* const key = &sequences[s].keys[static_cast<size_t>(
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

}  // namespace

TEST_CASE("prefill attention is that of the reference, for grouped heads of every size and several sequences") {
  const Problem problems[] = {
      {{"four heads a group", 8, 2, 64, 64}, {last_rows(70, 70), last_rows(3, 130)}},
      {{"pages of 128", 4, 1, 128, 128, CacheType::F16, false, 128}, {last_rows(35, 165)}},
      {{"three heads a group", 6, 2, 128, 128, CacheType::Q8_0}, {last_rows(45, 101)}},
      {{"sizes between", 2, 2, 80, 96}, {last_rows(17, 81), last_rows(1, 1)}},
      {{"odd sizes", 3, 3, 33, 17}, {last_rows(9, 67)}},
      {{"8 bits, odd sizes", 2, 1, 40, 50, CacheType::Q8_0}, {last_rows(18, 33)}},
      {{"expanded latent", 1, 1, 192, 128}, {last_rows(70, 99)}},
      {{"large heads", 3, 1, 256, 256}, {last_rows(22, 66)}},
      {{"large heads, 8 bits", 2, 1, 200, 256, CacheType::Q8_0}, {last_rows(9, 37)}},
  };
  for (const Problem& problem : problems) {
    const Result result = attend(problem);
    CHECK_MESSAGE(result.worst < kOfBound, problem.shape.name, ": ", result.worst);
  }
}

TEST_CASE("in absorbed latent attention a tile of keys is that of values, and warps share rows") {
  for (const Problem& problem :
       {Problem{{"latent", 20, 1, 576, 512, CacheType::F16, true}, {last_rows(2, 35), last_rows(1, 16)}},
        Problem{{"latent, 8 bits", 17, 1, 576, 512, CacheType::Q8_0, true}, {last_rows(2, 66)}},
        Problem{{"smaller", 5, 1, 320, 288, CacheType::F16, true}, {last_rows(3, 18)}}}) {
    const Result result = attend(problem);
    CHECK_MESSAGE(result.worst < kOfBound, problem.shape.name, ": ", result.worst);
  }
}

TEST_CASE("rows of a run may see any number of positions, or none") {
  const Problem problem{{"any", 2, 1, 32, 64}, {{5, 0, 129, 64, 1, 0, 65, 128}, {0, 0}}};
  const Result result = attend(problem);
  CHECK(result.worst < kOfBound);
  for (size_t i = 0; i < 2 * 64; ++i) CHECK(result.made[2 * 64 + i] == 0);
}

TEST_CASE("prefill attention reads pages that begin anywhere") {
  for (const CacheType type : {CacheType::F16, CacheType::Q8_0})
    CHECK(
        attend({{"pages not at multiples of 16 bytes", 2, 1, 64, 64, type}, {last_rows(5, 70)}, 0.1f, 1, 1, 2}).worst <
        kOfBound);
  CHECK(attend({{"a small latent cache", 4, 1, 96, 64, CacheType::Q8_0, true}, {last_rows(5, 70)}}).worst < kOfBound);
}

TEST_CASE("a row's result depends on nothing but the row") {
  const Shape shape{"alone and among others", 4, 2, 64, 64};
  const Result all = attend({shape, {last_rows(40, 100), last_rows(7, 9)}});
  // The last 8 rows of the first sequence, which lie elsewhere in a tile then.
  const size_t row = 4 * 64, n = 8 * row, at = 32 * row;
  const std::vector<float> queries = random_floats(47 * row, 5);
  const std::vector<float> own(queries.begin() + static_cast<long>(at), queries.begin() + static_cast<long>(at + n));
  Problem alone{shape, {last_rows(8, 100)}};
  alone.seed += 320000;  // the same keys and values as those of 40 rows
  const Result some = attend(alone, &own);
  CHECK(same_bits(some.made, std::vector<float>(all.made.begin() + static_cast<long>(at),
                                                all.made.begin() + static_cast<long>(at + n))));
}

TEST_CASE("queries of any magnitude neither overflow nor vanish, and large scores choose as the reference does") {
  const Shape shape{"magnitudes", 2, 1, 64, 64};
  for (const float magnitude : {1e-30f, 1e-6f, 1e4f, 1e20f}) {
    CAPTURE(magnitude);
    // The scale makes scores of common size of them.
    CHECK(attend({shape, {last_rows(6, 80)}, 0.1f / magnitude, magnitude, 1}).worst < kOfBound);
    CHECK(attend({shape, {last_rows(6, 80)}, -0.1f / magnitude, magnitude, 1}).worst < kOfBound);
  }
  // Scores of thousands: a query that is the key of a position many times over attends to nothing else.
  Problem problem{shape, {last_rows(6, 80)}, 0.1f, 1, 100};
  const Sequence sequence(shape, 80, problem.seed + 60000, problem.key_deviation, 0);
  std::vector<float> queries(6 * 2 * 64);
  for (size_t pair = 0; pair < 12; ++pair)
    for (size_t k = 0; k < 64; ++k) queries[pair * 64 + k] = 50 * sequence.keys[pair * 6 * 64 + k];
  const Result result = attend(problem, &queries);
  for (size_t pair = 0; pair < 12; ++pair)
    for (size_t k = 0; k < 64; ++k) {
      CHECK(result.made[pair * 64 + k] == sequence.values[pair * 6 * 64 + k]);
      CHECK(result.expected[pair * 64 + k] == sequence.values[pair * 6 * 64 + k]);
    }
}

TEST_CASE("prefill attention that makes no sense, or has no kernel, is refused with a sentence") {
  cuda::PrefillCall call;
  cuda::AttentionCall& a = call.attention;
  cuda::Launches list;
  auto attend = [&] { cuda::attend_prefill(list, call); };
  check_refused(attend, "do not divide");
  a.n_heads = a.n_kv_heads = 1;
  check_refused(attend, "at least one column");
  a.key_size = a.value_size = 64;
  check_refused(attend, "a multiple of 64 positions");
  a.page_positions = 128;
  CHECK(cuda::can_attend_prefill(CacheType::Q8_0, 64, 256, 256, false));
  CHECK(!cuda::can_attend_prefill(CacheType::F32, 64, 64, 64, false));
  CHECK(!cuda::can_attend_prefill(CacheType::BF16, 64, 64, 64, false));
  CHECK(!cuda::can_attend_prefill(CacheType::F16, 64, 320, 512, true));
  a.key_size = 576;
  a.value_size = 512;
  check_refused(attend, "at most 256 columns");
  call.values_are_keys = true;
  check_refused(attend, "overlap");
  a.key_row_bytes = a.value_row_bytes = 1153;
  check_refused(attend, "multiple of their elements");
  a.key_row_bytes = a.value_row_bytes = 1152;
  check_refused(attend, "device memory");
  CHECK(list.empty());
}
