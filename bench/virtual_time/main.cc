// What DeepSeek-R1 would do on a machine with an RTX 4090, by running the engine over virtual time (bench/virtual_time.py):
//
//   virtual_time --machine bench/machines/rtx4090-48g-124g.json --launches bench/virtual_time/r1_rtx4090.json '[{"slots": 0.29}, ...]'
//
// prints one line of JSON for each setting. Predicted, not measured. A setting {"prefill": 4096} is a prompt of so many tokens
// (bench/virtual_time/prefill.h): with "most_rows" a pass, and "tiles",
// "attention" and "floats" as the shares that kernels are assumed to reach.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/virtual_time/prefill.h"
#include "bench/virtual_time/run.h"
#include "bench/virtual_time/skeleton.h"
#include "tools/machine_file.h"

using namespace sluice;
using nlohmann::ordered_json;

namespace {

// A file that goes when the program does.
struct TemporaryFile {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("sluice-skeleton-" + std::to_string(getpid()) +
                                                                         "-" + std::to_string(++n_made) + ".gguf");
  static inline int n_made = 0;
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

bench::Setting setting_of(const ordered_json& json) {
  bench::Setting setting;
  for (const auto& [name, value] : json.items()) {
    if (name == "slots")
      setting.slots = value;
    else if (name == "skew")
      setting.skew = value;
    else if (name == "promotes")
      setting.promotes = value;
    else if (name == "knows_heat")
      setting.knows_heat = value;
    else if (name == "n_warm_tokens")
      setting.n_warm_tokens = value;
    else if (name == "n_tokens")
      setting.n_tokens = value;
    else if (name == "n_positions")
      setting.n_positions = value;
    else if (name == "uses_groups")
      setting.uses_groups = value;
    else if (name == "cpu_scale")
      setting.cpu_scale = value;
    else if (name == "uses_forms")
      setting.uses_forms = value;
    else if (name == "reads_host")
      setting.reads_host = value;
    else if (name == "defers")
      setting.defers = value;
    else if (name == "only_overhead")
      setting.only_overhead = value;
    else if (name == "seed")
      setting.seed = value;
    else
      throw std::runtime_error("'" + name + "' is no part of a setting; bench/virtual_time/run.h has them.");
  }
  return setting;
}

ordered_json json_of(const bench::Outcome& outcome) {
  return {{"tokens_per_second", outcome.tokens_per_second},
          {"seconds", outcome.seconds},
          {"hit_rate", outcome.hit_rate},
          {"n_read", outcome.n_read},
          {"slots", outcome.slots},
          {"popular_share", outcome.popular_share},
          {"n_promotions", outcome.n_promotions},
          {"n_launches", outcome.n_launches},
          {"gpu_computing", outcome.gpu_computing},
          {"gaps", outcome.gaps},
          {"gpu_waiting", outcome.gpu_waiting},
          {"before", outcome.before},
          {"between", outcome.between},
          {"after", outcome.after},
          {"cpu_computing", outcome.cpu_computing},
          {"cpu_between", outcome.cpu_between},
          {"cpu_memory_bound", outcome.cpu_memory_bound},
          {"cpu_waiting", outcome.cpu_waiting},
          {"cpu_experts", outcome.cpu_experts},
          {"real_seconds", outcome.real_seconds}};
}

ordered_json json_of(const bench::PrefillOutcome& outcome) {
  return {{"assumed",
           "missed experts lie in pinned RAM; what tiles reach of the 8-bit peak and attention and matrices of floats "
           "of that of 16-bit floats: "
           "tiles, attention, floats"},
          {"tiles", outcome.shares.tiles},
          {"attention", outcome.shares.attention},
          {"floats", outcome.shares.floats},
          {"tokens_per_second", outcome.tokens_per_second},
          {"seconds_to_first_token", outcome.seconds},
          {"bound", outcome.bound},
          {"n_passes", outcome.n_passes},
          {"most_rows", outcome.most_rows},
          {"slots", outcome.slots},
          {"ring_bytes", outcome.ring_bytes},
          {"n_copied", outcome.n_copied},
          {"copied_bytes", outcome.copied_bytes},
          {"link_seconds", outcome.link_seconds},
          {"gpu_computing", outcome.gpu_computing},
          {"gpu_attention", outcome.gpu_attention},
          {"gpu_experts", outcome.gpu_experts},
          {"gpu_waiting", outcome.gpu_waiting}};
}

bench::PrefillOutcome run_prefill_setting(const ordered_json& json, const engine::Machine& machine) {
  bench::PrefillSetting setting;
  for (const auto& [name, value] : json.items()) {
    if (name == "prefill")
      setting.n_tokens = value;
    else if (name == "most_rows")
      setting.most_streamed_rows = value;
    else if (name == "tiles")
      setting.shares.tiles = value;
    else if (name == "attention")
      setting.shares.attention = value;
    else if (name == "floats")
      setting.shares.floats = value;
    else
      throw std::runtime_error("'" + name + "' is no part of a setting with a prompt.");
  }
  if (setting.n_tokens <= 0) throw std::runtime_error("A prompt has one token at least.");
  const TemporaryFile holes;
  bench::write_holes(holes.path);
  return bench::run_prefill(holes.path, machine, setting);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The engine over virtual time");
  std::string machine_path, launches_path, settings_text;
  bench::SkeletonSize size;
  app.add_option("--machine", machine_path)->required();
  app.add_option("--launches", launches_path)->required();
  app.add_option("--layers", size.n_layers);
  app.add_option("--dense-layers", size.n_dense_layers);
  app.add_option("settings", settings_text)->required();
  CLI11_PARSE(app, argc, argv);
  try {
    const engine::Machine machine = tools::read_machine(machine_path);
    if (machine.gpus.empty()) throw std::runtime_error(machine_path + " has no GPU.");
    const bench::PredictedLaunches predicted = bench::read_predicted_launches(launches_path);
    const ordered_json settings = ordered_json::parse(settings_text);
    const TemporaryFile file;
    bool has_skeleton = false;
    for (const ordered_json& one : settings) {
      if (one.contains("prefill")) {
        ordered_json line = {{"setting", one}};
        line.update(json_of(run_prefill_setting(one, machine)));
        std::cout << line.dump() << std::endl;
        continue;
      }
      if (!std::exchange(has_skeleton, true)) bench::write_skeleton(size, file.path);
      ordered_json line = {{"setting", one}};
      line.update(json_of(bench::run_setting(file.path, predicted, machine, setting_of(one))));
      std::cout << line.dump() << std::endl;
    }
  } catch (const std::exception& error) {
    std::cerr << "virtual_time: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
