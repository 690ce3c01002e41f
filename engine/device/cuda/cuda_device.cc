#include "engine/device/cuda_device.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/device/cuda/attention.h"
#include "engine/device/cuda/crossing.h"
#include "engine/device/cuda/heads.h"
#include "engine/device/cuda/host_shares.h"
#include "engine/device/cuda/input.h"
#include "engine/device/cuda/pass.h"
#include "engine/device/cuda/pinned_ranges.h"
#include "engine/device/cuda/products.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/routed_product.h"
#include "kernels/cuda/rows.h"
#include "kernels/format.h"

namespace sluice::engine {
namespace {

using namespace cuda;
namespace gpu = kernels::cuda;

static_assert(sizeof(ExpertPlace) == sizeof(gpu::ExpertPlace));

class CudaBuffer : public Buffer {
 public:
  explicit CudaBuffer(Memory memory) : memory_(std::move(memory)) {}
  void* data() const override { return memory_.device(); }
  uint64_t bytes() const override { return memory_.bytes(); }

 private:
  Memory memory_;
};

class CudaStream : public Stream {
 public:
  // Of the GPU that the calling thread is on.
  CudaStream(int of_gpu, bool graphs, const std::shared_ptr<VramAccount>& account,
             std::shared_ptr<const PinnedRanges> pinned)
      : ordinal(of_gpu),
        scratch(account),
        pass(graphs, account, std::move(pinned)),
        host_shares(pass),
        account_(account) {}
  ~CudaStream() override { cudaStreamSynchronize(pass.stream()); }  // what is in flight uses all of these
  void abandon() noexcept override {
    pass.drop();
    host_shares.drop();
  }
  void expect_repeats(bool expects) override { pass.expect_repeats(expects); }
  // n words for a launch to count in: zeros before it and after it. Launches follow one another, so all have the same. Null for more
  // than there are.
  uint32_t* counters(int64_t n) {
    constexpr int64_t kCounters = 4096;
    if (n > kCounters) return nullptr;
    if (!counters_) {
      counters_ = vram_or_pinned_memory(kCounters * sizeof(uint32_t), account_);
      check(cudaMemsetAsync(counters_.device(), 0, counters_.bytes(), pass.stream()), "clearing its counters");
    }
    return reinterpret_cast<uint32_t*>(counters_.device());
  }
  // For the forms of `to`, made by the launch that stores it; without counters where it cannot.
  gpu::OutputForms output_forms(const gpu::Activations& to) {
    return {to, counters(gpu::n_output_blocks(to.n_rows, to.n_columns)), pass.not_finite()};
  }

  // Rows from another GPU to this one.
  Crossing& crossing_from(int other, bool reads_peers) {
    std::unique_ptr<Crossing>& crossing = crossings_[other];
    if (!crossing) crossing = std::make_unique<Crossing>(ordinal, other, reads_peers);
    return *crossing;
  }

  const int ordinal;
  Scratch scratch;
  Pass pass;
  HostShares host_shares;

 private:
  std::map<int, std::unique_ptr<Crossing>> crossings_;
  std::shared_ptr<VramAccount> account_;
  Memory counters_;
};

struct CudaMoment : Moment {
  EventHandle event;
};

class CudaDevice : public Device {
 public:
  CudaDevice(const CudaDeviceOptions& options, CudaGpu found, std::shared_ptr<PinnedRanges> pinned)
      : graphs_(options.graphs), reads_peers_(options.reads_peers), gpu_(std::move(found)), pinned_(std::move(pinned)) {
    vram_->limit = options.vram_bytes;
    enter_gpu(gpu_.ordinal);
  }

  std::string_view name() const override { return gpu_.name; }

  std::unique_ptr<Buffer> allocate(uint64_t bytes) override { return allocate_if(true, bytes, 0); }
  std::unique_ptr<Buffer> allocate_weights(uint64_t bytes, uint64_t keep_free) override {
    return allocate_if(bytes <= room(keep_free), bytes, keep_free);
  }
  std::unique_ptr<Buffer> allocate_own(uint64_t bytes, uint64_t keep_free) override {
    if (bytes > room(keep_free)) return nullptr;  // which enters the GPU
    Memory memory = Memory::allocate(Memory::Kind::Vram, bytes, vram_);
    return memory ? std::make_unique<CudaBuffer>(std::move(memory)) : nullptr;
  }
  uint64_t room(uint64_t keep_free) const override {
    size_t free = 0, total = 0;
    enter_gpu(gpu_.ordinal);
    check(cudaMemGetInfo(&free, &total), "asking for its free memory");
    const uint64_t left = free - std::min<uint64_t>(free, keep_free + vram_margin(total));
    if (vram_->limit == 0) return left;
    return std::min(left, vram_->limit - std::min(vram_->limit, vram_->vram + keep_free));
  }
  DeviceMemory memory() const override {
    size_t free = 0, total = 0;
    enter_gpu(gpu_.ordinal);
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
    return {vram_->vram, vram_->pinned, free, total};
  }

  std::unique_ptr<Stream> make_stream() override {
    enter_gpu(gpu_.ordinal);
    return std::make_unique<CudaStream>(gpu_.ordinal, graphs_, vram_, pinned_);
  }
  DeviceTimes times(Stream& stream) const override { return host_shares(stream).times(); }
  void trim(Stream& stream) override { scratch(stream).trim(); }
  void start(Stream& stream) override { pass(stream).submit(); }
  // Either may be in use by another thread: no more of it is touched than its place among the GPU's streams.
  void follow(Stream& later, Stream& earlier) override {
    enter_gpu(gpu_.ordinal);
    static_cast<CudaStream&>(later).pass.follow(static_cast<CudaStream&>(earlier).pass);
  }
  std::unique_ptr<Moment> moment(Stream& stream) override {
    pass(stream).submit();
    auto moment = std::make_unique<CudaMoment>();
    check(cudaEventRecord(moment->event.get(), pass(stream).stream()), "ordering two streams");
    return moment;
  }
  void begin_after(Stream& later, const Moment& earlier) override {
    pass(later).submit();
    pass(later).follow(static_cast<const CudaMoment&>(earlier).event.get());
  }
  void synchronize(Stream& stream) override { pass(stream).wait(); }
  void copy_to_device(Stream& stream, void* to, const void* host, uint64_t bytes) override {
    pass(stream).copy_to_device(to, host, bytes);
  }
  void copy_to_host(Stream& stream, void* host, const void* from, uint64_t bytes) override {
    pass(stream).copy_to_host(host, from, bytes);
  }
  void copy(Stream& stream, void* to, const void* from, uint64_t bytes) override { pass(stream).copy(to, from, bytes); }
  void receive(Stream& stream, Rows to, Device& other, Stream& others, Rows from) override {
    if (dynamic_cast<CudaDevice*>(&other) == nullptr || to.stride != from.stride)
      return Device::receive(stream, to, other, others, from);
    if (from.n_rows == 0) return;
    // With what lies between the rows.
    const auto bytes = static_cast<uint64_t>((from.n_rows - 1) * from.stride + from.n_cols) * sizeof(float);
    auto& source = static_cast<CudaStream&>(others);
    auto& target = static_cast<CudaStream&>(stream);
    target.crossing_from(source.ordinal, reads_peers_).copy(target.pass, to.data, source.pass, from.data, bytes);
  }

  bool pin(void* memory, uint64_t bytes) override {
    enter_gpu(gpu_.ordinal);
    return pinned_->pin(memory, bytes);
  }
  void unpin(const void* memory) noexcept override { pinned_->unpin(memory); }
  const std::byte* device_address(const std::byte* pinned) const override { return pinned_->device_address(pinned); }

  // Weights come here whole, by allocate_weights() and copies: there is no choice of forms, and nothing is measured for one.
  std::vector<ResidentOffer> resident_offers(const LinearStack&, bool) override { return {}; }
  MeasuredRates measured_rates(gguf::TensorType) override { return {}; }
  void make_resident(Stream&, LinearStack&, const ResidentOffer&, std::byte*,
                     const std::function<void(uint64_t done)>&) override {
    throw std::logic_error("A GPU keeps blocks as the file has them.");
  }
  void make_resident_in_place(Stream&, Linear&, const ResidentOffer&, std::byte*) override {
    throw std::logic_error("A GPU keeps blocks as the file has them.");
  }
  void touch_weights(const std::byte*, int64_t, uint64_t) override {}

  // From a table that stayed in the file the host takes the few rows that are needed.
  void embed(Stream& stream, const Linear& table, std::span<const int32_t> ids, Rows out) override {
    Pass& pass = this->pass(stream);
    if (table.place == Place::Buffer) {
      gpu::embed(pass.launches(), {matrix_of(table), pass.cells(ids), out.n_rows, out.data, out.stride});
      return;
    }
    std::vector<float> rows(static_cast<size_t>(out.n_rows * out.n_cols));
    const kernels::Format& format = kernels::format_of(table.type);
    for (size_t i = 0; i < ids.size(); ++i)
      format.dequantize(table.data + table.row_bytes * static_cast<uint64_t>(ids[i]), out.n_cols,
                        rows.data() + i * static_cast<size_t>(out.n_cols));
    copy_in(pass, rows, out);
  }

  void rms_norm(Stream& stream, Rows x, const Vector& weight, float epsilon, Rows out) override {
    gpu::rms_norm(pass(stream).launches(), float_rows(x), weight.data, weight.size, epsilon, float_rows(out));
  }

  std::unique_ptr<Input> prepare(Stream& stream, Rows x) override {
    auto input = make_input(stream, x);
    gpu::quantize(pass(stream).launches(), input->activations, pass(stream).not_finite());
    return input;
  }
  std::unique_ptr<Input> norm_and_prepare(Stream& stream, Rows x, const Rows* change, const Vector& weight,
                                          float epsilon, Rows out) override {
    if (weight.size != x.n_cols) return Device::norm_and_prepare(stream, x, change, weight, epsilon, out);
    auto input = make_input(stream, out);
    gpu::ResidualNorm norm;
    norm.x = x.data;
    norm.x_stride = x.stride;
    if (change != nullptr) {
      norm.change = change->data;
      norm.change_stride = change->stride;
      if (const auto answer = gpu::take_added_result(pass(stream).launches(), float_rows(*change)))
        norm.answer = *answer;
    }
    norm.weight = weight.data;
    norm.epsilon = epsilon;
    gpu::residual_norm_quantize(pass(stream).launches(), norm, input->activations, pass(stream).not_finite());
    return input;
  }
  std::unique_ptr<Input> swiglu_and_prepare(Stream& stream, Rows gate, Rows up) override {
    auto input = make_input(stream, gate);
    gpu::swiglu_quantize(pass(stream).launches(), gate.data, gate.stride, up.data, up.stride, input->activations,
                         pass(stream).not_finite());
    return input;
  }

  void multiply(Stream& stream, std::span<const Product> products) override {
    append_products(pass(stream).launches(), products);
  }
  void multiply_transposed(Stream& stream, std::span<const TransposedProduct> products) override {
    append_products(pass(stream).launches(), products);
  }
  void multiply_and_add(Stream& stream, const Product& product, Rows sum) override {
    if (sum.n_rows != 1) return Device::multiply_and_add(stream, product, sum);
    Product added = product;
    added.output = sum;
    for (gpu::MatrixProducts& group : grouped(std::span<const Product>(&added, 1))) {
      group.adds = true;
      gpu::multiply(pass(stream).launches(), group);
    }
  }
  std::unique_ptr<Input> multiply_gated(Stream& stream, const Linear& gate, const Linear& up, const Input& x,
                                        Rows gated, Rows up_scratch) override {
    if (gated.n_rows != 1 || !same_shape(gate, up))
      return Device::multiply_gated(stream, gate, up, x, gated, up_scratch);
    auto input = make_input(stream, gated);
    const gpu::OutputForms forms = cuda_stream(stream).output_forms(input->activations);
    gpu::multiply_gated(pass(stream).launches(), matrix_of(gate), matrix_of(up), activations_of(x), forms);
    if (forms.n_done == nullptr) gpu::quantize(pass(stream).launches(), input->activations, pass(stream).not_finite());
    return input;
  }
  std::unique_ptr<Input> multiply_and_prepare(Stream& stream, std::span<const Product> products, Rows whole) override {
    std::vector<gpu::MatrixProducts> groups;
    if (whole.n_rows == 1) groups = grouped(products);
    const bool is_one = groups.size() == 1 && groups[0].n_inputs_each == 1 && groups[0].output == whole.data &&
                        groups[0].output_matrix_stride == groups[0].matrix.n_outputs &&
                        groups[0].n_matrices * groups[0].matrix.n_outputs == whole.n_cols;
    if (!is_one) return Device::multiply_and_prepare(stream, products, whole);
    auto input = make_input(stream, whole);
    groups[0].forms = cuda_stream(stream).output_forms(input->activations);
    gpu::multiply(pass(stream).launches(), groups[0]);
    if (groups[0].forms.n_done == nullptr)
      gpu::quantize(pass(stream).launches(), input->activations, pass(stream).not_finite());
    return input;
  }

  // In double on the host, as on the CPU: a few values a row.
  void rope_angles(Stream& stream, const kernels::reference::Rope& rope, std::span<const int32_t> positions,
                   Rows cosines, Rows sines) override {
    const auto n = static_cast<size_t>(cosines.n_cols);
    std::vector<float> turned_cosines(positions.size() * n), turned_sines(positions.size() * n);
    for (size_t i = 0; i < positions.size(); ++i)
      kernels::reference::rope_angles(rope, positions[i], turned_cosines.data() + i * n, turned_sines.data() + i * n);
    copy_in(pass(stream), turned_cosines, cosines);
    copy_in(pass(stream), turned_sines, sines);
  }
  void rope(Stream& stream, Rows x, int64_t n_heads, int64_t head_stride, kernels::reference::RopePairs pairs,
            Rows cosines, Rows sines) override {
    gpu::rope(pass(stream).launches(), float_rows(x), n_heads, head_stride, pairs, float_rows(cosines),
              float_rows(sines));
  }

  void finish_heads(Stream& stream, std::span<const HeadPart> parts, const HeadTurn& turn) override {
    // One part at most is prepared, and it is the first.
    const auto asks = [](const HeadPart& part) { return part.input != nullptr; };
    std::unique_ptr<CudaInput> input;
    if (parts[0].input != nullptr && parts[0].n_heads == 1 && parts[0].runs.empty())
      input = make_input(stream, parts[0].x);
    const bool can = std::ranges::count_if(parts, asks) == (input ? 1 : 0);
    if (!can || !append_heads(pass(stream), parts, turn, input ? &input->activations : nullptr))
      return Device::finish_heads(stream, parts, turn);
    if (input) *parts[0].input = std::move(input);
  }
  void multiply_transposed_and_turn(Stream& stream, std::span<const TransposedProduct> products,
                                    const TurnedHeads& turned, const HeadTurn& turn) override {
    std::vector<gpu::TransposedProducts> groups = grouped(products);
    if (groups.size() != 1 || groups[0].n_matrices != turned.n_heads)
      return Device::multiply_transposed_and_turn(stream, products, turned, turn);
    groups[0].turned = {turned.from.data,    turned.from_stride,
                        turned.from.stride,  turned.to.data,
                        turned.to_stride,    turned.to.stride,
                        turn.cosines.data,   turn.sines.data,
                        turn.cosines.stride, static_cast<int32_t>(turn.cosines.n_cols),
                        turn.pairs};
    gpu::multiply_transposed(pass(stream).launches(), groups[0]);
  }

  void swiglu(Stream& stream, Rows gate, Rows up) override {
    gpu::swiglu(pass(stream).launches(), float_rows(gate), float_rows(up));
  }
  void copy_rows(Stream& stream, Rows from, Rows to) override {
    gpu::copy_rows(pass(stream).launches(), float_rows(from), float_rows(to));
  }
  void add(Stream& stream, Rows x, Rows y) override {
    gpu::add_rows(pass(stream).launches(), float_rows(x), float_rows(y));
  }
  void store(Stream& stream, Rows x, int64_t n_heads, kernels::CacheType type, void* to, int64_t row_bytes,
             int64_t head_bytes) override {
    void* const address[] = {to};
    gpu::store_cache_rows(pass(stream).launches(), float_rows(x), n_heads, type,
                          pass(stream).cells(std::span<void* const>(address)), row_bytes, head_bytes);
  }
  void load(Stream& stream, kernels::CacheType type, const void* from, int64_t row_bytes, Rows x) override {
    const void* const address[] = {from};
    gpu::load_cache_rows(pass(stream).launches(), type, pass(stream).cells(std::span<const void* const>(address)),
                         row_bytes, float_rows(x));
  }

  void attention(Stream& stream, const AttentionShape& shape, Rows q, std::span<const CacheView* const> caches,
                 std::span<const int32_t> n_visible, Rows out) override {
    append_attention(pass(stream), scratch(stream), shape, q, caches, n_visible, out, nullptr);
  }
  std::unique_ptr<Input> attention_and_prepare(Stream& stream, const AttentionShape& shape, Rows q,
                                               std::span<const CacheView* const> caches,
                                               std::span<const int32_t> n_visible, Rows out, Rows view) override {
    auto input = make_input(stream, view);
    append_attention(pass(stream), scratch(stream), shape, q, caches, n_visible, out, &input->activations);
    return input;
  }

  LatentAttentionCosts latent_attention_costs() const override { return kCudaLatentAttentionCosts; }

  void route(Stream& stream, const kernels::reference::RouterRule& rule, Rows logits, const Vector* bias,
             std::span<int32_t> ids, std::span<float> weights) override {
    const ScratchLease chosen(scratch(stream), ids.size_bytes()), shares(scratch(stream), weights.size_bytes());
    gpu::route(pass(stream).launches(), router_call(rule, logits, bias, chosen, shares));
    read_choice(stream, chosen, shares, ids, weights);
  }

  bool holds_experts() const override { return true; }
  void multiply_experts(Stream& stream, const RoutedExperts& experts) override {
    Pass& pass = this->pass(stream);
    const int64_t n_rows = experts.logits.n_rows, n_used = experts.rule->n_chosen;
    const auto n_pairs = static_cast<uint64_t>(n_rows * n_used);
    const ScratchLease ids(scratch(stream), n_pairs * sizeof(int32_t)),
        weights(scratch(stream), n_pairs * sizeof(float));
    const ScratchLease chosen_places(scratch(stream), n_pairs * sizeof(ExpertPlace));
    // Where the ids name something else than experts, rows are few.
    const uint64_t sorting_bytes =
        experts.n_from_host.empty() ? gpu::sorting_bytes(experts.rule->n_experts, n_rows, n_used) : 0;
    const ScratchLease sorting(scratch(stream), std::max<uint64_t>(sorting_bytes, 16));
    const int64_t n_hidden = experts.gate->first.n_outputs;
    const ScratchLease hidden_values(scratch(stream), n_pairs * static_cast<uint64_t>(n_hidden) * sizeof(float));
    const CudaInput hidden(scratch(stream), {reinterpret_cast<float*>(hidden_values.data()),
                                             static_cast<int64_t>(n_pairs), n_hidden, n_hidden});
    gpu::ExpertsCall call;
    call.gate = matrix_of(experts.gate->first);
    call.up = matrix_of(experts.up->first);
    call.down = matrix_of(experts.down->first);
    call.places = experts.places != nullptr ? reinterpret_cast<const gpu::ExpertPlace*>(experts.places)
                                            : places_of(stream, experts);
    call.ids = reinterpret_cast<const int32_t*>(ids.data());
    call.weights = reinterpret_cast<const float*>(weights.data());
    call.n_used = n_used;
    call.n_experts = experts.rule->n_experts;
    call.sorting = sorting_bytes != 0 ? sorting.data() : nullptr;
    call.input = activations_of(*experts.input);
    call.hidden = hidden.activations;
    call.output = experts.output.data;
    call.output_stride = experts.output.stride;
    call.not_finite = pass.not_finite();
    call.n_done = cuda_stream(stream).counters(gpu::n_output_blocks(static_cast<int64_t>(n_pairs), n_hidden));
    gpu::PublishCall publish;
    if (experts.work) {
      publish.places = call.places;
      publish.ids = call.ids;
      publish.weights = call.weights;
      publish.inputs = values_of(*experts.input);
      if (!experts.n_from_host.empty()) {
        std::vector<int32_t> in_order(n_pairs);
        std::iota(in_order.begin(), in_order.end(), 0);
        publish.host_places = reinterpret_cast<const gpu::ExpertPlace*>(experts.host_places);
        publish.n_from_host = pass.cells(experts.n_from_host);
        publish.chosen_places = reinterpret_cast<gpu::ExpertPlace*>(chosen_places.data());
        call.places = publish.chosen_places;
        call.ids = pass.cells(std::span<const int32_t>(in_order));
      }
      publish = host_shares(stream).begin(experts.layer, n_used, publish, experts.work);
    }
    const gpu::RouterCall choice = router_call(*experts.rule, experts.logits, experts.bias, ids, weights);
    const gpu::RoutedProduct routed{matrix_of(*experts.router), call.input, choice, experts.work ? &publish : nullptr,
                                    cuda_stream(stream).counters(1)};
    if (n_rows == 1 && gpu::can_route_in_product(routed.router)) {
      gpu::multiply_and_route(pass.launches(), routed);
    } else {
      const Product product{experts.router, experts.input, nullptr, experts.logits};
      append_products(pass.launches(), std::span<const Product>(&product, 1));
      gpu::route(pass.launches(), choice);
      if (experts.work) gpu::publish_choice(pass.launches(), publish);
    }
    gpu::multiply_experts(pass.launches(), call);
    if (experts.parts != nullptr) add_parts(stream, *experts.parts, call);
    if (!experts.ids.empty()) read_choice(stream, ids, weights, experts.ids, experts.weights);
  }

  void begin_host_work(Stream& stream, uint32_t layer, const Input& x, HostWork work) override {
    gpu::PublishCall publish;
    publish.inputs = values_of(x);
    gpu::publish_choice(pass(stream).launches(), host_shares(stream).begin(layer, 0, publish, std::move(work)));
  }
  void finish_host_work(Stream& stream, uint32_t layer, Rows out, bool replaces) override {
    host_shares(stream).finish(layer, out, replaces);
  }

  void weighted_sum(Stream& stream, Rows y, std::span<const int32_t> places, std::span<const float> weights,
                    int64_t n_used, Rows out) override {
    Pass& pass = this->pass(stream);
    const int32_t* rows = pass.cells(places);
    gpu::weighted_sum(pass.launches(), float_rows(y), rows, pass.cells(weights), n_used, float_rows(out));
  }

 private:
  // The door: whoever comes to a stream of a GPU is on that GPU. Between two passes the thread may have been elsewhere.
  static CudaStream& cuda_stream(Stream& stream) {
    auto& own = static_cast<CudaStream&>(stream);
    if (own.pass.is_at_its_beginning())
      enter_gpu(own.ordinal);
    else
      stay_on_gpu(own.ordinal);
    return own;
  }
  static Pass& pass(Stream& stream) { return cuda_stream(stream).pass; }
  static Scratch& scratch(Stream& stream) { return cuda_stream(stream).scratch; }
  static HostShares& host_shares(Stream& stream) { return cuda_stream(stream).host_shares; }
  static const gpu::Activations& activations_of(const Input& input) {
    return static_cast<const CudaInput&>(input).activations;
  }
  static gpu::FloatRows values_of(const Input& input) {
    const gpu::Activations& x = activations_of(input);
    return {const_cast<float*>(x.values), x.n_rows, x.n_columns, x.stride};
  }

  static std::unique_ptr<CudaInput> make_input(Stream& stream, Rows x) {
    return std::make_unique<CudaInput>(scratch(stream), x);
  }

  // In VRAM where there is room, and where what this device may have leaves keep_free bytes.
  std::unique_ptr<Buffer> allocate_if(bool has_room, uint64_t bytes, uint64_t keep_free) {
    const uint64_t wanted = std::max<uint64_t>(bytes, 1);
    enter_gpu(gpu_.ordinal);
    has_room = has_room && vram_->has_room(wanted, keep_free);
    return std::make_unique<CudaBuffer>(has_room ? vram_or_pinned_memory(wanted, vram_) : pinned_memory(wanted, vram_));
  }

  // to = values that the host has just made, [n_rows, n_cols] without gaps.
  static void copy_in(Pass& pass, const std::vector<float>& values, Rows to) {
    const float* from = pass.cells(std::span<const float>(values));
    gpu::copy_rows(pass.launches(), {const_cast<float*>(from), to.n_rows, to.n_cols, to.n_cols}, float_rows(to));
  }

  static gpu::RouterCall router_call(const kernels::reference::RouterRule& rule, Rows logits, const Vector* bias,
                                     const ScratchLease& ids, const ScratchLease& weights) {
    gpu::RouterCall call;
    call.rule = rule;
    call.logits = logits.data;
    call.logits_stride = logits.stride;
    call.n_rows = logits.n_rows;
    call.bias = bias != nullptr ? bias->data : nullptr;
    call.ids = reinterpret_cast<int32_t*>(ids.data());
    call.weights = reinterpret_cast<float*>(weights.data());
    return call;
  }
  static void read_choice(Stream& stream, const ScratchLease& chosen, const ScratchLease& shares,
                          std::span<int32_t> ids, std::span<float> weights) {
    pass(stream).copy_to_host(ids.data(), chosen.data(), ids.size_bytes());
    pass(stream).copy_to_host(weights.data(), shares.data(), weights.size_bytes());
    pass(stream).wait();
  }

  // Adds what experts elsewhere than in the call's places make, as they come.
  static void add_parts(Stream& stream, ExpertParts& parts, gpu::ExpertsCall call) {
    Pass& pass = CudaDevice::pass(stream);
    const int64_t n_rows = call.input.n_rows, n_outputs = call.down.n_outputs;
    const ScratchLease sums(scratch(stream), static_cast<uint64_t>(n_rows * n_outputs) * sizeof(float));
    const gpu::FloatRows output{call.output, n_rows, n_outputs, call.output_stride};
    call.output = reinterpret_cast<float*>(sums.data());
    call.output_stride = n_outputs;
    for (auto places = parts.next(); !places.empty(); places = parts.next()) {
      call.places = reinterpret_cast<const gpu::ExpertPlace*>(pass.cells(places));
      gpu::multiply_experts(pass.launches(), call);
      gpu::add_rows(pass.launches(), output, {call.output, n_rows, n_outputs, call.output_stride});
    }
  }

  // Where the layer's experts lie, for the kernels; made once a layer.
  const gpu::ExpertPlace* places_of(Stream& stream, const RoutedExperts& experts) {
    const auto found = expert_places_.find(experts.gate->first.data);
    if (found != expert_places_.end()) return reinterpret_cast<const gpu::ExpertPlace*>(found->second.device());
    std::vector<ExpertPlace> places;
    for (int64_t e = 0; e < experts.gate->count; ++e)
      places.push_back({experts.gate->at(e).data, experts.up->at(e).data, experts.down->at(e).data});
    const uint64_t bytes = places.size() * sizeof(ExpertPlace);
    Memory table = vram_or_pinned_memory(bytes, vram_);
    // Nothing that was asked for reads it yet.
    check(cudaMemcpyAsync(table.device(), places.data(), bytes, cudaMemcpyDefault, pass(stream).stream()),
          "copying a table of experts");
    check(cudaStreamSynchronize(pass(stream).stream()), "copying a table of experts");
    const std::byte* key = experts.gate->first.data;
    return reinterpret_cast<const gpu::ExpertPlace*>(
        expert_places_.emplace(key, std::move(table)).first->second.device());
  }

  bool graphs_, reads_peers_;
  CudaGpu gpu_;
  std::shared_ptr<VramAccount> vram_ = std::make_shared<VramAccount>();  // buffers may outlive the device
  std::shared_ptr<PinnedRanges> pinned_;
  std::map<const std::byte*, Memory> expert_places_;
};

}  // namespace

std::unique_ptr<Device> make_cuda_device(const CudaDeviceOptions& options) {
  return std::move(make_cuda_devices(std::span(&options, 1)).front());
}

std::vector<std::unique_ptr<Device>> make_cuda_devices(std::span<const CudaDeviceOptions> options) {
  std::vector<int> ordinals;
  for (const CudaDeviceOptions& of_one : options) ordinals.push_back(of_one.ordinal);
  std::vector<CudaGpu> found = find_cuda_gpus(ordinals);
  for (const CudaGpu& gpu : found)
    if (!gpu.is_usable) throw Error(Error::Kind::Device, "There is no GPU to use: " + gpu.why_not + ".");
  constexpr uint64_t kPinnedAtOnce = uint64_t{1} << 30;
  const auto pinned = std::make_shared<PinnedRanges>(kPinnedAtOnce, ordinals);
  std::vector<std::unique_ptr<Device>> devices;
  for (size_t i = 0; i < options.size(); ++i)
    devices.push_back(std::make_unique<CudaDevice>(options[i], std::move(found[i]), pinned));
  return devices;
}

}  // namespace sluice::engine
