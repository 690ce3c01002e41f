// sluice plan: what goes where and how fast it will be, before a byte of weights is read.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/machine_file.h"
#include "tools/plan_file.h"
#include "tools/plan_report.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

static constexpr const char* kPlanNotes = R"(
Reads the directory of the file only, so it takes no time however large the model is, and a file made by `sluice synth --sparse`
serves as well as the real one. Without --machine it plans for this one: with what `sluice doctor --measure` found, else with what is
measured in a second now. Every rate that it prints is predicted; docs/placement.md says how, and from what.

Examples:
  sluice plan model.gguf
  sluice plan model.gguf --machine bench/machines/rtx4090-48g-124g.json -c 16384
  sluice plan model.gguf --ram 64G --json > plan.json && sluice run model.gguf --plan plan.json
)";

struct PlanFlags {
  std::string model, machine;
  engine::PlanOptions options;
  bool json = false;
};

static int plan(const PlanFlags& flags) {
  const engine::PlannedModel model(flags.model);
  PlanReport report;
  report.model = flags.model;
  report.tensor_bytes = model.file().tensor_bytes();
  report.machine = flags.machine.empty() ? this_machine(model.file()) : read_machine(flags.machine);
  report.plan = model.plan(report.machine, flags.options);
  report.by_hit_rate = engine::decode_by_hit_rate(report.machine, report.plan);
  report.improvements = engine::improvements(model, report.machine, report.plan);
  if (flags.json)
    write_stdout(plan_json(report).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  else
    write_stdout(plan_text(report));
  return report.plan.fits ? kExitOk : kExitNoMemory;
}

Action prepare_plan(CLI::App& app) {
  auto flags = std::make_shared<PlanFlags>();
  add_positional(app, "MODEL", flags->model, "GGUF file, or any shard of one").required();
  add_text(app, "-m,--machine", "FILE", flags->machine, "The machine to plan for, as JSON (bench/machines/)");
  add_flag_with_value(
      app, "-c,--ctx-size", "N",
      [flags](const std::string& text) {
        flags->options.n_context = static_cast<uint32_t>(parse_integer("--ctx-size", text, 0, 1 << 30));
      },
      "Context length in tokens; 0: what the model was trained with, at most 4096");
  add_flag_with_value(
      app, "-b,--batch-size", "N",
      [flags](const std::string& text) {
        flags->options.n_batch = static_cast<uint32_t>(parse_integer("--batch-size", text, 1, 1 << 20));
      },
      "Prompt tokens in one forward pass at most (512)");
  add_choice(app, "--cache-type", kCacheWords, flags->options.cache, "Precision of the KV cache (f16)");
  add_flag_with_value(
      app, "--streamed-rows", "N",
      [flags](const std::string& text) {
        flags->options.most_streamed_rows = static_cast<uint32_t>(parse_integer("--streamed-rows", text, 0, 1 << 20));
      },
      "Prompt tokens in one pass at most for which experts come to the GPU; 0: there is none (4096)");
  add_choice(
      app, "--store", kStorageWords, flags->options.storage,
      "Where weights are: auto maps a file that fits, but for experts beside a GPU, which come into memory that it can "
      "read (auto)");
  add_choice(app, "--resident", kResidencyWords, flags->options.residency, "Form of the weights in memory (auto)");
  add_flag_with_value(
      app, "--ram", "BYTES",
      [flags](const std::string& text) { flags->options.ram_bytes = parse_bytes("--ram", text); },
      "Memory that the program may have, all told; without it: the machine's, less a margin");
  add_flag_with_value(
      app, "--vram", "BYTES[,...]",
      [flags](const std::string& text) {
        flags->options.vram_bytes = text == "0" ? std::vector<uint64_t>{0} : parse_sizes("--vram", text);
      },
      "VRAM that the program may have of each of the machine's GPUs, in place of what they have: one size for all, or "
      "one for each; 0: no GPU");
  add_switch(app, "--json", flags->json, "Print one JSON object; `run --plan` takes it");
  set_notes(app, kPlanNotes);
  return [flags] { return plan(*flags); };
}

}  // namespace sluice::tools
