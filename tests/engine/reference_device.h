// The forward pass by the book: a device that computes with kernels/reference, and one that remembers what a fast device
// rounded to 8 bits.
//
// Rounding to 8 bits is not continuous. Where a value lies within float rounding of the middle between two codes, a fast
// kernel and the reference may take different ones; that is one code in some hundred thousand, but it moves a layer's
// result by a seventh of what all its rounding does, so a few layers on every code is another draw, and two correct
// computations are as far apart as either is from one without rounding. So that a comparison measures the kernels and
// not this, the reference takes the fast device's code where both are right: where its own value lies within kTie of
// the middle. Everything else is its own: the scales, the codes away from a middle, all sums, norms and attention.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernels/format.h"
#include "kernels/reference/activations.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/multiply.h"
#include "kernels/reference/rms_norm.h"
#include "kernels/reference/router.h"
#include "kernels/reference/swiglu.h"
#include "tests/engine/device_decorator.h"

namespace sluice::tests {

// What a pass fed to quantised matrices, in order, and where its router sent it.
struct PassLog {
  struct Rows {
    int64_t n_rows = 0, n_cols = 0;
    std::vector<float> values;
  };
  std::vector<Rows> inputs;
  std::vector<std::vector<int32_t>> routes;
};

inline PassLog::Rows copy_of(engine::Rows x) {
  PassLog::Rows copy{x.n_rows, x.n_cols, {}};
  for (int64_t i = 0; i < x.n_rows; ++i) copy.values.insert(copy.values.end(), x.row(i), x.row(i) + x.n_cols);
  return copy;
}

class RecordingDevice : public DeviceDecorator {
 public:
  RecordingDevice(std::unique_ptr<engine::Device> inner, PassLog& log) : DeviceDecorator(std::move(inner)), log_(log) {}

  std::unique_ptr<engine::Input> prepare(Stream& stream, Rows x) override {
    log_.inputs.push_back(copy_of(x));
    return DeviceDecorator::prepare(stream, x);
  }
  void route(Stream& stream, const kernels::reference::RouterRule& rule, Rows logits, const engine::Vector* bias,
             std::span<int32_t> ids, std::span<float> weights) override {
    DeviceDecorator::route(stream, rule, logits, bias, ids, weights);
    log_.routes.emplace_back(ids.begin(), ids.end());
  }

 private:
  PassLog& log_;
};

// How the codes of 8 bits of a pass agree with those of a log.
struct Agreement {
  int64_t n_codes = 0;
  int64_t n_shared = 0;       // ties decided as in the log
  int64_t n_other_codes = 0;  // different and no tie: one of the two is wrong
  int64_t n_other_routes = 0;
};

// Memory, copies, rotation and sums of the inner device; everything else by kernels/reference. With a log, codes of 8
// bits are shared with the pass that wrote it where they are ties; without one, all are its own.
class ReferenceDevice : public DeviceDecorator {
 public:
  // Of a step from one code to the next. Differences of float32 grow over the layers to some thousandths.
  static constexpr float kTie = 0.02f;

  ReferenceDevice(std::unique_ptr<engine::Device> inner, const PassLog* log, bool eight_bit, Agreement& agreement)
      : DeviceDecorator(std::move(inner)), log_(log), eight_bit_(eight_bit), agreement_(agreement) {}

  void rms_norm(Stream&, Rows x, const engine::Vector& weight, float epsilon, Rows out) override {
    for (int64_t i = 0; i < x.n_rows; ++i)
      for (int64_t at = 0; at < x.n_cols; at += weight.size)
        kernels::reference::rms_norm(x.row(i) + at, weight.data, 1, weight.size, epsilon, out.row(i) + at);
  }

  std::unique_ptr<engine::Input> prepare(Stream&, Rows x) override {
    auto input = std::make_unique<ReferenceInput>();
    input->own = copy_of(x);
    if (log_ == nullptr) return input;
    if (n_prepared_ == log_->inputs.size()) throw std::logic_error("the passes are not the same");
    input->logged = &log_->inputs[n_prepared_++];
    if (input->logged->n_rows != x.n_rows || input->logged->n_cols != x.n_cols)
      throw std::logic_error("the passes are not the same");
    return input;
  }

  void multiply(Stream&, std::span<const engine::Product> products) override {
    using kernels::ActivationFormat;
    for (const engine::Product& p : products) {
      const auto& input = static_cast<const ReferenceInput&>(*p.input);
      const ActivationFormat form = kernels::format_of(p.weights->type).activation;
      switch (eight_bit_ ? form : ActivationFormat::F32) {
        case ActivationFormat::Per32:
          multiply_rows(p, quantised<kernels::reference::Activation32>(input), 32);
          break;
        case ActivationFormat::Per256:
          multiply_rows(p, quantised<kernels::reference::Activation256>(input), 256);
          break;
        default:
          multiply_rows(p, input.own.values, 1);
      }
    }
  }

  void multiply_transposed(Stream&, std::span<const engine::TransposedProduct> products) override {
    for (const engine::TransposedProduct& p : products)
      for (int64_t i = 0; i < p.input.n_rows; ++i)
        kernels::reference::multiply_transposed(p.weights->type, p.weights->data, p.weights->n_outputs,
                                                p.weights->n_inputs, p.input.row(i), p.output.row(i));
  }

  void swiglu(Stream&, Rows gate, Rows up) override {
    for (int64_t i = 0; i < gate.n_rows; ++i)
      kernels::reference::swiglu(gate.row(i), up.row(i), gate.n_cols, gate.row(i));
  }

  void attention(Stream& stream, const engine::AttentionShape& shape, Rows q,
                 std::span<const engine::CacheView* const> caches, std::span<const int32_t> n_visible,
                 Rows out) override {
    for (int64_t i = 0; i < q.n_rows; ++i) {
      const auto at = static_cast<size_t>(i);
      const engine::CacheView& c = *caches[at];
      const int64_t visible = n_visible[at];
      const auto keys = gather(stream, c, c.key_pages, c.key_row_bytes, c.key_head_bytes,
                               {shape.n_kv_heads, shape.key_size}, visible);
      const auto values = gather(stream, c, c.value_pages, c.value_row_bytes, c.value_head_bytes,
                                 {shape.n_kv_heads, shape.value_size}, visible);
      kernels::reference::attention({shape.n_heads, shape.n_kv_heads, shape.key_size, shape.value_size, shape.scale},
                                    q.row(i), keys.data(), values.data(), &visible, 1, out.row(i));
    }
  }

  void route(Stream&, const kernels::reference::RouterRule& rule, Rows logits, const engine::Vector* bias,
             std::span<int32_t> ids, std::span<float> weights) override {
    for (int64_t i = 0; i < logits.n_rows; ++i)
      kernels::reference::route(rule, logits.row(i), bias != nullptr ? bias->data : nullptr,
                                ids.data() + i * rule.n_chosen, weights.data() + i * rule.n_chosen);
    if (log_ != nullptr && !std::ranges::equal(ids, log_->routes.at(n_routed_++))) ++agreement_.n_other_routes;
  }

 private:
  struct ReferenceInput : engine::Input {
    PassLog::Rows own;
    const PassLog::Rows* logged = nullptr;
  };

  static bool quantise(const std::vector<float>& x, std::vector<kernels::reference::Activation32>& blocks) {
    return kernels::reference::quantize_per32(x.data(), static_cast<int64_t>(x.size()), blocks.data());
  }
  static bool quantise(const std::vector<float>& x, std::vector<kernels::reference::Activation256>& blocks) {
    return kernels::reference::quantize_per256(x.data(), static_cast<int64_t>(x.size()), blocks.data());
  }
  static void change_sum(kernels::reference::Activation32& block, size_t, int change) { block.sum += change; }
  static void change_sum(kernels::reference::Activation256& block, size_t i, int change) {
    block.sums[i / 16] = static_cast<int16_t>(block.sums[i / 16] + change);
  }

  // The input in 8 bits, ties decided as in the log.
  template <typename Block>
  std::vector<Block> quantised(const ReferenceInput& input) {
    constexpr size_t n = sizeof(Block::q);
    const std::vector<float>& x = input.own.values;
    std::vector<Block> own(x.size() / n), logged(x.size() / n);
    if (!quantise(x, own)) throw std::runtime_error("an activation is not finite");
    if (input.logged == nullptr) return own;
    if (!quantise(input.logged->values, logged)) throw std::runtime_error("a logged activation is not finite");
    for (size_t b = 0; b < own.size(); ++b) {
      for (size_t i = 0; i < n; ++i) {
        ++agreement_.n_codes;
        const int change = logged[b].q[i] - own[b].q[i];
        if (change == 0) continue;
        const float middle = static_cast<float>(std::min(logged[b].q[i], own[b].q[i])) + 0.5f;
        if (std::abs(change) == 1 && std::abs(x[b * n + i] / own[b].scale - middle) <= kTie) {
          ++agreement_.n_shared;
          own[b].q[i] = logged[b].q[i];
          change_sum(own[b], i, change);
        } else {
          ++agreement_.n_other_codes;
        }
      }
    }
    return own;
  }

  // `inputs` holds rows of n_inputs values in blocks of block_values.
  template <typename Block>
  static void multiply_rows(const engine::Product& p, const std::vector<Block>& inputs, int64_t block_values) {
    const engine::Linear& w = *p.weights;
    const int64_t row_blocks = w.n_inputs / block_values, n_rows = p.output.n_rows;
    std::vector<Block> chosen;
    for (int64_t i = 0; i < n_rows; ++i) {
      const auto from = inputs.begin() + (p.input_rows != nullptr ? p.input_rows[i] : i) * row_blocks;
      chosen.insert(chosen.end(), from, from + row_blocks);
    }
    std::vector<float> out(static_cast<size_t>(n_rows));
    for (int64_t r = 0; r < w.n_outputs; ++r) {
      kernels::reference::multiply(w.type, w.data + static_cast<uint64_t>(r) * w.row_bytes, 1, w.n_inputs,
                                   chosen.data(), n_rows, out.data());
      for (int64_t i = 0; i < n_rows; ++i)
        p.output.row(i)[r] = out[static_cast<size_t>(i)] + (w.bias ? w.bias.data[r] : 0.0f);
    }
    if (!w.adapters.empty()) throw std::logic_error("the reference device knows no adapters");
  }

  // [n_visible, heads, head size] of a cache as floats.
  struct Heads {
    int64_t n_heads, head_size;
  };
  std::vector<float> gather(Stream& stream, const engine::CacheView& cache, const void* const* pages, int64_t row_bytes,
                            int64_t head_bytes, Heads heads, int64_t n_visible) {
    const int64_t row_floats = heads.n_heads * heads.head_size;
    std::vector<float> all(static_cast<size_t>(n_visible * row_floats));
    for (int64_t first = 0; first < n_visible; first += cache.page_positions)
      for (int64_t head = 0; head < heads.n_heads; ++head)
        load(stream, cache.type, static_cast<const std::byte*>(pages[first / cache.page_positions]) + head * head_bytes,
             row_bytes,
             {all.data() + first * row_floats + head * heads.head_size,
              std::min(cache.page_positions, n_visible - first), heads.head_size, row_floats});
    return all;
  }

  const PassLog* log_;
  bool eight_bit_;
  Agreement& agreement_;
  size_t n_prepared_ = 0, n_routed_ = 0;
};

}  // namespace sluice::tests
