// A prediction and what became of it, told.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/engine.h"

namespace sluice::tools {

// "predicted    7.2 tokens/s (memory bandwidth), 1.03 times that came; ..." without a line's end; empty when nothing was measured.
std::string comparison_lines(const engine::RunComparison& comparison);
nlohmann::ordered_json comparison_json(const engine::Comparison& comparison);

}  // namespace sluice::tools
