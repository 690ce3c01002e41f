// A saved plan (`sluice plan MODEL --json > FILE`), for a run that obeys it.
#pragma once

#include <filesystem>

#include "tools/model_flags.h"

namespace sluice::tools {

// Sets memory, context, batch, cache, forms and storage as the plan has them. Throws UsageError for a file that is no plan, and
// engine::Error for one that needs a GPU or does not fit.
void obey_plan(const std::filesystem::path& path, ModelFlags& flags);

// Throws UsageError when flags.path is not the model that the plan is for.
void check_planned_model(const ModelFlags& flags);

}  // namespace sluice::tools
