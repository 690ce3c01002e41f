#include "engine/session/deferral_comparison.h"

#include <algorithm>
#include <vector>

#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"

namespace sluice::engine {
namespace {

// Sets how the host's sums are added, and back at the end of a scope.
class Deferring {
 public:
  explicit Deferring(ForwardContext& context) : context_(context), was_(context.host->defers()) {}
  ~Deferring() { set(was_); }
  Deferring(const Deferring&) = delete;
  Deferring& operator=(const Deferring&) = delete;
  void set(bool defers) {
    for (Stage& stage : context_.stages)
      if (stage.host) stage.host->set_defers(defers);
  }

 private:
  ForwardContext& context_;
  bool was_;
};

}  // namespace

LogitsComparison compare_deferral(const std::shared_ptr<const Model>& model, std::span<const TokenId> tokens,
                                  const SessionOptions& options,
                                  const std::function<void(size_t done, size_t total)>& on_tokens) {
  HostSide* const host = model->is_on_gpu() ? model->forward_context().host.get() : nullptr;
  if (host == nullptr || host->tier() == nullptr)
    throw Error(
        Error::Kind::Usage,
        "Nothing is deferred here: GPU and CPU do not share the experts of this model (device: " +
            std::string(model->device_name()) +
            "); deferral needs a mixture of experts larger than the VRAM that it may have (--device cuda, --vram).");
  Deferring deferring(model->forward_context());
  Session plain(model, options), deferred(model, options);
  const size_t n_vocabulary = model->vocabulary_size();
  const size_t n_batch = std::clamp(options.n_batch, 1u, model->most_rows());
  LogitsComparison all;
  std::vector<float> expected;
  for (size_t at = 0; at < tokens.size(); at += n_batch) {
    const auto batch = tokens.subspan(at, std::min(n_batch, tokens.size() - at));
    Session::Progress progress;
    progress.on_logits = [&](std::span<const float> logits) { expected.assign(logits.begin(), logits.end()); };
    deferring.set(false);
    plain.append(batch, progress);
    progress.on_logits = [&](std::span<const float> logits) {
      for (size_t row = 0; row < logits.size(); row += n_vocabulary)
        all.add(std::span(expected).subspan(row, n_vocabulary), logits.subspan(row, n_vocabulary));
    };
    deferring.set(true);
    deferred.append(batch, progress);
    if (on_tokens) on_tokens(at + batch.size(), tokens.size());
  }
  return all;
}

}  // namespace sluice::engine
