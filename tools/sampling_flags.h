// The options of sampling and stopping that `run` and `chat` share, and the names under which `/set` changes them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace CLI {
class App;
}

namespace sluice::tools {

struct SamplingFlags {
  engine::GenerateOptions options;
  bool random_seed = true;  // no seed was given
};

void add_sampling_flags(CLI::App& app, SamplingFlags& flags);

// What the command line could not know: draws the seed, and checks biased tokens against the vocabulary (throws
// UsageError).
void settle_sampling(SamplingFlags& flags, uint32_t vocabulary_size);

// The names that set_sampling() takes ("temp", "top-k", ...), their values as text, and setting one. Throws UsageError.
std::vector<std::string> sampling_names();
std::string sampling_value(const SamplingFlags& flags, std::string_view name);
void set_sampling(SamplingFlags& flags, std::string_view name, std::string_view value);

}  // namespace sluice::tools
