// The door of the engine: open a model, hold a conversation with it. What tools, tests and the C API use.
//
//   auto model = Model::open("model.gguf", {});
//   Session session(model, {});
//   Generation result = generate(session, model->tokenizer().encode_prompt("Once", Specials::Parse), {}, {});
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device/device_memory.h"
#include "engine/device/device_times.h"
#include "engine/error.h"
#include "engine/options.h"
#include "engine/placement/comparison.h"
#include "engine/placement/machine.h"
#include "engine/session/sampler.h"
#include "engine/store/statistics.h"
#include "engine/store/vram_statistics.h"
#include "engine/traces/trace.h"
#include "gguf/file.h"
#include "tokenizer/tokenizer.h"

namespace sluice::engine {

struct ModelSpec;      // engine/model/spec.h: layer specifications as values
class ForwardContext;  // engine/forward/forward.h

struct SessionOptions {
  uint32_t n_context = 0;  // tokens; 0: the trained context, at most 4096
  CacheType cache = CacheType::F16;
  // Rows a forward pass at most; of passes that GPU and CPU share, kMostSharedRows at most; those of a prompt for which experts come to the
  // GPU have their own limit (SharingOptions), but where logits of all rows are asked for.
  uint32_t n_batch = 512;
};

struct ModelOptions {
  uint32_t n_threads = 0;    // 0: one a physical core, as far as affinity and control groups allow
  bool pin_threads = false;  // bind each thread but the caller's to a core of its own, spread over the memory nodes
  ActivationPrecision activations = ActivationPrecision::Int8;
  LatentAttention latent_attention = LatentAttention::Automatic;
  Residency residency = Residency::Automatic;
  DeviceKind device = DeviceKind::Automatic;
  // Which GPUs may be used, by the driver's numbers, in the order in which layers come to them; empty: all, the fastest first. As few of
  // them are taken as hold the whole model.
  std::vector<int> gpus;
  uint64_t vram_bytes = 0;  // of each GPU, not to be exceeded; 0: what is free, less a margin
  // The same of each of `gpus`, or of all by number; empty: vram_bytes holds for each.
  std::vector<uint64_t> vram_bytes_of_gpus;
  PromotionOptions promotion;
  SharingOptions sharing;
  StoreOptions store;
  // What sessions will be opened with: their memory is kept free of weights.
  SessionOptions session;
  std::string pre_tokenizer;  // overrides the file's; empty obeys it
  // What predictions are made with. Without it the CPU is measured when one is asked for, and the disk's rate is assumed.
  std::optional<Machine> machine;
  // Called from the opening thread with bytes done of all; may be empty.
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> on_progress;
};

// A GPU, what it has of a model, and what it has done for it so far.
struct GpuUse {
  std::string name;
  int ordinal = 0;
  uint32_t first_layer = 0, end_layer = 0;  // layers [first, end)
  DeviceMemory memory;
  VramStatistics vram;  // all zero where it has all experts of its layers
  DeviceTimes times;
};

// An opened model: weights, vocabulary, device. Immutable; sessions share it. One thread at a time may evaluate.
class Model {
 public:
  // Throws gguf::Error, tokenizer::Error or Error.
  static std::shared_ptr<const Model> open(const std::filesystem::path& path, const ModelOptions& options);
  ~Model();

  const gguf::File& file() const;
  const ModelSpec& spec() const;
  const tokenizer::Tokenizer& tokenizer() const;
  const ModelOptions& options() const;
  uint32_t n_threads() const;
  std::string_view architecture() const;
  uint32_t vocabulary_size() const;
  uint32_t trained_context() const;   // tokens
  uint64_t resident_bytes() const;    // of weights kept in another form than the file's
  uint64_t ram_budget_bytes() const;  // what it was opened to stay within
  uint64_t session_bytes() const;     // kept free of weights for a session
  // What multiplies ("GPU + GPU" where several have layers), and why it is not the GPU when one was wished for or might have been: one sentence, or empty.
  std::string_view device_name() const;
  bool is_on_gpu() const;
  std::string_view why_no_gpu() const;
  std::vector<GpuUse> gpus() const;        // in the order of their layers; empty on the CPU
  DeviceMemory device_memory() const;      // of all GPUs; all zero on the CPU
  VramStatistics vram_statistics() const;  // all zero where experts do not come and go
  DeviceTimes device_times() const;        // of passes so far; all zero on the CPU
  uint64_t host_dense_bytes() const;       // of weights of every token that the CPU multiplies beside the GPU
  uint32_t most_rows() const;              // of a pass
  StoreStatistics store_statistics() const;
  // What traces of it begin with. Throws Error(Usage) when no layer has experts, and Error(BadFile) when layers have different
  // numbers of them.
  traces::TraceHeader trace_header() const;

  // For predictions: what it asks of the machine, where its weights lie, and what the machine can do (measured on first use where
  // the options do not tell).
  const ModelWork& work() const;
  std::span<const GroupPlace> places() const;
  const Machine& machine() const;

  // For sessions: what a forward pass runs with. Not to be used from two threads at once.
  ForwardContext& forward_context() const;

 private:
  struct State;
  explicit Model(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// One sequence: its tokens and the state they left in every layer. Not thread-safe.
class Session {
 public:
  Session(std::shared_ptr<const Model> model, const SessionOptions& options);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  const Model& model() const;
  uint32_t n_context() const;
  std::span<const TokenId> tokens() const;  // evaluated so far
  uint64_t state_bytes() const;             // memory that the sequence state holds

  struct Progress {
    std::function<void(size_t done_tokens, size_t total_tokens)> on_tokens;  // after each batch
    std::function<bool()> cancelled;  // asked before each layer of a batch; a cancelled batch leaves nothing behind
    // Where it is given, the logits of every token are computed, and handed out after each batch: one row of
    // vocabulary_size for each token of it. They are finite.
    std::function<void(std::span<const float> logits)> on_logits;
  };

  // Evaluates further tokens; logits() is then of the last one. Returns false when cancelled (whole batches stay).
  // Throws Error(Usage) when the context is too short, before anything is evaluated.
  bool append(std::span<const TokenId> tokens, const Progress& progress = {});

  // Makes the sequence equal to `tokens` (at least one), keeping the longest common prefix. Returns how many tokens
  // were kept. At least the last token is evaluated again when everything matched, so that logits() is valid. When
  // cancelled, tokens() shows how far it came.
  size_t rewrite(std::span<const TokenId> tokens, const Progress& progress = {});

  // From now on hands out what the routers chose for every pass of this session (not of its forks), once the pass is done; a
  // cancelled one is not told of. What `on_pass` throws comes out of append(), whose tokens stay. Empty: no more. The model must have
  // experts. Throws as trace_header() does.
  void record_routing(std::function<void(const traces::Pass&)> on_pass);

  // Forgets all but the first n tokens. logits() is invalid until the next append().
  void truncate(size_t n_tokens);

  // A second session with the same state; the two share memory until they diverge.
  Session fork() const;

  // The sequence (tokens and state) as bytes, and back. restore() throws Error(BadFile) when the bytes are of another
  // model, cache type or version, or are damaged.
  std::vector<std::byte> snapshot() const;
  void restore(std::span<const std::byte> snapshot);

  // [vocabulary_size] of the last evaluated token.
  std::span<const float> logits() const;

 private:
  // n_done: how many of the session's tokens are evaluated for certain.
  bool append_in_passes(std::span<const TokenId> tokens, const Progress& progress, size_t& n_done);
  friend void append_batch(std::span<Session* const> sessions, std::span<const std::vector<TokenId>> tokens);
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Several sequences in one forward pass: appends one list of tokens to each session. All must be distinct and of one
// model. Throws Error(Usage) before anything is evaluated.
void append_batch(std::span<Session* const> sessions, std::span<const std::vector<TokenId>> tokens);

enum class StopReason {
  EndOfText,   // the model ended its answer
  Length,      // max_tokens reached
  Context,     // the context is full
  StopString,  // one of the caller's strings came
  Cancelled,
};
std::string_view stop_reason_name(StopReason reason);  // "eos", "length", "context", "stop", "cancelled"

struct GenerateOptions {
  SamplerOptions sampling;
  int64_t max_tokens = -1;  // below 0: until the model or the context ends it
  std::vector<std::string> stop_strings;
  bool ignore_end = false;  // go on past end-of-text tokens
  // Marks that enclose thinking, counted apart from the answer.
  std::string thinking_begin = "<think>";
  std::string thinking_end = "</think>";
  bool starts_thinking = false;  // the prompt itself opened the thinking
};

struct GenerateCallbacks {
  std::function<void(std::string_view utf8)> on_text;  // whole characters, stop strings held back
  std::function<void(size_t done_tokens, size_t total_tokens)> on_prefill;
  std::function<bool()> cancelled;  // asked before every token and every layer
};

// What a part of a generation used of the machine.
struct Usage {
  double seconds = 0;
  double cpu_seconds = 0;      // of all threads
  StoreStatistics store;       // of that part only
  bool on_gpu = false;         // which multiplied, and for which the evaluating thread waited
  bool gpu_reads_ram = false;  // weights or caches did not fit in VRAM, and are read over PCIe by every pass
  VramStatistics vram;         // counts of that part only, sizes as they are
  DeviceTimes device;          // of that part only

  // Shares of the time: the CPU multiplied on all its threads, the disk read, the evaluating thread waited for it.
  double cpu_busy(uint32_t n_threads) const;
  double disk_busy() const;
  double waiting() const;
  // The same of a GPU: it computed, stood still until the CPU's part of a layer came, had nothing to do between passes.
  double gpu_busy() const;
  double gpu_waited() const;
  double gpu_idle() const;
  // And of the CPU beside it: it computed its parts, waited for what the GPU chose.
  double host_busy() const;
  double host_waited() const;
};

// Predictions for a run, made without knowing it, against what happened.
struct RunComparison {
  Comparison prefill, decode;
};
struct Statistics;
RunComparison compare_with_prediction(const Model& model, const Statistics& statistics);

// Measures what is used of the machine from its construction on.
class UsageWatch {
 public:
  explicit UsageWatch(const Model& model);
  Usage usage() const;

 private:
  const Model& model_;
  std::chrono::steady_clock::time_point begin_;
  double cpu_begin_;  // seconds
  StoreStatistics store_begin_;
  VramStatistics vram_begin_;
  DeviceTimes device_begin_;
};

// What kept a part of a generation from being faster.
enum class Limit {
  None,  // nothing was measured
  Disk,
  Cpu,  // or the memory that it reads
  Gpu,
  Pcie,    // over which the GPU reads what VRAM does not hold
  Others,  // neither was busy: other programs had the machine
};
Limit limit_of(const Usage& usage, uint32_t n_threads);
std::string_view limit_name(Limit limit);  // "none", "disk", "cpu", "gpu", "pcie", "others"

// What happened, with times of the monotonic clock.
struct Statistics {
  uint64_t prompt_tokens = 0;     // in the prompt, cached ones included
  uint64_t cached_tokens = 0;     // of these, not evaluated because the session had them
  uint64_t generated_tokens = 0;  // end-of-text token not counted
  uint64_t thinking_tokens = 0;   // of these, inside thinking marks
  uint64_t characters = 0;        // of the generated text
  uint64_t cjk_characters = 0;
  double prefill_seconds = 0;
  double time_to_first_token_seconds = 0;  // from the call to the first token's text
  double decode_seconds = 0;               // after the first token
  Usage prefill, decode;                   // of the machine

  double prefill_tokens_per_second() const;  // evaluated prompt tokens
  double decode_tokens_per_second() const;   // without the first token
  double characters_per_second() const;      // over the whole generation after the prefill
  double cjk_characters_per_second() const;
};

struct Generation {
  std::string text;
  std::vector<TokenId> tokens;
  StopReason stop = StopReason::EndOfText;
  Statistics statistics;
};

// Rewrites the session to `prompt`, then samples until something ends it. The session is left with prompt and answer
// evaluated (the last sampled token may not be). Throws Error(Usage) when the prompt does not fit the context.
Generation generate(Session& session, std::span<const TokenId> prompt, const GenerateOptions& options,
                    const GenerateCallbacks& callbacks);

}  // namespace sluice::engine
