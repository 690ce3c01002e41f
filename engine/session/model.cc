// Opening a model: file, specification, weights, vocabulary, device.

#include <algorithm>
#include <functional>
#include <ranges>
#include <span>
#include <utility>

#include "engine/device/cpu_device.h"
#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/model/bound_model.h"
#include "engine/placement/gpu_split.h"
#include "engine/placement/measure_machine.h"
#include "engine/placement/memory.h"
#include "engine/session/model_state.h"
#include "engine/session/routing_record.h"
#include "engine/session/session_memory.h"
#include "engine/session/shared_choice.h"
#include "kernels/cpu/cores.h"

namespace sluice::engine {

const Machine& Model::State::measured(Device& cpu) {
  // A disk that nobody has measured: an ordinary one.
  constexpr double kAssumedDisk = 2e9, kAssumedShare = 0.8;
  if (!machine) {
    std::vector<gguf::TensorType> types;
    for (const WeightGroup& group : work.groups)
      for (const MatrixWork& matrix : group.matrices)
        if (std::ranges::find(types, matrix.type) == types.end()) types.push_back(matrix.type);
    machine = measure_cpu(cpu, n_threads, types);
    machine->disk_bytes_per_second = kAssumedDisk;
    machine->cpu_share_beside_disk = kAssumedShare;
  }
  return *machine;
}

namespace {

// Progress over the parts of loading, as bytes of the file.
class LoadProgress {
 public:
  LoadProgress(const ModelOptions& options, uint64_t total) : options_(options), total_(total) {}
  void done(uint64_t bytes) {
    constexpr uint64_t kReport = uint64_t{64} << 20;
    if (!options_.on_progress || (bytes - reported_ < kReport && bytes != total_)) return;
    options_.on_progress(bytes, total_);
    reported_ = bytes;
  }

 private:
  const ModelOptions& options_;
  uint64_t total_, reported_ = 0;
};

// Bytes of a tensor that were brought into other memory.
uint64_t moved_bytes(const ResidentWeights& resident, const gguf::Tensor& tensor) {
  uint64_t bytes = 0;
  for (const std::span<const std::byte> part : resident.moved)
    if (part.data() >= tensor.data && part.data() < tensor.data + tensor.bytes) bytes += part.size();
  return bytes;
}

// Touches every page of the mapping that is still read, so that reading the file is seen as loading and not as a slow
// first token. Only for models that the machine can hold beside what else it runs; a larger one is left to the page
// cache.
void warm_pages(Device& device, const gguf::File& file, const ResidentWeights& resident, LoadProgress& progress) {
  const uint64_t total = file.tensor_bytes();
  uint64_t done = resident.file_bytes;
  if (total - done > available_memory_bytes() / 10 * 9) return;
  for (const gguf::Tensor& tensor : file.tensors()) {
    const uint64_t moved = moved_bytes(resident, tensor);
    if (moved == tensor.bytes) continue;
    const uint64_t n_matrices = std::max<uint64_t>(1, tensor.dims[2]);  // of a stack of experts or heads
    device.touch_weights(tensor.data, static_cast<int64_t>(n_matrices), tensor.bytes / n_matrices);
    done += tensor.bytes - moved;
    progress.done(done);
  }
}

}  // namespace

std::unique_ptr<WeightStore> Model::State::open_on_cpu(Device& cpu, const std::filesystem::path& path,
                                                       const std::function<void(uint64_t done)>& on_bytes) {
  const uint64_t total = file.tensor_bytes();
  const MemoryBudget budget =
      memory_budget(options.store.ram_bytes, available_memory_bytes(), engine::resident_bytes(), session);
  ram_budget_bytes = budget.ram_bytes;
  if (wants_disk(options.store, budget, total)) {
    auto store = open_disk_storage(disk, cpu, path, file, spec, weights, options, budget);
    work = std::move(disk.work);
    places = std::move(disk.places);
    return store;
  }

  const std::vector<ChosenForm> forms = choose_forms(weights, offers_of(cpu), options.residency,
                                                     budget.weight_bytes - std::min(total, budget.weight_bytes));
  resident = engine::make_resident(cpu, *cpu.make_stream(), forms, [&](uint64_t done, uint64_t) { on_bytes(done); });
  work = work_of(spec, weights, options.session.cache, nullptr);
  places = places_in_ram(work);
  return nullptr;
}

std::vector<float> Model::State::heat() const {
  // A tier of VRAM sees what is used of the store beneath it, too.
  std::vector<float> heat;
  bool has_tier = false;
  for (const Stage& stage : context->stages) {
    if (!stage.host || stage.host->tier() == nullptr) continue;
    has_tier = true;
    const std::vector<float> own = stage.host->tier()->heat();  // of other layers zeros
    heat.resize(std::max(heat.size(), own.size()), 0);
    std::ranges::transform(heat | std::views::take(own.size()), own, heat.begin(), std::plus());
  }
  if (has_tier) return heat;
  const auto* const store = dynamic_cast<const DiskStore*>(context->store.get());
  return store != nullptr ? store->heat() : std::vector<float>();
}

Model::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
Model::~Model() {
  if (!state_) return;
  try {
    save_heat(state_->disk, state_->heat(), state_->options.store);
  } catch (const std::exception&) {  // what was learned is a help and no more
  }
}

std::shared_ptr<const Model> Model::open(const std::filesystem::path& path, const ModelOptions& options) {
  gguf::File file = gguf::File::open(path);
  auto [spec, weights] = describe_and_bind(path, file);
  tokenizer::Tokenizer tokenizer =
      tokenizer::Tokenizer::from_metadata(file.metadata(), tokenizer::Options{options.pre_tokenizer});
  if (static_cast<int64_t>(tokenizer.size()) > spec.n_vocabulary)
    throw Error(Error::Kind::BadFile, path.string() + ": The vocabulary has " + std::to_string(tokenizer.size()) +
                                          " tokens but the embedding only " + std::to_string(spec.n_vocabulary) +
                                          " rows; the file is damaged or was put together wrongly.");
  const SessionMemory memory = session_memory(spec, weights, options.latent_attention, options.session);
  const uint32_t n_threads = options.n_threads != 0 ? options.n_threads : kernels::usable_cores().default_threads();
  auto state = std::make_unique<State>(State{options,
                                             n_threads,
                                             std::move(file),
                                             std::move(tokenizer),
                                             std::move(spec),
                                             std::move(weights),
                                             0,
                                             memory,
                                             ResidentWeights{},
                                             DiskStorage{},
                                             nullptr,
                                             {},
                                             {},
                                             options.machine});
  const uint64_t total = state->file.tensor_bytes();
  LoadProgress progress(state->options, total);
  const auto hold_all = [&](std::span<const GpuRoom> gpus) {
    if (gpus.size() == 1) return total + state->session.gpu_bytes() <= gpus.front().bytes;
    const ModelWork work = work_of(state->spec, state->weights, options.session.cache, nullptr);
    return split_over_gpus(work, state_bytes_of_layers(state->spec, options.session), state->session, gpus).is_whole;
  };
  state->device = choose_device(options, n_threads, hold_all, [&](std::span<const WantedGpu> gpus) {
    state->work = work_of(state->spec, state->weights, options.session.cache, nullptr);
    Machine machine = state->measured(*make_cpu_device(n_threads, options.pin_threads, true));
    machine.n_cores = n_threads;
    return why_not_shared(gpus, state->file, state->spec, state->session, session_context(state->spec, options.session),
                          options, std::move(machine));
  });
  if (state->device.is_gpu) {
    state->open_on_gpus(path, [&](uint64_t done) { progress.done(done); });
  } else {
    std::unique_ptr<Device> device = std::move(state->device.devices.front());
    auto store = state->open_on_cpu(*device, path, [&](uint64_t done) { progress.done(done); });
    const bool is_mapped = store == nullptr;
    state->context = std::make_unique<ForwardContext>(std::move(device), state->spec, state->weights,
                                                      options.latent_attention, std::move(store));
    if (is_mapped) warm_pages(state->context->device, state->file, state->resident, progress);
  }
  return std::shared_ptr<const Model>(new Model(std::move(state)));
}

const gguf::File& Model::file() const {
  return state_->file;
}
const ModelSpec& Model::spec() const {
  return state_->spec;
}
const tokenizer::Tokenizer& Model::tokenizer() const {
  return state_->tokenizer;
}
const ModelOptions& Model::options() const {
  return state_->options;
}
uint32_t Model::n_threads() const {
  return state_->n_threads;
}
std::string_view Model::architecture() const {
  return state_->spec.architecture;
}
uint32_t Model::vocabulary_size() const {
  return static_cast<uint32_t>(state_->spec.n_vocabulary);
}
uint32_t Model::trained_context() const {
  return static_cast<uint32_t>(state_->spec.n_context);
}
uint64_t Model::resident_bytes() const {
  return state_->resident.bytes;
}
uint64_t Model::ram_budget_bytes() const {
  return state_->ram_budget_bytes;
}
uint64_t Model::session_bytes() const {
  return state_->session.bytes();
}
traces::TraceHeader Model::trace_header() const {
  const std::string_view name = file().metadata().get_string("general.name").value_or("");
  return engine::trace_header(spec(), name, architecture());
}
std::string_view Model::device_name() const {
  return state_->device.name;
}
std::string_view Model::why_no_gpu() const {
  return state_->device.why_no_gpu;
}
bool Model::is_on_gpu() const {
  return state_->device.is_gpu;
}
std::vector<GpuUse> Model::gpus() const {
  std::vector<GpuUse> gpus;
  for (size_t i = 0; i < state_->gpus.size(); ++i) {
    const CudaGpu& gpu = state_->device.gpus[i].gpu;
    const Stage& stage = state_->context->stages[i];
    gpus.push_back({gpu.name, gpu.ordinal, stage.layers.begin, stage.layers.end, stage.device.memory(),
                    stage.host ? stage.host->statistics() : VramStatistics{}, stage.device.times(*stage.stream)});
  }
  return gpus;
}
VramStatistics Model::vram_statistics() const {
  VramStatistics all;
  for (const Stage& stage : state_->context->stages)
    if (stage.host) all = together(all, stage.host->statistics());
  return all;
}
DeviceTimes Model::device_times() const {
  DeviceTimes all;
  for (const Stage& stage : state_->context->stages) all = together(all, stage.device.times(*stage.stream));
  return all;
}
uint64_t Model::host_dense_bytes() const {
  uint64_t bytes = 0;
  for (const GpuPart& part : state_->gpus) bytes += part.weights.host_dense_bytes;
  return bytes;
}
uint32_t Model::most_rows() const {
  const auto is_shared = [](const Stage& stage) { return stage.host != nullptr; };
  return std::ranges::any_of(state_->context->stages, is_shared) ? kMostSharedRows : UINT32_MAX;
}
DeviceMemory Model::device_memory() const {
  DeviceMemory all;
  for (const Stage& stage : state_->context->stages) all = all + stage.device.memory();
  return all;
}
StoreStatistics Model::store_statistics() const {
  return state_->context->store->statistics();
}
const ModelWork& Model::work() const {
  return state_->work;
}
std::span<const GroupPlace> Model::places() const {
  return state_->places;
}
const Machine& Model::machine() const {
  return state_->measured(state_->context->device);
}
ForwardContext& Model::forward_context() const {
  return *state_->context;
}

}  // namespace sluice::engine
