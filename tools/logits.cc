// sluice logits: the logits of every token of a text, to a file or against one.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/session/deferral_comparison.h"
#include "engine/session/divergence.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/input.h"
#include "tools/model_flags.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

using engine::TokenId;

static constexpr const char* kLogitsNotes = R"(
Says how much a choice changes the model's mind: another instruction set, number of threads, activation or cache format, another
quantisation of the same model. The tokens are those of the text, evaluated -b at a time (1: as decode does); --against takes
the tokens of its file instead. The divergence is Kullback and Leibler's of the distribution now from the one in FILE, in nats a token.
--compare-deferral compares the same model with itself: the text is evaluated without and with --defer-experts, side by side.

The file holds "SLLOGIT1", the number of tokens and of the vocabulary (u32), the tokens (i32), and a row of f32 for each.

Examples:
  SLUICE_ISA=reference sluice logits model.gguf -f text.txt -o reference.logits
  sluice logits model.gguf --against reference.logits
  sluice logits model.gguf --against reference.logits -b 1 --activations f32 --json
  sluice logits model.gguf --device cuda -f text.txt -b 1 --compare-deferral
)";

struct LogitsFlags {
  ModelFlags model;
  std::string text, text_file;
  std::string out, against;
  bool compare_deferral = false;
  bool json = false;
};

static constexpr char kMagic[8] = {'S', 'L', 'L', 'O', 'G', 'I', 'T', '1'};

struct LogitsHeader {
  char magic[8];
  uint32_t n_tokens;
  uint32_t n_vocabulary;
};

// A file of logits, open for reading a row at a time.
struct LogitsFile {
  std::ifstream stream;
  std::vector<TokenId> tokens;
};

static LogitsFile open_logits(const std::string& path, uint32_t n_vocabulary) {
  const auto refuse = [&](const std::string& why) {
    throw UsageError("the logits of --against cannot be used; found " + why + " in " + printable(path) +
                     "; write them anew with `sluice logits MODEL -f TEXT -o FILE`");
  };
  LogitsFile file;
  file.stream.open(path, std::ios::binary | std::ios::ate);
  if (!file.stream) refuse("no readable file");
  const auto n_bytes = static_cast<uint64_t>(file.stream.tellg());
  file.stream.seekg(0);
  LogitsHeader header{};
  file.stream.read(reinterpret_cast<char*>(&header), sizeof header);
  if (!file.stream || std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) refuse("no logits");
  if (header.n_vocabulary != n_vocabulary)
    refuse(format("a vocabulary of %u tokens, where the model has %u,", header.n_vocabulary, n_vocabulary));
  const uint64_t row_bytes = sizeof(TokenId) + uint64_t{n_vocabulary} * sizeof(float);
  const uint64_t data_bytes = n_bytes - sizeof header;
  if (header.n_tokens == 0 || data_bytes % row_bytes != 0 || data_bytes / row_bytes != header.n_tokens)
    refuse(format("%llu bytes for %u tokens", static_cast<unsigned long long>(n_bytes), header.n_tokens));
  file.tokens.resize(header.n_tokens);
  file.stream.read(reinterpret_cast<char*>(file.tokens.data()),
                   static_cast<std::streamsize>(file.tokens.size() * sizeof(TokenId)));
  return file;
}

static std::vector<TokenId> tokens_of_text(const LogitsFlags& flags, const engine::Model& model) {
  std::string text = flags.text;
  if (text.empty() && !flags.text_file.empty()) text = read_text(flags.text_file);
  if (text.empty() && !stdin_is_terminal()) text = read_stdin();
  if (text.empty()) throw UsageError("there is no text; found no -p, no -f and nothing piped in; give one of them");
  return model.tokenizer().encode_prompt(text, tokenizer::Specials::AsText);
}

// Evaluates the tokens and hands out each one's row of logits.
static void evaluate(const LogitsFlags& flags, const std::shared_ptr<const engine::Model>& model,
                     const std::vector<TokenId>& tokens, const std::function<void(std::span<const float>)>& on_row) {
  engine::SessionOptions options = flags.model.session;
  if (options.n_context == 0) options.n_context = static_cast<uint32_t>(tokens.size());
  engine::Session session(model, options);
  Progress bar("evaluating", Progress::Unit::Tokens, !flags.model.quiet);
  engine::Session::Progress progress;
  progress.on_tokens = [&](size_t done, size_t total) { bar.update(done, total); };
  progress.on_logits = [&](std::span<const float> logits) {
    const size_t n_vocabulary = model->vocabulary_size();
    for (size_t at = 0; at < logits.size(); at += n_vocabulary) on_row(logits.subspan(at, n_vocabulary));
  };
  session.append(tokens, progress);
}

static int write_logits(const LogitsFlags& flags, const std::shared_ptr<const engine::Model>& model) {
  const std::vector<TokenId> tokens = tokens_of_text(flags, *model);
  std::ofstream file(flags.out, std::ios::binary | std::ios::trunc);
  const auto put = [&](const void* data, size_t n_bytes) {
    file.write(static_cast<const char*>(data), static_cast<std::streamsize>(n_bytes));
  };
  LogitsHeader header{{}, static_cast<uint32_t>(tokens.size()), model->vocabulary_size()};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  put(&header, sizeof header);
  put(tokens.data(), tokens.size() * sizeof(TokenId));
  if (file) evaluate(flags, model, tokens, [&](std::span<const float> row) { put(row.data(), row.size_bytes()); });
  file.close();
  if (!file)
    throw UsageError("the logits could not be written to " + printable(flags.out) + "; is there room for them?");
  return kExitOk;
}

static void write_comparison(const engine::LogitsComparison& all, bool as_json) {
  const double agreement =
      all.n_positions > 0 ? static_cast<double>(all.n_same_choice) / static_cast<double>(all.n_positions) : 0;
  if (as_json) {
    const nlohmann::ordered_json report = {{"positions", all.n_positions},
                                           {"mean_kl", all.mean_kl},
                                           {"largest_kl", all.largest_kl},
                                           {"same_choice", all.n_same_choice},
                                           {"same_choice_share", agreement},
                                           {"equal_positions", all.n_equal},
                                           {"largest_difference", all.largest_difference}};
    write_stdout(report.dump(2) + "\n");
    return;
  }
  write_stdout(
      format("positions           %zu, of which %zu are equal bit for bit\n"
             "divergence          %.3g mean, %.3g at most\n"
             "likeliest token     the same at %zu, %.4g%%\n"
             "logits              differ by %.3g at most\n",
             all.n_positions, all.n_equal, all.mean_kl, all.largest_kl, all.n_same_choice, 100 * agreement,
             all.largest_difference));
}

static int compare_logits(const LogitsFlags& flags, const std::shared_ptr<const engine::Model>& model) {
  LogitsFile file = open_logits(flags.against, model->vocabulary_size());
  engine::LogitsComparison all;
  std::vector<float> expected(model->vocabulary_size());
  evaluate(flags, model, file.tokens, [&](std::span<const float> row) {
    file.stream.read(reinterpret_cast<char*>(expected.data()),
                     static_cast<std::streamsize>(expected.size() * sizeof(float)));
    if (!file.stream || !std::ranges::all_of(expected, [](float x) { return std::isfinite(x); }))
      throw UsageError("the logits of --against end too soon, or are no finite numbers; write them anew");
    all.add(expected, row);
  });
  write_comparison(all, flags.json);
  return kExitOk;
}

static int compare_deferral(const LogitsFlags& flags, const std::shared_ptr<const engine::Model>& model) {
  const std::vector<TokenId> tokens = tokens_of_text(flags, *model);
  engine::SessionOptions options = flags.model.session;
  if (options.n_context == 0) options.n_context = static_cast<uint32_t>(tokens.size());
  Progress bar("evaluating", Progress::Unit::Tokens, !flags.model.quiet);
  const engine::LogitsComparison all =
      engine::compare_deferral(model, tokens, options, [&](size_t done, size_t total) { bar.update(done, total); });
  write_comparison(all, flags.json);
  return kExitOk;
}

static int logits(LogitsFlags& flags) {
  if (!flags.out.empty() + !flags.against.empty() + flags.compare_deferral != 1)
    throw UsageError(
        "there must be one place to write to or to compare with; give either -o FILE, --against FILE or "
        "--compare-deferral");
  if (flags.model.path.empty()) flags.model.path = default_model_path().string();
  const auto model = open_model(flags.model);
  if (flags.compare_deferral) return compare_deferral(flags, model);
  return flags.out.empty() ? compare_logits(flags, model) : write_logits(flags, model);
}

Action prepare_logits(CLI::App& app) {
  auto flags = std::make_shared<LogitsFlags>();
  add_positional(app, "MODEL", flags->model.path, "GGUF file, or any shard of one; the default model when left out");
  add_text(app, "-p,--prompt", "TEXT", flags->text, "The text");
  add_text(app, "-f,--file", "FILE", flags->text_file, "Read the text from FILE; -: standard input");
  add_text(app, "-o,--output", "FILE", flags->out, "Write the logits to FILE");
  add_text(app, "--against", "FILE", flags->against, "Compare with the logits in FILE");
  add_switch(app, "--compare-deferral", flags->compare_deferral,
             "Compare the text without and with --defer-experts, on GPU and CPU together");
  add_switch(app, "--json", flags->json, "Print the comparison as JSON");
  add_model_flags(app, flags->model);
  set_notes(app, kLogitsNotes);
  return [flags] { return logits(*flags); };
}

}  // namespace sluice::tools
