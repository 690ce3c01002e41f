// The subcommands. Each adds its options to a CLI11 app and returns what is to be done once the command line is read.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace sluice::tools {

// Returns an exit status. Throws UsageError, gguf::Error, tokenizer::Error, engine::Error, OutputError.
using Action = std::function<int()>;

Action prepare_run(CLI::App& app);
Action prepare_chat(CLI::App& app);
Action prepare_inspect(CLI::App& app);
Action prepare_tokenize(CLI::App& app);
Action prepare_bench(CLI::App& app);
Action prepare_synth(CLI::App& app);
Action prepare_trace(CLI::App& app);
Action prepare_logits(CLI::App& app);
Action prepare_doctor(CLI::App& app);
Action prepare_plan(CLI::App& app);
Action prepare_simulate(CLI::App& app);

}  // namespace sluice::tools
