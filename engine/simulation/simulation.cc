#include "engine/simulation/simulation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "engine/error.h"
#include "engine/simulation/virtual_disk.h"
#include "engine/store/expert_slots.h"

namespace sluice::engine {
namespace {

using traces::Pass;
using traces::TraceHeader;
using Urgency = VirtualDisk::Urgency;

// Through which dense weights pass that do not stay, where a plan does not say (beside a GPU).
constexpr double kRingBytes = 256e6;

// Seconds of a part of a layer, on the side where its weights are.
struct Work {
  double cpu = 0, gpu = 0;
};

struct Layer {
  Work before_experts;  // attention and a dense feed-forward or the router
  Work shared;
  std::vector<size_t> streamed;    // groups of it that come from the disk, in the order of need
  std::optional<uint32_t> routed;  // the layer's index in the trace
  Work expert;                     // of one
  double expert_bytes = 0;
  uint32_t slot_class = 0;
  double overhead = 0;
};

class Simulation {
 public:
  Simulation(const Plan& plan, const Machine& machine, const TraceHeader& header, const SimulationOptions& options)
      : plan_(plan),
        machine_(machine_for(machine, plan.options)),
        header_(header),
        options_(options),
        disk_(machine_.disk_bytes_per_second),
        random_(1) {
    check_shape();
    describe_layers();
    for (const Layer& layer : layers_) streamed_.insert(streamed_.end(), layer.streamed.begin(), layer.streamed.end());
    streamed_.insert(streamed_.end(), output_streamed_.begin(), output_streamed_.end());
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
  // Layers with experts are matched in their order: a made up trace does not know which of the model's they are.
  void check_shape() const {
    size_t n_layers = 0;
    uint32_t n_experts = 0, n_used = 0;
    for (const WeightGroup& group : plan_.work.groups) {
      if (group.role != GroupRole::RoutedExperts) continue;
      ++n_layers;
      n_experts = group.n_units;
      n_used = static_cast<uint32_t>(std::lround(group.uses * group.n_units));
    }
    if (n_layers == header_.expert_layers.size() && n_experts == header_.n_experts && n_used == header_.n_used) return;
    const auto shape = [](size_t layers, uint32_t experts, uint32_t used) {
      return std::to_string(layers) + " layers with " + std::to_string(experts) + " experts, of which a token uses " +
             std::to_string(used);
    };
    throw Error(Error::Kind::Usage, "The trace is of another model: found " +
                                        shape(header_.expert_layers.size(), header_.n_experts, header_.n_used) +
                                        ", expected " + shape(n_layers, n_experts, n_used) +
                                        "; record one of this model (sluice run MODEL --trace FILE), or make one up.");
  }

  void describe_layers() {
    layers_.resize(plan_.work.n_layers);
    uint32_t n_routed = 0;
    for (size_t i = 0; i < plan_.work.groups.size(); ++i) {
      const WeightGroup& group = plan_.work.groups[i];
      const GroupPlace& place = plan_.places[i];
      if (group.role == GroupRole::Embedding) continue;
      Work unit{cpu_seconds_of_unit(group, machine_),
                machine_.gpus.empty() ? 0 : gpu_seconds_of_unit(group, machine_.gpus.front())};
      if (group.role == GroupRole::RoutedExperts) {
        Layer& layer = layers_[group.layer];
        layer.routed = n_routed++;
        layer.expert = unit;
        layer.expert_bytes = static_cast<double>(group.unit_file_bytes());
        continue;
      }
      (place.n_vram > 0 ? unit.cpu : unit.gpu) = 0;
      if (group.role == GroupRole::Output) {
        output_.cpu += unit.cpu, output_.gpu += unit.gpu;
        if (place.n_disk > 0) output_streamed_.push_back(i);
        continue;
      }
      Layer& layer = layers_[group.layer];
      Work& part = group.role == GroupRole::SharedExperts ? layer.shared : layer.before_experts;
      part.cpu += unit.cpu, part.gpu += unit.gpu;
      if (place.n_disk > 0) layer.streamed.push_back(i);
      if (group.role != GroupRole::Attention) continue;
      const bool on_gpu = place.n_vram > 0;
      layer.overhead = layer_overhead_seconds(on_gpu);
      // Each layer has an equal part of what attention costs at half of the context.
      const double n_positions = plan_.options.n_context / 2.0;
      if (on_gpu)
        part.gpu += gpu_attention_seconds(plan_.work, machine_.gpus.front(), n_positions) / plan_.work.n_layers;
      else
        part.cpu += cpu_attention_seconds(plan_.work, machine_, n_positions) / plan_.work.n_layers;
    }
  }

  void make_tiers() {
    std::map<double, uint32_t> class_of_bytes;
    std::vector<uint32_t> n_vram, n_ram;
    all_in_memory_ = true;
    for (size_t i = 0; i < plan_.work.groups.size(); ++i) {
      const WeightGroup& group = plan_.work.groups[i];
      if (group.role != GroupRole::RoutedExperts) continue;
      Layer& layer = layers_[group.layer];
      const auto [found, is_new] = class_of_bytes.try_emplace(layer.expert_bytes, static_cast<uint32_t>(n_vram.size()));
      if (is_new) n_vram.push_back(0), n_ram.push_back(0);
      layer.slot_class = found->second;
      n_vram[found->second] += plan_.places[i].n_vram;
      n_ram[found->second] += plan_.places[i].n_ram;
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
    fill_vram();
  }

  // As loading leaves it: the experts that earlier runs used most, of each layer its share.
  void fill_vram() {
    for (size_t i = 0; i < plan_.work.groups.size(); ++i) {
      const WeightGroup& group = plan_.work.groups[i];
      if (group.role != GroupRole::RoutedExperts) continue;
      const Layer& layer = layers_[group.layer];
      std::vector<ExpertNumber> experts;
      for (uint32_t e = 0; e < header_.n_experts; ++e) experts.push_back(number_of(layer, e));
      if (!options_.heat.empty())
        std::ranges::stable_sort(experts, std::greater(), [&](ExpertNumber e) { return options_.heat[e]; });
      for (uint32_t n = 0; n < plan_.places[i].n_vram; ++n)
        if (const auto slot = vram_->take(experts[n], layer.slot_class, policy_->worth(experts[n])))
          vram_->release(*slot);
    }
  }

  ExpertNumber number_of(const Layer& layer, uint32_t expert_id) const {
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
  void work(const Work& work) {
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
    for (const Layer& layer : layers_) {
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
      const Layer& layer = layers_[l];
      bring_streamed(layer.streamed.size());
      work(layer.before_experts);
      pass(layer.overhead, result_.overhead_seconds);
      if (!layer.routed) continue;
      const Layer* next = l + 1 < layers_.size() && layers_[l + 1].routed ? &layers_[l + 1] : nullptr;
      run_experts(layer, next, token);
    }
    bring_streamed(output_streamed_.size());
    work(output_);
    promote(now_ - begin);
  }

  void run_experts(const Layer& layer, const Layer* next, const Pass& token) {
    drop_wrong_guesses(layer, token);
    double gpu_work = layer.shared.gpu;
    std::vector<ExpertNumber> ready, coming;
    for (const uint16_t id : token.experts(header_, 0, *layer.routed)) {
      const ExpertNumber expert = number_of(layer, id);
      const double worth = policy_->use(expert, 1);
      set_worth(expert, worth);
      if (vram_->find(expert)) {
        ++result_.in_vram;
        gpu_work += layer.expert.gpu;
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

    const double begin = now_;
    if (layer.shared.cpu > 0) on_cpu(layer.shared.cpu);
    if (!ready.empty()) on_cpu(layer.expert.cpu * static_cast<double>(ready.size()));
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

  // Holds the slot.
  bool take_ram_slot(ExpertNumber expert, const Layer& layer, double worth) {
    const auto victim = ram_->least_worth(layer.slot_class);
    if (!ram_->take(expert, layer.slot_class, worth)) return false;
    if (victim && load_of_[victim->first]) {
      disk_.cancel(*load_of_[victim->first]);
      load_of_[victim->first].reset();
      std::erase(guessed_, victim->first);
    }
    return true;
  }

  // Names experts of the next layer as well as the store's guesses do, with the trace for an oracle that errs.
  void guess(const Layer& next, const Pass& token) {
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
  void drop_wrong_guesses(const Layer& layer, const Pass& token) {
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
    if (machine_.gpus.empty()) return;
    double room = 0.5 * token_seconds * machine_.gpus.front().pcie_bytes_per_second;
    std::ranges::stable_sort(candidates_, std::greater(), &Candidate::worth);
    uint32_t n = 0;
    for (const Candidate& candidate : candidates_) {
      const auto least = vram_->least_worth(candidate.layer->slot_class);
      if (n == options_.promotions || room < candidate.layer->expert_bytes) break;
      if (!least || least->second >= candidate.worth) continue;
      if (const auto slot = vram_->take(candidate.expert, candidate.layer->slot_class, candidate.worth))
        vram_->release(*slot);
      // What leaves VRAM takes the place in RAM of what went there.
      if (const auto slot = ram_->find(candidate.expert); slot && !ram_->is_held(*slot)) {
        ram_->clear(*slot);
        if (const auto back = ram_->take(least->first, candidate.layer->slot_class, least->second))
          ram_->release(*back);
      }
      room -= candidate.layer->expert_bytes;
      result_.pcie_bytes += candidate.layer->expert_bytes;
      ++result_.promoted;
      ++n;
    }
  }

  // ---- The count.

  void begin_counting() {
    result_ = {};
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
    const double disk_bytes = disk_.bytes_read() - disk_bytes_before_;
    result.disk_bytes = disk_bytes / n;
    result.disk_busy = disk_bytes / machine_.disk_bytes_per_second / result.seconds;
    for (double* sum : {&result.promoted, &result.pcie_bytes, &result.cpu_seconds, &result.gpu_seconds,
                        &result.disk_seconds, &result.overhead_seconds})
      *sum /= n;
    return result;
  }

  struct Candidate {
    ExpertNumber expert = 0;
    double worth = 0;
    const Layer* layer = nullptr;
  };
  struct InRing {
    VirtualDisk::LoadNumber load = 0;
    double bytes = 0;
  };

  const Plan& plan_;
  const Machine machine_;
  const TraceHeader& header_;
  const SimulationOptions& options_;
  VirtualDisk disk_;
  std::mt19937 random_;
  double now_ = 0;  // seconds

  std::vector<Layer> layers_;
  Work output_;
  std::vector<size_t> output_streamed_;

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

double best_hit_share(const TraceHeader& header, std::span<const Pass> passes, uint64_t n_slots, double warm_share) {
  // Steps are (pass, layer), each with its distinct experts.
  std::vector<std::vector<ExpertNumber>> steps;
  for (const Pass& pass : passes) {
    for (size_t layer = 0; layer < header.expert_layers.size(); ++layer) {
      std::vector<ExpertNumber>& step = steps.emplace_back();
      for (size_t row = 0; row < pass.n_rows(); ++row)
        for (const uint16_t id : pass.experts(header, row, layer))
          step.push_back(static_cast<ExpertNumber>(layer) * header.n_experts + id);
      std::ranges::sort(step);
      step.erase(std::ranges::unique(step).begin(), step.end());
    }
  }
  constexpr size_t kNever = SIZE_MAX;
  std::vector<std::vector<size_t>> next_use(steps.size());
  std::vector<size_t> next(header.expert_layers.size() * header.n_experts, kNever);
  for (size_t step = steps.size(); step-- > 0;)
    for (const ExpertNumber expert : steps[step]) next_use[step].push_back(std::exchange(next[expert], step));

  std::map<ExpertNumber, size_t> held;                // and when it is used next
  std::set<std::pair<size_t, ExpertNumber>> by_next;  // the last is put out first
  const auto first_counted = static_cast<size_t>(warm_share * static_cast<double>(steps.size()));
  uint64_t n_hits = 0, n_asked = 0;
  for (size_t step = 0; step < steps.size(); ++step) {
    for (size_t i = 0; i < steps[step].size(); ++i) {
      const ExpertNumber expert = steps[step][i];
      const auto found = held.find(expert);
      if (step >= first_counted) {
        ++n_asked;
        n_hits += found != held.end() ? 1 : 0;
      }
      if (found != held.end()) by_next.erase({found->second, expert});
      held[expert] = next_use[step][i];
      by_next.insert({next_use[step][i], expert});
    }
    while (held.size() > n_slots) {  // once the step is over: only then is it known when its experts are needed again
      held.erase(by_next.rbegin()->second);
      by_next.erase(std::prev(by_next.end()));
    }
  }
  return n_asked > 0 ? static_cast<double>(n_hits) / static_cast<double>(n_asked) : 0;
}

std::vector<float> heat_of(const TraceHeader& header, std::span<const Pass> passes) {
  std::vector<float> heat(header.expert_layers.size() * header.n_experts, 0);
  double n_tokens = 0;
  for (const Pass& pass : passes) {
    n_tokens += static_cast<double>(pass.n_rows());
    for (size_t row = 0; row < pass.n_rows(); ++row)
      for (size_t layer = 0; layer < header.expert_layers.size(); ++layer)
        for (const uint16_t id : pass.experts(header, row, layer)) ++heat[layer * header.n_experts + id];
  }
  for (float& uses : heat) uses = n_tokens > 0 ? static_cast<float>(uses / n_tokens) : 0;
  return heat;
}

}  // namespace sluice::engine
