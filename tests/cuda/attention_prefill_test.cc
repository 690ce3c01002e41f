// Attention of many positions at once, against the reference (attention_problem.h).
#include "kernels/cuda/attention_prefill.h"

#include "tests/cuda/attention_problem.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;

TEST_CASE("prefill attention is that of the reference, for grouped heads of every size and several sequences") {
  const AttentionProblem problems[] = {
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
  for (const AttentionProblem& problem : problems) {
    const AttentionResult result = attend(problem);
    CHECK_MESSAGE(result.worst < kOfBound, problem.shape.name, ": ", result.worst);
  }
}

TEST_CASE("in absorbed latent attention a tile of keys is that of values, and warps share rows") {
  for (const AttentionProblem& problem :
       {AttentionProblem{{"latent", 20, 1, 576, 512, CacheType::F16, true}, {last_rows(2, 35), last_rows(1, 16)}},
        AttentionProblem{{"latent, 8 bits", 17, 1, 576, 512, CacheType::Q8_0, true}, {last_rows(2, 66)}},
        AttentionProblem{{"smaller", 5, 1, 320, 288, CacheType::F16, true}, {last_rows(3, 18)}}}) {
    const AttentionResult result = attend(problem);
    CHECK_MESSAGE(result.worst < kOfBound, problem.shape.name, ": ", result.worst);
  }
}

TEST_CASE("rows of a run may see any number of positions, or none") {
  const AttentionProblem problem{{"any", 2, 1, 32, 64}, {{5, 0, 129, 64, 1, 0, 65, 128}, {0, 0}}};
  const AttentionResult result = attend(problem);
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
  const AttentionShape shape{"alone and among others", 4, 2, 64, 64};
  const AttentionResult all = attend({shape, {last_rows(40, 100), last_rows(7, 9)}});
  // The last 8 rows of the first sequence, which lie elsewhere in a tile then.
  const size_t row = 4 * 64, n = 8 * row, at = 32 * row;
  const std::vector<float> queries = random_floats(47 * row, 5);
  const std::vector<float> own(queries.begin() + static_cast<long>(at), queries.begin() + static_cast<long>(at + n));
  AttentionProblem alone{shape, {last_rows(8, 100)}};
  alone.seed += 320000;  // the same keys and values as those of 40 rows
  const AttentionResult some = attend(alone, &own);
  CHECK(same_bits(some.made, std::vector<float>(all.made.begin() + static_cast<long>(at),
                                                all.made.begin() + static_cast<long>(at + n))));
}

TEST_CASE("queries of any magnitude neither overflow nor vanish, and large scores choose as the reference does") {
  const AttentionShape shape{"magnitudes", 2, 1, 64, 64};
  for (const float magnitude : {1e-30f, 1e-6f, 1e4f, 1e20f}) {
    CAPTURE(magnitude);
    // The scale makes scores of common size of them.
    CHECK(attend({shape, {last_rows(6, 80)}, 0.1f / magnitude, magnitude, 1}).worst < kOfBound);
    CHECK(attend({shape, {last_rows(6, 80)}, -0.1f / magnitude, magnitude, 1}).worst < kOfBound);
  }
  // Scores of thousands: a query that is the key of a position many times over attends to nothing else.
  AttentionProblem problem{shape, {last_rows(6, 80)}, 0.1f, 1, 100};
  const Sequence sequence(shape, 80, problem.seed + 60000, problem.key_deviation, 0);
  std::vector<float> queries(6 * 2 * 64);
  for (size_t pair = 0; pair < 12; ++pair)
    for (size_t k = 0; k < 64; ++k) queries[pair * 64 + k] = 50 * sequence.keys[pair * 6 * 64 + k];
  const AttentionResult result = attend(problem, &queries);
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
