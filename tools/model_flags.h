// The options that say which model runs and how: shared by `run` and `chat`.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engine/engine.h"
#include "engine/traces/trace_file.h"

namespace CLI {
class App;
}

namespace sluice::tools {

struct ModelFlags {
  std::string path;
  engine::ModelOptions model;
  engine::SessionOptions session;
  bool quiet = false;
  bool no_heat = false;
  uint64_t planned_bytes = 0;  // of the weights of the model that a plan is for; 0: there is no plan
  std::string trace;           // the file to write one to
};

void add_model_flags(CLI::App& app, ModelFlags& flags);
// For the commands that open_trace().
void add_trace_flag(CLI::App& app, ModelFlags& flags);

// The small model that comes with the program: where it was built, or beside the program. Throws UsageError without
// one.
std::filesystem::path default_model_path();

// Opens flags.path with a progress bar.
std::shared_ptr<const engine::Model> open_model(const ModelFlags& flags);

// Where the trace goes that the flags ask for; null when they ask for none. To be called before the model loads, so that a path that
// cannot be written is not found out after that. Throws engine::Error(Usage).
std::unique_ptr<engine::traces::TraceWriter> open_trace(const ModelFlags& flags);

// Lets the session write what its routers choose into the trace, which must outlive it; nothing for null. Throws
// engine::Error(Usage) when the model has no experts.
void record_trace(engine::Session& session, engine::traces::TraceWriter* trace);

// A session as the flags want it; warns on stderr when its context is longer than the trained one.
engine::Session open_session(std::shared_ptr<const engine::Model> model, const ModelFlags& flags);

}  // namespace sluice::tools
