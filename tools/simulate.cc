// sluice simulate: a model on a machine by a clock that is not real, for budgets and policies.
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/session/planning.h"
#include "engine/simulation/simulation.h"
#include "engine/store/policy.h"
#include "engine/traces/trace_file.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/machine_file.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

static constexpr const char* kSimulateNotes = R"(
The store's own table of slots and its policies run over modelled processors, disk and links, fed with the routing of a trace
(`sluice run MODEL --trace FILE` records one, `sluice trace --make FILE` makes one up). Every number is predicted. `best` is the share
that would have been in memory if what is needed again last had always been put out (Belady): no policy can do better.

Examples:
  sluice run model.gguf -n 256 --trace trace.bin
  sluice simulate model.gguf --trace trace.bin --ram 1G,2G,3G
  sluice simulate r1.gguf --trace trace.bin --machine bench/machines/rtx4090-48g-124g.json --policy hybrid --json
)";

struct SimulateFlags {
  std::string model, machine, trace, heat;
  std::vector<uint64_t> ram, vram;
  std::optional<engine::PolicyKind> policy;
  engine::PlanOptions options;
  engine::SimulationOptions simulation;
  bool no_reads = false;
  bool json = false;
};

// One line of the table.
struct SimulatedRun {
  uint64_t ram_bytes = 0, vram_bytes = 0;  // that the process may have
  engine::PolicyKind policy = engine::PolicyKind::Hybrid;
  double best = 0;  // share of hits: of VRAM where that decides, else of memory
  engine::SimulationResult result;
};

static uint64_t experts_in_memory(const engine::Plan& plan, engine::HitTier tier) {
  uint64_t n = 0;
  for (size_t i = 0; i < plan.work.groups.size(); ++i) {
    if (plan.work.groups[i].role != engine::GroupRole::RoutedExperts) continue;
    n += plan.places[i].n_vram + (tier == engine::HitTier::Memory ? plan.places[i].n_ram : 0);
  }
  return n;
}

static std::vector<SimulatedRun> simulate_all(const SimulateFlags& flags, const engine::PlannedModel& model,
                                              const engine::Machine& machine, const engine::traces::Trace& trace) {
  std::vector<SimulatedRun> runs;
  const auto run = [&](uint64_t ram_bytes, std::vector<uint64_t> vram_bytes) {
    engine::PlanOptions options = flags.options;
    options.ram_bytes = ram_bytes;
    options.vram_bytes = std::move(vram_bytes);
    const engine::Plan plan = model.plan(machine, options);
    if (!plan.fits)
      throw engine::Error(engine::Error::Kind::OutOfMemory, "The model does not fit into " +
                                                                format_bytes(plan.ram.capacity_bytes) +
                                                                " of RAM; simulate with more (--ram).");
    const double best = engine::best_hit_share(
        trace.header, trace.passes, experts_in_memory(plan, engine::hit_tier(plan)), flags.simulation.warm_share);
    for (const engine::PolicyKind policy : engine::kPolicies) {
      if (flags.policy && *flags.policy != policy) continue;
      engine::SimulationOptions simulation = flags.simulation;
      simulation.policy = policy;
      simulation.reads_host = plan.sharing.reads_host && !flags.no_reads;
      runs.push_back({plan.ram.capacity_bytes, plan.vram.capacity_bytes, policy, best,
                      engine::simulate(plan, machine, trace.header, trace.passes, simulation)});
    }
  };
  const std::vector<uint64_t> ram = flags.ram.empty() ? std::vector<uint64_t>{0} : flags.ram;
  for (const uint64_t ram_bytes : ram) {
    if (flags.vram.empty()) run(ram_bytes, {});
    for (const uint64_t vram_bytes : flags.vram) run(ram_bytes, {vram_bytes});
  }
  return runs;
}

static std::string percent(double share) {
  return format("%.1f%%", 100 * share);
}

static std::string table(const std::vector<SimulatedRun>& runs) {
  std::string text =
      "| RAM | VRAM | policy | in VRAM | in RAM | guessed | read | best | disk a token | PCIe a token | tokens/s | "
      "waits for |\n"
      "|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---|\n";
  for (const SimulatedRun& run : runs) {
    const engine::SimulationResult& r = run.result;
    text += format("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %.*f | %s |\n",
                   format_bytes(run.ram_bytes).c_str(), run.vram_bytes > 0 ? format_bytes(run.vram_bytes).c_str() : "-",
                   std::string(policy_name(run.policy)).c_str(), percent(r.in_vram).c_str(), percent(r.in_ram).c_str(),
                   percent(r.guessed).c_str(), percent(r.missed).c_str(), percent(run.best).c_str(),
                   format_bytes(static_cast<uint64_t>(r.disk_bytes)).c_str(),
                   format_bytes(static_cast<uint64_t>(r.pcie_bytes)).c_str(), r.tokens_per_second() < 10 ? 2 : 1,
                   r.tokens_per_second(), std::string(waited_name(r.waited_most())).c_str());
  }
  return text;
}

static nlohmann::ordered_json run_json(const SimulatedRun& run) {
  const engine::SimulationResult& r = run.result;
  return {
      {"ram_bytes", run.ram_bytes},
      {"vram_bytes", run.vram_bytes},
      {"policy", policy_name(run.policy)},
      {"tokens", r.n_tokens},
      {"tok_s", r.tokens_per_second()},
      {"in_vram", r.in_vram},
      {"in_vram_of_gpu", r.in_vram_of_gpu},
      {"in_ram", r.in_ram},
      {"guessed", r.guessed},
      {"missed", r.missed},
      {"best", run.best},
      {"disk_bytes_per_token", r.disk_bytes},
      {"pcie_bytes_per_token", r.pcie_bytes},
      {"promoted_per_token", r.promoted},
      {"read_by_gpu_per_token", r.read_by_gpu},
      {"disk_busy", r.disk_busy},
      {"critical_path_seconds",
       {{"cpu", r.cpu_seconds}, {"gpu", r.gpu_seconds}, {"disk", r.disk_seconds}, {"overhead", r.overhead_seconds}}},
      {"waits_for", waited_name(r.waited_most())}};
}

static int simulate(SimulateFlags& flags) {
  if (flags.trace.empty())
    throw UsageError("no trace is given; expected --trace FILE; `sluice run MODEL --trace FILE` records one");
  const engine::PlannedModel model(flags.model);
  const engine::Machine machine = flags.machine.empty() ? this_machine(model.file()) : read_machine(flags.machine);
  const engine::traces::Trace trace = engine::traces::read_trace(flags.trace);
  if (!flags.heat.empty()) {
    const engine::traces::Trace earlier = engine::traces::read_trace(flags.heat);
    if (earlier.header.n_experts != trace.header.n_experts ||
        earlier.header.expert_layers != trace.header.expert_layers)
      throw UsageError("--heat is a trace of a model of another shape than --trace; record both with one model");
    flags.simulation.heat = engine::heat_of(earlier.header, earlier.passes);
  }
  const std::vector<SimulatedRun> runs = simulate_all(flags, model, machine, trace);
  if (!flags.json) {
    write_stdout(table(runs));
    return kExitOk;
  }
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const SimulatedRun& run : runs) all.push_back(run_json(run));
  const nlohmann::ordered_json report = {
      {"model", flags.model}, {"machine", machine.name}, {"trace", flags.trace}, {"runs", all}};
  write_stdout(report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  return kExitOk;
}

Action prepare_simulate(CLI::App& app) {
  auto flags = std::make_shared<SimulateFlags>();
  add_positional(app, "MODEL", flags->model, "GGUF file, of which only the directory is read").required();
  add_text(app, "--trace", "FILE", flags->trace, "The routing");
  add_text(app, "-m,--machine", "FILE", flags->machine, "The machine, as JSON (bench/machines/); without it: this one");
  add_text(app, "--heat", "FILE", flags->heat, "A trace of earlier runs, from which policies know what is used most");
  add_flag_with_value(
      app, "--ram", "BYTES[,...]", [flags](const std::string& text) { flags->ram = parse_sizes("--ram", text); },
      "Memory that the program may have, one or several sizes");
  add_flag_with_value(
      app, "--vram", "BYTES[,...]", [flags](const std::string& text) { flags->vram = parse_sizes("--vram", text); },
      "VRAM that it may have of each GPU, one or several sizes, in place of the machine's");
  add_choice(
      app, "--policy", {"all", "lru", "lfu", "static", "hybrid"},
      [flags](size_t i) {
        if (i > 0) flags->policy = engine::kPolicies[i - 1];
      },
      "Which expert gives up its place (all)");
  add_flag_with_value(
      app, "-c,--ctx-size", "N",
      [flags](const std::string& text) {
        flags->options.n_context = static_cast<uint32_t>(parse_integer("--ctx-size", text, 0, 1 << 28));
      },
      "Context length in tokens, half of it full");
  add_flag_with_value(
      app, "--promotions", "N",
      [flags](const std::string& text) {
        flags->simulation.promotions = static_cast<uint32_t>(parse_integer("--promotions", text, 0, 1 << 20));
      },
      "Experts that are moved into VRAM after a token at most (4)");
  add_choice(
      app, "--store", kStorageWords, flags->options.storage,
      "Where weights are: auto maps a file that fits, but for experts beside a GPU, which come into memory that it can "
      "read (auto)");
  add_switch(app, "--no-reads", flags->no_reads, "The GPU multiplies no experts that lie in that memory");
  add_switch(app, "--defer-experts", flags->simulation.defers,
             "What the CPU computes of a layer is added one layer later, where nothing is read from the disk");
  add_flag_with_value(
      app, "--recall", "SHARE",
      [flags](const std::string& text) { flags->simulation.guess_recall = parse_number("--recall", text, 0, 1); },
      "Of the chosen experts, how many guesses name (0.86)");
  add_flag_with_value(
      app, "--precision", "SHARE",
      [flags](const std::string& text) {
        flags->simulation.guess_precision = parse_number("--precision", text, 0.01, 1);
      },
      "Of the guesses, how many are right (0.86)");
  add_switch(
      app, "--no-guess", [flags] { flags->simulation.guesses = false; }, "Without guesses");
  add_flag_with_value(
      app, "--warm", "SHARE",
      [flags](const std::string& text) { flags->simulation.warm_share = parse_number("--warm", text, 0, 0.99); },
      "Of the tokens, those before the count begins (0.5)");
  add_switch(app, "--json", flags->json, "Print one JSON object");
  set_notes(app, kSimulateNotes);
  return [flags] { return simulate(*flags); };
}

}  // namespace sluice::tools
