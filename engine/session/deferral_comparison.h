// What deferred sums of experts (SharingOptions::defers) change of what a model says.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "engine/engine.h"
#include "engine/session/divergence.h"

namespace sluice::engine {

// Evaluates the tokens twice, side by side, a batch at a time: without deferral, which is the reference, and with it, whatever the model was
// opened with. on_tokens is told how many tokens are done; may be empty. Throws Error(Usage) where no sum is ever deferred: GPU and CPU must
// share the experts of a model.
LogitsComparison compare_deferral(const std::shared_ptr<const Model>& model, std::span<const TokenId> tokens,
                                  const SessionOptions& options,
                                  const std::function<void(size_t done, size_t total)>& on_tokens);

}  // namespace sluice::engine
