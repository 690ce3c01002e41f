// Predictions against arithmetic by hand, on machines of round numbers.

#include <doctest/doctest.h>

#include "engine/error.h"
#include "engine/placement/comparison.h"
#include "engine/placement/cost.h"
#include "engine/placement/prediction.h"

using namespace sluice;
using namespace sluice::engine;
using gguf::TensorType;

namespace {

// 10 GB/s of memory, two cores of 2 Gweights/s by one input and 8 Gmultiply-adds/s by many, a disk of 1 GB/s.
Machine round_machine() {
  Machine machine;
  machine.name = "round";
  machine.ram_bytes = uint64_t{1} << 40;
  machine.ram_bytes_per_second = 10e9;
  machine.n_cores = 2;
  machine.kernels[TensorType::Q8_0] = {2e9, 0, 8e9};
  machine.kernels[TensorType::IQ1_S] = {1e9, 3e9, 8e9};
  machine.attention_multiply_adds_per_second = 1e9;
  machine.disk_bytes_per_second = 1e9;
  return machine;
}

Gpu round_gpu() {
  return {"gpu", uint64_t{1} << 40, 100e9, 5e9, 1e12};
}

MatrixWork matrix(TensorType type, double weights, uint64_t bytes, bool in_form = false) {
  return {type, weights, bytes, bytes, in_form, bytes, bytes};
}

// One layer: attention of 1 GB, a dense feed-forward of 2 GB.
ModelWork dense_work() {
  ModelWork work;
  work.n_layers = 1;
  work.groups = {{GroupRole::Attention, 0, 1, 1, {matrix(TensorType::Q8_0, 1e9, 1'000'000'000)}},
                 {GroupRole::DenseFfn, 0, 1, 1, {matrix(TensorType::Q8_0, 2e9, 2'000'000'000)}}};
  return work;
}

// One layer: attention of 1 GB, 10 experts of 0.1 GB of which a token uses 2, one shared expert of 0.1 GB.
ModelWork moe_work() {
  ModelWork work;
  work.n_layers = 1;
  work.groups = {{GroupRole::Attention, 0, 1, 1, {matrix(TensorType::Q8_0, 1e9, 1'000'000'000)}},
                 {GroupRole::SharedExperts, 0, 1, 1, {matrix(TensorType::Q8_0, 1e8, 100'000'000)}},
                 {GroupRole::RoutedExperts, 0, 10, 0.2, {matrix(TensorType::Q8_0, 1e8, 100'000'000)}}};
  return work;
}

constexpr double kOverhead = 60e-6;     // of a layer on the CPU
constexpr double kGpuOverhead = 25e-6;  // on a GPU
constexpr double kVram = 0.85 * 100e9;  // bytes a second that kernels reach

}  // namespace

TEST_CASE("a dense model in RAM takes the longer of reading and multiplying, matrix by matrix") {
  ModelWork work = dense_work();
  const std::vector<GroupPlace> in_ram = {{0, 1, 0}, {0, 1, 0}};
  // 3 GB at 10 GB/s against 3 Gweights at 4 Gweights/s: arithmetic, 0.75 s.
  const Prediction slow = predict_decode(work, in_ram, round_machine(), 0, {});
  CHECK(slow.seconds == doctest::Approx(0.75 + kOverhead));
  CHECK(slow.bound == Bound::CpuArithmetic);
  Machine machine = round_machine();
  machine.n_cores = 16;  // 32 Gweights/s: memory, 0.3 s
  const Prediction fast = predict_decode(work, in_ram, machine, 0, {});
  CHECK(fast.seconds == doctest::Approx(0.3 + kOverhead));
  CHECK(fast.bound == Bound::CpuMemory);
  CHECK(fast.tokens_per_second() == doctest::Approx(1 / fast.seconds));
}

TEST_CASE("attention costs what its context costs") {
  ModelWork work = dense_work();
  work.attention_multiply_adds = 1000;
  work.cache_bytes_a_position = 100'000;
  Machine machine = round_machine();
  machine.n_cores = 16;
  const std::vector<GroupPlace> in_ram = {{0, 1, 0}, {0, 1, 0}};
  // 1,000,000 positions: 1e9 multiply-adds at 16e9 are less than 1e11 bytes at 1e10.
  CHECK(predict_decode(work, in_ram, machine, 1e6, {}).seconds == doctest::Approx(0.3 + 10 + kOverhead));
  work.cache_bytes_a_position = 1;
  CHECK(predict_decode(work, in_ram, machine, 1e6, {}).seconds == doctest::Approx(0.3 + 1e9 / 16e9 + kOverhead));
}

TEST_CASE("a form is multiplied at its own rate and read at its own size") {
  ModelWork work = dense_work();
  work.groups = {{GroupRole::DenseFfn, 0, 1, 1, {matrix(TensorType::IQ1_S, 6e9, 1'000'000'000)}}};
  const std::vector<GroupPlace> in_ram = {{0, 1, 0}};
  CHECK(predict_decode(work, in_ram, round_machine(), 0, {}).seconds == doctest::Approx(3 + kOverhead));
  work.groups[0].matrices[0].is_in_form = true;
  CHECK(predict_decode(work, in_ram, round_machine(), 0, {}).seconds == doctest::Approx(1 + kOverhead));
  work.groups[0].matrices[0].bytes = 20'000'000'000;
  CHECK(predict_decode(work, in_ram, round_machine(), 0, {}).seconds == doctest::Approx(2 + kOverhead));
}

TEST_CASE("what memory does not hold comes from the disk, beside the CPU, which it slows") {
  const ModelWork work = moe_work();
  const std::vector<GroupPlace> places = {{0, 1, 0}, {0, 1, 0}, {0, 5, 5}};
  Machine machine = round_machine();
  const ExpertShares half = uniform_shares(work, places);
  CHECK(half.ram == doctest::Approx(0.5));
  CHECK(half.vram == 0);
  // The CPU: 1.3 Gweights at 4 Gweights/s, 0.325 s. The disk: one expert of 0.1 GB, 0.1 s.
  const Prediction hidden = predict_decode(work, places, machine, 0, half);
  CHECK(hidden.disk_bytes == doctest::Approx(1e8));
  CHECK(hidden.seconds == doctest::Approx(0.325 + kOverhead));
  machine.cpu_share_beside_disk = 0.6;
  CHECK(predict_decode(work, places, machine, 0, half).seconds == doctest::Approx(0.325 + 0.4 * 0.1 + kOverhead));
  machine.disk_bytes_per_second = 1e8;
  const Prediction waiting = predict_decode(work, places, machine, 0, half);
  CHECK(waiting.seconds == doctest::Approx(1));
  CHECK(waiting.bound == Bound::Disk);
  CHECK(predict_decode(work, places, machine, 0, {0, 1}).disk_bytes == 0);
}

TEST_CASE("CPU and GPU work on a layer's experts at a time, and the longer one counts") {
  const ModelWork work = moe_work();
  const std::vector<GroupPlace> places = {{1, 0, 0}, {1, 0, 0}, {5, 5, 0}};
  Machine machine = round_machine();
  machine.gpus = {round_gpu()};
  // The GPU: attention 1 GB; then shared and one expert beside one expert on the CPU, 0.1 Gweights at 4 Gweights/s.
  const Prediction half = predict_decode(work, places, machine, 0, {0.5, 0.5});
  CHECK(half.seconds == doctest::Approx(1e9 / kVram + 0.025 + kGpuOverhead));
  const Prediction all = predict_decode(work, places, machine, 0, {1, 0});
  CHECK(all.seconds == doctest::Approx(1.3e9 / kVram + kGpuOverhead));
  CHECK(all.bound == Bound::GpuMemory);
}

TEST_CASE("each layer runs at the rates of its GPU, and rows go over both links from one to the next") {
  // Two layers as in moe_work(), the second on a GPU of half the speed.
  ModelWork work = moe_work();
  for (WeightGroup group : moe_work().groups) {
    group.layer = 1;
    work.groups.push_back(group);
  }
  work.n_layers = 2;
  work.n_embedding = 1'000'000;
  std::vector<GroupPlace> places = {{1, 0, 0, 0}, {1, 0, 0, 0}, {10, 0, 0, 0},
                                    {1, 0, 0, 1}, {1, 0, 0, 1}, {10, 0, 0, 1}};
  Machine machine = round_machine();
  machine.gpus = {round_gpu(), {"slow", uint64_t{1} << 40, 50e9, 2e9, 1e12}};
  constexpr double kHandover = 20e-6;
  const double link = 4e6 / 5e9 + 4e6 / 2e9;
  const Prediction two = predict_decode(work, places, machine, 0, {1, 0});
  CHECK(two.seconds == doctest::Approx(3 * 1.3e9 / kVram + 2 * kGpuOverhead + kHandover + link));
  CHECK(two.pcie_seconds == doctest::Approx(link));
  CHECK(two.overhead_seconds == doctest::Approx(2 * kGpuOverhead + kHandover));
  // Attention: each layer its half, at its own GPU's rate.
  work.cache_bytes_a_position = 1'000'000;
  CHECK(predict_decode(work, places, machine, 1000, {1, 0}).seconds ==
        doctest::Approx(two.seconds + 0.5e9 / kVram + 0.5e9 / (kVram / 2)));
  // One row does not use tensor cores, unless its heads attend together; many do.
  work.cache_bytes_a_position = 0;
  work.attention_multiply_adds = 1e9;
  CHECK(predict_decode(work, places, machine, 1000, {1, 0}).seconds ==
        doctest::Approx(two.seconds + 1e12 / (0.074 * 1e12)));
  work.heads_attend_together = true;
  CHECK(predict_decode(work, places, machine, 1000, {1, 0}).seconds ==
        doctest::Approx(two.seconds + 1e12 / (0.6 * 1e12)));
  work.heads_attend_together = false;
  work.attention_multiply_adds = 0;
  // A batch hands on all of its rows.
  const Prediction batch = predict_pass(work, places, machine, {3, 3}, std::vector<ExpertShares>{{1, 0}, {1, 0}});
  CHECK(batch.pcie_seconds == doctest::Approx(3 * link));
  // The passes of a prompt follow one another: the slower GPU is always about one, once the first pass has come to it.
  PromptRules rules;
  rules.most_rows = 100;
  const double pass =
      predict_pass(work, places, machine, {100, 100}, std::vector<ExpertShares>{{1, 0}, {1, 0}}).seconds;
  const double slow = 1.3e9 * 100 / (machine.gpus.back().multiply_adds_per_second * 0.6) + kGpuOverhead;
  const PromptPrediction prompt = predict_prompt(work, places, machine, 300, {1, 0}, rules);
  CHECK(prompt.n_passes == 3);
  CHECK(prompt.seconds > pass + 1.9 * slow);
  CHECK(prompt.seconds < pass + 2.1 * slow);
}

TEST_CASE("a GPU that holds more of its experts has more of the hits, at any share of them") {
  ModelWork work = moe_work();
  for (WeightGroup group : moe_work().groups) work.groups.push_back(group);
  const std::vector<GroupPlace> places = {{1, 0, 0, 0}, {1, 0, 0, 0}, {2, 4, 4, 0},
                                          {1, 0, 0, 1}, {1, 0, 0, 1}, {6, 2, 2, 1}};
  const ExpertShares uniform = uniform_shares(work, places);
  CHECK(uniform.vram == doctest::Approx(0.4));
  for (const double share : {0.0, 0.2, 0.4, 0.7, 1.0}) {
    CAPTURE(share);
    const std::vector<ExpertShares> by_gpu = shares_by_gpu(work, places, {share, (1 - share) / 2});
    REQUIRE(by_gpu.size() == 2);
    CHECK((by_gpu[0].vram + by_gpu[1].vram) / 2 == doctest::Approx(share));
    CHECK((by_gpu[0].ram + by_gpu[1].ram) / 2 == doctest::Approx((1 - share) / 2));
    if (share > 0 && share < 1) CHECK(by_gpu[1].vram > by_gpu[0].vram);
    if (share == 0.2) CHECK(by_gpu[1].vram == doctest::Approx(0.3));
    if (share == 0.7) CHECK(by_gpu[0].vram == doctest::Approx(0.6));
  }
}

TEST_CASE("of the experts that VRAM does not hold the GPU reads some in RAM, so that both sides end together") {
  const ModelWork work = moe_work();
  const std::vector<GroupPlace> places = {{1, 0, 0}, {1, 0, 0}, {5, 5, 0}};
  Machine machine = round_machine();
  machine.gpus = {round_gpu()};
  // The CPU takes 25 ms for one, the link 20 ms. Of one miss the GPU reads it, of two it reads one.
  const double hit = 0.1e9 / kVram;
  const Prediction read = predict_decode(work, places, machine, 0, {0.5, 0.5}, {true});
  CHECK(read.seconds ==
        doctest::Approx(1e9 / kVram + 0.25 * 3 * hit + 0.5 * (0.02 + hit) + 0.25 * 0.025 + kGpuOverhead));
  CHECK(read.pcie_seconds == doctest::Approx(0.5 * 0.02 + 0.25 * 0.02));
  CHECK(read.cpu_seconds == doctest::Approx(0.25 * 0.025));
  CHECK(read.seconds < predict_decode(work, places, machine, 0, {0.5, 0.5}).seconds);
  // What lies on the disk cannot be read so.
  CHECK(predict_decode(work, places, machine, 0, {0.5, 0}, {true}).pcie_seconds == 0);
  CHECK(predict_decode(work, places, machine, 0, {0.5, 0.25}, {true}).pcie_seconds ==
        doctest::Approx(read.pcie_seconds / 2));
  // The link takes half of the memory's bandwidth: where that binds the CPU, one miss is as well left to it.
  machine.n_cores = 16;
  const Prediction bound = predict_decode(work, places, machine, 0, {0.5, 0.5}, {true});
  CHECK(bound.pcie_seconds == doctest::Approx(0.25 * 0.02));
  CHECK(bound.cpu_seconds == doctest::Approx(0.5 * 0.01 + 0.25 * 0.02));
  // With all in VRAM there is nothing to read.
  CHECK(predict_decode(work, places, machine, 0, {1, 0}, {true}).seconds ==
        doctest::Approx(predict_decode(work, places, machine, 0, {1, 0}).seconds));
}

TEST_CASE("a batch reads each weight once and multiplies through tiles") {
  const ModelWork work = dense_work();
  const std::vector<GroupPlace> in_ram = {{0, 1, 0}, {0, 1, 0}};
  // 100 tokens: 3e11 multiply-adds at 16e9.
  const Prediction by_cpu = predict_pass(work, in_ram, round_machine(), {100, 100}, std::vector<ExpertShares>(1));
  CHECK(by_cpu.seconds == doctest::Approx(3e11 / 16e9 + kOverhead));
  CHECK(by_cpu.tokens_per_second() == doctest::Approx(100 / by_cpu.seconds));
}

TEST_CASE("experts that come to the GPU for a pass take the link's time, or the GPU's where that is longer") {
  const ModelWork work = moe_work();
  const std::vector<GroupPlace> places = {{1, 0, 0}, {1, 0, 0}, {5, 5, 0}};
  const std::vector<ExpertShares> half = {{0.5, 0.5}};
  Machine machine = round_machine();
  machine.gpus = {round_gpu()};
  const PassShape pass{1000, 1000, true, true};
  // 1.1e9 weights and two experts of 1e8 by 1000 rows at 0.6e12; beside it 0.5 GB at 5 GB/s.
  const Prediction computing = predict_pass(work, places, machine, pass, half);
  CHECK(computing.seconds == doctest::Approx(1.3e12 / 0.6e12 + kGpuOverhead));
  CHECK(computing.bound == Bound::GpuArithmetic);
  CHECK(computing.pcie_seconds == doctest::Approx(0.1));
  machine.gpus.front().multiply_adds_per_second = 1e18;
  const Prediction waiting = predict_pass(work, places, machine, pass, half);
  CHECK(waiting.seconds == doctest::Approx(0.1));
  CHECK(waiting.bound == Bound::Pcie);
  // All of them come, however few the rows.
  CHECK(predict_pass(work, places, machine, {1, 1, true, true}, half).pcie_seconds == doctest::Approx(0.1));
}

TEST_CASE("latent attention of many rows is expanded where that is less, and makes keys and values of all positions") {
  ModelWork work = moe_work();
  work.attention_multiply_adds = 100;
  work.expanded_multiply_adds = 30;
  work.expanding_multiply_adds = 5000;
  // 100 rows behind 900: 100 * 900 + 5050 pairs.
  CHECK(attention_of_pass(work, 100, 1000).multiply_adds == doctest::Approx(95050 * 30 + 900 * 5000));
  CHECK(attention_of_pass(work, 10, 1000).multiply_adds == doctest::Approx((9900 + 55) * 100));
  CHECK(attention_of_token(work, 1000).multiply_adds == doctest::Approx(100'000));
  work.expanded_multiply_adds = 0;
  CHECK(attention_of_pass(work, 100, 1000).multiply_adds == doctest::Approx(9'505'000));
}

TEST_CASE("a prompt is cut into passes as a run cuts it") {
  const ModelWork work = moe_work();
  const std::vector<GroupPlace> places = {{1, 0, 0}, {1, 0, 0}, {5, 5, 0}};
  const ExpertShares half = {0.5, 0.5};
  Machine machine = round_machine();
  machine.gpus = {round_gpu()};
  machine.gpus.front().multiply_adds_per_second = 1e15;
  PromptRules rules;
  rules.most_rows = 512;
  const auto predict = [&](uint32_t n_tokens) { return predict_prompt(work, places, machine, n_tokens, half, rules); };
  const auto seconds_of = [&](const PassShape& pass) {
    return predict_pass(work, places, machine, pass, std::vector<ExpertShares>{half}).seconds;
  };
  const PromptPrediction alone = predict(1100);
  CHECK(alone.n_passes == 3);
  CHECK(alone.most_rows == 512);
  CHECK(alone.n_tokens == 1100);
  CHECK(alone.seconds == doctest::Approx(2 * seconds_of({512, 768, false}) + seconds_of({76, 1100, true})));

  rules.most_shared_rows = 32;
  const PromptPrediction shared = predict(100);
  CHECK(shared.n_passes == 4);
  CHECK(shared.n_streamed_passes == 0);
  CHECK(shared.most_rows == 32);

  rules.most_streamed_rows = 4096;
  rules.pass_bytes = [](int64_t n_rows, int64_t) { return static_cast<uint64_t>(n_rows) * 1000; };
  rules.gpus = {{500'000'000, 1'000'000'000, 0}};
  const PromptPrediction long_one = predict(6000);
  CHECK(long_one.n_passes == 2);
  CHECK(long_one.n_streamed_passes == 2);
  CHECK(long_one.most_rows == 4096);
  CHECK(long_one.ring_bytes == 200'000'000);  // of two halves with one expert each
  CHECK(long_one.shares_vram_then == doctest::Approx(0.5));
  CHECK(long_one.streamed_bytes == doctest::Approx(2 * 0.5e9));
  CHECK(long_one.seconds ==
        doctest::Approx(seconds_of({4096, 4096, false, true}) + seconds_of({1904, 6000, true, true})));
  // Where the GPU takes its time for rows, the host is tried before it goes on.
  machine.gpus = {round_gpu()};
  CHECK(predict(6000).n_passes == 3);
  CHECK(predict(6000).n_streamed_passes == 2);
  machine.gpus.front().multiply_adds_per_second = 1e15;
  // What is short is shared until it was timed.
  const PromptPrediction short_one = predict(100);
  CHECK(short_one.n_passes == 2);
  CHECK(short_one.n_streamed_passes == 1);
  CHECK(short_one.most_rows == 68);
  // Room for 256 rows, 56 MB of it out of slots.
  rules.pass_bytes = [](int64_t n_rows, int64_t) { return static_cast<uint64_t>(n_rows) * 1'000'000; };
  rules.gpus = {{500'000'000, 400'000'000, 0}};
  const PromptPrediction narrow = predict(1000);
  CHECK(narrow.n_passes == 4);
  CHECK(narrow.most_rows == 256);
  CHECK(narrow.shares_vram_then == doctest::Approx(0.5 * 444 / 500));
  CHECK(narrow.streamed_bytes == doctest::Approx(4 * (1 - 0.444) * 1e9));
  // And none for 64.
  rules.gpus = {{500'000'000, 100'000'000, 0}};
  CHECK(predict(1000).n_streamed_passes == 0);
  CHECK(predict(1000).n_passes == 32);

  rules.gpus = {{500'000'000, 1'000'000'000, 0}};
  CHECK(predict(1000).n_streamed_passes > 0);
  CHECK(can_stream(work, places));
  CHECK(can_stream(work, std::vector<GroupPlace>{{1, 0, 0}, {1, 0, 0}, {5, 4, 1}}));
  CHECK(!can_stream(work, std::vector<GroupPlace>{{1, 0, 0}, {0, 1, 0}, {5, 5, 0}}));
  CHECK(!can_stream(dense_work(), std::vector<GroupPlace>{{1, 0, 0}, {1, 0, 0}}));
  rules.most_streamed_rows = 0;
  CHECK(predict(1000).n_streamed_passes == 0);
}

TEST_CASE("a type without rates has those of the nearest size, and a machine without any is refused") {
  Machine machine = round_machine();
  CHECK(rates_for(machine, TensorType::IQ1_M).form_weights_per_second == 3e9);
  CHECK(rates_for(machine, TensorType::F32).weights_per_second == 2e9);
  machine.kernels.clear();
  CHECK_THROWS_AS(rates_for(machine, TensorType::Q8_0), Error);
}

TEST_CASE("a run is near its prediction within a quarter, else the assumption that was off most is named") {
  const ModelWork work = moe_work();
  const std::vector<GroupPlace> places = {{0, 1, 0}, {0, 1, 0}, {0, 5, 5}};
  Machine machine = round_machine();
  machine.disk_bytes_per_second = 2e8;  // 0.5 s for an expert: bound by the disk, 2 tokens/s
  RunFacts facts;
  facts.has_experts_found = true;
  facts.experts_in_memory = 0.5;
  facts.disk_bytes_per_second = 2e8;
  facts.cpu_busy = 0.9;
  facts.tokens_per_second = 2.4;
  CHECK(compare_decode(work, places, machine, facts).is_near());
  CHECK(compare_decode(work, places, machine, facts).off == Assumption::None);
  CHECK(compare_decode(work, places, machine, facts).actual_over_predicted == doctest::Approx(1.2));

  facts.tokens_per_second = 1;
  facts.experts_in_memory = 0;  // two experts are read: 1 s
  const Comparison hits = compare_decode(work, places, machine, facts);
  CHECK(hits.off == Assumption::ExpertHits);
  CHECK(hits.assumed == doctest::Approx(0.5));
  CHECK(hits.found == 0);

  facts.experts_in_memory = 0.5;
  facts.disk_bytes_per_second = 1e8;
  const Comparison disk = compare_decode(work, places, machine, facts);
  CHECK(disk.off == Assumption::DiskRate);
  CHECK(disk.assumed == 2e8);
  CHECK(disk.found == 1e8);

  facts.disk_bytes_per_second = 2e8;
  CHECK(compare_decode(work, places, machine, facts).off == Assumption::CpuRate);
  CHECK(compare_decode(work, places, machine, facts).found == doctest::Approx(0.5));
  facts.cpu_busy = 0.3;
  CHECK(compare_decode(work, places, machine, facts).off == Assumption::OtherPrograms);
  facts.tokens_per_second = 4;  // nobody who takes cores makes a run faster
  CHECK(compare_decode(work, places, machine, facts).off == Assumption::CpuRate);
  CHECK(compare_decode(work, places, machine, facts).found == doctest::Approx(2));
  facts.tokens_per_second = 0;
  CHECK(compare_decode(work, places, machine, facts).actual_over_predicted == 0);
}
