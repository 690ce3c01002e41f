// The functions behind include/sluice.h, which documents them, and the table that holds them.

#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/capi/boundary.h"
#include "engine/engine.h"
#include "engine/session/sampler.h"
#include "include/sluice.h"
#include "tokenizer/tokenizer.h"

namespace {

// What a model handle and its sessions share, so that the handle may be closed first.
struct SharedModel {
  std::shared_ptr<const sluice::engine::Model> model;
  std::string architecture, device;  // NUL-terminated, for sluice_model_info
  std::mutex evaluating;             // the engine lets one thread at a time evaluate
};

}  // namespace

struct sluice_model {
  std::shared_ptr<SharedModel> shared;
};

struct sluice_session {
  std::shared_ptr<SharedModel> shared;
  sluice::engine::Session session;
  bool has_logits = false;
  std::atomic<bool> cancelled{false};
};
// A signal handler may set the flag.
static_assert(std::atomic<bool>::is_always_lock_free);

struct sluice_sampler {
  sluice::engine::Sampler sampler;
};

namespace sluice::capi {
namespace {

// The structs grow at their ends between versions of the library. Padding inside or after one would hide a field's
// absence.
static_assert(sizeof(sluice_model_options) == 8 * sizeof(uint32_t) + 3 * sizeof(void*) + 2 * sizeof(uint64_t));
static_assert(sizeof(sluice_session_options) == 4 * sizeof(uint32_t));
static_assert(sizeof(sluice_session_info) == 2 * sizeof(uint32_t) + 2 * sizeof(uint64_t));
static_assert(sizeof(sluice_model_info) == 6 * sizeof(uint32_t) + 2 * sizeof(char*));
static_assert(sizeof(sluice_sampler_options) == 10 * sizeof(uint32_t) + sizeof(uint64_t) + sizeof(void*));
static_assert(sizeof(sluice_error) == 2048);

const char* version_string() {
  return SLUICE_VERSION;
}

engine::Residency residency_of(uint32_t value) {
  switch (value) {
    case SLUICE_RESIDENCY_AUTO:
      return engine::Residency::Automatic;
    case SLUICE_RESIDENCY_FILE:
      return engine::Residency::File;
    case SLUICE_RESIDENCY_FAST:
      return engine::Residency::Fast;
    default:
      fail_usage("sluice_model_options.residency is " + std::to_string(value) +
                 ", expected a sluice_residency; use SLUICE_RESIDENCY_AUTO, SLUICE_RESIDENCY_FILE or "
                 "SLUICE_RESIDENCY_FAST.");
  }
}

engine::DeviceKind device_of(uint32_t value) {
  switch (value) {
    case SLUICE_DEVICE_AUTO:
      return engine::DeviceKind::Automatic;
    case SLUICE_DEVICE_CPU:
      return engine::DeviceKind::Cpu;
    case SLUICE_DEVICE_CUDA:
      return engine::DeviceKind::Cuda;
    default:
      fail_usage("sluice_model_options.device is " + std::to_string(value) +
                 ", expected a sluice_device; use SLUICE_DEVICE_AUTO, SLUICE_DEVICE_CPU or SLUICE_DEVICE_CUDA.");
  }
}

sluice_result model_open(const char* path, const sluice_model_options* given, sluice_model** model,
                         sluice_error* error) {
  if (model != nullptr) *model = nullptr;
  return guarded(error, [&] {
    required(path, "The model's path");
    required(model, "The place for the model");
    const sluice_model_options c = read_options(given, sluice_default_model_options(), "sluice_model_options");
    engine::ModelOptions options;
    options.n_threads = c.n_threads;
    options.pin_threads = c.pin_threads != 0;
    options.residency = residency_of(c.residency);
    options.store.ram_bytes = c.ram_bytes;
    options.device = device_of(c.device);
    options.vram_bytes = c.vram_bytes;
    options.session.n_context = c.n_context;
    if (c.n_batch != 0) options.session.n_batch = c.n_batch;
    if (c.pre_tokenizer != nullptr) options.pre_tokenizer = c.pre_tokenizer;
    if (c.on_progress != nullptr)
      options.on_progress = [c](uint64_t done, uint64_t total) { c.on_progress(c.user, done, total); };
    auto shared = std::make_shared<SharedModel>();
    shared->model = engine::Model::open(path, options);
    shared->architecture = shared->model->architecture();
    shared->device = shared->model->device_name();
    *model = new sluice_model{std::move(shared)};
    return SLUICE_OK;
  });
}

void model_close(sluice_model* model) {
  delete model;
}

sluice_result model_describe(const sluice_model* model, sluice_model_info* info, sluice_error* error) {
  return guarded(error, [&] {
    const SharedModel& shared = *required(model, "The model").shared;
    const tokenizer::Tokenizer& vocabulary = shared.model->tokenizer();
    sluice_model_info filled{};
    filled.vocabulary_size = shared.model->vocabulary_size();
    filled.trained_context = shared.model->trained_context();
    filled.n_threads = shared.model->n_threads();
    filled.bos_token = vocabulary.bos().value_or(-1);
    filled.eos_token = vocabulary.eos().value_or(-1);
    filled.architecture = shared.architecture.c_str();
    filled.device = shared.device.c_str();
    write_info(info, filled, "The model's description");
    return SLUICE_OK;
  });
}

// Hands items to a caller's buffer, or tells how many there are.
template <class T>
void copy_out(std::span<const T> items, T* buffer, size_t capacity, size_t* count, const char* what) {
  required(count, "The place for the count");
  *count = items.size();
  if (buffer == nullptr) return;
  if (items.size() > capacity)
    fail_usage("The buffer has room for " + std::to_string(capacity) + " " + what + ", expected at least " +
               std::to_string(items.size()) + "; call again with a larger one.");
  std::copy(items.begin(), items.end(), buffer);
}

sluice_result tokenize(const sluice_model* model, const char* text, size_t text_bytes, uint32_t flags,
                       sluice_token* tokens, size_t capacity, size_t* n_tokens, sluice_error* error) {
  return guarded(error, [&] {
    const SharedModel& shared = *required(model, "The model").shared;
    if (text_bytes > 0) required(text, "The text");
    constexpr uint32_t kKnown = SLUICE_TOKENIZE_SPECIAL | SLUICE_TOKENIZE_ADD_BOS;
    if ((flags & ~kKnown) != 0)
      fail_usage("sluice_tokenize() was given flags " + std::to_string(flags) + ", of which only " +
                 std::to_string(kKnown) + " are known; add up SLUICE_TOKENIZE_... values.");
    const std::string_view view = text_bytes > 0 ? std::string_view(text, text_bytes) : std::string_view();
    const auto specials =
        (flags & SLUICE_TOKENIZE_SPECIAL) != 0 ? tokenizer::Specials::Parse : tokenizer::Specials::AsText;
    const tokenizer::Tokenizer& vocabulary = shared.model->tokenizer();
    const std::vector<tokenizer::TokenId> ids = (flags & SLUICE_TOKENIZE_ADD_BOS) != 0
                                                    ? vocabulary.encode_prompt(view, specials)
                                                    : vocabulary.encode(view, specials);
    copy_out<sluice_token>(ids, tokens, capacity, n_tokens, "tokens");
    return SLUICE_OK;
  });
}

bool in_vocabulary(const SharedModel& shared, sluice_token token) {
  return token >= 0 && static_cast<uint32_t>(token) < shared.model->vocabulary_size();
}

void require_in_vocabulary(const SharedModel& shared, sluice_token token) {
  if (!in_vocabulary(shared, token))
    fail_usage("There is no token " + std::to_string(token) + ", expected 0 to " +
               std::to_string(shared.model->vocabulary_size() - 1) + "; use ids of this model's own vocabulary.");
}

sluice_result token_bytes(const sluice_model* model, sluice_token token, int show_control, char* bytes, size_t capacity,
                          size_t* n_bytes, sluice_error* error) {
  return guarded(error, [&] {
    const SharedModel& shared = *required(model, "The model").shared;
    require_in_vocabulary(shared, token);
    const std::string text = shared.model->tokenizer().token_bytes(token, show_control != 0);
    copy_out<char>(text, bytes, capacity, n_bytes, "bytes");
    return SLUICE_OK;
  });
}

int token_ends_generation(const sluice_model* model, sluice_token token) {
  if (model == nullptr || !in_vocabulary(*model->shared, token)) return 0;
  try {
    return model->shared->model->tokenizer().ends_generation(token) ? 1 : 0;
  } catch (...) {
    return 0;
  }
}

engine::CacheType cache_type_of(uint32_t number) {
  switch (number) {
    case SLUICE_CACHE_F16:
      return engine::CacheType::F16;
    case SLUICE_CACHE_F32:
      return engine::CacheType::F32;
    case SLUICE_CACHE_BF16:
      return engine::CacheType::BF16;
    case SLUICE_CACHE_Q8_0:
      return engine::CacheType::Q8_0;
    default:
      fail_usage("sluice_session_options.cache is " + std::to_string(number) +
                 ", expected a sluice_cache_type; use SLUICE_CACHE_F16, SLUICE_CACHE_BF16, SLUICE_CACHE_Q8_0 or "
                 "SLUICE_CACHE_F32.");
  }
}

sluice_result session_create(const sluice_model* model, const sluice_session_options* given, sluice_session** session,
                             sluice_error* error) {
  if (session != nullptr) *session = nullptr;
  return guarded(error, [&] {
    const std::shared_ptr<SharedModel>& shared = required(model, "The model").shared;
    required(session, "The place for the session");
    const sluice_session_options c = read_options(given, sluice_default_session_options(), "sluice_session_options");
    engine::SessionOptions options;
    options.n_context = c.n_context;
    if (c.n_batch != 0) options.n_batch = c.n_batch;
    options.cache = cache_type_of(c.cache);
    *session = new sluice_session{shared, engine::Session(shared->model, options)};
    return SLUICE_OK;
  });
}

void session_free(sluice_session* session) {
  delete session;
}

sluice_result session_describe(const sluice_session* session, sluice_session_info* info, sluice_error* error) {
  return guarded(error, [&] {
    const engine::Session& of = required(session, "The session").session;
    sluice_session_info filled{};
    filled.n_context = of.n_context();
    filled.n_tokens = of.tokens().size();
    filled.state_bytes = of.state_bytes();
    write_info(info, filled, "The session's description");
    return SLUICE_OK;
  });
}

sluice_result session_evaluate(sluice_session* session, const sluice_token* tokens, size_t n_tokens,
                               sluice_error* error) {
  return guarded(error, [&] {
    sluice_session& s = required(session, "The session");
    if (n_tokens == 0) return SLUICE_OK;
    required(tokens, "The token list");
    const size_t n_held = s.session.tokens().size();
    if (n_tokens > s.session.n_context() - n_held)
      fail_usage("The context has room for " + std::to_string(s.session.n_context()) + " tokens and holds " +
                 std::to_string(n_held) + "; " + std::to_string(n_tokens) +
                 " more do not fit. Create the session with a larger n_context, or evaluate less.");
    const std::span<const sluice_token> ids(tokens, n_tokens);
    for (const sluice_token id : ids) require_in_vocabulary(*s.shared, id);

    const std::lock_guard<std::mutex> turn(s.shared->evaluating);
    // Until all tokens are done the logits are of no certain token, whether the call ends by cancelling or by an error.
    s.has_logits = false;
    engine::Session::Progress progress;
    progress.cancelled = [&s] { return s.cancelled.load(std::memory_order_relaxed); };
    if (!s.session.append(ids, progress))
      return report(error, SLUICE_CANCELLED, "The evaluation was cancelled; call sluice_session_resume() to go on.");
    s.has_logits = true;
    return SLUICE_OK;
  });
}

sluice_result session_truncate(sluice_session* session, size_t n_tokens, sluice_error* error) {
  return guarded(error, [&] {
    sluice_session& s = required(session, "The session");
    const size_t n_held = s.session.tokens().size();
    if (n_tokens > n_held)
      fail_usage("The sequence holds " + std::to_string(n_held) + " tokens and cannot be truncated to " +
                 std::to_string(n_tokens) + "; give at most what it holds.");
    const std::lock_guard<std::mutex> turn(s.shared->evaluating);
    s.has_logits = false;
    s.session.truncate(n_tokens);
    return SLUICE_OK;
  });
}

std::span<const float> logits_of(const sluice_session& session) {
  if (!session.has_logits) fail_usage("The session has no logits; evaluate at least one token first.");
  return session.session.logits();
}

sluice_result session_logits(const sluice_session* session, const float** logits, sluice_error* error) {
  if (logits != nullptr) *logits = nullptr;
  return guarded(error, [&] {
    const sluice_session& s = required(session, "The session");
    required(logits, "The place for the logits");
    *logits = logits_of(s).data();
    return SLUICE_OK;
  });
}

void session_cancel(sluice_session* session) {
  if (session != nullptr) session->cancelled.store(true, std::memory_order_relaxed);
}

void session_resume(sluice_session* session) {
  if (session != nullptr) session->cancelled.store(false, std::memory_order_relaxed);
}

void require_number(float value, const char* field) {
  if (!std::isfinite(value))
    fail_usage("sluice_sampler_options." + std::string(field) + " is not a finite number; give one that is.");
}

sluice_result sampler_create(const sluice_sampler_options* given, sluice_sampler** sampler, sluice_error* error) {
  if (sampler != nullptr) *sampler = nullptr;
  return guarded(error, [&] {
    required(sampler, "The place for the sampler");
    const sluice_sampler_options c = read_options(given, sluice_default_sampler_options(), "sluice_sampler_options");
    require_number(c.temperature, "temperature");
    require_number(c.top_p, "top_p");
    require_number(c.min_p, "min_p");
    require_number(c.repeat_penalty, "repeat_penalty");
    require_number(c.presence_penalty, "presence_penalty");
    require_number(c.frequency_penalty, "frequency_penalty");
    engine::SamplerOptions options;
    options.temperature = c.temperature;
    options.top_k = c.top_k;
    options.top_p = c.top_p;
    options.min_p = c.min_p;
    options.repeat_penalty = c.repeat_penalty;
    options.presence_penalty = c.presence_penalty;
    options.frequency_penalty = c.frequency_penalty;
    options.repeat_last_n = c.repeat_last_n;
    options.seed = c.seed;
    if (c.n_logit_bias > 0) {
      required(c.logit_bias, "sluice_sampler_options.logit_bias");
      for (const sluice_logit_bias& entry : std::span(c.logit_bias, c.n_logit_bias)) {
        if (std::isnan(entry.bias)) fail_usage("A logit bias is not a number; give one that is, or minus infinity.");
        options.logit_bias.push_back({entry.token, entry.bias});
      }
    }
    *sampler = new sluice_sampler{engine::Sampler(std::move(options))};
    return SLUICE_OK;
  });
}

void sampler_free(sluice_sampler* sampler) {
  delete sampler;
}

sluice_result sample(sluice_session* session, sluice_sampler* sampler, sluice_token* token, sluice_error* error) {
  return guarded(error, [&] {
    const sluice_session& s = required(session, "The session");
    sluice_sampler& with = required(sampler, "The sampler");
    required(token, "The place for the token");
    *token = with.sampler.sample(logits_of(s), s.session.tokens());
    return SLUICE_OK;
  });
}

constexpr sluice_api kApi = {
    sizeof(sluice_api),    SLUICE_API_VERSION, version_string, model_open,
    model_close,           model_describe,     tokenize,       token_bytes,
    token_ends_generation, session_create,     session_free,   session_describe,
    session_evaluate,      session_truncate,   session_logits, session_cancel,
    session_resume,        sampler_create,     sampler_free,   sample,
};

}  // namespace
}  // namespace sluice::capi

extern "C" __attribute__((visibility("default"))) const sluice_api* sluice_get_api(uint32_t version) {
  return version == SLUICE_API_VERSION ? &sluice::capi::kApi : nullptr;
}
