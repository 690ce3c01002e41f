// sluice synth: model files with random weights, to measure with.
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/synthetic/model.h"
#include "engine/synthetic/shape.h"
#include "engine/synthetic/types.h"
#include "engine/synthetic/vocabulary.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

namespace synthetic = engine::synthetic;
using synthetic::Shape;

// A flag for each size of a shape. What is not given is as the preset has it.
struct SizeFlag {
  const char* name;
  int64_t Shape::*size;
  int64_t least;
  int64_t most;
  const char* help;
};
static constexpr std::array kSizeFlags = {
    SizeFlag{"--layers", &Shape::n_layers, 1, 4096, "Layers"},
    SizeFlag{"--dense-layers", &Shape::n_dense_layers, 0, 4096, "Of these, the first that have no experts (deepseek2)"},
    SizeFlag{"--experts", &Shape::n_experts, 0, 65536, "Routed experts of a layer"},
    SizeFlag{"--experts-used", &Shape::n_experts_used, 0, 65536, "Of these, how many a token uses"},
    SizeFlag{"--shared-experts", &Shape::n_shared_experts, 0, 64, "Shared experts of a layer (deepseek2)"},
    SizeFlag{"--context", &Shape::n_context, 1, 1 << 30, "Context that the file claims to be trained for"},
    SizeFlag{"--vocabulary", &Shape::n_vocabulary, synthetic::kLeastVocabulary, 1 << 24, "Tokens"},
    SizeFlag{"--embedding", &Shape::n_embedding, 1, 1 << 20, "Size of the embedding"},
    SizeFlag{"--ff", &Shape::n_hidden, 1, 1 << 24, "Hidden size of a dense feed-forward"},
    SizeFlag{"--expert-ff", &Shape::n_expert_hidden, 1, 1 << 24, "Hidden size of an expert"},
    SizeFlag{"--heads", &Shape::n_heads, 1, 65536, "Attention heads"},
    SizeFlag{"--kv-heads", &Shape::n_kv_heads, 1, 65536, "Key and value heads (not deepseek2)"},
    SizeFlag{"--head-size", &Shape::head_size, 1, 65536, "Size of a head, in deepseek2 without its rotated part"},
    SizeFlag{"--rope-size", &Shape::rope_size, 2, 65536, "Rotated part of a head (deepseek2)"},
    SizeFlag{"--query-rank", &Shape::query_rank, 0, 1 << 20, "Rank of queries, 0: projected in one step (deepseek2)"},
    SizeFlag{"--latent-rank", &Shape::latent_rank, 1, 1 << 20, "Rank of the latent (deepseek2)"},
};

struct SynthFlags {
  std::string path;
  const synthetic::Preset* preset = nullptr;
  std::vector<std::pair<int64_t Shape::*, int64_t>> sizes;
  std::vector<std::string> types;
  std::optional<bool> split;
  bool sparse = false;
  bool quiet = false;
  uint64_t seed = 1;
};

// " --type A --type B" in lines of their own, indented, as long as a terminal is wide.
static std::string folded(std::string_view types) {
  static constexpr std::string_view kIndent = "                 ";
  static constexpr size_t kMostColumns = 132;
  std::string text, line;
  while (!types.empty()) {
    const size_t end = std::min(types.find(" --type", 1), types.size());
    if (!line.empty() && kIndent.size() + line.size() + end > kMostColumns) {
      text += std::string(kIndent) + line.substr(1) + "\n";
      line.clear();
    }
    line += types.substr(0, end);
    types.remove_prefix(end);
  }
  return text + std::string(kIndent) + line.substr(1) + "\n";
}

static std::string notes() {
  std::string text = "\nPresets (--preset):\n";
  for (const synthetic::Preset& preset : synthetic::presets()) {
    std::string types;
    for (const std::string_view rule : preset.types) types += " --type " + std::string(rule);
    text += format("  %-15s%s\n%s", std::string(preset.name).c_str(), std::string(preset.summary).c_str(),
                   folded(types).c_str());
  }
  text += "\nRoles (--type ROLE=TYPE; a later one overrides an earlier one, and all override the preset):\n" +
          synthetic::describe_roles() +
          R"(A tensor's name alone is a role, too. Norms and biases are always F32, the router unless it is named.
TYPE is what `sluice inspect` calls it: Q4_K, IQ1_S, F16 ... Rows that are no whole number of its blocks get a type with blocks of
32 instead, and F16 where even that does not fit; a note says so.
ROLE@LAYERS=TYPE is for some layers: one (@3), the first and the last (@3-8), or those that llama.cpp's mixtures give more bits
(@more: the first eighth, the last eighth, and every third between).

Mixtures (--type NAME), each short for several rules:
)" + synthetic::describe_mixtures() +
          R"(
With --sparse nothing is written but the metadata and the directory of tensors. The file has its full size and reads as zeros, but takes
some megabytes of the disk: for plans and simulations of models that would not fit.

llama.cpp takes a deepseek2 model without --query-rank only with 27 layers.

Examples:
  sluice synth model.gguf --preset llama-1b
  sluice synth model.gguf --preset llama-1b --type all=IQ1_S --type embd=Q4_K --type output=Q6_K
  sluice synth model.gguf --preset r1-slice --layers 4 --experts 32 --type all=Q4_K
  sluice synth r1.gguf --preset r1-ud-iq1s --sparse
)";
  return text;
}

static Shape chosen_shape(const SynthFlags& flags) {
  Shape shape = flags.preset->shape;
  for (const auto& [size, value] : flags.sizes) shape.*size = value;
  if (flags.split) shape.split_up_projection = *flags.split;
  // An expert of Mixtral has the size that the file gives for a dense feed-forward.
  if (shape.architecture == synthetic::Architecture::Llama) shape.n_expert_hidden = shape.n_hidden;
  synthetic::check_shape(shape);
  return shape;
}

// One line for each type that did not fit and what came instead of it.
static void note_substitutes(const std::vector<synthetic::TensorPlan>& tensors) {
  std::vector<std::string> said;
  for (const synthetic::TensorPlan& tensor : tensors) {
    if (tensor.type == tensor.wanted_type) continue;
    std::string line =
        format("rows of %llu values are no whole blocks of %s: ", static_cast<unsigned long long>(tensor.dims[0]),
               std::string(gguf::type_layout(tensor.wanted_type).name).c_str()) +
        std::string(gguf::type_layout(tensor.type).name) + " instead, in " + tensor.name;
    const std::string start = line.substr(0, line.find(','));
    if (std::find(said.begin(), said.end(), start) != said.end()) continue;
    said.push_back(start);
    write_stderr(line + " and its like\n");
  }
}

static void check_room(const std::filesystem::path& path, uint64_t bytes) {
  std::error_code failure;
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const std::filesystem::space_info space = std::filesystem::space(folder, failure);
  if (failure || space.available >= bytes) return;
  throw UsageError(
      format("the disk has too little room; found %s, expected %s; give fewer --layers or --experts, or "
             "another folder",
             format_bytes(space.available).c_str(), format_bytes(bytes).c_str()));
}

// 0 when the file system does not say.
static uint64_t bytes_on_disk(const std::string& path) {
  static constexpr uint64_t kBlockBytes = 512;  // whatever the file system's own blocks are
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_blocks) * kBlockBytes : 0;
}

static int synth(const SynthFlags& flags) {
  if (flags.preset == nullptr)
    throw UsageError("no shape is given; expected --preset NAME; `sluice synth --help` lists the presets");
  const Shape shape = chosen_shape(flags);
  synthetic::TypeRules types;
  for (const std::string_view rule : flags.preset->types) types.add(rule);
  for (const std::string& rule : flags.types) types.add(rule);
  const std::vector<synthetic::TensorPlan> tensors = synthetic::plan_tensors(shape, types);
  uint64_t bytes = 0;
  for (const synthetic::TensorPlan& tensor : tensors) bytes += tensor.bytes;
  if (!flags.sparse) check_room(flags.path, bytes);
  if (!flags.quiet) note_substitutes(tensors);
  if (flags.sparse) {
    synthetic::write_sparse_model(shape, tensors, flags.path);
    if (!flags.quiet)
      write_stderr(format("%s: %zu tensors, %s of holes, %s on the disk\n", printable(flags.path).c_str(),
                          tensors.size(), format_bytes(bytes).c_str(),
                          format_bytes(bytes_on_disk(flags.path)).c_str()));
    return kExitOk;
  }

  Progress progress("writing", Progress::Unit::Bytes, !flags.quiet);
  const auto begin = std::chrono::steady_clock::now();
  synthetic::write_model(shape, tensors, flags.seed, flags.path, [&](uint64_t done) { progress.update(done, bytes); });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  progress.finish();
  if (!flags.quiet)
    write_stderr(format("%s: %zu tensors, %s in %s, %.2f GB/s\n", printable(flags.path).c_str(), tensors.size(),
                        format_bytes(bytes).c_str(), format_seconds(seconds).c_str(),
                        static_cast<double>(bytes) / seconds * 1e-9));
  return kExitOk;
}

Action prepare_synth(CLI::App& app) {
  auto flags = std::make_shared<SynthFlags>();
  add_positional(app, "OUT", flags->path, "GGUF file to write; one that is there is replaced").required();
  std::vector<std::string> names;
  for (const synthetic::Preset& preset : synthetic::presets()) names.emplace_back(preset.name);
  add_choice(
      app, "--preset", names, [flags](size_t index) { flags->preset = &synthetic::presets()[index]; },
      "The model whose shape it has");
  for (const SizeFlag& size : kSizeFlags)
    add_flag_with_value(
        app, size.name, "N",
        [flags, size](const std::string& text) {
          flags->sizes.emplace_back(size.size, parse_integer(size.name, text, size.least, size.most));
        },
        size.help);
  add_choice(
      app, "--kv-b", {"fused", "split"}, [flags](size_t index) { flags->split = index == 1; },
      "Form of the latent's up-projection (as the preset has it; split in kimi-k2, else fused)");
  add_repeated(
      app, "--type", "RULE", [flags](const std::string& rule) { flags->types.push_back(rule); },
      "Type of the tensors of a role, ROLE=TYPE or another rule below; may be repeated");
  add_switch(app, "--sparse", flags->sparse, "Write the directory of tensors only, and leave holes for the weights");
  add_flag_with_value(
      app, "-s,--seed", "N",
      [flags](const std::string& text) {
        flags->seed = static_cast<uint64_t>(parse_integer("--seed", text, 0, INT64_MAX));
      },
      "Seed of the random weights (1)");
  add_switch(app, "-q,--quiet", flags->quiet, "Say nothing on stderr");
  set_notes(app, notes());
  return [flags] { return synth(*flags); };
}

}  // namespace sluice::tools
