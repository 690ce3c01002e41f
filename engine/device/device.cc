#include "engine/device/device.h"

#include <stdexcept>

namespace sluice::engine {

std::unique_ptr<Buffer> Device::allocate_weights(uint64_t bytes, uint64_t) {
  return allocate(bytes);
}

std::unique_ptr<Buffer> Device::allocate_own(uint64_t, uint64_t) {
  return nullptr;
}

// By way of the host, who waits for the other device.
void Device::receive(Stream& stream, Rows to, Device& other, Stream& others, Rows from) {
  const auto n_cols = static_cast<size_t>(from.n_cols);
  std::vector<float> rows(static_cast<size_t>(from.n_rows) * n_cols);
  const auto row = [&](int64_t i) { return rows.data() + static_cast<size_t>(i) * n_cols; };
  for (int64_t i = 0; i < from.n_rows; ++i) other.copy_to_host(others, row(i), from.row(i), n_cols * sizeof(float));
  other.synchronize(others);
  for (int64_t i = 0; i < to.n_rows; ++i) copy_to_device(stream, to.row(i), row(i), n_cols * sizeof(float));
}

std::unique_ptr<Input> Device::norm_and_prepare(Stream& stream, Rows x, const Rows* change, const Vector& weight,
                                                float epsilon, Rows out) {
  if (change != nullptr) add(stream, x, *change);
  rms_norm(stream, x, weight, epsilon, out);
  return prepare(stream, out);
}

std::unique_ptr<Input> Device::swiglu_and_prepare(Stream& stream, Rows gate, Rows up) {
  swiglu(stream, gate, up);
  return prepare(stream, gate);
}

void Device::multiply_and_add(Stream& stream, const Product& product, Rows sum) {
  multiply(stream, std::span(&product, 1));
  add(stream, sum, product.output);
}

std::unique_ptr<Input> Device::multiply_gated(Stream& stream, const Linear& gate, const Linear& up, const Input& x,
                                              Rows gated, Rows up_scratch) {
  const Product products[] = {{&gate, &x, nullptr, gated}, {&up, &x, nullptr, up_scratch}};
  multiply(stream, products);
  return swiglu_and_prepare(stream, gated, up_scratch);
}

std::unique_ptr<Input> Device::multiply_and_prepare(Stream& stream, std::span<const Product> products, Rows whole) {
  multiply(stream, products);
  return prepare(stream, whole);
}

void Device::finish_heads(Stream& stream, std::span<const HeadPart> parts, const HeadTurn& turn) {
  for (const HeadPart& part : parts) {
    const Rows normed = part.n_heads == 1 && part.norm != nullptr ? part.x.columns(0, part.norm->size) : part.x;
    if (part.norm != nullptr) rms_norm(stream, normed, *part.norm, turn.epsilon, normed);
    if (part.turned_from >= 0)
      rope(stream, part.x.columns(part.turned_from, part.x.n_cols - part.turned_from), part.n_heads,
           part.x.n_cols / part.n_heads, turn.pairs, turn.cosines, turn.sines);
    for (const CacheRun& run : part.runs)
      store(stream, part.x.rows(run.first_row, run.n_rows), part.n_heads, part.type, run.to, part.row_bytes,
            part.head_bytes);
    if (part.input != nullptr) *part.input = prepare(stream, part.x);
  }
}

void Device::multiply_transposed_and_turn(Stream& stream, std::span<const TransposedProduct> products,
                                          const TurnedHeads& turned, const HeadTurn& turn) {
  const int64_t n_turned = 2 * turn.cosines.n_cols;
  rope(stream, turned.from, turned.n_heads, turned.from_stride, turn.pairs, turn.cosines, turn.sines);
  const auto one_head_a_row = [&](Rows x, int64_t stride) {
    return Rows{x.data, x.n_rows * turned.n_heads, n_turned, stride};
  };
  copy_rows(stream, one_head_a_row(turned.from, turned.from_stride), one_head_a_row(turned.to, turned.to_stride));
  if (!products.empty()) multiply_transposed(stream, products);
}

std::unique_ptr<Input> Device::attention_and_prepare(Stream& stream, const AttentionShape& shape, Rows q,
                                                     std::span<const CacheView* const> caches,
                                                     std::span<const int32_t> n_visible, Rows out, Rows view) {
  attention(stream, shape, q, caches, n_visible, out);
  return prepare(stream, view);
}

void Device::multiply_experts(Stream&, const RoutedExperts&) {
  throw std::logic_error("A device that does not hold the experts was asked to multiply by them.");
}

void Device::begin_host_work(Stream&, uint32_t, const Input&, HostWork) {
  throw std::logic_error("A device that runs in the host was asked to run beside it.");
}

void Device::finish_host_work(Stream&, uint32_t, Rows, bool) {
  throw std::logic_error("A device that runs in the host was asked to run beside it.");
}

}  // namespace sluice::engine
