// What a run measured, as lines for people and as JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/engine.h"

namespace sluice::tools {

// Bytes of all shards.
uint64_t model_file_bytes(const engine::Model& model);

// Several lines: prompt, first token, generation, text, memory, and what ended it.
std::string report_lines(const engine::Generation& generation, const engine::Session& session,
                         const engine::GenerateOptions& options);

// The same in one line, for a chat.
std::string report_line(const engine::Generation& generation);

// One object. A rate that was not measured (no second token) is null.
nlohmann::ordered_json report_json(const engine::Generation& generation, const engine::Session& session,
                                   const engine::GenerateOptions& options);

}  // namespace sluice::tools
