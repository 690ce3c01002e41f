// One answer of a model: the prompt in, text out as it comes, Ctrl-C stops it.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "tokenizer/chat_template.h"

namespace sluice::tools {

// The template named, or without a name the one that the model's file carries. Throws UsageError when there is none.
tokenizer::ChatTemplate choose_template(const engine::Model& model, const std::string& name);

// Whether the prompt that the template makes has opened the thinking already.
bool opens_thinking(const tokenizer::ChatTemplate& chat_template, std::span<const tokenizer::Message> messages);

// Generates with a progress bar for a long prompt. The first Ctrl-C stops the answer (StopReason::Cancelled), the
// second ends the program.
engine::Generation answer(engine::Session& session, std::span<const engine::TokenId> prompt,
                          const engine::GenerateOptions& options, const std::function<void(std::string_view)>& on_text,
                          bool show_progress);

}  // namespace sluice::tools
