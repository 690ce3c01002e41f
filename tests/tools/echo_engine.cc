// An engine without a model behind the command line under test: it answers with the part of the prompt that is new to
// the session. It keeps the promises of engine/engine.h that the tools rely on: contexts, stops, cancelling,
// statistics.
//
// Prompts with a meaning: one that contains "(slow)" is answered a token every 20 ms; "(settings)" is answered with the
// sampling settings that arrived; "(no memory)", "(device)" and "(bad file)" fail in that way.
#include <chrono>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <thread>
#include <unordered_map>

#include "engine/engine.h"
#include "tokenizer/utf8_stream.h"

namespace sluice::engine {

struct Model::State {
  gguf::File file;
  tokenizer::Tokenizer tokenizer;
  ModelOptions options;
  ModelSpec spec;
};

Model::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
Model::~Model() = default;

std::shared_ptr<const Model> Model::open(const std::filesystem::path& path, const ModelOptions& options) {
  gguf::File file = gguf::File::open(path);
  tokenizer::Tokenizer tokenizer = tokenizer::Tokenizer::from_metadata(file.metadata(), {options.pre_tokenizer});
  if (options.on_progress) options.on_progress(1, 1);
  auto state = std::make_unique<State>(State{std::move(file), std::move(tokenizer), options, {}});
  return std::shared_ptr<const Model>(new Model(std::move(state)));
}

const gguf::File& Model::file() const {
  return state_->file;
}
const ModelSpec& Model::spec() const {
  return state_->spec;
}
const tokenizer::Tokenizer& Model::tokenizer() const {
  return state_->tokenizer;
}
const ModelOptions& Model::options() const {
  return state_->options;
}
uint32_t Model::n_threads() const {
  return state_->options.n_threads == 0 ? 1 : state_->options.n_threads;
}
std::string_view Model::architecture() const {
  return "echo";
}
uint32_t Model::vocabulary_size() const {
  return state_->tokenizer.size();
}
uint32_t Model::trained_context() const {
  return 1024;
}
uint64_t Model::ram_budget_bytes() const {
  return 0;
}
uint64_t Model::session_bytes() const {
  return 0;
}
std::string_view Model::device_name() const {
  return "CPU";
}
bool Model::is_on_gpu() const {
  return false;
}
std::string_view Model::why_no_gpu() const {
  return {};
}
std::vector<GpuUse> Model::gpus() const {
  return {};
}
DeviceMemory Model::device_memory() const {
  return {};
}
VramStatistics Model::vram_statistics() const {
  return {};
}
DeviceTimes Model::device_times() const {
  return {};
}
uint32_t Model::most_rows() const {
  return UINT32_MAX;
}
uint64_t Model::host_dense_bytes() const {
  return 0;
}
StoreStatistics Model::store_statistics() const {
  return {};
}
const ModelWork& Model::work() const {
  static const ModelWork kNone;
  return kNone;
}
std::span<const GroupPlace> Model::places() const {
  return {};
}
const Machine& Model::machine() const {
  static const Machine kNone;
  return kNone;
}
ForwardContext& Model::forward_context() const {
  throw std::logic_error("An engine without a model has no forward pass.");
}

// Its one layer has two experts, of which a token uses one: the one that its id is odd or even like.
traces::TraceHeader Model::trace_header() const {
  return {"echo", "echo", 1, {0}, 2, 1};
}

struct Session::State {
  std::shared_ptr<const Model> model;
  SessionOptions options;
  std::vector<TokenId> tokens;
  std::function<void(const traces::Pass&)> on_pass;

  void report(std::span<const TokenId> fresh) const {
    if (!on_pass) return;
    traces::Pass pass;
    pass.first_position = static_cast<uint32_t>(tokens.size() - fresh.size());
    for (const TokenId token : fresh) {
      pass.tokens.push_back(token);
      pass.expert_ids.push_back(static_cast<uint16_t>(token % 2));
      pass.weights.push_back(1);
    }
    on_pass(pass);
  }
};

void Session::record_routing(std::function<void(const traces::Pass&)> on_pass) {
  state_->on_pass = std::move(on_pass);
}

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options)
    : state_(std::make_unique<State>(State{std::move(model), options, {}, {}})) {
  if (state_->options.n_context == 0) state_->options.n_context = state_->model->trained_context();
}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

const Model& Session::model() const {
  return *state_->model;
}
uint32_t Session::n_context() const {
  return state_->options.n_context;
}
std::span<const TokenId> Session::tokens() const {
  return state_->tokens;
}
uint64_t Session::state_bytes() const {
  return state_->tokens.size() * sizeof(TokenId);
}

size_t Session::rewrite(std::span<const TokenId> tokens, const Progress& progress) {
  if (tokens.size() > n_context()) {
    throw Error(Error::Kind::Usage, "the prompt has " + std::to_string(tokens.size()) + " tokens; the context holds " +
                                        std::to_string(n_context()) + "; shorten it or give more with -c");
  }
  size_t kept = 0;
  while (kept < tokens.size() && kept < state_->tokens.size() && tokens[kept] == state_->tokens[kept]) kept++;
  if (kept == tokens.size()) kept--;
  state_->tokens.assign(tokens.begin(), tokens.end());
  state_->report(tokens.subspan(kept));
  if (progress.on_tokens) progress.on_tokens(tokens.size() - kept, tokens.size() - kept);
  return kept;
}

bool Session::append(std::span<const TokenId> tokens, const Progress&) {
  state_->tokens.insert(state_->tokens.end(), tokens.begin(), tokens.end());
  state_->report(tokens);
  return true;
}

void Session::truncate(size_t n_tokens) {
  if (n_tokens < state_->tokens.size()) state_->tokens.resize(n_tokens);
}

static std::string settings_text(const GenerateOptions& options) {
  const SamplerOptions& s = options.sampling;
  char text[400];
  std::snprintf(text, sizeof(text),
                "temp %g top-k %d top-p %g min-p %g repeat %g presence %g frequency %g last %d seed %llu",
                static_cast<double>(s.temperature), s.top_k, static_cast<double>(s.top_p), static_cast<double>(s.min_p),
                static_cast<double>(s.repeat_penalty), static_cast<double>(s.presence_penalty),
                static_cast<double>(s.frequency_penalty), s.repeat_last_n, static_cast<unsigned long long>(s.seed));
  std::string all = text;
  for (const LogitBias& bias : s.logit_bias) {
    std::snprintf(text, sizeof(text), " bias %d%+g", bias.token, static_cast<double>(bias.bias));
    all += text;
  }
  return all + (options.ignore_end ? " ignore-eos" : "");
}

static void fail_if_asked(const std::string& prompt) {
  auto asks = [&](const char* word) { return prompt.find(word) != std::string::npos; };
  if (asks("(no memory)")) throw Error(Error::Kind::OutOfMemory, "no memory; as asked; ask for something else");
  if (asks("(device)")) throw Error(Error::Kind::Device, "no device; as asked; ask for something else");
  if (asks("(bad file)")) throw Error(Error::Kind::BadFile, "bad file; as asked; ask for something else");
}

Generation generate(Session& session, std::span<const TokenId> prompt, const GenerateOptions& options,
                    const GenerateCallbacks& callbacks) {
  using Clock = std::chrono::steady_clock;
  auto began = Clock::now();
  auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const tokenizer::Tokenizer& tokenizer = session.model().tokenizer();
  size_t cached = session.rewrite(prompt, {callbacks.on_prefill, callbacks.cancelled, {}});
  std::span<const TokenId> fresh = prompt.subspan(cached);
  std::vector<TokenId> answer;
  for (TokenId token : fresh) {
    if (tokenizer.kind(token) != tokenizer::TokenKind::Control) answer.push_back(token);
  }
  std::string asked = tokenizer.decode(answer);
  fail_if_asked(asked);
  if (asked.find("(settings)") != std::string::npos) {
    answer = tokenizer.encode(settings_text(options), tokenizer::Specials::AsText);
  }
  bool slow = asked.find("(slow)") != std::string::npos;

  Generation result;
  Statistics& statistics = result.statistics;
  statistics.prompt_tokens = prompt.size();
  statistics.cached_tokens = cached;
  statistics.prefill_seconds = seconds_since(began);
  tokenizer::Utf8Stream stream;
  auto first = Clock::now();
  for (size_t i = 0;; i++) {
    if (callbacks.cancelled && callbacks.cancelled()) {
      result.stop = StopReason::Cancelled;
      break;
    }
    if (options.max_tokens >= 0 && result.tokens.size() >= static_cast<uint64_t>(options.max_tokens)) {
      result.stop = StopReason::Length;
      break;
    }
    if (session.tokens().size() >= session.n_context()) {
      result.stop = StopReason::Context;
      break;
    }
    if (answer.empty() || (i == answer.size() && !options.ignore_end)) break;
    TokenId token = answer[i % answer.size()];
    if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    result.tokens.push_back(token);
    session.append({&token, 1});
    if (result.tokens.size() == 1) {
      statistics.time_to_first_token_seconds = seconds_since(began);
      first = Clock::now();
    }
    std::string text = stream.push(tokenizer.token_bytes(token));
    result.text += text;
    bool stopped = false;
    for (const std::string& stop : options.stop_strings) {
      size_t place = result.text.find(stop);
      if (place == std::string::npos) continue;
      result.text.resize(place);
      stopped = true;
    }
    if (stopped) {
      result.stop = StopReason::StopString;
      break;
    }
    bool may_be_stop = !options.stop_strings.empty();
    if (callbacks.on_text && !may_be_stop) callbacks.on_text(text);
  }
  if (callbacks.on_text && !options.stop_strings.empty()) callbacks.on_text(result.text);
  statistics.decode_seconds = seconds_since(first);
  statistics.generated_tokens = result.tokens.size();
  tokenizer::CharacterCount count = tokenizer::count_characters(result.text);
  statistics.characters = count.all;
  statistics.cjk_characters = count.cjk;
  return result;
}

}  // namespace sluice::engine
