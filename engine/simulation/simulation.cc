#include "engine/simulation/simulation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "engine/error.h"
#include "engine/forward/miss_split.h"
#include "engine/simulation/simulated_model.h"
#include "engine/simulation/virtual_disk.h"
#include "engine/store/expert_slots.h"

namespace sluice::engine {
namespace {

using traces::Pass;
using traces::TraceHeader;
using Urgency = VirtualDisk::Urgency;

// Through which dense weights pass that do not stay, where a plan does not say (beside a GPU).
constexpr double kRingBytes = 256e6;

class Simulation {
 public:
  Simulation(const Plan& plan, const Machine& machine, const TraceHeader& header, const SimulationOptions& options)
      : plan_(plan),
        machine_(machine_for(machine, plan.options)),
        header_(header),
        options_(options),
        model_(simulated_model(plan, machine_)),
        disk_(machine_.disk_bytes_per_second),
        random_(1),
        split_(header.n_used) {
    check_shape(plan_.work, header_);
    for (const SimulatedLayer& layer : layers_)
      streamed_.insert(streamed_.end(), layer.streamed.begin(), layer.streamed.end());
    streamed_.insert(streamed_.end(), model_.output_streamed.begin(), model_.output_streamed.end());
    make_tiers();
  }

  SimulationResult run(std::span<const Pass> passes) {
    uint64_t n_tokens = 0;
    for (const Pass& pass : passes) n_tokens += pass.n_rows() == 1 ? 1 : 0;
    if (n_tokens == 0)
      throw Error(Error::Kind::Usage,
                  "The trace has no token of an answer, only prompts; record a run that generates some (-n).");
    const auto first_counted = static_cast<uint64_t>(options_.warm_share * static_cast<double>(n_tokens));
    uint64_t done = 0;
    for (const Pass& pass : passes) {
      if (pass.n_rows() != 1) {
        learn(pass);
        continue;
      }
      if (done++ == first_counted) begin_counting();
      decode(pass);
    }
    return end_counting(n_tokens - std::min(first_counted, n_tokens - 1));
  }

 private:
  void make_tiers() {
    // RAM has a class of slots for each size, VRAM for each size on each GPU.
    std::map<double, uint32_t> ram_classes;
    std::map<std::pair<double, uint32_t>, uint32_t> vram_classes;
    std::vector<uint32_t> n_vram, n_ram;
    const auto class_of = [](auto& classes, const auto& key, std::vector<uint32_t>& n_slots) {
      const auto [found, is_new] = classes.try_emplace(key, static_cast<uint32_t>(n_slots.size()));
      if (is_new) n_slots.push_back(0);
      return found->second;
    };
    all_in_memory_ = true;
    for (size_t i = 0; i < plan_.work.groups.size(); ++i) {
      const WeightGroup& group = plan_.work.groups[i];
      if (group.role != GroupRole::RoutedExperts) continue;
      SimulatedLayer& layer = layers_[group.layer];
      layer.ram_class = class_of(ram_classes, layer.expert_bytes, n_ram);
      layer.vram_class = class_of(vram_classes, std::pair(layer.expert_bytes, layer.gpu), n_vram);
      n_ram[layer.ram_class] += plan_.places[i].n_ram;
      n_vram[layer.vram_class] += plan_.places[i].n_vram;
      all_in_memory_ = all_in_memory_ && plan_.places[i].n_disk == 0;
      n_vram_ += plan_.places[i].n_vram;
    }
    const size_t n_experts = size_t{header_.n_experts} * header_.expert_layers.size();
    // A class without slots could never bring an expert.
    if (!all_in_memory_)
      for (uint32_t& n : n_ram) n = std::max(n, header_.n_used + 1);
    vram_ = std::make_unique<ExpertSlots>(n_experts, n_vram);
    ram_ = std::make_unique<ExpertSlots>(n_experts, n_ram);
    policy_ = make_policy(options_.policy, n_experts, options_.heat);
    load_of_.assign(n_experts, std::nullopt);
    begin_counting();
    fill_vram();
  }

  // As loading leaves it: the experts that earlier runs used most, of each layer its share.
  void fill_vram() {
    for (size_t i = 0; i < plan_.work.groups.size(); ++i) {
      const WeightGroup& group = plan_.work.groups[i];
      if (group.role != GroupRole::RoutedExperts) continue;
      const SimulatedLayer& layer = layers_[group.layer];
      std::vector<ExpertNumber> experts;
      for (uint32_t e = 0; e < header_.n_experts; ++e) experts.push_back(number_of(layer, e));
      if (!options_.heat.empty())
        std::ranges::stable_sort(experts, std::greater(), [&](ExpertNumber e) { return options_.heat[e]; });
      for (uint32_t n = 0; n < plan_.places[i].n_vram; ++n)
        if (const auto slot = vram_->take(experts[n], layer.vram_class, policy_->worth(experts[n])))
          vram_->release(*slot);
    }
  }

  ExpertNumber number_of(const SimulatedLayer& layer, uint32_t expert_id) const {
    return *layer.routed * header_.n_experts + expert_id;
  }

  // ---- The clock.

  void pass(double seconds, double& account) {
    disk_.run(seconds);
    now_ += seconds;
    account += seconds;
  }
  // Beside a reading disk the CPU has a part of its rate.
  void on_cpu(double work) {
    const double busy = disk_.busy_seconds_left();
    const double share = machine_.cpu_share_beside_disk;
    if (work <= busy * share) return pass(work / share, result_.cpu_seconds);
    pass(busy, result_.cpu_seconds);
    pass(work - busy * share, result_.cpu_seconds);
  }
  void wait_for(VirtualDisk::LoadNumber load) {
    disk_.hasten(load);
    pass(disk_.seconds_until(load), result_.disk_seconds);
  }
  void work(const SimulatedWork& work) {
    if (work.cpu > 0) on_cpu(work.cpu);
    if (work.gpu > 0) pass(work.gpu, result_.gpu_seconds);
  }

  // ---- Dense weights that do not stay: read in the order of need, as far ahead as the ring holds.

  void read_ahead() {
    if (streamed_.empty()) return;
    const double ring = plan_.store ? static_cast<double>(plan_.store->ring_bytes) : kRingBytes;
    for (;;) {
      const double bytes = static_cast<double>(plan_.work.groups[streamed_[next_streamed_]].unit_file_bytes());
      if (!in_ring_.empty() && ring_bytes_ + bytes > ring) return;
      in_ring_.push_back({disk_.begin(bytes, Urgency::Certain), bytes});
      ring_bytes_ += bytes;
      next_streamed_ = (next_streamed_ + 1) % streamed_.size();
    }
  }
  void bring_streamed(size_t count) {
    for (; count > 0; --count) {
      read_ahead();
      wait_for(in_ring_.front().load);
      ring_bytes_ -= in_ring_.front().bytes;
      in_ring_.pop_front();
      read_ahead();
    }
  }

  // ---- Passes.

  void begin_pass(int64_t n_rows) {
    for (const ExpertNumber expert : policy_->begin_pass(n_rows)) set_worth(expert, policy_->worth(expert));
  }
  void set_worth(ExpertNumber expert, double worth) {
    if (const auto slot = vram_->find(expert)) vram_->set_worth(*slot, worth);
    if (const auto slot = ram_->find(expert)) ram_->set_worth(*slot, worth);
  }

  // A prompt: what it used is remembered, and lies in memory afterwards as far as that holds it.
  void learn(const Pass& prompt) {
    begin_pass(static_cast<int64_t>(prompt.n_rows()));
    for (const SimulatedLayer& layer : layers_) {
      if (!layer.routed) continue;
      std::map<uint32_t, int64_t> n_rows;
      for (size_t row = 0; row < prompt.n_rows(); ++row)
        for (const uint16_t id : prompt.experts(header_, row, *layer.routed)) ++n_rows[id];
      for (const auto& [id, n] : n_rows) {
        const ExpertNumber expert = number_of(layer, id);
        const double worth = policy_->use(expert, n);
        set_worth(expert, worth);
        if (all_in_memory_ || vram_->find(expert) || ram_->find(expert)) continue;
        take_ram_slot(expert, layer, worth);
        if (const auto slot = ram_->find(expert)) ram_->release(*slot);
      }
    }
  }

  void decode(const Pass& token) {
    begin_pass(1);
    candidates_.clear();
    const double begin = now_;
    for (size_t l = 0; l < layers_.size(); ++l) {
      const SimulatedLayer& layer = layers_[l];
      bring_streamed(layer.streamed.size());
      work(layer.before_experts);
      pass(layer.overhead, result_.overhead_seconds);
      if (!layer.routed) continue;
      const SimulatedLayer* next = l + 1 < layers_.size() && layers_[l + 1].routed ? &layers_[l + 1] : nullptr;
      run_experts(layer, next, token);
    }
    bring_streamed(model_.output_streamed.size());
    work(model_.output);
    promote(now_ - begin);
  }

  void run_experts(const SimulatedLayer& layer, const SimulatedLayer* next, const Pass& token) {
    drop_wrong_guesses(layer, token);
    double of_hits = 0;  // on the GPU
    std::vector<ExpertNumber> ready, coming;
    for (const uint16_t id : token.experts(header_, 0, *layer.routed)) {
      const ExpertNumber expert = number_of(layer, id);
      const double worth = policy_->use(expert, 1);
      ++chosen_of_gpu_[layer.gpu];
      set_worth(expert, worth);
      if (vram_->find(expert)) {
        ++result_.in_vram;
        ++hits_of_gpu_[layer.gpu];
        of_hits += layer.expert.gpu;
        continue;
      }
      if (n_vram_ > 0) candidates_.push_back({expert, worth, &layer});
      if (all_in_memory_) {
        ++result_.in_ram;
        ready.push_back(expert);
      } else if (const auto slot = ram_->find(expert)) {
        ram_->hold(*slot);
        const bool was_guess = std::erase(guessed_, expert) > 0;
        ++(was_guess ? result_.guessed : result_.in_ram);
        if (load_of_[expert]) disk_.hasten(*load_of_[expert]);
        (load_of_[expert] && !disk_.is_done(*load_of_[expert]) ? coming : ready).push_back(expert);
      } else {
        ++result_.missed;
        if (take_ram_slot(expert, layer, worth)) load_of_[expert] = disk_.begin(layer.expert_bytes, Urgency::Now);
        coming.push_back(expert);
      }
    }
    if (next != nullptr) guess(*next, token);

    const size_t n_read = n_read_by_gpu(layer, ready.size(), coming.size());
    const double cpu_each = n_read > 0 ? layer.cpu_beside_link : layer.expert.cpu;
    const auto n_on_cpu = static_cast<double>(ready.size() - n_read);
    // Hits and reads are one launch.
    const double gpu_work = layer.shared.gpu + std::max(of_hits, static_cast<double>(n_read) * layer.link_seconds);
    split_.took(static_cast<int64_t>(n_on_cpu), n_on_cpu * cpu_each);
    if (options_.defers && all_in_memory_) {
      constexpr double kShareOfNew = 1.0 / 64;  // as engine/forward/host_side.cc follows it
      const double own = layer.before_experts.gpu + layer.overhead + layer.shared.gpu + of_hits;
      gpu_seconds_ += gpu_seconds_ > 0 ? kShareOfNew * (own - gpu_seconds_) : own;
      cpu_free_ = std::max(now_, cpu_free_) + layer.shared.cpu + n_on_cpu * cpu_each;
      pass(gpu_work, result_.gpu_seconds);
      wait_for_cpu(std::exchange(deferred_until_, cpu_free_));
      if (next == nullptr) wait_for_cpu(deferred_until_);
      return;
    }

    const double begin = now_;
    if (layer.shared.cpu > 0) on_cpu(layer.shared.cpu);
    if (n_on_cpu > 0) on_cpu(cpu_each * n_on_cpu);
    for (const ExpertNumber expert : coming) {
      // Without a slot it is read into the next one that becomes free: then, and no sooner.
      if (!load_of_[expert]) load_of_[expert] = disk_.begin(layer.expert_bytes, Urgency::Now);
      wait_for(*load_of_[expert]);
      on_cpu(layer.expert.cpu);
    }
    for (const std::vector<ExpertNumber>* some : {&ready, &coming})
      for (const ExpertNumber expert : *some) {
        if (load_of_[expert] && disk_.is_done(*load_of_[expert])) load_of_[expert].reset();
        if (const auto slot = ram_->find(expert)) ram_->release(*slot);
      }
    const double passed = now_ - begin;
    if (gpu_work > passed) pass(gpu_work - passed, result_.gpu_seconds);
  }

  // Of a layer's missed experts that are in RAM and such that are on their way there.
  size_t n_read_by_gpu(const SimulatedLayer& layer, size_t n_ready, size_t n_coming) {
    if (!options_.reads_host || n_vram_ == 0) return 0;
    const std::span<const uint32_t> counts = split_.counts(layer.link_seconds, options_.defers ? gpu_seconds_ : 0);
    const size_t n_read = std::min<size_t>(n_ready, counts[n_ready + n_coming]);
    result_.read_by_gpu += static_cast<double>(n_read);
    result_.pcie_bytes += static_cast<double>(n_read) * layer.expert_bytes;
    return n_read;
  }
  void wait_for_cpu(double until) {
    if (until > now_) pass(until - now_, result_.cpu_seconds);
  }

  // Holds the slot.
  bool take_ram_slot(ExpertNumber expert, const SimulatedLayer& layer, double worth) {
    const auto victim = ram_->least_worth(layer.ram_class);
    if (!ram_->take(expert, layer.ram_class, worth)) return false;
    if (victim && load_of_[victim->first]) {
      disk_.cancel(*load_of_[victim->first]);
      load_of_[victim->first].reset();
      std::erase(guessed_, victim->first);
    }
    return true;
  }

  // Names experts of the next layer as well as the store's guesses do, with the trace for an oracle that errs.
  void guess(const SimulatedLayer& next, const Pass& token) {
    if (!options_.guesses || all_in_memory_) return;
    std::uniform_real_distribution<double> chance;
    std::vector<uint32_t> named;
    for (const uint16_t id : token.experts(header_, 0, *next.routed))
      if (chance(random_) < options_.guess_recall) named.push_back(id);
    const double wrong = static_cast<double>(named.size()) * (1 - options_.guess_precision) / options_.guess_precision;
    const auto n_wrong = static_cast<uint32_t>(wrong) + (chance(random_) < wrong - std::floor(wrong) ? 1 : 0);
    for (uint32_t i = 0; i < n_wrong; ++i) named.push_back(static_cast<uint32_t>(random_() % header_.n_experts));
    for (const uint32_t id : named) {
      const ExpertNumber expert = number_of(next, id);
      if (vram_->find(expert) || ram_->find(expert)) continue;
      if (!take_ram_slot(expert, next, policy_->worth(expert))) return;
      held_guesses_.push_back(expert);
      guessed_.push_back(expert);
      load_of_[expert] = disk_.begin(next.expert_bytes, Urgency::Guess);
    }
  }

  // What was guessed wrongly and is not being read yet is not read at all.
  void drop_wrong_guesses(const SimulatedLayer& layer, const Pass& token) {
    const auto chosen = token.experts(header_, 0, *layer.routed);
    for (const ExpertNumber expert : std::exchange(held_guesses_, {})) {
      const auto slot = ram_->find(expert);
      if (!slot) continue;
      ram_->release(*slot);
      const uint32_t id = expert % header_.n_experts;
      const bool is_right = std::ranges::find(chosen, static_cast<uint16_t>(id)) != chosen.end();
      if (is_right || !load_of_[expert] || disk_.is_done(*load_of_[expert])) continue;
      disk_.cancel(*load_of_[expert]);
      load_of_[expert].reset();
      ram_->clear(*slot);
      std::erase(guessed_, expert);
    }
  }

  // Behind the token, while the next one is computed: experts that are worth more than others in VRAM take their places, as far as
  // half of the link's time lets them.
  void promote(double token_seconds) {
    std::vector<double> room;  // of each GPU's link
    for (const Gpu& gpu : machine_.gpus) room.push_back(0.5 * token_seconds * gpu.pcie_bytes_per_second);
    if (room.empty()) return;
    std::ranges::stable_sort(candidates_, std::greater(), &Candidate::worth);
    uint32_t n = 0;
    for (const Candidate& candidate : candidates_) {
      const auto least = vram_->least_worth(candidate.layer->vram_class);
      double& own_room = room[candidate.layer->gpu];
      if (n == options_.promotions) break;
      if (own_room < candidate.layer->expert_bytes) continue;
      if (!least || least->second >= candidate.worth) continue;
      if (const auto slot = vram_->take(candidate.expert, candidate.layer->vram_class, candidate.worth))
        vram_->release(*slot);
      // What leaves VRAM takes the place in RAM of what went there.
      if (const auto slot = ram_->find(candidate.expert); slot && !ram_->is_held(*slot)) {
        ram_->clear(*slot);
        if (const auto back = ram_->take(least->first, candidate.layer->ram_class, least->second)) ram_->release(*back);
      }
      own_room -= candidate.layer->expert_bytes;
      result_.pcie_bytes += candidate.layer->expert_bytes;
      ++result_.promoted;
      ++n;
    }
  }

  // ---- The count.

  void begin_counting() {
    result_ = {};
    hits_of_gpu_.assign(std::max<size_t>(1, machine_.gpus.size()), 0);
    chosen_of_gpu_ = hits_of_gpu_;
    counted_from_ = now_;
    disk_bytes_before_ = disk_.bytes_read();
  }
  SimulationResult end_counting(uint64_t n_tokens) {
    SimulationResult result = result_;
    const auto n = static_cast<double>(n_tokens);
    result.n_tokens = n_tokens;
    result.seconds = now_ - counted_from_;
    const double chosen = result.in_vram + result.in_ram + result.guessed + result.missed;
    for (double* share : {&result.in_vram, &result.in_ram, &result.guessed, &result.missed}) *share /= chosen;
    for (size_t gpu = 0; gpu < machine_.gpus.size(); ++gpu)
      result.in_vram_of_gpu.push_back(chosen_of_gpu_[gpu] > 0 ? hits_of_gpu_[gpu] / chosen_of_gpu_[gpu] : 0);
    const double disk_bytes = disk_.bytes_read() - disk_bytes_before_;
    result.disk_bytes = disk_bytes / n;
    result.disk_busy = disk_bytes / machine_.disk_bytes_per_second / result.seconds;
    for (double* sum : {&result.promoted, &result.read_by_gpu, &result.pcie_bytes, &result.cpu_seconds,
                        &result.gpu_seconds, &result.disk_seconds, &result.overhead_seconds})
      *sum /= n;
    return result;
  }

  struct Candidate {
    ExpertNumber expert = 0;
    double worth = 0;
    const SimulatedLayer* layer = nullptr;
  };
  struct InRing {
    VirtualDisk::LoadNumber load = 0;
    double bytes = 0;
  };

  const Plan& plan_;
  const Machine machine_;
  const TraceHeader& header_;
  const SimulationOptions& options_;
  SimulatedModel model_;
  VirtualDisk disk_;
  std::mt19937 random_;
  double now_ = 0;  // seconds

  MissSplit split_;
  double gpu_seconds_ = 0;  // of a layer, without what it reads of RAM
  // When the CPU has done all that it was given, and what is to be added next.
  double cpu_free_ = 0, deferred_until_ = 0;

  std::vector<SimulatedLayer>& layers_ = model_.layers;
  bool all_in_memory_ = true;
  uint64_t n_vram_ = 0;
  std::unique_ptr<ExpertSlots> vram_, ram_;
  std::unique_ptr<Policy> policy_;
  std::vector<std::optional<VirtualDisk::LoadNumber>> load_of_;  // of each expert that is on its way
  std::vector<ExpertNumber> held_guesses_;                       // for the next layer
  std::vector<ExpertNumber> guessed_;                            // and not asked for yet
  std::vector<Candidate> candidates_;                            // for VRAM, of this token

  std::vector<size_t> streamed_;  // groups, in the order of a pass
  size_t next_streamed_ = 0;
  std::deque<InRing> in_ring_;
  double ring_bytes_ = 0;

  SimulationResult result_;
  std::vector<double> hits_of_gpu_, chosen_of_gpu_;
  double counted_from_ = 0, disk_bytes_before_ = 0;
};

}  // namespace

SimulationResult::Waited SimulationResult::waited_most() const {
  const std::array parts = {std::pair{cpu_seconds, Waited::Cpu}, std::pair{gpu_seconds, Waited::Gpu},
                            std::pair{disk_seconds, Waited::Disk}, std::pair{overhead_seconds, Waited::Overhead}};
  return std::ranges::max_element(parts)->second;
}

std::string_view waited_name(SimulationResult::Waited waited) {
  switch (waited) {
    case SimulationResult::Waited::Cpu:
      return "CPU";
    case SimulationResult::Waited::Gpu:
      return "GPU";
    case SimulationResult::Waited::Disk:
      return "disk";
    case SimulationResult::Waited::Overhead:
      return "launches and barriers";
  }
  return "unknown";
}

SimulationResult simulate(const Plan& plan, const Machine& machine, const TraceHeader& header,
                          std::span<const Pass> passes, const SimulationOptions& options) {
  if (!plan.fits)
    throw Error(Error::Kind::OutOfMemory, "The model does not fit on this machine, so there is nothing to simulate.");
  return Simulation(plan, machine, header, options).run(passes);
}

}  // namespace sluice::engine
