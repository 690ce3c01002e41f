// Attention on tensor cores that is split along the context, against the reference and against the same unsplit (attention_problem.h).
#include <cmath>
#include <cstring>

#include "kernels/cuda/attention_prefill.h"
#include "tests/cuda/attention_problem.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;

namespace {

AttentionProblem split(const AttentionShape& shape, const std::vector<Visible>& runs, int64_t n_pieces = kAsRunsSay) {
  AttentionProblem problem{shape, runs};
  problem.n_pieces = n_pieces;
  return problem;
}

// Rows of a sequence each, which see so many positions.
std::vector<Visible> single_rows(const std::vector<int64_t>& n_visible) {
  std::vector<Visible> runs;
  for (const int64_t n : n_visible) runs.push_back({n});
  return runs;
}

void check_split(const AttentionProblem& problem) {
  const AttentionResult result = attend(problem);
  CHECK_MESSAGE(result.worst < kOfBound, problem.shape.name, ": ", result.worst);
  AttentionProblem unsplit = problem;
  unsplit.n_pieces = 0;
  const AttentionResult whole = attend(unsplit);
  CHECK(whole.worst < kOfBound);
  const auto value_size = static_cast<size_t>(problem.shape.value_size);
  const auto row_size = static_cast<size_t>(problem.shape.n_heads) * value_size;
  size_t row = 0;
  for (const Visible& visible : problem.runs)
    for (const int64_t n : visible) {
      for (size_t i = row * row_size; n == 0 && i < (row + 1) * row_size; ++i) {
        CHECK(result.made[i] == 0);
        CHECK(whole.made[i] == 0);
      }
      ++row;
    }
}

std::vector<float> part_of(const std::vector<float>& all, size_t first, size_t n) {
  return {all.begin() + static_cast<std::ptrdiff_t>(first), all.begin() + static_cast<std::ptrdiff_t>(first + n)};
}

}  // namespace

TEST_CASE("attention that is split along the context is that of the reference, for a row of a latent cache") {
  const AttentionShape r1{"r1", 128, 1, 576, 512, CacheType::F16, true, 128};
  check_split(split(r1, {{260}}));
  check_split(split({"latent", 20, 1, 576, 512, CacheType::F16, true}, single_rows({0, 1, 16, 129})));
  check_split(split({"latent, 8 bits", 17, 1, 576, 512, CacheType::Q8_0, true, 128}, single_rows({15, 17, 127, 257})));
  check_split(split({"smaller", 5, 1, 320, 288, CacheType::F16, true}, {last_rows(3, 200)}));
  AttentionProblem unaligned = split({"unaligned", 6, 1, 576, 512, CacheType::Q8_0, true}, single_rows({130}));
  unaligned.page_offset = 2;
  check_split(unaligned);
}

TEST_CASE("attention that is split along the context is that of the reference, for every number of positions") {
  const std::vector<int64_t> n_visible{0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257};
  for (const int64_t page_positions : {64, 128})
    for (const CacheType type : {CacheType::F16, CacheType::Q8_0})
      for (const bool is_latent : {true, false})
        for (const int64_t n_pieces : {kAsRunsSay, int64_t{3}}) {
          CAPTURE(page_positions);
          CAPTURE(n_pieces);
          check_split(split({is_latent ? "latent" : "grouped heads", 4, is_latent ? 1 : 2, is_latent ? 96 : 64, 64,
                             type, is_latent, page_positions},
                            single_rows(n_visible), n_pieces));
        }
  // More pages than pieces, by one, and by one less than twice as many.
  for (const CacheType type : {CacheType::F16, CacheType::Q8_0})
    check_split(split({"long", 4, 1, 64, 32, type, true}, {{32 * 64 + 1}, {63 * 64}, {4224, 4225}}));
}

TEST_CASE("attention that is split along the context is that of the reference, for prompts of every size of head") {
  const AttentionProblem problems[] = {
      split({"four heads a group", 8, 2, 64, 64}, {last_rows(70, 200), last_rows(3, 130)}),
      split({"pages of 128", 4, 1, 128, 128, CacheType::F16, false, 128}, {last_rows(35, 300)}),
      split({"three heads a group", 6, 2, 128, 128, CacheType::Q8_0}, {last_rows(45, 141)}),
      split({"sizes between", 2, 2, 80, 96}, {last_rows(17, 81), last_rows(1, 1)}),
      split({"odd sizes", 3, 3, 33, 17}, {last_rows(9, 131)}),
      split({"8 bits, odd sizes", 2, 1, 40, 50, CacheType::Q8_0}, {last_rows(18, 100)}),
      split({"expanded latent", 1, 1, 192, 128}, {last_rows(70, 150)}),
      split({"large heads", 3, 1, 256, 256}, {last_rows(22, 140)}),
      split({"large heads, 8 bits", 2, 1, 200, 256, CacheType::Q8_0}, {last_rows(9, 137)}),
  };
  for (const AttentionProblem& problem : problems) check_split(problem);
}

TEST_CASE("rows of a run that is split may see any number of positions, or none") {
  for (const int64_t n_pieces : {int64_t{1}, int64_t{2}, int64_t{4}, kAsRunsSay})
    for (const Visible& visible : {Visible{5, 0, 129, 64, 1, 0, 65, 128, 300}, Visible{300, 2, 140}, Visible{200, 0}}) {
      CAPTURE(n_pieces);
      check_split(split({"any", 2, 1, 32, 64}, {visible, {0, 0}}, n_pieces));
    }
}

TEST_CASE("a run that is split has the same bits alone and among others") {
  const AttentionShape shape{"alone and among others", 16, 1, 96, 64, CacheType::F16, true};
  const std::vector<Visible> runs{last_rows(40, 330), {700}, last_rows(5, 129), {0, 0}};
  const AttentionProblem together = split(shape, runs);
  const AttentionRunner runner(together);
  const AttentionResult all = attend(together);
  CHECK(runner.runs[0].n_pieces == 25);
  CHECK(runner.runs[1].n_pieces == 32);
  const auto query_size = static_cast<size_t>(shape.n_heads * shape.key_size),
             out_size = static_cast<size_t>(shape.n_heads * shape.value_size);
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto first = static_cast<size_t>(runner.runs[i].first_row), n = runs[i].size();
    const std::vector<float> queries = part_of(runner.queries, first * query_size, n * query_size);
    CHECK(same_bits(attend(split(shape, {runs[i]}), &queries).made, part_of(all.made, first * out_size, n * out_size)));
  }
}

TEST_CASE("a split of one piece gives what no split does but for the last division") {
  const AttentionProblem problem = split({"one piece", 4, 1, 96, 64, CacheType::Q8_0, true}, {last_rows(3, 200)}, 1);
  AttentionProblem unsplit = problem;
  unsplit.n_pieces = 0;
  const std::vector<float> made = attend(problem).made, whole = attend(unsplit).made;
  for (size_t i = 0; i < made.size(); ++i) CHECK(std::abs(made[i] - whole[i]) <= 3e-7f * std::abs(whole[i]));
}

TEST_CASE("scores of thousands in pieces choose as the reference does") {
  const AttentionShape shape{"one far above all others", 2, 1, 64, 64, CacheType::F16, true};
  AttentionProblem problem = split(shape, {last_rows(4, 330)});
  problem.key_deviation = 100;
  const Sequence sequence(shape, 330, problem.seed + 40000, problem.key_deviation, 0);
  std::vector<float> queries(4 * 2 * 64);
  const auto chosen = [](size_t pair) { return pair * 45; };  // positions, in pieces of all kinds
  for (size_t pair = 0; pair < 8; ++pair)
    for (size_t k = 0; k < 64; ++k) queries[pair * 64 + k] = 50 * sequence.keys[chosen(pair) * 64 + k];
  const AttentionResult result = attend(problem, &queries);
  for (size_t pair = 0; pair < 8; ++pair)
    for (size_t k = 0; k < 64; ++k) CHECK(result.made[pair * 64 + k] == sequence.values[chosen(pair) * 64 + k]);
}

TEST_CASE("launches of attention that is split stay as they are while the context grows and shrinks") {
  const AttentionShape shape{"growing", 4, 1, 96, 64, CacheType::Q8_0, true};
  const AttentionProblem longest = split(shape, {{2500}, last_rows(2, 300)});
  const AttentionRunner runner(longest);
  cuda::Launches list;
  cuda::attend_prefill(list, runner.call);
  for (const int64_t n : {2500, 64, 65, 2049, 128, 0, 2048, 1}) {
    std::vector<cuda::AttentionRow> rows = runner.rows;
    rows[0].n_visible = n;
    REQUIRE(cudaMemcpy(runner.rows_on->data(), rows.data(), rows.size() * sizeof rows[0], cudaMemcpyHostToDevice) ==
            cudaSuccess);
    run(list);
    AttentionProblem alone = split(shape, {{n}});
    const auto query_size = static_cast<size_t>(shape.n_heads * shape.key_size),
               out_size = static_cast<size_t>(shape.n_heads * shape.value_size);
    const std::vector<float> queries = part_of(runner.queries, 0, query_size);
    CHECK(same_bits(attend(alone, &queries).made, part_of(runner.out->values(), 0, out_size)));
  }
}

TEST_CASE("what joins pieces makes forms of rows or of heads") {
  const AttentionShape shape{"forms", 5, 1, 96, 64, CacheType::F16, true};
  AttentionRunner runner(split(shape, {{200}, last_rows(3, 70), {1}}));
  const int64_t n_rows = 5;
  cuda::Launches list;
  cuda::attend_prefill(list, runner.call);
  run(list);
  const std::vector<float> made = runner.out->values();
  for (const int64_t n_parts : {int64_t{1}, shape.n_heads}) {
    const int64_t n_columns = shape.n_heads * shape.value_size / n_parts;
    cuda::Activations forms{runner.out->data(), n_columns, n_rows * n_parts, n_columns, {}, {}}, expected = forms;
    const OnDevice<std::byte> memory(std::vector<std::byte>(cuda::form_bytes(forms.n_rows, n_columns))),
        expected_memory(std::vector<std::byte>(memory.size()));
    const OnDevice<int32_t> not_finite(std::vector<int32_t>{0});
    cuda::place_forms(forms, memory.data());
    cuda::place_forms(expected, expected_memory.data());
    runner.call.attention.forms = forms;
    runner.call.attention.not_finite = not_finite.data();
    list.clear();
    cuda::attend_prefill(list, runner.call);
    CHECK(list.size() == 2);
    cuda::quantize(list, expected, not_finite.data());
    run(list);
    CHECK(same_bits(runner.out->values(), made));
    CHECK(same_bits(memory.values(), expected_memory.values()));
  }
}

TEST_CASE("contexts are cut into as many pieces as fill a GPU") {
  struct Case {
    int64_t n_rows, n_heads, n_kv_heads, key_size, value_size, n_pieces;
  };
  for (const Case& one : {Case{1, 128, 1, 576, 512, 32},  // R1: 4 thread blocks a row
                          Case{2, 128, 1, 576, 512, 16},  //
                          Case{16, 128, 1, 576, 512, 2},  //
                          Case{17, 128, 1, 576, 512, 1},  //
                          Case{1, 16, 1, 576, 512, 32},   // half of one
                          Case{24, 32, 8, 128, 128, 16},  // Llama: 8 for 32 rows
                          Case{257, 32, 8, 128, 128, 1},  //
                          Case{64, 4, 4, 64, 64, 32},     //
                          Case{65, 2, 2, 256, 256, 32},   //
                          Case{64, 128, 128, 192, 128, 1}})
    CHECK(cuda::prefill_pieces(one.n_rows, one.n_heads, one.n_kv_heads, one.key_size, one.value_size) == one.n_pieces);
}

TEST_CASE("attention that is split needs scratch, and only what is split makes forms") {
  const AttentionShape shape{"refused", 4, 1, 64, 64};
  AttentionRunner runner(split(shape, {{5}}));
  cuda::Launches list;
  const auto attend = [&] { cuda::attend_prefill(list, runner.call); };
  runner.call.attention.forms = {runner.out->data(), 256, 1, 255, {}, {}};
  check_refused(attend, "of its rows");
  runner.call.most_pieces = 0;
  check_refused(attend, "Only attention that is split");
  runner.call.attention.forms = {};
  runner.call.most_pieces = 2;
  runner.call.attention.scratch = nullptr;
  check_refused(attend, "needs scratch");
  CHECK(list.empty());
}
