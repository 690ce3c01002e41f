// Layers whose experts the emulated GPU and the host share, as small as they can be: x += experts(x), with the router's logits given.
// The list of launches is that of a hybrid pass, the host's experts are plain floats.
#pragma once

#include <chrono>
#include <random>
#include <thread>

#include "engine/device/cuda/graphs.h"
#include "engine/device/cuda/meeting.h"
#include "kernels/reference/router.h"
#include "kernels/reference/swiglu.h"
#include "tests/cuda_device/fixture.h"

namespace sluice::tests {

// Mistakes that a test must find.
enum class Mistake {
  None,
  NoWait,         // the GPU adds what it finds
  EarlyGate,      // the host opens the gate before it writes
  StaleAnswer,    // the host sends the rows of the pass before
  EarlyRead,      // the host reads a choice that was not published
  ChangingTable,  // experts move while a pass is under way
  AnswersHits,    // the host computes all experts, not the complement
};

struct SharedSetup {
  int64_t n_layers = 1, n_rows = 1;
  engine::cuda::WaitBy way = engine::cuda::WaitBy::StreamOperation;
  bool graphs = true;
  double delay_before = 0, delay_after = 0;  // virtual seconds, of the host, around an answer
  Mistake mistake = Mistake::None;
  double sleep_before_answer = 0;  // real seconds, in which the GPU comes to where it waits
};

class SharedLayers {
 public:
  static constexpr int64_t kColumns = 72, kHidden = 40, kExperts = 8, kUsed = 3;

  explicit SharedLayers(const SharedSetup& setup)
      : setup_(setup),
        random_(7),
        graphs_(setup.graphs),
        host_(engine::cuda::pinned_memory(bytes_of_inputs())),
        device_(engine::cuda::Memory::allocate(engine::cuda::Memory::Kind::Vram, bytes_of_inputs())),
        scratch_(engine::cuda::Memory::allocate(engine::cuda::Memory::Kind::Vram, 1 << 16)),
        weights_(static_cast<size_t>(setup.n_layers * kExperts * kExpertFloats)) {
    rule_.n_experts = kExperts;
    rule_.n_chosen = kUsed;
    rule_.normalize = true;
    std::normal_distribution<float> normal(0, 0.15f);
    for (float& weight : weights_) weight = normal(random_);
    experts_ = engine::cuda::Memory::allocate(engine::cuda::Memory::Kind::Vram, weights_.size() * sizeof(float));
    REQUIRE(cudaMemcpy(experts_.device(), weights_.data(), experts_.bytes(), cudaMemcpyHostToDevice) == cudaSuccess);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);  // the stream below does not wait for the default one
    for (int64_t l = 0; l < setup.n_layers; ++l)
      meetings_.emplace_back(kernels::cuda::MeetingShape{setup.n_rows, kUsed, kColumns}, setup.way);
    last_choices_.resize(meetings_.size());
    for (int64_t l = 0; l < setup.n_layers; ++l) append_layer(l);
  }
  ~SharedLayers() {
    abandon();
    cudaStreamSynchronize(stream_.get());
  }
  SharedLayers(const SharedLayers&) = delete;
  SharedLayers& operator=(const SharedLayers&) = delete;

  // New inputs, logits, and n_resident of the experts in each layer's VRAM; starts the list.
  void start(int64_t n_resident) {
    ++pass_;
    std::normal_distribution<float> normal;
    auto* at = reinterpret_cast<float*>(host_.host());
    const auto n_floats = static_cast<size_t>(setup_.n_rows * (kColumns + setup_.n_layers * kExperts));
    for (size_t i = 0; i < n_floats; ++i) at[i] = normal(random_);
    inputs_.assign(at, at + n_floats);
    for (int64_t l = 0; l < setup_.n_layers; ++l) {
      std::vector<int64_t> order(kExperts);
      for (size_t e = 0; e < order.size(); ++e) order[e] = static_cast<int64_t>(e);
      std::shuffle(order.begin(), order.end(), random_);
      kernels::cuda::ExpertPlace* const table = tables(host_.host()) + l * kExperts;
      for (int64_t i = 0; i < kExperts; ++i)
        table[order[static_cast<size_t>(i)]] =
            i < n_resident ? place_of(l, order[static_cast<size_t>(i)]) : kernels::cuda::ExpertPlace{};
    }
    *number(host_.host()) = pass_;
    engine::cuda::check(
        cudaMemcpyAsync(device_.device(), host_.host(), bytes_of_inputs(), cudaMemcpyHostToDevice, stream_.get()),
        "copying inputs");
    graphs_.start(list_, stream_.get());
  }
  // The host's part of one layer.
  void meet(int64_t layer) {
    using engine::Rows;
    engine::cuda::Meeting& meeting = meetings_[static_cast<size_t>(layer)];
    std::vector<float> old;
    if (setup_.mistake == Mistake::EarlyGate || setup_.mistake == Mistake::StaleAnswer) old = last_answer_;
    engine::cuda::Choice& last = last_choices_[static_cast<size_t>(layer)];
    if (setup_.mistake == Mistake::EarlyRead) simt::host_touches(last.ids.data(), last.ids.size_bytes(), false);
    const engine::cuda::Choice choice = meeting.wait_for_choice(pass_, setup_.n_rows, stream_.get());
    last = choice;
    simt::host_acquires(choice.ids.data(), choice.ids.size_bytes());
    for (const auto bytes : {std::as_bytes(choice.ids), std::as_bytes(choice.weights), std::as_bytes(choice.hits),
                             std::as_bytes(std::span(choice.inputs, n_values()))})
      simt::host_touches(bytes.data(), bytes.size(), false);
    if (setup_.mistake == Mistake::ChangingTable) change_table(layer);
    std::vector<float> rows(n_values());
    bool is_something = false;
    for (int64_t row = 0; row < setup_.n_rows; ++row)
      for (int64_t k = 0; k < kUsed; ++k) {
        const auto slot = static_cast<size_t>(row * kUsed + k);
        n_hits_ += choice.hits[static_cast<size_t>(row)] >> k & 1;
        if ((choice.hits[static_cast<size_t>(row)] >> k & 1) != 0 && setup_.mistake != Mistake::AnswersHits) continue;
        ++n_misses_;
        is_something = true;
        add_expert(layer, choice.ids[slot], choice.weights[slot], choice.inputs + row * kColumns,
                   rows.data() + row * kColumns);
      }
    simt::advance_host(setup_.delay_before);
    if (setup_.sleep_before_answer > 0) {
      simt::run_pending_effects();
      std::this_thread::sleep_for(std::chrono::duration<double>(setup_.sleep_before_answer));
    }
    const Rows results = meeting.results();
    const auto send = [&](std::vector<float>& values) {
      simt::host_touches(results.data, n_values() * sizeof(float), true);
      meeting.answer({values.data(), setup_.n_rows, kColumns, kColumns});
    };
    last_answer_ = rows;
    if (setup_.mistake == Mistake::EarlyGate) {
      meeting.answer(results);
      for (int i = 0; i < 10; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        simt::run_pending_effects();
      }
      simt::host_touches(results.data, n_values() * sizeof(float), true);
      std::copy(rows.begin(), rows.end(), results.data);
    } else if (setup_.mistake == Mistake::StaleAnswer && !old.empty()) {
      send(old);
    } else if (is_something) {
      send(rows);
    } else {
      meeting.answer_nothing();
    }
    simt::advance_host(setup_.delay_after);
  }
  // Waits for the end; how far x is from what it must be, as a part of the largest.
  double finish() {
    const size_t bytes = n_values() * sizeof(float);
    engine::cuda::check(cudaMemcpyAsync(host_.host(), device_.device(), bytes, cudaMemcpyDeviceToHost, stream_.get()),
                        "copying a result");
    engine::cuda::check(cudaStreamSynchronize(stream_.get()), "computing");
    const auto* got = reinterpret_cast<const float*>(host_.host());
    const std::vector<float> expected = expected_rows();
    double largest = 0, difference = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
      const double own = std::fabs(static_cast<double>(got[i]) - expected[i]);
      difference = own <= difference ? difference : own;  // a NaN stays
    }
    return difference / largest;
  }
  double run(int64_t n_resident) {
    start(n_resident);
    for (int64_t l = 0; l < setup_.n_layers; ++l) meet(l);
    return finish();
  }

  void abandon() noexcept { engine::cuda::abandon(meetings_, stream_.get()); }
  bool went_unanswered() {
    bool is_so = false;
    for (auto& meeting : meetings_) is_so = meeting.went_unanswered() || is_so;
    return is_so;
  }
  double gpu_waited(int64_t layer) { return meeting(layer).gpu_waited(); }
  engine::cuda::Meeting& meeting(int64_t layer) { return meetings_[static_cast<size_t>(layer)]; }
  cudaStream_t stream() const { return stream_.get(); }
  uint32_t pass() const { return pass_; }
  const engine::cuda::Graphs::Counts& counts() const { return graphs_.counts(); }
  int64_t n_hits() const { return n_hits_; }
  int64_t n_misses() const { return n_misses_; }

 private:
  static constexpr int64_t kMatrixFloats = kColumns * kHidden, kExpertFloats = 3 * kMatrixFloats;

  size_t n_values() const { return static_cast<size_t>(setup_.n_rows * kColumns); }
  // One block of memory, on the host and in VRAM: x, the layers' logits, their tables, and the pass's number.
  float* logits(std::byte* memory, int64_t layer) const {
    return reinterpret_cast<float*>(memory) + setup_.n_rows * (kColumns + layer * kExperts);
  }
  kernels::cuda::ExpertPlace* tables(std::byte* memory) const {
    return reinterpret_cast<kernels::cuda::ExpertPlace*>(logits(memory, setup_.n_layers));
  }
  uint32_t* number(std::byte* memory) const {
    return reinterpret_cast<uint32_t*>(tables(memory) + setup_.n_layers * kExperts);
  }
  uint64_t bytes_of_inputs() const { return reinterpret_cast<uint64_t>(number(nullptr)) + 64; }

  kernels::cuda::ExpertPlace place_of(int64_t layer, int64_t expert) const {
    const std::byte* const first =
        experts_.device() + static_cast<uint64_t>((layer * kExperts + expert) * kExpertFloats) * sizeof(float);
    return {first, first + kMatrixFloats * sizeof(float), first + 2 * kMatrixFloats * sizeof(float)};
  }

  void append_layer(int64_t l) {
    using namespace kernels::cuda;
    std::byte* at = scratch_.device();
    const auto take = [&](int64_t n) {
      std::byte* const place = at;
      at += (n * 4 + 255) / 256 * 256;
      return place;
    };
    auto* ids = reinterpret_cast<int32_t*>(take(setup_.n_rows * kUsed));
    auto* weights = reinterpret_cast<float*>(take(setup_.n_rows * kUsed));
    auto* hidden = reinterpret_cast<float*>(take(setup_.n_rows * kUsed * kHidden));
    auto* output = reinterpret_cast<float*>(take(setup_.n_rows * kColumns));
    auto* not_finite = reinterpret_cast<int32_t*>(take(1));
    const FloatRows x{reinterpret_cast<float*>(device_.device()), setup_.n_rows, kColumns, kColumns};
    const FloatRows out{output, setup_.n_rows, kColumns, kColumns};
    const ExpertPlace* places = tables(device_.device()) + l * kExperts;
    const uint32_t* pass = number(device_.device());
    route(list_, {rule_, logits(device_.device(), l), kExperts, setup_.n_rows, nullptr, ids, weights});
    PublishCall publish;
    publish.places = places;
    publish.ids = ids;
    publish.weights = weights;
    publish.inputs = x;
    publish.pass = pass;
    meeting(l).publish(list_, publish);
    ExpertsCall call;
    const auto matrix = [](int64_t n_outputs, int64_t n_inputs) {
      return Matrix{gguf::TensorType::F32, nullptr, n_outputs, n_inputs, static_cast<uint64_t>(n_inputs) * 4, nullptr};
    };
    call.gate = call.up = matrix(kHidden, kColumns);
    call.down = matrix(kColumns, kHidden);
    call.places = places;
    call.ids = ids;
    call.weights = weights;
    call.n_used = kUsed;
    call.input = {x.data, kColumns, setup_.n_rows, kColumns, {}, {}};
    call.hidden = {hidden, kHidden, setup_.n_rows * kUsed, kHidden, {}, {}};
    call.output = output;
    call.output_stride = kColumns;
    call.not_finite = not_finite;
    multiply_experts(list_, call);
    Launches answer;
    meeting(l).add_answer(answer, {output, setup_.n_rows, kColumns, kColumns}, pass);
    for (const Launch& launch : answer)
      if (launch.kind == Launch::Kind::Kernel || setup_.mistake != Mistake::NoWait) list_.push_back(launch);
    add_rows(list_, x, out);
  }

  void add_expert(int64_t layer, int64_t expert, float weight, const float* x, float* out) const {
    const float* const gate = weights_.data() + (layer * kExperts + expert) * kExpertFloats;
    const float *const up = gate + kMatrixFloats, *const down = up + kMatrixFloats;
    std::vector<float> hidden(kHidden);
    for (int64_t h = 0; h < kHidden; ++h) {
      float g = 0, u = 0;
      for (int64_t c = 0; c < kColumns; ++c) {
        g += gate[h * kColumns + c] * x[c];
        u += up[h * kColumns + c] * x[c];
      }
      hidden[static_cast<size_t>(h)] = kernels::reference::silu(g) * u;
    }
    for (int64_t c = 0; c < kColumns; ++c) {
      float sum = 0;
      for (int64_t h = 0; h < kHidden; ++h) sum += down[c * kHidden + h] * hidden[static_cast<size_t>(h)];
      out[c] += weight * sum;
    }
  }
  // All experts on the host.
  std::vector<float> expected_rows() const {
    std::vector<float> x(inputs_.begin(), inputs_.begin() + static_cast<std::ptrdiff_t>(n_values()));
    for (int64_t l = 0; l < setup_.n_layers; ++l)
      for (int64_t row = 0; row < setup_.n_rows; ++row) {
        int32_t ids[kUsed];
        float weights[kUsed];
        const float* const logits = inputs_.data() + n_values() + (l * setup_.n_rows + row) * kExperts;
        kernels::reference::route(rule_, logits, nullptr, ids, weights);
        std::vector<float> sum(kColumns);
        for (int64_t k = 0; k < kUsed; ++k) add_expert(l, ids[k], weights[k], x.data() + row * kColumns, sum.data());
        for (int64_t c = 0; c < kColumns; ++c)
          x[static_cast<size_t>(row * kColumns + c)] += sum[static_cast<size_t>(c)];
      }
    return x;
  }
  // From another stream, while the pass is under way: what was in VRAM is not, and the other way around.
  void change_table(int64_t layer) {
    auto* const table = tables(host_.host()) + layer * kExperts;
    std::vector<kernels::cuda::ExpertPlace> changed(table, table + kExperts);
    for (int64_t e = 0; e < kExperts; ++e)
      changed[static_cast<size_t>(e)] = table[e].gate != nullptr ? kernels::cuda::ExpertPlace{} : place_of(layer, e);
    engine::cuda::check(cudaMemcpyAsync(tables(device_.device()) + layer * kExperts, changed.data(),
                                        changed.size() * sizeof changed[0], cudaMemcpyHostToDevice, other_.get()),
                        "moving experts");
    engine::cuda::check(cudaStreamSynchronize(other_.get()), "moving experts");
  }

  SharedSetup setup_;
  std::mt19937 random_;
  kernels::reference::RouterRule rule_{};
  engine::cuda::StreamHandle stream_, other_;
  engine::cuda::Graphs graphs_;
  engine::cuda::Memory host_, device_, scratch_, experts_;
  std::vector<float> weights_, inputs_, last_answer_;
  std::vector<engine::cuda::Meeting> meetings_;
  kernels::cuda::Launches list_;
  std::vector<engine::cuda::Choice> last_choices_;
  uint32_t pass_ = 0;
  int64_t n_hits_ = 0, n_misses_ = 0;
};

}  // namespace sluice::tests
