// Opening a model: file, specification, weights, vocabulary, device.

#include <algorithm>
#include <utility>

#include "engine/device/cpu_device.h"
#include "engine/engine.h"
#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/model/bound_model.h"
#include "engine/placement/measure_machine.h"
#include "engine/placement/memory.h"
#include "engine/placement/residency.h"
#include "engine/session/copied_pages.h"
#include "engine/session/device_choice.h"
#include "engine/session/device_weights.h"
#include "engine/session/routing_record.h"
#include "engine/session/session_memory.h"
#include "engine/session/shared_choice.h"
#include "engine/session/weight_storage.h"
#include "kernels/cpu/cores.h"

namespace sluice::engine {

namespace {
class LoadProgress;
}

struct Model::State {
  ModelOptions options;
  uint32_t n_threads;
  gguf::File file;
  tokenizer::Tokenizer tokenizer;
  ModelSpec spec;
  ModelWeights weights;
  uint64_t ram_budget_bytes = 0;
  SessionMemory session;
  ResidentWeights resident;
  DiskStorage disk;
  std::unique_ptr<ForwardContext> context;
  ModelWork work;
  std::vector<GroupPlace> places;
  std::optional<Machine> machine;
  ChosenDevice device{};  // its Device is the context's
  DeviceWeights device_weights{};

  // The machine as it was described, or else its CPU as it is measured on `device`.
  const Machine& measured(Device& device);
  // The GPU's weights are moved there. The result: the VRAM tier, where some experts are the host's.
  std::unique_ptr<VramTier> open_on_gpu(Device& gpu, const std::function<void(uint64_t done)>& on_bytes);
  // What the GPU's tier does not hold of the experts, from the disk into memory of a set size; null where the mapped file will do. `cpu`
  // multiplies it.
  std::unique_ptr<DiskStore> open_experts(Device& gpu, Device& cpu, const VramTier& tier,
                                          const std::filesystem::path& path, const MemoryBudget& budget);
  void count_places(const VramTier* tier, WeightStore* store);
  // What the run has learned of how often experts are used.
  std::vector<float> heat() const;
  void open_beside_gpu(const std::filesystem::path& path, LoadProgress& progress);
  // Weights in a mapped file, with copies in memory (then the result is null), or in a store on the disk.
  std::unique_ptr<WeightStore> open_on_cpu(Device& cpu, const std::filesystem::path& path,
                                           const std::function<void(uint64_t done)>& on_bytes);
};

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

// What a session takes of the host's memory where a GPU has its caches: passes of no more rows than both share.
SessionMemory beside_gpu(const SessionMemory& session) {
  SessionMemory memory;
  memory.pass_bytes = memory.small_pass_bytes = session.shared_pass_bytes;
  return memory;
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

std::unique_ptr<VramTier> Model::State::open_on_gpu(Device& gpu, const std::function<void(uint64_t done)>& on_bytes) {
  const KeptFree kept_free{session.gpu_bytes(), session.shared_bytes()};
  device_weights = move_to_device(gpu, *gpu.make_stream(), file, weights, kept_free,
                                  [&](uint64_t done, uint64_t) { on_bytes(done); });
  work = work_of(spec, weights, options.session.cache, nullptr);
  std::unique_ptr<VramTier> tier;
  if (!device_weights.is_whole && device_weights.has_experts) {
    // As the context grows they give way to it.
    const uint64_t keep_free = session.first_bytes();
    VramTierOptions tier_options;
    tier_options.policy = options.store.policy;
    tier_options.promotion = options.promotion;
    tier_options.heat = learned_heat(disk, file, options.store);
    tier_options.on_copied = [pages = CopiedPages(file)](const std::byte* data, uint64_t bytes) {
      pages.copied(data, bytes);
    };
    tier = std::make_unique<VramTier>(gpu, weights, gpu.room(keep_free), keep_free, tier_options,
                                      [&](uint64_t done) { on_bytes(device_weights.bytes + done); });
  }
  return tier;
}

std::unique_ptr<DiskStore> Model::State::open_experts(Device& gpu, Device& cpu, const VramTier& tier,
                                                      const std::filesystem::path& path, const MemoryBudget& budget) {
  const uint64_t on_gpu = device_weights.bytes + tier.statistics().slot_bytes;
  if (!wants_disk(options.store, budget, file.tensor_bytes() - std::min(file.tensor_bytes(), on_gpu))) return nullptr;
  std::vector<uint32_t> n_on_device(weights.layers.size(), 0);
  for (uint32_t layer = 0; layer < weights.layers.size(); ++layer)
    if (const auto* experts = std::get_if<ExpertsWeights>(&weights.layers[layer].ffn))
      for (int32_t id = 0; id < experts->gate.count; ++id) n_on_device[layer] += tier.holds(layer, id) ? 1u : 0u;
  uint64_t mapped = device_weights.host_dense_bytes;
  if (weights.token_embedding.place == Place::MappedFile) mapped += weights.token_embedding.bytes();
  return open_expert_storage(disk, cpu, gpu, path, file, weights, options, n_on_device, budget,
                             budget.weight_bytes - std::min(budget.weight_bytes, mapped));
}

void Model::State::count_places(const VramTier* tier, WeightStore* store) {
  for (const WeightGroup& group : work.groups) {
    uint32_t n_vram = group.n_units, n_disk = 0;
    const LayerWeights& layer = weights.layers[std::min<size_t>(group.layer, weights.layers.size() - 1)];
    const auto* experts = std::get_if<ExpertsWeights>(&layer.ffn);
    if (group.role == GroupRole::RoutedExperts && tier) {
      n_vram = 0;
      for (int32_t id = 0; id < static_cast<int32_t>(group.n_units); ++id) {
        if (tier->holds(group.layer, id))
          ++n_vram;
        else if (store->hold(group.layer, id) == nullptr)
          ++n_disk;
      }
    } else if (group.role == GroupRole::Attention) {
      const std::byte* const first =
          std::visit([](const auto& attention) { return attention.output.data; }, layer.attention);
      n_vram = device_weights.is_elsewhere(first) ? 0 : 1;
    } else if (group.role == GroupRole::Router && experts != nullptr) {
      n_vram = device_weights.is_elsewhere(experts->router.data) ? 0 : 1;
    } else if (group.role == GroupRole::SharedExperts && experts != nullptr) {
      n_vram = experts->shared.gate.place == Place::Buffer ? 1 : 0;
    } else if (group.role == GroupRole::DenseFfn && experts == nullptr) {
      n_vram = std::get<DenseWeights>(layer.ffn).gate.place == Place::Buffer ? 1 : 0;
    } else if (group.role == GroupRole::Output) {
      n_vram = weights.output.front().place == Place::Buffer ? 1 : 0;
    } else if (group.role == GroupRole::Embedding) {
      n_vram = weights.token_embedding.place == Place::Buffer ? 1 : 0;
    }
    places.push_back({n_vram, group.n_units - n_vram - n_disk, n_disk});
  }
}

// The context has the GPU, and mapped weights so far.
void Model::State::open_beside_gpu(const std::filesystem::path& path, LoadProgress& progress) {
  const uint64_t total = file.tensor_bytes();
  // What the GPU leaves to the host is counted before the file is read for it: its pages are not the process's own.
  const MemoryBudget budget =
      memory_budget(options.store.ram_bytes, available_memory_bytes(), engine::resident_bytes(), beside_gpu(session));
  Device& gpu = context->device;
  auto tier = open_on_gpu(gpu, [&](uint64_t done) { progress.done(done); });
  CopiedPages(file).forget_all();
  if (!device_weights.is_whole) {
    auto cpu = make_cpu_device(n_threads, options.pin_threads, true);
    ram_budget_bytes = budget.ram_bytes;
    DiskStore* disk_store = nullptr;
    if (tier) {
      if (auto store = open_experts(gpu, *cpu, *tier, path, budget)) {
        disk_store = store.get();
        context->store = std::move(store);
      }
    }
    const auto pass_bytes = [this](int64_t n_rows, int64_t n_positions) {
      return shared_pass_bytes(spec, weights, options.latent_attention, options.session.cache, n_rows, n_positions);
    };
    context->host = std::make_unique<HostSide>(std::move(cpu), spec, weights, *context->store, std::move(tier), gpu,
                                               pass_bytes, options.sharing);
    uint64_t done_before = device_weights.bytes;
    const auto on_bytes = [&](uint64_t done) { progress.done(std::min(total, done_before + done)); };
    if (disk_store != nullptr) {
      done_before += context->host->tier()->statistics().slot_bytes;
      disk_store->fill(on_bytes);
    }
    if (disk_store != nullptr || total <= available_memory_bytes() / 10 * 9)
      context->host->touch_weights(disk_store == nullptr, on_bytes);
  }
  count_places(context->host ? context->host->tier() : nullptr, context->store.get());
}

std::vector<float> Model::State::heat() const {
  // A tier of VRAM sees what is used of the store beneath it, too.
  if (context->host && context->host->tier() != nullptr) return context->host->tier()->heat();
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
  state->device = choose_device(options, n_threads, total + state->session.gpu_bytes(), [&](const CudaGpu& gpu) {
    state->work = work_of(state->spec, state->weights, options.session.cache, nullptr);
    Machine machine = state->measured(*make_cpu_device(n_threads, options.pin_threads, true));
    machine.n_cores = n_threads;
    return why_not_shared(gpu, state->file, state->spec, state->session, session_context(state->spec, options.session),
                          options, std::move(machine));
  });
  std::unique_ptr<Device> device = std::move(state->device.device);
  if (state->device.is_gpu) {
    state->context =
        std::make_unique<ForwardContext>(std::move(device), state->spec, state->weights, options.latent_attention);
    state->open_beside_gpu(path, progress);
  } else {
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
VramStatistics Model::vram_statistics() const {
  const HostSide* const host = state_->context->host.get();
  return host != nullptr ? host->statistics() : VramStatistics{};
}
DeviceTimes Model::device_times() const {
  return state_->context->device.times(*state_->context->stream);
}
uint64_t Model::host_dense_bytes() const {
  return state_->device_weights.host_dense_bytes;
}
uint32_t Model::most_rows() const {
  return state_->context->host ? kMostSharedRows : UINT32_MAX;
}
DeviceMemory Model::device_memory() const {
  return state_->context->device.memory();
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
