// sluice bench: tokens a second of prefill and decode, over repeated runs.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/model_flags.h"
#include "tools/terminal.h"
#include "tools/text_format.h"
#include "tools/usage_report.h"

namespace sluice::tools {

using engine::TokenId;

static constexpr const char* kBenchNotes = R"(
Every test is run once to warm up and then -r times, on random tokens. "pp N" evaluates a prompt of N tokens at once, "tg N" then
appends N tokens one by one to an empty sequence. With -d both do so behind N tokens that are there already: what a long context costs.
The table holds the mean of the rates and their standard deviation.

Examples:
  sluice bench model.gguf -p 512 -n 128
  sluice bench model.gguf -p 0 -n 32 -d 0,4096,32768
  sluice bench model.gguf -p 128 -n 32 -r 3 -t 2 -o json
)";

enum class Output { Markdown, Csv, Json };

struct BenchFlags {
  ModelFlags model;
  int64_t n_prompt = 512;
  int64_t n_generated = 128;
  int64_t n_runs = 5;
  std::vector<int64_t> depths = {0};
  Output output = Output::Markdown;
};

struct BenchRow {
  int64_t n_prompt = 0;     // of a prefill test, else 0
  int64_t n_generated = 0;  // of a decode test, else 0
  int64_t depth = 0;        // tokens before them
  std::vector<double> seconds;
  engine::Usage usage;  // of all runs that count

  double mean_rate() const {
    double sum = 0;
    for (const double s : seconds) sum += rate(s);
    return sum / static_cast<double>(seconds.size());
  }
  double rate_deviation() const {
    if (seconds.size() < 2) return 0;
    double squares = 0;
    for (const double s : seconds) squares += (rate(s) - mean_rate()) * (rate(s) - mean_rate());
    return std::sqrt(squares / static_cast<double>(seconds.size() - 1));
  }
  double mean_seconds() const {
    return std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size());
  }

 private:
  double rate(double s) const { return static_cast<double>(n_prompt + n_generated) / s; }
};

static double timed(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

static std::vector<TokenId> random_tokens(uint32_t n_vocabulary, int64_t n) {
  std::mt19937 random(1);
  std::vector<TokenId> tokens(static_cast<size_t>(n));
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % n_vocabulary);
  return tokens;
}

// The session's tokens stay, and what is measured comes behind them.
static BenchRow measure(engine::Session& session, int64_t n_prompt, int64_t n_generated, int64_t n_runs) {
  const size_t depth = session.tokens().size();
  const std::vector<TokenId> tokens = random_tokens(session.model().vocabulary_size(), n_prompt + n_generated);
  BenchRow row{n_prompt, n_generated, static_cast<int64_t>(depth), {}, {}};
  std::optional<engine::UsageWatch> watch;
  for (int64_t run = 0; run <= n_runs; ++run) {
    if (run == 1) watch.emplace(session.model());
    session.truncate(depth);
    const double seconds = timed([&] {
      if (n_prompt > 0) session.append(tokens);
      if (n_generated > 0)
        for (const TokenId& token : tokens) session.append(std::span(&token, 1));
    });
    if (run > 0) row.seconds.push_back(seconds);
  }
  session.truncate(depth);
  row.usage = watch->usage();
  return row;
}

static uint64_t model_bytes(const engine::Model& model) {
  uint64_t bytes = 0;
  for (const auto& tensor : model.file().tensors()) bytes += tensor.bytes;
  return bytes;
}

static nlohmann::ordered_json row_json(const BenchRow& row, const engine::Model& model, const std::string& path) {
  return {{"model", path},
          {"architecture", std::string(model.architecture())},
          {"model_bytes", model_bytes(model)},
          {"n_threads", model.n_threads()},
          {"n_prompt", row.n_prompt},
          {"n_gen", row.n_generated},
          {"depth", row.depth},
          {"n_runs", row.seconds.size()},
          {"avg_s", row.mean_seconds()},
          {"avg_ts", row.mean_rate()},
          {"stddev_ts", row.rate_deviation()},
          {"usage", usage_json(row.usage, model.n_threads())}};
}

static std::string test_name(const BenchRow& row) {
  const std::string name =
      row.n_prompt > 0 ? "pp " + std::to_string(row.n_prompt) : "tg " + std::to_string(row.n_generated);
  return row.depth > 0 ? name + " @ " + std::to_string(row.depth) : name;
}

static std::string table(const std::vector<BenchRow>& rows, const engine::Model& model, Output output) {
  const bool csv = output == Output::Csv;
  std::string text = csv ? "model_bytes,n_threads,n_prompt,n_gen,depth,avg_ts,stddev_ts\n"
                         : "| model | size | threads | test | tokens/s |\n|---|---:|---:|---:|---:|\n";
  for (const BenchRow& row : rows) {
    const std::string bytes = format_bytes(model_bytes(model));
    text +=
        csv ? format("%llu,%u,%lld,%lld,%lld,%.6g,%.6g\n", static_cast<unsigned long long>(model_bytes(model)),
                     model.n_threads(), static_cast<long long>(row.n_prompt), static_cast<long long>(row.n_generated),
                     static_cast<long long>(row.depth), row.mean_rate(), row.rate_deviation())
            : format("| %s | %s | %u | %s | %.2f ± %.2f |\n", std::string(model.architecture()).c_str(), bytes.c_str(),
                     model.n_threads(), test_name(row).c_str(), row.mean_rate(), row.rate_deviation());
  }
  return text;
}

// Of a list such as 0,4096, each once, the least first: a context grows from one to the next.
static std::vector<int64_t> parse_depths(const std::string& text, int64_t most) {
  std::vector<int64_t> depths = parse_integers("--depth", text, 0, most);
  std::ranges::sort(depths);
  depths.erase(std::unique(depths.begin(), depths.end()), depths.end());
  return depths;
}

static int bench(BenchFlags& flags) {
  if (flags.n_prompt == 0 && flags.n_generated == 0)
    throw UsageError("there is nothing to measure; found -p 0 and -n 0; give at least one of them a number");
  if (flags.model.path.empty()) flags.model.path = default_model_path().string();
  if (flags.model.session.n_context == 0)
    flags.model.session.n_context =
        static_cast<uint32_t>(std::max(flags.n_prompt, flags.n_generated) + flags.depths.back());
  const auto model = open_model(flags.model);
  engine::Session session(model, flags.model.session);
  std::vector<BenchRow> rows;
  for (const int64_t depth : flags.depths) {
    session.append(random_tokens(model->vocabulary_size(), depth - static_cast<int64_t>(session.tokens().size())));
    if (flags.n_prompt > 0) rows.push_back(measure(session, flags.n_prompt, 0, flags.n_runs));
    if (flags.n_generated > 0) rows.push_back(measure(session, 0, flags.n_generated, flags.n_runs));
  }
  if (flags.output == Output::Json) {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const BenchRow& row : rows) all.push_back(row_json(row, *model, flags.model.path));
    write_stdout(all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } else {
    write_stdout(table(rows, *model, flags.output));
  }
  return kExitOk;
}

Action prepare_bench(CLI::App& app) {
  auto flags = std::make_shared<BenchFlags>();
  constexpr int64_t kMost = 1 << 20;
  add_positional(app, "MODEL", flags->model.path, "GGUF file, or any shard of one; the default model when left out");
  const auto number = [&app](const char* names, const char* name, int64_t& value, int64_t least, const char* help) {
    add_flag_with_value(
        app, names, "N",
        [&value, name, least](const std::string& text) { value = parse_integer(name, text, least, kMost); }, help);
  };
  number("-p,--n-prompt", "--n-prompt", flags->n_prompt, 0, "Tokens of the prefill test; 0: none (512)");
  number("-n,--n-gen", "--n-gen", flags->n_generated, 0, "Tokens of the decode test; 0: none (128)");
  number("-r,--repetitions", "--repetitions", flags->n_runs, 1, "Runs that count (5)");
  add_flag_with_value(
      app, "-d,--depth", "N[,N...]", [flags](const std::string& text) { flags->depths = parse_depths(text, kMost); },
      "Tokens that are in the context before each test (0)");
  add_choice(
      app, "-o,--output", {"md", "csv", "json"}, [flags](size_t index) { flags->output = static_cast<Output>(index); },
      "Form of the table (md)");
  add_model_flags(app, flags->model);
  set_notes(app, kBenchNotes);
  return [flags] { return bench(*flags); };
}

}  // namespace sluice::tools
