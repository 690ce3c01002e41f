// What a device can do: hold memory, keep operations in order, and the operations that a forward pass is made of.
//
// Executors (engine/forward) speak only to this interface. Pointers inside Rows, RowViews and caches are device memory;
// on the CPU that is ordinary memory. Operations are queued on a Stream and run in its order; the CPU device runs each
// before it returns. All activations are float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/device/device_memory.h"
#include "engine/device/device_times.h"
#include "engine/device/linear.h"
#include "kernels/cache_type.h"
#include "kernels/reference/rope.h"
#include "kernels/reference/router.h"

namespace sluice::engine {

// Memory of a device, owned. Contents are undefined when fresh.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual void* data() const = 0;
  virtual uint64_t bytes() const = 0;
};

// An order of operations. The CPU needs no state for it.
class Stream {
 public:
  virtual ~Stream() = default;
  // Forgets what was asked for and has not begun, and where results were to go: after an exception, their memory may be gone.
  virtual void abandon() noexcept {}
  // Will what is asked for from now on come again, and again? Then a device may prepare for that. At first it does.
  virtual void expect_repeats(bool) {}
};

// A place in the order of a stream: all that was asked of it until then.
class Moment {
 public:
  virtual ~Moment() = default;
};

// [n_rows, n_cols] floats in device memory; row i begins at data + i * stride.
struct Rows {
  float* data = nullptr;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  int64_t stride = 0;  // floats from one row to the next

  float* row(int64_t i) const { return data + i * stride; }
  // Columns [begin, begin + count) of every row.
  Rows columns(int64_t begin, int64_t count) const { return {data + begin, n_rows, count, stride}; }
  Rows rows(int64_t begin, int64_t count) const { return {data + begin * stride, count, n_cols, stride}; }
};

// Rows together with the 8-bit forms that quantised matrices read, each made once however many matrices share it.
class Input {
 public:
  virtual ~Input() = default;
};

// One product of a group: y = x W^T for the chosen rows of x.
struct Product {
  const Linear* weights = nullptr;
  const Input* input = nullptr;
  const int32_t* input_rows = nullptr;  // host memory; y row i comes from x row input_rows[i]; null: all rows in order
  Rows output;
};

// One transposed product of a group: y = x W, x [n_rows, n_outputs of W], y [n_rows, n_inputs of W].
struct TransposedProduct {
  const Linear* weights = nullptr;
  Rows input;
  Rows output;
};

// Positions a page holds. A page is also the fixed piece of context by which attention splits its sums.
inline constexpr int64_t kPagePositions = 128;

// Where the keys and values of one sequence lie: pages of `page_positions` positions. In a page the key of position i
// and key-value head h lies at byte h * key_head_bytes + i * key_row_bytes, and so for the values. In a latent cache one row is both key and value: then both page lists are the same pointer.
struct CacheView {
  const void* const* key_pages = nullptr;    // host array of device pointers
  const void* const* value_pages = nullptr;  // host array of device pointers
  int64_t page_positions = 0;
  kernels::CacheType type = kernels::CacheType::F32;
  int64_t key_row_bytes = 0;
  int64_t value_row_bytes = 0;
  int64_t key_head_bytes = 0;
  int64_t value_head_bytes = 0;
};

// Rows of a batch that lie one behind the other in a page of a cache: row first_row + i of the batch goes to `to` + i * the cache's row_bytes.
struct CacheRun {
  int64_t first_row = 0;
  int64_t n_rows = 0;
  void* to = nullptr;
};

// Heads side by side in the columns of x, on their way from a product to attention: first the norm, then the rotation, then to the cache.
struct HeadPart {
  Rows x;  // [n_rows, n_heads * columns of a head]; undefined afterwards where the heads go to a cache
  int64_t n_heads = 1;
  const Vector* norm =
      nullptr;               // of the first columns of each head, all of them where there is more than one; null: none
  int64_t turned_from = -1;  // the column of a head from which on it is rotated; -1: it is not
  std::span<const CacheRun> runs;  // empty: it stays where it is
  kernels::CacheType type = kernels::CacheType::F32;
  int64_t row_bytes = 0, head_bytes = 0;    // of the cache
  std::unique_ptr<Input>* input = nullptr;  // of x with one head, prepared when all is done; null: nobody asks
};
// What they have in common: epsilon of the norms, and the angles of each row.
struct HeadTurn {
  float epsilon = 0;
  kernels::reference::RopePairs pairs{};
  Rows cosines, sines;
};

// Heads to be rotated and moved: of n_heads heads, from_stride columns apart, those columns of `from` on that the angles are for; to the same
// of `to`. Rows without gaps: the stride is n_heads times that of the heads.
struct TurnedHeads {
  Rows from, to;  // from the first head's first column on
  int64_t n_heads = 0, from_stride = 0, to_stride = 0;
};

struct AttentionShape {
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  // divides n_heads; consecutive query heads share one
  int64_t key_size = 0;    // of a head
  int64_t value_size = 0;  // of a head
  float scale = 1;         // of the scores
};

// How a device takes the two forms of latent attention (engine/forward/latent_attention.cc).
struct LatentAttentionCosts {
  // Of a multiply-add of attention, against one of a product with weights. On the CPU attention with expanded keys takes half as long again
  // for one as with the longer latent rows that all heads share (docs/performance.md).
  double expanded = 1.5;
  double absorbed = 1;
  kernels::CacheType expanded_type = kernels::CacheType::F32;  // in which expanded keys and values are best kept
};

// Where an expert's matrices lie in device memory; all null: elsewhere.
struct ExpertPlace {
  const std::byte* gate = nullptr;
  const std::byte* up = nullptr;
  const std::byte* down = nullptr;
};

// Experts of a layer that come to the device while it multiplies by others, some at a time.
class ExpertParts {
 public:
  virtual ~ExpertParts() = default;
  // Where the next ones lie, device memory, one place for each expert of the layer: null for those of other parts. Empty: that was the
  // last part. Host memory, valid until the next call. What the stream is asked for from now on may read them; by the next call all that
  // does was asked for.
  virtual std::span<const ExpertPlace> next() = 0;
};

// What the device leaves to the host in a place of a pass; host memory, valid during the call.
struct HostShare {
  Rows inputs;
  // Of experts: what was chosen for the rows, [rows * n_used], and which of it the device multiplies itself: bit k of hits[row].
  std::span<const int32_t> ids;
  std::span<const float> weights;
  std::span<const uint32_t> hits;
};
// Whether bit k of its row is set, of the pair with this number.
inline bool is_hit(std::span<const uint32_t> hits, size_t pair, int64_t n_used) {
  const auto n = static_cast<size_t>(n_used);
  return (hits[pair / n] >> (pair % n) & 1u) != 0;
}
// Makes `results`, as many rows and columns as the inputs, which are added to those of the device. Returns false where there is nothing to
// add; then they may be left as they are.
using HostWork = std::function<bool(const HostShare& share, Rows results)>;

// The experts of a layer for a device that holds them all: the choice and the products, without the host between them.
struct RoutedExperts {
  const kernels::reference::RouterRule* rule = nullptr;
  const Linear* router = nullptr;
  Rows logits;                   // [rows, n_experts]: for the router's product
  const Vector* bias = nullptr;  // of the router; null: none
  const LinearStack* gate = nullptr;
  const LinearStack* up = nullptr;
  const LinearStack* down = nullptr;
  const Input* input = nullptr;
  Rows output;
  // What was chosen, in host memory, [rows * n_used]; empty where nobody asks. Waits for the stream where somebody does.
  std::span<int32_t> ids;
  std::span<float> weights;
  // Where the layer's experts lie, in device memory, one for each; null: all where the stacks have them. What is not there is the
  // host's to multiply, and `work` does: it must be given, and finish_host_work() be called.
  const ExpertPlace* places = nullptr;
  uint32_t layer = 0;
  HostWork work;
  // For one row: where the host has experts in memory that the device can read (slowly), as `places`; of m experts that are not there it
  // reads and multiplies n_from_host[m] of them itself, host memory, [n_used + 1]. Empty: none.
  const ExpertPlace* host_places = nullptr;
  std::span<const uint32_t> n_from_host;
  // The experts that are not in `places`, for a pass without `work`; null: they add nothing.
  ExpertParts* parts = nullptr;
};

// A way to keep a stack of matrices in the device's own memory.
struct ResidentOffer {
  const kernels::ResidentForm* form = nullptr;  // null: the blocks as they are
  uint64_t bytes = 0;
  // Of a pass over its weights by one input, bound by memory or by arithmetic. Measured when asked for, else 0.
  double seconds = 0;
};

// How fast the device multiplies by one input, all its parts together. Measured on first use, in some tens of milliseconds.
struct MeasuredRates {
  double bytes_per_second = 0;         // read from memory
  double weights_per_second = 0;       // of a type, from the caches
  double form_weights_per_second = 0;  // in its resident form; 0: it has none
};

// The measures are short, so times this near count as equal. Then the later offer wins: it leaves the multiplier more time, which
// hides what memory costs on top of its bandwidth.
inline constexpr double kEqualOffers = 1.05;

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view name() const = 0;

  // Throws Error(OutOfMemory).
  virtual std::unique_ptr<Buffer> allocate(uint64_t bytes) = 0;
  // For weights: leaves keep_free bytes of the device's own memory to others.
  virtual std::unique_ptr<Buffer> allocate_weights(uint64_t bytes, uint64_t keep_free);
  // The same, or null where its own memory has no such room.
  virtual std::unique_ptr<Buffer> allocate_own(uint64_t bytes, uint64_t keep_free);
  // What allocate_own() could hand out in all.
  virtual uint64_t room(uint64_t) const { return 0; }
  virtual DeviceMemory memory() const { return {}; }
  virtual std::unique_ptr<Stream> make_stream() = 0;
  // Gives back memory that passes on the stream took and do not hold; the next ones take it anew. Nothing may be in flight.
  virtual void trim(Stream&) {}
  virtual DeviceTimes times(Stream&) const { return {}; }
  virtual void synchronize(Stream& stream) = 0;
  // `host` may change when this returns; where it is pinned, when the stream was waited for.
  virtual void copy_to_device(Stream& stream, void* to, const void* host, uint64_t bytes) = 0;
  // `host` has the bytes when the stream was waited for.
  virtual void copy_to_host(Stream& stream, void* host, const void* from, uint64_t bytes) = 0;
  virtual void copy(Stream& stream, void* to, const void* from, uint64_t bytes) = 0;
  // to = from, rows of another device: when the other's stream has made what it was asked for, and in the order of this one. What the
  // other's is asked for from now on may change `from`.
  virtual void receive(Stream& stream, Rows to, Device& other, Stream& others, Rows from);

  // Pins memory of the host, as much of it as the system allows, so that copies to and from it need no staging and the device's kernels
  // can read it; says whether that was all of it. Until unpin() or the end of the device; other threads may copy meanwhile.
  virtual bool pin(void*, uint64_t) { return false; }
  virtual void unpin(const void*) noexcept {}
  // Where the device's kernels find pinned memory; null where it is not pinned.
  virtual const std::byte* device_address(const std::byte*) const { return nullptr; }

  // The ways in which the device can keep these blocks of a mapped file: a copy first, then other forms where it knows
  // any. `measured` asks for the times as well.
  virtual std::vector<ResidentOffer> resident_offers(const LinearStack& stack, bool measured) = 0;
  virtual MeasuredRates measured_rates(gguf::TensorType type) = 0;
  // Makes the offer's form at `to`, 64-byte aligned device memory of offer.bytes, and turns the handle to it. on_bytes is
  // told how many bytes of the blocks are done.
  virtual void make_resident(Stream& stream, LinearStack& stack, const ResidentOffer& offer, std::byte* to,
                             const std::function<void(uint64_t done)>& on_bytes) = 0;

  // The same for one matrix inside a stretch of memory that begins at `to`, 64-byte aligned, and in which its blocks lie at the
  // end: matrix.data - to is at least offer.bytes - matrix.bytes(), and a block's more.
  virtual void make_resident_in_place(Stream& stream, Linear& matrix, const ResidentOffer& offer, std::byte* to) = 0;

  // Brings weights of a mapped file into memory, where the device's threads will read them: n_matrices equal ones, one
  // behind the other.
  virtual void touch_weights(const std::byte* matrices, int64_t n_matrices, uint64_t matrix_bytes) = 0;

  // Row i of out = row ids[i] of the table, dequantised. ids in host memory.
  virtual void embed(Stream& stream, const Linear& table, std::span<const int32_t> ids, Rows out) = 0;

  // out = x / sqrt(mean(x^2) + epsilon) * weight, for each group of weight-many columns of a row; may be in place.
  virtual void rms_norm(Stream& stream, Rows x, const Vector& weight, float epsilon, Rows out) = 0;

  // The rows must stay unchanged while the Input lives.
  virtual std::unique_ptr<Input> prepare(Stream& stream, Rows x) = 0;

  // What stands between two parts of a layer, for devices that do it in one go: x += change (nothing where change is null), out =
  // rms_norm(x), and out prepared. `out` is x, or does not overlap it.
  virtual std::unique_ptr<Input> norm_and_prepare(Stream& stream, Rows x, const Rows* change, const Vector& weight,
                                                  float epsilon, Rows out);
  // gate = silu(gate) * up, and gate prepared.
  virtual std::unique_ptr<Input> swiglu_and_prepare(Stream& stream, Rows gate, Rows up);

  // All products of the group, in one pass of the device: y[i, o] = sum_c x[i, c] W[o, c] (and the bias and adapters of
  // W).
  virtual void multiply(Stream& stream, std::span<const Product> products) = 0;

  // Products and what always follows them, for devices that do it in one go.
  // sum += the product, whose output is undefined then.
  virtual void multiply_and_add(Stream& stream, const Product& product, Rows sum);
  // gated = silu(gate x) * (up x), and that prepared. The rows of up_scratch are undefined then.
  virtual std::unique_ptr<Input> multiply_gated(Stream& stream, const Linear& gate, const Linear& up, const Input& x,
                                                Rows gated, Rows up_scratch);
  // The products fill `whole`, which is prepared.
  virtual std::unique_ptr<Input> multiply_and_prepare(Stream& stream, std::span<const Product> products, Rows whole);

  // y[i, c] = sum_o x[i, o] W[o, c]: products across the rows of quantised matrices, never requantised. W without bias.
  virtual void multiply_transposed(Stream& stream, std::span<const TransposedProduct> products) = 0;

  // Cosines and sines of each row's position, [n_rows, n_dims / 2] each, for rope(). Positions in host memory.
  virtual void rope_angles(Stream& stream, const kernels::reference::Rope& rope, std::span<const int32_t> positions,
                           Rows cosines, Rows sines) = 0;
  // Turns the first values of each of n_heads heads, head_stride columns apart, by the angles of the row.
  virtual void rope(Stream& stream, Rows x, int64_t n_heads, int64_t head_stride, kernels::reference::RopePairs pairs,
                    Rows cosines, Rows sines) = 0;

  // Parts whose rows do not overlap.
  virtual void finish_heads(Stream& stream, std::span<const HeadPart> parts, const HeadTurn& turn);
  // multiply_transposed(), and heads that are turned beside it; one product a head. Where `turned` lay is undefined then.
  virtual void multiply_transposed_and_turn(Stream& stream, std::span<const TransposedProduct> products,
                                            const TurnedHeads& turned, const HeadTurn& turn);

  // gate = silu(gate) * up
  virtual void swiglu(Stream& stream, Rows gate, Rows up) = 0;
  // to = from
  virtual void copy_rows(Stream& stream, Rows from, Rows to) = 0;
  // x += y
  virtual void add(Stream& stream, Rows x, Rows y) = 0;
  // Writes rows into a cache page in its element type. The columns of x are those of n_heads heads side by side; head h
  // of row i goes to byte h * head_bytes + i * row_bytes from `to`.
  virtual void store(Stream& stream, Rows x, int64_t n_heads, kernels::CacheType type, void* to, int64_t row_bytes,
                     int64_t head_bytes) = 0;
  // And back, for one head.
  virtual void load(Stream& stream, kernels::CacheType type, const void* from, int64_t row_bytes, Rows x) = 0;

  // For each row i of q ([n_heads * key_size] columns): softmax-weighted values of the positions [0, n_visible[i]) of
  // the cache caches[i]. out has n_heads * value_size columns. Positions are summed in fixed pieces, so the result does
  // not depend on the number of threads.
  virtual void attention(Stream& stream, const AttentionShape& shape, Rows q, std::span<const CacheView* const> caches,
                         std::span<const int32_t> n_visible, Rows out) = 0;

  // The same, and `out` prepared as `view` sees it: the rows of out, or where they have no gaps a row for each head.
  virtual std::unique_ptr<Input> attention_and_prepare(Stream& stream, const AttentionShape& shape, Rows q,
                                                       std::span<const CacheView* const> caches,
                                                       std::span<const int32_t> n_visible, Rows out, Rows view);

  virtual LatentAttentionCosts latent_attention_costs() const { return {}; }

  // Chooses experts. logits [rows, n_experts]; ids and weights [rows * n_used] in host memory (the stream is
  // synchronised).
  virtual void route(Stream& stream, const kernels::reference::RouterRule& rule, Rows logits, const Vector* bias,
                     std::span<int32_t> ids, std::span<float> weights) = 0;

  // Does the device choose and multiply experts on its own?
  virtual bool holds_experts() const { return false; }
  // output row i = sum over k, in the router's order, of the router's weight times down(silu(gate x) * up x) of the chosen expert.
  virtual void multiply_experts(Stream& stream, const RoutedExperts& experts);

  // For devices that run beside the host. Hands it the rows of x here, and adds what it makes of them to `out`, or replaces that by it,
  // where finish_host_work() stands; what is asked for in between, the device does meanwhile. One work a layer and pass. The host does it
  // in start(), or whenever the stream is waited for; what it throws ends the pass.
  virtual void begin_host_work(Stream& stream, uint32_t layer, const Input& x, HostWork work);
  virtual void finish_host_work(Stream& stream, uint32_t layer, Rows out, bool replaces);
  // Begins what was asked for, and does the host's work in it.
  virtual void start(Stream&) {}
  // What will be asked of `later` begins after what was asked of `earlier`, which is started.
  virtual void follow(Stream&, Stream&) {}
  // Starts what was asked of the stream so far, and says where that ends.
  virtual std::unique_ptr<Moment> moment(Stream&) { return std::make_unique<Moment>(); }
  // What will be asked of `later` begins after the moment of another stream; what was asked of it is started, and does not wait.
  virtual void begin_after(Stream&, const Moment&) {}

  // out row i = sum over k, in order, of weights[i * n_used + k] * y row places[i * n_used + k]. weights and places in
  // host memory.
  virtual void weighted_sum(Stream& stream, Rows y, std::span<const int32_t> places, std::span<const float> weights,
                            int64_t n_used, Rows out) = 0;
};

}  // namespace sluice::engine
