// sluice trace: what a trace of routing holds, or one that is made up.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/traces/made_up_routing.h"
#include "engine/traces/routing_statistics.h"
#include "engine/traces/trace_file.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

namespace traces = engine::traces;

static constexpr const char* kTraceNotes = R"(
`sluice run --trace FILE` and `sluice chat --trace FILE` record which experts every token used. A trace is shown as a table with a
row for each layer:

  used       how many of its experts were used at all
  top 5% ... the share of all uses that went to the experts used most
  entropy    of the choice of an expert, in bits: log2 of the number of experts when all are used alike
  repeated   of a token's experts, the share that the token before used as well
  by chance  the same if the tokens came in any order: what is more than this is locality

With --make a trace is made up instead: experts are chosen with weights 1 / rank^SKEW, where 0 is uniform and 1 is much; a token
keeps an expert of the one before with the chance LOCALITY; and every 256 tokens DRIFT of the experts swap their ranks.

Examples:
  sluice trace answer.trace
  sluice trace uniform.trace --make --tokens 4096
  sluice trace some.trace --make --skew 0.5 --locality 0.3 --drift 0.5 --prompt 512
)";

static constexpr uint32_t kPromptRows = 512;  // of a pass at most

struct TraceFlags {
  std::string path;
  bool json = false;
  bool make = false;
  traces::RoutingRecipe recipe;
  int64_t n_tokens = 1024;
  int64_t n_prompt = 0;
};

static nlohmann::ordered_json as_json(const traces::LayerStatistics& layer) {
  nlohmann::ordered_json json = {{"experts_used", layer.n_seen},
                                 {"entropy_bits", layer.entropy_bits},
                                 {"repeated", layer.repeated},
                                 {"repeated_by_chance", layer.expected_repeated}};
  for (size_t i = 0; i < layer.top_share.size(); ++i)
    json["top_share"].push_back({{"of_experts", traces::kTopShares[i]}, {"of_uses", layer.top_share[i]}});
  return json;
}

static void show_json(const traces::TraceReader& reader, const traces::RoutingStatistics& statistics) {
  const traces::TraceHeader& header = reader.header();
  nlohmann::ordered_json json = {
      {"model", header.model_name},      {"architecture", header.architecture},
      {"layers", header.n_layers},       {"layers_with_experts", header.expert_layers.size()},
      {"experts", header.n_experts},     {"experts_used", header.n_used},
      {"tokens", statistics.n_tokens},   {"prompt_tokens", statistics.n_prompt_tokens},
      {"passes", statistics.n_passes},   {"cut_bytes", reader.cut_bytes()},
      {"mean", as_json(statistics.mean)}};
  for (const traces::LayerStatistics& layer : statistics.layers) {
    nlohmann::ordered_json one = {{"layer", layer.layer}};
    one.update(as_json(layer));
    json["by_layer"].push_back(one);
  }
  write_stdout(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

static std::string row(const std::string& name, const traces::LayerStatistics& layer) {
  std::string line = format("%-6s %6u", name.c_str(), layer.n_seen);
  for (const double share : layer.top_share) line += format(" %7.1f%%", 100 * share);
  return line +
         format(" %8.2f %8.1f%% %8.1f%%\n", layer.entropy_bits, 100 * layer.repeated, 100 * layer.expected_repeated);
}

static void show_table(const TraceFlags& flags, const traces::TraceReader& reader,
                       const traces::RoutingStatistics& statistics) {
  const traces::TraceHeader& header = reader.header();
  std::error_code ignored;
  const uint64_t bytes = std::filesystem::file_size(flags.path, ignored);
  write_stdout(format("model         %s (%s)\n", printable(header.model_name, 100).c_str(),
                      printable(header.architecture, 100).c_str()));
  write_stdout(format("experts       %u of %u in %zu of %u layers\n", header.n_used, header.n_experts,
                      header.expert_layers.size(), header.n_layers));
  write_stdout(format("tokens        %s in %s passes; %s of them in passes of several\n",
                      format_count(statistics.n_tokens).c_str(), format_count(statistics.n_passes).c_str(),
                      format_count(statistics.n_prompt_tokens).c_str()));
  write_stdout(format("size          %s, %s a token\n\n", format_bytes(ignored ? 0 : bytes).c_str(),
                      format_bytes(ignored ? 0 : bytes / statistics.n_tokens).c_str()));
  std::string heading = "layer    used";
  for (const double share : traces::kTopShares) heading += format(" %8s", format("top %.0f%%", 100 * share).c_str());
  write_stdout(heading + "  entropy  repeated by chance\n");
  for (const traces::LayerStatistics& layer : statistics.layers) write_stdout(row(std::to_string(layer.layer), layer));
  write_stdout(row("mean", statistics.mean));
}

static int show(const TraceFlags& flags) {
  traces::TraceReader reader(flags.path);
  traces::RoutingCounter counter(reader.header());
  for (traces::Pass pass; reader.next(pass);) counter.add(pass);
  const traces::RoutingStatistics statistics = counter.statistics();
  if (reader.cut_bytes() > 0)
    print_warning(format("the trace was interrupted in the middle of a token; %s at its end are left out",
                         format_bytes(reader.cut_bytes()).c_str()));
  if (flags.json)
    show_json(reader, statistics);
  else
    show_table(flags, reader, statistics);
  return kExitOk;
}

static int make(const TraceFlags& flags) {
  traces::MadeUpRouting routing(flags.recipe);
  traces::TraceWriter writer(flags.path);
  writer.begin(routing.header());
  for (int64_t left = flags.n_prompt; left > 0; left -= kPromptRows)
    writer.add(routing.next(static_cast<uint32_t>(std::min<int64_t>(left, kPromptRows))));
  for (int64_t i = 0; i < flags.n_tokens; ++i) writer.add(routing.next());
  write_stderr(format("%s: %s tokens, %s\n", printable(flags.path).c_str(),
                      format_count(static_cast<uint64_t>(flags.n_prompt + flags.n_tokens)).c_str(),
                      format_bytes(writer.bytes()).c_str()));
  return kExitOk;
}

Action prepare_trace(CLI::App& app) {
  auto flags = std::make_shared<TraceFlags>();
  add_positional(app, "FILE", flags->path, "The trace to show, or to make").required();
  add_switch(app, "--json", flags->json, "Show it as one JSON object");
  add_switch(app, "--make", flags->make, "Make one up; the options below say which").group("Making one up");
  const auto add = [&](const char* name, const char* help, int64_t least, int64_t most, auto set) {
    add_flag_with_value(
        app, name, "N", [=](const std::string& text) { set(parse_integer(name, text, least, most)); }, help)
        .group("Making one up");
  };
  const auto add_number = [&](const char* name, const char* help, double most, double* value) {
    add_flag_with_value(
        app, name, "X", [=](const std::string& text) { *value = parse_number(name, text, 0, most); }, help)
        .group("Making one up");
  };
  traces::RoutingRecipe& recipe = flags->recipe;
  const auto into = [](uint32_t* to) { return [to](int64_t value) { *to = static_cast<uint32_t>(value); }; };
  add("--layers", "Layers, all with experts (58)", 1, 65536, into(&recipe.n_layers));
  add("--experts", "Experts of a layer (256)", 1, 65536, into(&recipe.n_experts));
  add("--used", "Of these, how many a token uses (8)", 1, 65536, into(&recipe.n_used));
  add_number("--skew", "Exponent of the experts' favour (0: uniform)", 10, &recipe.skew);
  add_number("--locality", "Chance of keeping an expert of the token before (0)", 1, &recipe.locality);
  add_number("--drift", "Share of the experts whose ranks change with the subject (0)", 1, &recipe.drift);
  add("--subject", "Tokens after which it changes (256)", 1, INT32_MAX, into(&recipe.subject_tokens));
  add("--tokens", "Tokens, one a pass (1024)", 1, INT32_MAX / 2, [flags](int64_t n) { flags->n_tokens = n; });
  add("--prompt", "And before them so many in passes of 512 (0)", 0, INT32_MAX / 2,
      [flags](int64_t n) { flags->n_prompt = n; });
  add("--seed", "Seed (1)", 0, UINT32_MAX, into(&recipe.seed));
  set_notes(app, kTraceNotes);
  return [flags] { return flags->make ? make(*flags) : show(*flags); };
}

}  // namespace sluice::tools
