// A sequence of tokens and the state they left: append, rewrite, truncate, fork, snapshot.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "engine/engine.h"
#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"
#include "engine/session/routing_record.h"
#include "engine/session/session_memory.h"

namespace sluice::engine {

struct Session::State {
  std::shared_ptr<const Model> model;
  SessionOptions options;
  SequenceState sequence;
  std::vector<TokenId> tokens;
  std::vector<float> logits;
  std::function<void(const traces::Pass&)> on_pass;  // empty: routing is not recorded
};

static void check_tokens(const Model& model, std::span<const TokenId> tokens) {
  for (const TokenId token : tokens)
    if (token < 0 || static_cast<uint32_t>(token) >= model.vocabulary_size())
      throw Error(Error::Kind::Usage, "Token " + std::to_string(token) + " does not exist: the vocabulary has " +
                                          std::to_string(model.vocabulary_size()) + " tokens.");
}

static void check_room(uint64_t wanted, uint32_t n_context) {
  if (wanted > n_context)
    throw Error(Error::Kind::Usage, "The prompt needs " + std::to_string(wanted) + " tokens but the context holds " +
                                        std::to_string(n_context) +
                                        "; shorten the prompt or ask for a larger context (-c).");
}

// A damaged file or a kernel at fault must not look like a bad mood of the model.
static void check_logits(std::span<const float> logits) {
  if (!std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }))
    throw Error(
        Error::Kind::BadFile,
        "The model computed a result that is not a finite number; its weights are damaged, or too large for float32.");
}

// Where weights take what memory there is, a session must fit in what was kept free for it.
static void check_memory(const Model& model, const SessionOptions& options) {
  if (!model.store_statistics().reads_disk) return;
  const ForwardContext& context = model.forward_context();
  const uint64_t wanted = session_memory(model.spec(), context.weights, context.latent_attention, options).bytes();
  // On a GPU experts give up their slots to a longer context.
  const uint64_t kept = model.session_bytes() + model.vram_statistics().slot_bytes;
  if (wanted <= kept) return;
  throw Error(
      Error::Kind::OutOfMemory,
      "A context of " + std::to_string(options.n_context) + " tokens needs " + std::to_string(wanted >> 20) +
          " MiB, but " + std::to_string(kept >> 20) +
          " MiB were kept free for a session when the model was opened, or can be had of experts on a GPU; open "
          "it for this context, or take a shorter one.");
}

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options) {
  SessionOptions chosen = options;
  chosen.n_context = session_context(model->spec(), options);
  chosen.n_batch = std::max(options.n_batch, 1u);
  SessionOptions checked = chosen;
  checked.n_batch = std::min(chosen.n_batch, model->most_rows());
  check_memory(*model, checked);
  SequenceState sequence(model->forward_context().layers_on(), model->spec(), options.cache);
  state_ = std::make_unique<State>(State{std::move(model), chosen, std::move(sequence), {}, {}, {}});
}

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
  return state_->sequence.bytes();
}
std::span<const float> Session::logits() const {
  return state_->logits;
}

// Of a prompt's rows that are left. of_all: logits of all of them are kept.
static size_t rows_of_next_pass(const Model& model, const SequenceState& sequence, size_t n_left, size_t n_batch,
                                bool of_all) {
  ForwardContext& context = model.forward_context();
  return static_cast<size_t>(context.prompts.rows_of_next_pass(context, sequence, static_cast<int64_t>(n_left),
                                                               static_cast<int64_t>(n_batch),
                                                               of_all ? static_cast<int64_t>(n_batch) : INT64_MAX));
}

bool Session::append(std::span<const TokenId> tokens, const Progress& progress) {
  check_tokens(model(), tokens);
  check_room(state_->tokens.size() + tokens.size(), n_context());
  size_t n_done = state_->tokens.size();  // of the session's, whose passes were waited for
  try {
    return append_in_passes(tokens, progress, n_done);
  } catch (...) {
    truncate(n_done);
    throw;
  }
}

bool Session::append_in_passes(std::span<const TokenId> tokens, const Progress& progress, size_t& n_done) {
  SequenceState* const sequences[] = {&state_->sequence};
  const size_t n_vocabulary = model().vocabulary_size();
  const bool of_all = progress.on_logits != nullptr;
  std::vector<float> logits;
  for (size_t at = 0; at < tokens.size();) {
    const size_t n = rows_of_next_pass(model(), state_->sequence, tokens.size() - at, state_->options.n_batch, of_all);
    logits.resize(n_vocabulary * (of_all ? n : 1));
    std::vector<BatchRow> rows(n);
    for (size_t i = 0; i < n; ++i) rows[i] = {tokens[at + i], 0, of_all || at + i + 1 == tokens.size()};
    RoutingRecord record(model().spec(), state_->on_pass ? n : 0);
    const bool is_left =
        !of_all && !state_->on_pass && at + n < tokens.size() && can_overlap(model().forward_context());
    if (!forward(model().forward_context(), rows, sequences, logits.data(), progress.cancelled, record.observer(),
                 is_left ? PassEnd::Left : PassEnd::Awaited)) {
      if (at > 0) state_->logits.clear();  // they are of a token that is no longer the last
      return false;
    }
    state_->tokens.insert(state_->tokens.end(), tokens.begin() + static_cast<std::ptrdiff_t>(at),
                          tokens.begin() + static_cast<std::ptrdiff_t>(at + n));
    at += n;
    if (!is_left) n_done = state_->tokens.size();
    if (state_->on_pass) {
      state_->logits.clear();  // should it throw, they are of a token that is no longer the last
      state_->on_pass(record.pass(state_->tokens, 0, n));
    }
    if (of_all) {
      check_logits(logits);
      progress.on_logits(logits);
    }
    if (progress.on_tokens) progress.on_tokens(at, tokens.size());
  }
  if (!tokens.empty()) {
    logits.erase(logits.begin(), logits.end() - static_cast<std::ptrdiff_t>(n_vocabulary));
    check_logits(logits);
    state_->logits = std::move(logits);
  }
  return true;
}

void Session::record_routing(std::function<void(const traces::Pass&)> on_pass) {
  if (on_pass) model().trace_header();  // throws where there is nothing to record
  state_->on_pass = std::move(on_pass);
}

size_t Session::rewrite(std::span<const TokenId> tokens, const Progress& progress) {
  if (tokens.empty()) throw Error(Error::Kind::Usage, "The prompt is empty; give at least one token.");
  check_tokens(model(), tokens);
  check_room(tokens.size(), n_context());
  size_t kept = 0;
  while (kept < tokens.size() && kept < state_->tokens.size() && tokens[kept] == state_->tokens[kept]) ++kept;
  kept = std::min(kept, tokens.size() - 1);
  truncate(kept);
  append(tokens.subspan(kept), progress);
  return kept;
}

void Session::truncate(size_t n_tokens) {
  if (n_tokens >= state_->tokens.size()) return;
  state_->tokens.resize(n_tokens);
  state_->sequence.truncate(static_cast<int64_t>(n_tokens));
  state_->logits.clear();
}

Session Session::fork() const {
  Session session(std::make_unique<State>(*state_));
  session.state_->on_pass = {};
  return session;
}

// Snapshot: this header, the tokens (i32), the logits (f32, none or one row), the rows of every layer. Little-endian.
struct SnapshotHeader {
  char magic[8];
  uint32_t n_tokens;
  uint32_t n_logits;
  uint32_t n_layers;
  uint32_t n_vocabulary;
  uint32_t cache_type;
  uint32_t zero;
  uint64_t state_bytes;
};
static constexpr char kSnapshotMagic[8] = {'S', 'L', 'S', 'E', 'S', 'S', '0', '2'};

std::vector<std::byte> Session::snapshot() const {
  const State& s = *state_;
  const std::vector<std::byte> rows = s.sequence.snapshot(model().forward_context().layers_on());
  SnapshotHeader header{{},
                        static_cast<uint32_t>(s.tokens.size()),
                        static_cast<uint32_t>(s.logits.size()),
                        static_cast<uint32_t>(model().spec().layers.size()),
                        model().vocabulary_size(),
                        static_cast<uint32_t>(s.options.cache),
                        0,
                        rows.size()};
  std::memcpy(header.magic, kSnapshotMagic, sizeof header.magic);
  std::vector<std::byte> bytes(sizeof header + s.tokens.size() * sizeof(TokenId) + s.logits.size() * sizeof(float) +
                               rows.size());
  std::byte* at = bytes.data();
  const auto put = [&](const void* data, size_t n) {
    if (n > 0) std::memcpy(at, data, n);
    at += n;
  };
  put(&header, sizeof header);
  put(s.tokens.data(), s.tokens.size() * sizeof(TokenId));
  put(s.logits.data(), s.logits.size() * sizeof(float));
  put(rows.data(), rows.size());
  return bytes;
}

void Session::restore(std::span<const std::byte> snapshot) {
  const auto refuse = [](const std::string& why) {
    throw Error(Error::Kind::BadFile, "The saved session cannot be used: " + why + ".");
  };
  SnapshotHeader header;
  if (snapshot.size() < sizeof header) refuse("it has only " + std::to_string(snapshot.size()) + " bytes");
  std::memcpy(&header, snapshot.data(), sizeof header);
  if (std::memcmp(header.magic, kSnapshotMagic, sizeof header.magic) != 0) refuse("it was not written by this version");
  if (header.n_layers != model().spec().layers.size() || header.n_vocabulary != model().vocabulary_size())
    refuse("it belongs to another model");
  if (header.cache_type != static_cast<uint32_t>(state_->options.cache) || header.zero != 0)
    refuse("its keys and values are in another number format (cache type)");
  if (header.n_logits != 0 && header.n_logits != header.n_vocabulary) refuse("it is damaged");
  check_room(header.n_tokens, n_context());
  const uint64_t token_bytes = uint64_t{header.n_tokens} * sizeof(TokenId);
  const uint64_t logit_bytes = uint64_t{header.n_logits} * sizeof(float);
  const uint64_t state_bytes = state_->sequence.snapshot_bytes(header.n_tokens);
  if (header.state_bytes != state_bytes || snapshot.size() != sizeof header + token_bytes + logit_bytes + state_bytes)
    refuse("its size does not fit this model");

  const std::byte* at = snapshot.data() + sizeof header;
  std::vector<TokenId> tokens(header.n_tokens);
  std::vector<float> logits(header.n_logits);
  std::copy_n(at, token_bytes, reinterpret_cast<std::byte*>(tokens.data()));  // either may be nothing
  std::copy_n(at + token_bytes, logit_bytes, reinterpret_cast<std::byte*>(logits.data()));
  check_tokens(model(), tokens);
  ForwardContext& context = model().forward_context();
  const int64_t whole_pages = (int64_t{header.n_tokens} + kPagePositions - 1) / kPagePositions * kPagePositions;
  for (Stage& stage : context.stages)
    if (stage.host) stage.host->make_room(stage, 0, 0, state_->sequence.snapshot_bytes(whole_pages, stage.layers));
  state_->sequence.restore(context.layers_on(), snapshot.subspan(sizeof header + token_bytes + logit_bytes),
                           header.n_tokens);
  state_->tokens = std::move(tokens);
  state_->logits = std::move(logits);
}

void append_batch(std::span<Session* const> sessions, std::span<const std::vector<TokenId>> tokens) {
  if (sessions.size() != tokens.size())
    throw Error(Error::Kind::Usage, "append_batch needs one list of tokens for each session.");
  std::vector<BatchRow> rows;
  std::vector<SequenceState*> sequences;
  std::vector<Session*> with_logits;
  for (size_t i = 0; i < sessions.size(); ++i) {
    Session::State& s = *sessions[i]->state_;
    if (s.model != sessions[0]->state_->model)
      throw Error(Error::Kind::Usage, "append_batch needs sessions of one model.");
    if (std::ranges::find(sequences, &s.sequence) != sequences.end())
      throw Error(Error::Kind::Usage, "append_batch was given the same session twice.");
    check_tokens(*s.model, tokens[i]);
    check_room(s.tokens.size() + tokens[i].size(), s.options.n_context);
    for (size_t t = 0; t < tokens[i].size(); ++t)
      rows.push_back({tokens[i][t], static_cast<uint32_t>(i), t + 1 == tokens[i].size()});
    sequences.push_back(&s.sequence);
    if (!tokens[i].empty()) with_logits.push_back(sessions[i]);
  }
  if (rows.empty()) return;
  const size_t n_vocabulary = sessions[0]->model().vocabulary_size();
  std::vector<float> logits(with_logits.size() * n_vocabulary);
  const bool is_recorded = std::ranges::any_of(sessions, [](const Session* s) { return bool(s->state_->on_pass); });
  RoutingRecord record(sessions[0]->model().spec(), is_recorded ? rows.size() : 0);
  forward(sessions[0]->model().forward_context(), rows, sequences, logits.data(), {}, record.observer());
  check_logits(logits);
  for (size_t i = 0; i < sessions.size(); ++i) {
    std::vector<TokenId>& own = sessions[i]->state_->tokens;
    own.insert(own.end(), tokens[i].begin(), tokens[i].end());
  }
  for (size_t i = 0; i < with_logits.size(); ++i) {
    const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(i * n_vocabulary);
    with_logits[i]->state_->logits.assign(begin, begin + static_cast<std::ptrdiff_t>(n_vocabulary));
  }
  size_t first_row = 0;
  for (size_t i = 0; i < sessions.size(); ++i) {
    Session::State& s = *sessions[i]->state_;
    if (s.on_pass && !tokens[i].empty()) s.on_pass(record.pass(s.tokens, first_row, tokens[i].size()));
    first_row += tokens[i].size();
  }
}

}  // namespace sluice::engine
