#include "tools/model_flags.h"

#include <array>
#include <cstdlib>

#include "engine/device/cuda_device.h"
#include "engine/placement/nvidia.h"
#include "tools/cache_folder.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/machine_file.h"
#include "tools/plan_file.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

static constexpr int64_t kMostContext = 1 << 28;
static constexpr int64_t kMostThreads = 4096;
static constexpr int64_t kMostBatch = 1 << 20;

void add_model_flags(CLI::App& app, ModelFlags& flags) {
  auto context = [&flags](const std::string& text) {
    flags.session.n_context = static_cast<uint32_t>(parse_integer("--ctx-size", text, 0, kMostContext));
  };
  add_flag_with_value(app, "-c,--ctx-size", "N", context,
                      "Context length in tokens; 0: what the model was trained with, at most 4096")
      .group("Model")
      .default_text("0");
  add_choice(app, "--device", kDeviceWords, flags.model.device,
             "What multiplies: the CPU, an NVIDIA GPU and the CPU for what VRAM does not hold, or whichever is faster "
             "by the plan")
      .group("Model")
      .default_text("auto");
  auto threads = [&flags](const std::string& text) {
    flags.model.n_threads = static_cast<uint32_t>(parse_integer("--threads", text, 0, kMostThreads));
  };
  add_flag_with_value(app, "-t,--threads", "N", threads,
                      "CPU threads; 0: one a physical core that this process may use")
      .group("Model")
      .default_text("0");
  add_switch(app, "--pin", flags.model.pin_threads, "Bind each thread but the first to a core of its own")
      .group("Model");
  auto batch = [&flags](const std::string& text) {
    flags.session.n_batch = static_cast<uint32_t>(parse_integer("--batch-size", text, 1, kMostBatch));
  };
  add_flag_with_value(app, "-b,--batch-size", "N", batch, "Prompt tokens in one forward pass at most")
      .group("Model")
      .default_text(std::to_string(flags.session.n_batch));
  add_choice(app, "--cache-type", kCacheWords, flags.session.cache,
             "Precision of the KV cache; q8_0 takes 53% of the memory of f16")
      .group("Model")
      .default_text("f16");
  auto activations = [&flags](size_t i) {
    flags.model.activations = i == 0 ? engine::ActivationPrecision::Int8 : engine::ActivationPrecision::Float32;
  };
  add_choice(app, "--activations", {"int8", "f32"}, activations, "Precision of the inputs of quantised matrices")
      .group("Model")
      .default_text("int8");
  auto latent = [&flags](size_t i) {
    static constexpr std::array kModes = {engine::LatentAttention::Automatic, engine::LatentAttention::Expanded,
                                          engine::LatentAttention::Absorbed};
    flags.model.latent_attention = kModes[i];
  };
  add_choice(app, "--mla", {"auto", "expanded", "absorbed"}, latent, "How multi-head latent attention reads its cache")
      .group("Model")
      .default_text("auto");
  add_choice(app, "--resident", kResidencyWords, flags.model.residency,
             "Form of the weights in memory: the file's, the fastest known that memory holds, or the better here")
      .group("Model")
      .default_text("auto");
  auto ram = [&flags](const std::string& text) { flags.model.store.ram_bytes = parse_bytes("--ram", text); };
  add_flag_with_value(app, "--ram", "BYTES", ram,
                      "Memory that the program may have, all told; what does not fit is read from the disk as it is "
                      "needed (G is GiB, M is MiB). Without it: what is free, less a margin")
      .group("Memory");
  auto vram = [&flags](const std::string& text) {
    const std::vector<uint64_t> sizes = parse_sizes("--vram", text);
    flags.model.vram_bytes = sizes.size() == 1 ? sizes.front() : 0;
    flags.model.vram_bytes_of_gpus = sizes.size() == 1 ? std::vector<uint64_t>() : sizes;
  };
  add_flag_with_value(app, "--vram", "BYTES[,...]", vram,
                      "VRAM that the program may have, of each GPU, or of one after the other; what does not fit the "
                      "CPU multiplies beside the GPU. Without it: what is free, less a margin")
      .group("Memory");
  auto gpus = [&flags](const std::string& text) {
    const std::vector<int64_t> numbers = parse_integers("--gpus", text, 0, 1000);
    flags.model.gpus.assign(numbers.begin(), numbers.end());
  };
  add_flag_with_value(app, "--gpus", "N[,...]", gpus,
                      "GPUs that may be used, by the driver's numbers from 0, in the order in which layers come to "
                      "them; as few are taken as hold the model. Without it: all, the fastest first")
      .group("Memory");
  auto streamed = [&flags](const std::string& text) {
    flags.model.sharing.most_streamed_rows =
        static_cast<uint32_t>(parse_integer("--streamed-rows", text, 0, kMostBatch));
  };
  add_flag_with_value(app, "--streamed-rows", "N", streamed,
                      "With experts shared between GPU and CPU: prompt tokens in one pass at most for which the "
                      "experts in RAM come to the GPU over PCIe, where that is faster; 0: the CPU multiplies by them")
      .group("Memory")
      .default_text(std::to_string(flags.model.sharing.most_streamed_rows));
  add_switch(app, "--defer-experts", flags.model.sharing.defers,
             "With experts shared between GPU and CPU: add what the CPU computes one layer later, so that both wait "
             "less. Faster; changes the results, and `sluice logits --compare-deferral` says how much")
      .group("Memory");
  add_choice(app, "--store", kStorageWords, flags.model.store.storage,
             "Where weights are: mapped and in memory, or in memory of the program that is filled from the disk as "
             "they are needed; auto maps what fits, but for experts beside a GPU, which can read the latter")
      .group("Memory")
      .default_text("auto");
  auto policy = [&flags](size_t i) {
    static constexpr std::array kKinds = {engine::PolicyKind::Lru, engine::PolicyKind::Lfu,
                                          engine::PolicyKind::StaticHeat, engine::PolicyKind::Hybrid};
    flags.model.store.policy = kKinds[i];
  };
  add_choice(app, "--policy", {"lru", "lfu", "static", "hybrid"}, policy,
             "Which expert gives up its memory for another: the one used longest ago, least often, least in earlier "
             "runs, or least often counting earlier runs")
      .group("Memory")
      .default_text("hybrid");
  auto access = [&flags](size_t i) {
    static constexpr std::array kKinds = {engine::DiskAccess::Automatic, engine::DiskAccess::Uring,
                                          engine::DiskAccess::Pread};
    flags.model.store.access = kKinds[i];
  };
  add_choice(app, "--io", {"auto", "uring", "pread"}, access, "How the disk is read")
      .group("Memory")
      .default_text("auto");
  add_switch(
      app, "--no-guess", [&flags] { flags.model.store.guesses = false; },
      "Do not read the experts that the next layer will probably choose")
      .group("Memory");
  add_switch(app, "--no-heat", flags.no_heat, "Neither use nor keep what runs learn of which experts a model uses")
      .group("Memory");
  const Flag plan = add_flag_with_value(
      app, "--plan", "FILE", [&flags](const std::string& text) { obey_plan(text, flags); },
      "Run as `sluice plan MODEL --json > FILE` says: with its memory, context, batch, cache and forms");
  plan.group("Memory");
  for (const char* planned : {"--ram", "--vram", "--device", "--store", "--ctx-size", "--batch-size", "--cache-type",
                              "--resident", "--streamed-rows"})
    plan.excludes(planned);
  auto pre_tokenizer = [&flags](const std::string& text) { flags.model.pre_tokenizer = text; };
  add_flag_with_value(app, "--pre-tokenizer", "NAME", pre_tokenizer,
                      "Pre-tokeniser to use instead of the one that the file names")
      .group("Model");
  add_switch(app, "-q,--quiet", flags.quiet, "No progress and no timing on stderr, only warnings and errors");
}

std::filesystem::path default_model_path() {
  std::filesystem::path built_in = SLUICE_DEFAULT_MODEL;
  if (!built_in.empty()) {
    std::error_code failure;
    std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", failure).parent_path();
    std::filesystem::path name = built_in.filename();
    for (const auto& path : {folder / name, folder / "models" / name, folder / "../models" / name,
                             folder / "../share/sluice" / name, built_in}) {
      if (std::filesystem::is_regular_file(path, failure)) return path;
    }
    throw UsageError("no MODEL was given and the default model is gone; expected it at " + built_in.string() +
                     "; give the path of a GGUF file: sluice run MODEL.gguf");
  }
  throw UsageError(
      "no MODEL was given and this build has no default model; expected one in models/ when it was configured; "
      "give the path of a GGUF file: sluice run MODEL.gguf");
}

std::shared_ptr<const engine::Model> open_model(const ModelFlags& flags) {
  check_planned_model(flags);
  Progress progress("loading", Progress::Unit::Bytes, !flags.quiet);
  engine::ModelOptions options = flags.model;
  options.session = flags.session;
  if (const std::filesystem::path folder = cache_folder(); !flags.no_heat && !folder.empty())
    options.store.heat_folder = folder / "heat";
  if (const std::filesystem::path own = own_machine_path(); !own.empty() && std::filesystem::exists(own)) {
    try {
      options.machine = read_machine(own);
    } catch (const UsageError& error) {  // a help for the report and no more
      if (!flags.quiet) print_warning(error.what());
    }
  }
  options.on_progress = [&](uint64_t done, uint64_t total) { progress.update(done, total); };
  std::shared_ptr<const engine::Model> model = engine::Model::open(flags.path, options);
  // Where there is none, the line in the report is enough.
  if (engine::has_cuda() && !flags.quiet && !model->why_no_gpu().empty() && engine::read_nvidia_gpus().n_found > 0)
    print_note("running on the CPU: " + std::string(model->why_no_gpu()));
  return model;
}

void add_trace_flag(CLI::App& app, ModelFlags& flags) {
  add_text(app, "--trace", "FILE", flags.trace, "Write which experts every token used to FILE; `sluice trace` reads it")
      .group("Memory");
}

std::unique_ptr<engine::traces::TraceWriter> open_trace(const ModelFlags& flags) {
  if (flags.trace.empty()) return nullptr;
  return std::make_unique<engine::traces::TraceWriter>(flags.trace);
}

void record_trace(engine::Session& session, engine::traces::TraceWriter* trace) {
  if (trace == nullptr) return;
  trace->begin(session.model().trace_header());
  session.record_routing([trace](const engine::traces::Pass& pass) { trace->add(pass); });
}

engine::Session open_session(std::shared_ptr<const engine::Model> model, const ModelFlags& flags) {
  if (flags.session.n_context > model->trained_context() && model->trained_context() > 0) {
    print_warning(
        format("the context of %u tokens is longer than the %u that the model was trained with; "
               "expect poor text past them",
               flags.session.n_context, model->trained_context()));
  }
  return {std::move(model), flags.session};
}

}  // namespace sluice::tools
