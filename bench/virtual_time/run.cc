#include "bench/virtual_time/run.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <stdexcept>

#include "bench/virtual_time/copy_thread.h"
#include "bench/virtual_time/pinned_store.h"
#include "bench/virtual_time/skeleton.h"
#include "engine/device/cpu_device.h"
#include "engine/device/cuda_device.h"
#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/session/device_weights.h"
#include "engine/session/session_memory.h"
#include "tests/simt/runtime/findings.h"
#include "tests/simt/runtime/kernels.h"

namespace sluice::bench {

using namespace engine;

namespace {

constexpr double kPopular = 0.29;
constexpr int64_t kRealExperts = 256;  // of a layer, at most
// The host sees the GPU's word that it waits for in a loop, behind the word's way over PCIe.
constexpr double kSeesChoiceSeconds = 1e-6;
// One thread, from ordinary memory into pinned memory.
constexpr double kStagingBytesPerSecond = 12e9;

// What happened on the GPU since the last look, kept for the token.
class Trace {
 public:
  const std::vector<CopySpan>& look() {
    for (simt::Span& span : simt::take_trace()) {
      if (span.engine == simt::Engine::HostToDevice && is_expert(span.bytes)) copies_.push_back({span.start, span.end});
      if (span.engine == simt::Engine::Compute) kernels_.push_back(std::move(span));
    }
    return copies_;
  }
  void forget() {
    kernels_.clear();
    std::erase_if(copies_, [](const CopySpan& copy) { return copy.end < simt::host_seconds(); });
  }
  static void set_expert_bytes(const ModelWeights& weights) {
    expert_bytes_.clear();
    for (const LayerWeights& layer : weights.layers)
      if (const auto* experts = std::get_if<ExpertsWeights>(&layer.ffn))
        for (const LinearStack* stack : {&experts->gate, &experts->up, &experts->down})
          expert_bytes_[stack->first.bytes()] = real_expert_matrix_bytes(stack->first.type);
  }
  static bool is_expert(uint64_t bytes) { return expert_bytes_.contains(bytes); }
  static double real_bytes(uint64_t bytes) {
    const auto found = expert_bytes_.find(bytes);
    return static_cast<double>(found == expert_bytes_.end() ? bytes : found->second);
  }
  const std::vector<simt::Span>& kernels() const { return kernels_; }

 private:
  static inline std::map<uint64_t, uint64_t> expert_bytes_;  // of a skeleton's matrix: of R1's
  std::vector<CopySpan> copies_;
  std::vector<simt::Span> kernels_;
};

uint64_t expert_bytes(const ModelWeights& weights) {
  uint64_t bytes = 0;
  for (const LayerWeights& layer : weights.layers)
    if (const auto* experts = std::get_if<ExpertsWeights>(&layer.ffn))
      for (const LinearStack* stack : {&experts->gate, &experts->up, &experts->down})
        bytes += stack->stride_bytes * static_cast<uint64_t>(stack->count);
  return bytes;
}

// The pages of the file that tensors lie in.
std::span<const std::byte> mapping_of(const gguf::File& file) {
  constexpr uintptr_t kPage = 4096;
  uintptr_t begin = ~uintptr_t{0}, end = 0;
  for (const gguf::Tensor& tensor : file.tensors()) {
    begin = std::min(begin, reinterpret_cast<uintptr_t>(tensor.data));
    end = std::max(end, reinterpret_cast<uintptr_t>(tensor.data) + tensor.bytes);
  }
  begin = begin / kPage * kPage;
  return {reinterpret_cast<const std::byte*>(begin), end - begin};
}

// Everything that decodes: made in the order in which a model is opened (engine/session/model.cc).
struct Engine {
  Engine(const std::filesystem::path& path, const PredictedLaunches& predicted, const Machine& machine,
         const Setting& setting);
  std::vector<float> bias_routers(const Setting& setting);

  gguf::File file;
  BoundModel model;
  LaunchTimes launches;
  CpuCharge cpu;
  Trace trace;
  std::vector<Popularity> popularity;  // of each layer with experts
  DeviceWeights device_weights;
  std::unique_ptr<CopyThread> copies;  // outlives the tier in the context
  std::unique_ptr<ForwardContext> context;
  uint64_t n_experts = 0;
};

LaunchTimesOptions launch_options(const Machine& machine, const Setting& setting) {
  LaunchTimesOptions options;
  options.n_positions = setting.n_positions;
  options.pcie_bytes_per_second = machine.gpus.front().pcie_bytes_per_second;
  options.kernel_scale = setting.only_overhead ? 0 : 1;
  options.shares_layers = setting.slots < 1;
  return options;
}

TimedCpuOptions cpu_options(const Machine& machine, const Setting& setting) {
  TimedCpuOptions options;
  options.machine = machine;
  options.cpu_scale = setting.cpu_scale;
  options.copy_bytes_per_second = machine.gpus.front().pcie_bytes_per_second;
  options.uses_forms = setting.uses_forms;
  options.is_free = setting.only_overhead;
  return options;
}

simt::GpuOptions gpu_options(LaunchTimes& launches, const Machine& machine) {
  simt::GpuOptions options;
  options.devices.front().name = machine.gpus.front().name;
  options.devices.front().n_multiprocessors = 128;
  options.check_races = false;
  options.goes_on_after_seconds = 0;  // so that each run is like the other
  options.kernel_seconds = [&launches](const simt::KernelLaunch& launch) { return launches.seconds(launch); };
  options.times_kernels_when_run = true;
  options.watched_kernel = "multiply_and_choose";
  const double rate = machine.gpus.front().pcie_bytes_per_second;
  options.host_to_device_seconds = [rate](uint64_t bytes) { return Trace::real_bytes(bytes) / rate; };
  return options;
}

BoundModel bind(const std::filesystem::path& path, const gguf::File& file, const Setting& setting) {
  BoundModel model = describe_and_bind(path, file);
  for (LayerSpec& layer : model.spec.layers)
    if (auto* experts = std::get_if<ExpertsSpec>(&layer.ffn); experts != nullptr && setting.uses_groups) {
      experts->router.n_groups = kExpertGroups;
      experts->router.n_chosen_groups = kChosenExpertGroups;
    }
  return model;
}

Engine::Engine(const std::filesystem::path& path, const PredictedLaunches& predicted, const Machine& machine,
               const Setting& setting)
    : file(gguf::File::open(path)),
      model(bind(path, file, setting)),
      launches(predicted, launch_options(machine, setting)),
      cpu(cpu_options(machine, setting)) {
  simt::reset_emulated_gpu(gpu_options(launches, machine));
  simt::grid_options().check = false;
  Trace::set_expert_bytes(model.weights);

  SessionOptions session;
  session.n_context = 128;
  session.n_batch = 1;
  const uint64_t keep_free = session_memory(model.spec, model.weights, LatentAttention::Absorbed, session).bytes();
  const uint64_t in_experts = expert_bytes(model.weights);
  constexpr uint64_t kLostToAlignment = 512, kOthers = uint64_t{128} << 10;
  uint64_t dense = kOthers;
  for (const LayerWeights& layer : model.weights.layers)
    if (const auto* experts = std::get_if<ExpertsWeights>(&layer.ffn))
      n_experts += static_cast<uint64_t>(experts->gate.count);
  dense += model.weights.layers.size() * static_cast<uint64_t>(kRealExperts) * sizeof(ExpertPlace);
  for (const gguf::Tensor& tensor : file.tensors())
    if (tensor.name.find("_exps") == std::string::npos) dense += tensor.bytes + kLostToAlignment;
  // Slots are a little larger than their experts.
  const uint64_t of_experts = static_cast<uint64_t>(setting.slots * static_cast<double>(in_experts + in_experts / 64));
  CudaDeviceOptions device_options;
  device_options.vram_bytes = dense + keep_free + of_experts;
  auto device = make_cuda_device(device_options);
  auto stream = device->make_stream();
  const std::vector<float> heat = bias_routers(setting);
  device_weights = move_to_device(*device, *stream, file, model.weights, {keep_free, keep_free}, {});
  if (device_weights.host_dense_bytes > 0 || device_weights.is_whole != (setting.slots >= 1))
    throw std::logic_error("The skeleton does not lie as it should.");
  size_t at = 0;
  for (LayerWeights& layer : model.weights.layers)
    if (auto* experts = std::get_if<ExpertsWeights>(&layer.ffn)) {
      const std::vector<float>& biases = popularity[at++].biases;
      device->copy_to_device(*stream, const_cast<float*>(experts->router_bias.data), biases.data(),
                             biases.size() * sizeof(float));
    }
  device->synchronize(*stream);

  std::unique_ptr<VramTier> tier;
  if (!device_weights.is_whole) {
    VramTierOptions options;
    if (setting.knows_heat) options.heat = heat;
    options.promotion.promotes = setting.promotes;
    options.promotion.has_thread = false;
    options.promotion.now = [] { return simt::host_seconds(); };
    double real = 0;
    const auto& some = std::get<ExpertsWeights>(model.weights.layers.back().ffn);
    for (const LinearStack* stack : {&some.gate, &some.up, &some.down}) real += Trace::real_bytes(stack->first.bytes());
    const auto small = static_cast<double>(some.gate.first.bytes() + some.up.first.bytes() + some.down.first.bytes());
    // As the engine's thread would measure it: an expert's first matrix is staged, then the others beside copies, then the last is copied.
    const double link = machine.gpus.front().pcie_bytes_per_second;
    options.promotion.link_bytes_per_second =
        setting.reads_host ? small / (real / link) : small / (real / kStagingBytesPerSecond + real / 3 / link);
    const auto statistics_of = [this] { return context->host->tier()->statistics().n_read_from_host; };
    cpu.set_reads(statistics_of, real / link);
    copies = std::make_unique<CopyThread>(
        *device,
        // Pinned memory needs no staging.
        [pinned = setting.reads_host](uint64_t n) {
          return pinned ? 0 : Trace::real_bytes(n) / kStagingBytesPerSecond;
        },
        [link](uint64_t n) { return Trace::real_bytes(n) / link; });
    // The tier's share exactly: what is left of VRAM is a little more.
    const auto bytes = static_cast<uint64_t>(setting.slots * small * 1.0003 * static_cast<double>(n_experts));
    tier = std::make_unique<VramTier>(*copies, model.weights, bytes, keep_free, options, nullptr);
  }
  if (copies) copies->begin();
  std::unique_ptr<WeightStore> store;
  if (tier && setting.reads_host) {
    const std::span<const std::byte> mapping = mapping_of(file);
    store = std::make_unique<PinnedStore>(*device, model.weights, mapping);
    launches.know_host(mapping);
  }
  context = std::make_unique<ForwardContext>(std::move(device), model.spec, model.weights, LatentAttention::Absorbed,
                                             std::move(store));
  launches.know(model.weights);
  cpu.know(model.weights);
  cpu.set_copies([this]() -> const std::vector<CopySpan>& {
    if (copies) copies->catch_up();
    return trace.look();
  });
  if (tier)
    context->host = std::make_unique<HostSide>(
        make_timed_cpu(make_cpu_device(1, false, true), cpu), model.spec, model.weights, *context->store,
        std::move(tier), context->device, [](int64_t, int64_t) { return uint64_t{0}; },
        SharingOptions{setting.reads_host, setting.defers});
}

// The result: heat as a tier takes it.
std::vector<float> Engine::bias_routers(const Setting& setting) {
  std::vector<float> heat;
  uint64_t seed = setting.seed;
  for (const LayerWeights& layer : model.weights.layers) {
    int64_t n = 0;
    for (const LayerSpec& spec : model.spec.layers)
      if (const auto* experts = std::get_if<ExpertsSpec>(&spec.ffn)) n = experts->router.n_experts;
    if (!std::holds_alternative<ExpertsWeights>(layer.ffn)) {
      heat.resize(heat.size() + static_cast<size_t>(n), 0.0f);
      continue;
    }
    popularity.push_back(popularity_of(n, setting.skew, ++seed));
    heat.insert(heat.end(), popularity.back().shares.begin(), popularity.back().shares.end());
  }
  return heat;
}

// How often the experts of each layer were chosen.
class Choices {
 public:
  explicit Choices(const std::vector<Popularity>& popularity) : popularity_(popularity) {
    for (const Popularity& layer : popularity) counts_.emplace_back(layer.biases.size(), 0);
  }
  void add(size_t layer, std::span<const int32_t> ids) {
    for (const int32_t id : ids) ++counts_[layer][static_cast<size_t>(id)];
  }
  void clear() {
    for (auto& layer : counts_) std::ranges::fill(layer, 0);
  }
  // Of all choices, on the experts that are first by the routers' biases.
  double share() const {
    double on_first = 0, all = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      std::vector<uint64_t> counts;
      for (const int32_t id : popularity_[i].ranks) counts.push_back(counts_[i][static_cast<size_t>(id)]);
      const auto n = static_cast<size_t>(kPopular * static_cast<double>(counts.size()) + 0.5);
      for (size_t k = 0; k < counts.size(); ++k) {
        all += static_cast<double>(counts[k]);
        if (k < n) on_first += static_cast<double>(counts[k]);
      }
    }
    return all > 0 ? on_first / all : 0;
  }

 private:
  const std::vector<Popularity>& popularity_;
  std::vector<std::vector<uint64_t>> counts_;
};

// What the GPU did in a pass, added up.
void add_kernels(const std::vector<simt::Span>& kernels, double begin, double end, double gap, Outcome& sum) {
  double last = begin;
  for (size_t i = 0; i < kernels.size(); ++i) {
    const simt::Span& kernel = kernels[i];
    sum.gpu_computing += kernel.end - kernel.start - gap;
    sum.gaps += gap;
    ++sum.n_launches;
    const double idle = kernel.start - last;
    if (i == 0)
      sum.before += idle;
    else if (kernel.name.find("residual_norm_rows") != std::string::npos)  // behind the wait
      sum.gpu_waiting += idle;
    else
      sum.between += idle;
    last = kernel.end;
  }
  sum.after += end - last;
}

}  // namespace

Outcome run_setting(const std::filesystem::path& skeleton, const PredictedLaunches& predicted, const Machine& machine,
                    const Setting& setting) {
  const auto real_begin = std::chrono::steady_clock::now();
  Engine engine(skeleton, predicted, machine, setting);
  ForwardContext& context = *engine.context;
  SequenceState state(context.device, engine.model.spec, CacheType::F16);
  SequenceState* const sequences[] = {&state};
  Choices choices(engine.popularity);
  std::mt19937_64 random(setting.seed);
  std::vector<float> logits(static_cast<size_t>(engine.model.spec.n_vocabulary));

  Outcome sum;
  uint64_t n_published = 0;
  size_t n_layers_done = 0;
  const auto on_routing = [&](uint32_t, std::span<const int32_t> ids, std::span<const float>) {
    choices.add(n_layers_done++, ids);
    if (!context.host) return;
    const double before = simt::host_seconds();
    simt::wait_for_watched_kernel(++n_published);
    simt::advance_host(kSeesChoiceSeconds);
    sum.cpu_waiting += simt::host_seconds() - before;
    engine.copies->catch_up();
  };
  VramStatistics first;
  const auto statistics = [&] { return context.host ? context.host->tier()->statistics() : VramStatistics{}; };
  CpuTimes cpu_before;
  for (uint32_t token = 0; token < setting.n_warm_tokens + setting.n_tokens; ++token) {
    if (token == setting.n_warm_tokens) {
      sum = {};
      first = statistics();
      cpu_before = engine.cpu.times();
      choices.clear();
    }
    const BatchRow row{static_cast<int32_t>(random() % static_cast<uint64_t>(engine.model.spec.n_vocabulary)), 0, true};
    engine.trace.forget();
    n_layers_done = 0;
    const double begin = simt::host_seconds();
    // What the GPU holds whole it decodes without telling what it chose.
    forward(context, std::span(&row, 1), sequences, logits.data(), {},
            context.host ? RoutingObserver(on_routing) : RoutingObserver());
    const double end = simt::host_seconds();
    engine.trace.look();
    sum.seconds += end - begin;
    std::vector<simt::Span> kernels;
    for (const simt::Span& kernel : engine.trace.kernels())
      if (kernel.start >= begin && kernel.end <= end) kernels.push_back(kernel);
    add_kernels(kernels, begin, end, engine.launches.gap_seconds(), sum);
  }
  if (const auto findings = simt::take_findings(); !findings.empty())
    throw std::runtime_error("The emulated GPU found: " + findings.front());

  const double n = setting.n_tokens;
  Outcome outcome = sum;
  for (double* value : {&outcome.seconds, &outcome.n_launches, &outcome.gpu_computing, &outcome.gaps,
                        &outcome.gpu_waiting, &outcome.before, &outcome.between, &outcome.after, &outcome.cpu_waiting})
    *value /= n;
  outcome.tokens_per_second = 1 / outcome.seconds;
  const VramStatistics last = statistics();
  const VramStatistics counted = since(first, last);
  const CpuTimes& cpu = engine.cpu.times();
  outcome.cpu_computing = (cpu.seconds - cpu_before.seconds) / n;
  outcome.cpu_between = (cpu.barrier_seconds - cpu_before.barrier_seconds) / n;
  outcome.cpu_memory_bound = (cpu.memory_bound_seconds - cpu_before.memory_bound_seconds) / n;
  outcome.cpu_experts = static_cast<double>(cpu.n_experts - cpu_before.n_experts) / 3 / n;
  outcome.n_promotions = static_cast<double>(counted.n_promotions) / n;
  outcome.hit_rate = context.host ? counted.hit_rate() : 1;
  outcome.n_read = static_cast<double>(counted.n_read_from_host) / n;
  outcome.slots = context.host ? static_cast<double>(last.n_slots) / static_cast<double>(engine.n_experts) : 1;
  outcome.popular_share = choices.share();
  outcome.real_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - real_begin).count();
  return outcome;
}

}  // namespace sluice::bench
