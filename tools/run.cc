// sluice run: one prompt, one answer.
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "tools/answer.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/input.h"
#include "tools/model_flags.h"
#include "tools/report.h"
#include "tools/sampling_flags.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

using engine::TokenId;
using tokenizer::Specials;

static constexpr const char* kStoryBeginning = "Once upon a time";

static constexpr const char* kRunNotes = R"(
The prompt is -p TEXT, else -f FILE, else standard input when it is no terminal. One newline at the end of a file or of
standard input is dropped; a text given with -p is taken as it is. Without MODEL the default model runs, and without a
prompt, too, it tells a story. The default model draws with --temp 0.5 --min-p 0.1 where these are not given.

stdout gets the prompt and its continuation, or with --chat, --no-echo the generated text alone, and a newline at the end
if the text has none: the same bytes on a terminal and in a pipe. With --json it gets one JSON object, whose "text" is the
generated text alone. Everything else goes to stderr. Text that spells a special token, such as <|User|>, stays text unless
--special is given. The first Ctrl-C stops the answer (exit status 130), the second ends the program.

Exit status: 0 done, 2 usage, 3 bad model file, 4 not enough memory, 5 device failed, 130 interrupted.

Examples:
  sluice run
  sluice run model.gguf -p "The capital of France is" -n 32 --greedy
  sluice run model.gguf --chat -p "Why is the sky blue?" --system "Answer in one sentence."
  cat letter.txt | sluice run model.gguf --chat --json
  sluice run model.gguf -p "Why?" --trace why.trace && sluice trace why.trace
)";

struct RunFlags {
  ModelFlags model;
  SamplingFlags sampling;
  std::optional<std::string> prompt;
  std::string prompt_file;
  bool chat = false;
  std::string chat_template;
  std::string system;
  bool special = false;
  bool no_bos = false;
  bool no_echo = false;
  bool json = false;
};

static void drop_last_newline(std::string& text) {
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
}

static std::string find_prompt(const RunFlags& flags) {
  if (flags.prompt && !flags.prompt_file.empty()) {
    throw UsageError("there are two prompts; found --prompt and --file, expected one; leave out one of them");
  }
  if (flags.prompt) return *flags.prompt;
  std::string text;
  std::string source = "standard input";
  if (!flags.prompt_file.empty()) {
    text = read_text(flags.prompt_file);
    if (flags.prompt_file != "-") source = "the file " + printable(flags.prompt_file);
  } else if (!stdin_is_terminal()) {
    text = read_stdin();
    if (text.empty() && flags.model.path.empty()) return kStoryBeginning;
  } else if (flags.model.path.empty()) {
    return kStoryBeginning;
  } else {
    throw UsageError("there is no prompt; found no -p, no -f and nothing piped in; give for example -p \"Hello\"");
  }
  drop_last_newline(text);
  if (text.empty()) {
    throw UsageError("the prompt is empty; found no text in " + source +
                     "; put some there, or give -p \"\" to start from nothing");
  }
  return text;
}

// The text itself: with BOS where the vocabulary wants it, never with an EOS, since the text is to go on.
static std::vector<TokenId> encode_completion(const tokenizer::Tokenizer& tokenizer, const std::string& text,
                                              const RunFlags& flags) {
  std::vector<TokenId> tokens = tokenizer.encode(text, flags.special ? Specials::Parse : Specials::AsText);
  std::optional<TokenId> bos = tokenizer.bos();
  bool begins_with_bos = !tokens.empty() && bos && tokens.front() == *bos;
  if (!flags.no_bos && tokenizer.adds_bos() && bos && !begins_with_bos) tokens.insert(tokens.begin(), *bos);
  return tokens;
}

// The default model is small: it keeps its thread better when it draws from fewer tokens. What the user set stays.
static void sample_for_a_story(const CLI::App& app, engine::SamplerOptions& sampling) {
  if (!was_given(app, "--temp") && !was_given(app, "--greedy")) sampling.temperature = 0.5f;
  if (!was_given(app, "--min-p")) sampling.min_p = 0.1f;
}

static int run(const CLI::App& app, RunFlags& flags) {
  bool chat = flags.chat || !flags.chat_template.empty() || !flags.system.empty();
  if (chat && (flags.special || flags.no_bos)) {
    throw UsageError(
        "--special and --no-bos are for plain completion; found them with --chat, whose template writes the "
        "special tokens; leave them out, or write the whole prompt yourself without --chat");
  }
  std::string prompt = find_prompt(flags);
  if (flags.model.path.empty()) {
    flags.model.path = default_model_path().string();
    sample_for_a_story(app, flags.sampling.options.sampling);
  }

  const auto trace = open_trace(flags.model);
  auto model = open_model(flags.model);
  settle_sampling(flags.sampling, model->vocabulary_size());
  engine::GenerateOptions& options = flags.sampling.options;
  std::vector<TokenId> tokens;
  if (chat) {
    tokenizer::ChatTemplate chat_template = choose_template(*model, flags.chat_template);
    std::vector<tokenizer::Message> messages;
    if (!flags.system.empty()) messages.push_back({tokenizer::Role::System, flags.system});
    messages.push_back({tokenizer::Role::User, prompt});
    tokens = chat_template.encode(model->tokenizer(), messages, true);
    options.starts_thinking = opens_thinking(chat_template, messages);
  } else {
    tokens = encode_completion(model->tokenizer(), prompt, flags);
  }
  if (tokens.empty()) {
    throw UsageError(
        "the prompt has no tokens; found an empty text and a vocabulary without a beginning-of-text token; "
        "give some text with -p");
  }

  engine::Session session = open_session(model, flags.model);
  record_trace(session, trace.get());
  bool begun = chat || flags.no_echo || flags.json;
  char last = '\n';
  auto print = [&](std::string_view text) {
    if (flags.json || text.empty()) return;
    write_stdout(text);
    last = text.back();
  };
  auto on_text = [&](std::string_view text) {
    if (!begun) print(prompt);
    begun = true;
    print(text);
  };
  engine::Generation generation = answer(session, tokens, options, on_text, !flags.model.quiet);
  if (!begun) print(prompt);
  if (last != '\n') print("\n");
  if (flags.json) {
    nlohmann::ordered_json report = report_json(generation, session, options);
    report["model"] = flags.model.path;
    write_stdout(report.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } else if (!flags.model.quiet) {
    write_stderr("\n" + styled(Style::Dim, report_lines(generation, session, options)));
  }
  return generation.stop == engine::StopReason::Cancelled ? kExitInterrupted : kExitOk;
}

Action prepare_run(CLI::App& app) {
  auto flags = std::make_shared<RunFlags>();
  add_positional(app, "MODEL", flags->model.path, "GGUF file, or any shard of one; the default model when left out");
  auto text = [flags](const std::string& prompt) { flags->prompt = prompt; };
  add_flag_with_value(app, "-p,--prompt", "TEXT", text, "The prompt").group("Prompt");
  add_text(app, "-f,--file", "FILE", flags->prompt_file, "Read the prompt from FILE; -: standard input")
      .group("Prompt");
  add_switch(app, "--chat", flags->chat, "Wrap the prompt in the model's chat template").group("Prompt");
  add_text(app, "--chat-template", "NAME", flags->chat_template,
           "The same with this template instead of the file's own")
      .group("Prompt");
  add_text(app, "--system", "TEXT", flags->system, "System text for the chat template; implies --chat").group("Prompt");
  add_switch(app, "--special", flags->special, "Let the prompt spell special tokens").group("Prompt");
  add_switch(app, "--no-bos", flags->no_bos, "No beginning-of-text token before the prompt").group("Prompt");
  add_switch(app, "--no-echo", flags->no_echo, "Print the generated text without the prompt");
  add_switch(app, "--json", flags->json, "Print one JSON object instead of the text");
  add_model_flags(app, flags->model);
  add_trace_flag(app, flags->model);
  add_sampling_flags(app, flags->sampling);
  set_notes(app, kRunNotes);
  return [flags, &app] { return run(app, *flags); };
}

}  // namespace sluice::tools
