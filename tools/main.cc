// The program `sluice`: reads the command line, calls a subcommand, and turns what went wrong into an exit status.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <exception>
#include <filesystem>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "engine/error.h"
#include "gguf/error.h"
#include "tokenizer/tokenizer.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

#if SLUICE_HAVE_MIMALLOC
#include <mimalloc-new-delete.h>
#endif

namespace sluice::tools {

struct Command {
  const char* name;
  const char* summary;
  Action (*prepare)(CLI::App& app);
};

static constexpr std::array kCommands = {
    Command{"run", "Complete a prompt, or answer it once; without arguments tell a story", prepare_run},
    Command{"chat", "Hold a conversation", prepare_chat},
    Command{"inspect", "Show what is in a model file: metadata, tensors, sizes", prepare_inspect},
    Command{"tokenize", "Show the tokens of a text", prepare_tokenize},
    Command{"bench", "Measure tokens a second of prefill and decode", prepare_bench},
    Command{"plan", "Say what of a model goes where and how fast it will be, before loading it", prepare_plan},
    Command{"simulate", "Run a model by a modelled clock: budgets and policies against a trace of routing",
            prepare_simulate},
    Command{"synth", "Write a model file with random weights, to measure with", prepare_synth},
    Command{"trace", "Show what a trace of routing holds, or make one up", prepare_trace},
    Command{"doctor", "Show what this machine has and allows, and measure its memory and disk", prepare_doctor},
    Command{"logits", "Write the logits of every token of a text, or compare them with others", prepare_logits},
};

static constexpr const char* kNotes = R"(
`sluice COMMAND --help` explains a command.

Exit status: 0 done, 2 usage, 3 bad model file, 4 not enough memory, 5 device failed, 130 interrupted.

Examples:
  sluice run
  sluice run model.gguf -p "The capital of France is"
  sluice chat model.gguf
  sluice inspect model.gguf
)";

// Every word that an app knows as an option: "--seed", "-s".
static std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

static std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  std::string nearest = nearest_word(word, candidates);
  return nearest.empty() ? "" : "did you mean '" + nearest + "'? ";
}

// A first word that is no option must name a command.
static void check_command(const std::vector<std::string>& words) {
  if (words.empty() || words[0].starts_with('-')) return;
  std::vector<std::string> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  if (std::find(names.begin(), names.end(), words[0]) != names.end()) return;
  std::string listed;
  for (const std::string& name : names) listed += (listed.empty() ? "" : ", ") + name;
  std::string advice = suggestion(words[0], names);
  std::error_code failure;
  if (std::filesystem::exists(words[0], failure)) advice = "did you mean 'sluice run " + printable(words[0]) + "'? ";
  throw UsageError("there is no command '" + printable(words[0], 60) + "'; expected one of " + listed + "; " + advice +
                   "`sluice --help` explains them");
}

// CLI11's complaint as a sentence of ours.
static std::string parse_error_text(const CLI::ParseError& error, const CLI::App& app,
                                    const std::vector<std::string>& words) {
  std::vector<CLI::App*> chosen = const_cast<CLI::App&>(app).get_subcommands();
  const CLI::App& command = chosen.empty() ? app : *chosen.back();
  std::string help = chosen.empty() ? "`sluice --help`" : "`sluice " + command.get_name() + " --help`";
  std::vector<std::string> unknown = command.remaining();
  bool has_unknown = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr || chosen.empty();
  if (has_unknown && !unknown.empty()) {
    // CLI11 does not keep the order; name the first that was typed.
    for (const std::string& word : words) {
      if (std::find(unknown.begin(), unknown.end(), word) != unknown.end()) {
        unknown[0] = word;
        break;
      }
    }
    std::string name = unknown[0].substr(0, unknown[0].find('='));
    if (name.starts_with('-')) {
      return "there is no option '" + printable(name, 60) + "'; expected one that " + command.get_name() + " has; " +
             suggestion(name, option_names(command)) + help + " lists them";
    }
    return "there is one argument too many; found '" + printable(name, 60) + "'; quote a text of several words; " +
           help + " tells more";
  }
  return printable(error.what()) + "; " + help + " tells more";
}

static int parse_and_run(std::vector<std::string> words) {
  CLI::App app("sluice: runs large language models from GGUF files", "sluice");
  app.set_version_flag("--version", std::string("sluice ") + SLUICE_VERSION, "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  app.footer(kNotes);
  std::vector<Action> actions;
  for (const Command& command : kCommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    sub->set_help_flag("-h,--help", "Print this help and exit");
    actions.push_back(command.prepare(*sub));
  }
  bool asks_for_help = !words.empty() && words[0] == "help";
  if (asks_for_help) {
    words.erase(words.begin());
    check_command(words);
    words.resize(std::min<size_t>(words.size(), 1));
    words.emplace_back("--help");
  }
  if (words.empty()) {
    write_stderr(app.help());
    return kExitUsage;
  }
  check_command(words);
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::CallForHelp&) {
    write_stdout(app.help());
    return kExitOk;
  } catch (const CLI::CallForVersion& version) {
    write_stdout(std::string(version.what()) + "\n");
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    throw UsageError(parse_error_text(error, app, words));
  }
  for (size_t i = 0; i < kCommands.size(); i++) {
    if (app.got_subcommand(kCommands[i].name)) return actions[i]();
  }
  return kExitUsage;
}

static int exit_code(engine::Error::Kind kind) {
  switch (kind) {
    case engine::Error::Kind::Usage:
      return kExitUsage;
    case engine::Error::Kind::BadFile:
      return kExitBadFile;
    case engine::Error::Kind::OutOfMemory:
      return kExitNoMemory;
    case engine::Error::Kind::Device:
      return kExitDevice;
  }
  return kExitFailure;
}

static int guarded(const std::vector<std::string>& words) {
  try {
    return parse_and_run(words);
  } catch (const UsageError& error) {
    print_error(error.what());
    return kExitUsage;
  } catch (const gguf::Error& error) {
    print_error(error.what());
    return kExitBadFile;
  } catch (const tokenizer::Error& error) {
    print_error(error.what());
    return kExitBadFile;
  } catch (const engine::Error& error) {
    print_error(error.what());
    return exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    print_error("memory ran out; a smaller context (-c), f16 cache or a smaller model needs less");
    return kExitNoMemory;
  } catch (const OutputError& error) {
    if (error.closed()) return kExitClosedPipe;
    print_error(error.what());
    return kExitFailure;
  } catch (const std::exception& error) {
    print_error(std::string("something unforeseen happened: ") + error.what() + "; please report it");
    return kExitFailure;
  }
}

}  // namespace sluice::tools

int main(int argc, char** argv) {
  return sluice::tools::guarded(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
}
