// That the prediction follows what it is made of: with few layers, so that it is quick.
#include <doctest/doctest.h>
#include <unistd.h>

#include "bench/virtual_time/prefill.h"
#include "bench/virtual_time/run.h"
#include "bench/virtual_time/skeleton.h"
#include "tools/machine_file.h"

using namespace sluice;
using namespace sluice::bench;

namespace {

class VirtualTime {
 public:
  VirtualTime() { write_skeleton({3, 1, 64}, path_); }
  ~VirtualTime() { std::filesystem::remove(path_); }

  Outcome run(Setting setting) const {
    setting.n_warm_tokens = 3;
    setting.n_tokens = 5;
    setting.knows_heat = true;
    return run_setting(path_, predicted_, machine_, setting);
  }
  const PredictedLaunches& predicted() const { return predicted_; }

 private:
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("sluice-virtual-time-" + std::to_string(getpid()) + ".gguf");
  engine::Machine machine_ = tools::read_machine(SLUICE_SOURCE_DIR "/bench/machines/rtx4090-48g-124g.json");
  PredictedLaunches predicted_ = read_predicted_launches(SLUICE_SOURCE_DIR "/bench/virtual_time/r1_rtx4090.json");
};

double parts_of(const Outcome& outcome) {
  return outcome.before + outcome.gpu_computing + outcome.gaps + outcome.gpu_waiting + outcome.between + outcome.after;
}

}  // namespace

TEST_CASE("a predicted token takes what its parts take, and longer the more of it the CPU has to do") {
  const VirtualTime virtual_time;
  Setting setting;
  double last = 0;
  std::vector<Outcome> outcomes;
  for (const double slots : {0.1, 0.3, 0.6, 0.9}) {
    setting.slots = slots;
    const Outcome outcome = virtual_time.run(setting);
    CAPTURE(slots);
    CHECK(outcome.slots == doctest::Approx(slots).epsilon(0.05));
    CHECK(outcome.hit_rate == doctest::Approx(slots).epsilon(0.5));
    CHECK(parts_of(outcome) == doctest::Approx(outcome.seconds));
    CHECK(outcome.cpu_experts == doctest::Approx(2 * 8 * (1 - outcome.hit_rate)));
    CHECK(outcome.tokens_per_second > last);
    last = outcome.tokens_per_second;
    // The host waits until the GPU comes to a layer's choice, with most of what it computes.
    CHECK(outcome.cpu_waiting > 0.3 * outcome.gpu_computing);
    outcomes.push_back(outcome);
  }
  // A launch takes what it multiplies.
  const PredictedLaunches& predicted = virtual_time.predicted();
  const double of_a_hit = (predicted.of("DeepSeek-R1", "experts gate, up", "IQ1_S") +
                           predicted.of("DeepSeek-R1", "experts down", "IQ1_S") - 2 * predicted.start_seconds) /
                          kExpertsUsed;
  const double more_hits = 2 * kExpertsUsed * (outcomes.back().hit_rate - outcomes.front().hit_rate);
  CHECK(outcomes.back().gpu_computing - outcomes.front().gpu_computing == doctest::Approx(more_hits * of_a_hit));
  setting.slots = 1;
  const Outcome all = virtual_time.run(setting);
  CHECK(all.hit_rate == 1);
  CHECK(all.gpu_waiting == 0);
  CHECK(all.cpu_computing == 0);
  // Nothing but its kernels, and the start of their graph.
  CHECK(all.seconds == doctest::Approx(all.gpu_computing + all.gaps).epsilon(0.03));
  CHECK(all.tokens_per_second > last);
}

TEST_CASE(
    "where a predicted token waits for the CPU, a quicker one makes it so much shorter, down to what memory takes") {
  const VirtualTime virtual_time;
  Setting setting;
  setting.slots = 0.1;
  setting.promotes = false;  // so that the same experts are missed
  const Outcome slow = virtual_time.run(setting);
  CHECK(slow.gpu_waiting > slow.gpu_computing);
  setting.cpu_scale = 1.25;
  const Outcome fast = virtual_time.run(setting);
  CHECK(fast.cpu_experts == slow.cpu_experts);
  CHECK(fast.cpu_memory_bound == 0);
  CHECK(fast.cpu_computing == doctest::Approx(slow.cpu_computing / 1.25));
  CHECK(fast.tokens_per_second > slow.tokens_per_second);
  CHECK(slow.seconds - fast.seconds == doctest::Approx(slow.cpu_computing - fast.cpu_computing).epsilon(0.01));
  setting.cpu_scale = 1000;
  const Outcome fastest = virtual_time.run(setting);
  CHECK(fastest.cpu_memory_bound == doctest::Approx(fastest.cpu_computing));
  CHECK(fastest.cpu_computing < fast.cpu_computing);
}

TEST_CASE(
    "a predicted token of popular experts hits more than there are slots, and overhead alone is a small part of it") {
  const VirtualTime virtual_time;
  Setting setting;
  setting.slots = 0.3;
  setting.skew = 1;
  const Outcome skewed = virtual_time.run(setting);
  CHECK(skewed.popular_share > 0.4);
  CHECK(skewed.hit_rate > 0.4);
  setting.only_overhead = true;
  const Outcome overhead = virtual_time.run(setting);
  CHECK(overhead.cpu_computing == 0);
  CHECK(overhead.seconds > 0);
  CHECK(overhead.seconds < 0.3 * skewed.seconds);
  CHECK(overhead.gaps == doctest::Approx(overhead.n_launches * virtual_time.predicted().gap_seconds));
  // 15 in each of two layers with experts, 12 in the dense one; angles and embedding, the output and its norm.
  CHECK(overhead.n_launches == 2 * 15 + 12 + 5);
}

TEST_CASE("a launch that is none of R1's is refused") {
  const VirtualTime virtual_time;
  LaunchTimes times(virtual_time.predicted(), {});
  simt::KernelLaunch launch;
  launch.name = "weighted_sum_rows";
  CHECK_THROWS_WITH_AS(times.seconds(launch), doctest::Contains("cannot be named"), std::runtime_error);
}

TEST_CASE("a predicted prompt takes what the link or the GPU takes, and moves each missed expert once a pass") {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("sluice-holes-" + std::to_string(getpid()) + ".gguf");
  write_holes(path);
  engine::Machine machine = tools::read_machine(SLUICE_SOURCE_DIR "/bench/machines/rtx4090-48g-124g.json");
  const PrefillOutcome one = run_prefill(path, machine, {1024, 1024, {}}),
                       two = run_prefill(path, machine, {2048, 1024, {}});
  CHECK(one.n_passes == 1);
  CHECK(two.n_passes == 2);
  CHECK(one.slots < 1);
  CHECK(static_cast<double>(one.n_copied) == doctest::Approx((1 - one.slots) * 58 * 256));
  // The longer context takes some slots.
  CHECK(two.n_copied >= 2 * one.n_copied);
  CHECK(static_cast<double>(two.n_copied) < 2 * (1 - two.slots) * 58 * 256 + 1);
  for (const PrefillOutcome& outcome : {one, two}) {
    CHECK(outcome.seconds >= std::max(outcome.link_seconds, outcome.gpu_computing));
    CHECK(outcome.seconds < outcome.link_seconds + outcome.gpu_computing);
    CHECK(outcome.gpu_waiting > 0);
    CHECK(outcome.gpu_waiting < outcome.seconds);
  }
  machine.gpus.front().pcie_bytes_per_second /= 4;
  const PrefillOutcome slow = run_prefill(path, machine, {1024, 1024, {}});
  CHECK(slow.bound == "PCIe");
  CHECK(slow.seconds > 3 * one.seconds);
  machine.gpus.front().pcie_bytes_per_second *= 400;
  const PrefillOutcome fast = run_prefill(path, machine, {1024, 1024, {}});
  CHECK(fast.bound != "PCIe");
  CHECK(fast.seconds < one.seconds);
  std::filesystem::remove(path);
}
