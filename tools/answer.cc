#include "tools/answer.h"

#include "tools/exit_codes.h"
#include "tools/interrupt.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

static std::string known_templates() {
  std::string listed;
  for (const std::string& name : tokenizer::ChatTemplate::known_names()) listed += (listed.empty() ? "" : ", ") + name;
  return listed;
}

tokenizer::ChatTemplate choose_template(const engine::Model& model, const std::string& name) {
  std::string advice = "give --chat-template NAME with one of " + known_templates() +
                       ", or complete plain text with `sluice run` without --chat";
  if (!name.empty()) {
    if (auto named = tokenizer::ChatTemplate::by_name(name)) return *named;
    throw UsageError("there is no chat template '" + printable(name, 60) + "'; expected one of " + known_templates() +
                     "; name one of these");
  }
  auto text = model.file().metadata().get_string("tokenizer.chat_template");
  if (!text) throw UsageError("the model carries no chat template; found no tokenizer.chat_template in it; " + advice);
  if (auto detected = tokenizer::ChatTemplate::detect(*text)) return *detected;
  throw UsageError("the model's chat template is of no known family; found '" + printable(*text, 60) + "'; " + advice);
}

bool opens_thinking(const tokenizer::ChatTemplate& chat_template, std::span<const tokenizer::Message> messages) {
  std::string text;
  for (const tokenizer::Segment& segment : chat_template.render(messages, true)) text += segment.text;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text.ends_with("<think>");
}

engine::Generation answer(engine::Session& session, std::span<const engine::TokenId> prompt,
                          const engine::GenerateOptions& options, const std::function<void(std::string_view)>& on_text,
                          bool show_progress) {
  Progress progress("reading the prompt", Progress::Unit::Tokens, show_progress);
  InterruptGuard guard;
  engine::GenerateCallbacks callbacks;
  callbacks.on_prefill = [&](size_t done, size_t total) { progress.update(done, total); };
  callbacks.on_text = [&](std::string_view text) {
    progress.finish();
    on_text(text);
  };
  callbacks.cancelled = [] { return InterruptGuard::interrupted(); };
  return engine::generate(session, prompt, options, callbacks);
}

}  // namespace sluice::tools
