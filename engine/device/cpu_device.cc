#include "engine/device/cpu_device.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "engine/device/arena.h"
#include "engine/error.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/cores.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/first_touch.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/rates.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/vector_loops.h"

namespace sluice::engine {
namespace {

using kernels::FloatRows;

class SmallBuffer : public Buffer {
 public:
  explicit SmallBuffer(uint64_t bytes) : bytes_(bytes), data_(::operator new(bytes, kAlignment)) {}
  ~SmallBuffer() override { ::operator delete(data_, kAlignment); }
  void* data() const override { return data_; }
  uint64_t bytes() const override { return bytes_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  uint64_t bytes_;
  void* data_;
};

// In huge pages.
constexpr uint64_t kLargeBuffer = uint64_t{8} << 20;

class LargeBuffer : public Buffer {
 public:
  explicit LargeBuffer(uint64_t bytes) : bytes_(bytes), arena_(bytes) {}
  void* data() const override { return arena_.data(); }
  uint64_t bytes() const override { return bytes_; }

 private:
  uint64_t bytes_;
  Arena arena_;
};

class CpuInput : public Input {
 public:
  CpuInput(Rows x, bool eight_bit) : rows(x), activations(x.data, x.n_rows, x.n_cols, x.stride, eight_bit) {}
  Rows rows;
  kernels::Activations activations;
};

FloatRows float_rows(Rows x) {
  return {x.data, x.n_rows, x.n_cols, x.stride};
}

kernels::Matrix matrix_of(const Linear& w) {
  return {w.type, w.data, w.n_outputs, w.n_inputs, w.row_bytes, w.form};
}

class CpuDevice : public Device {
 public:
  CpuDevice(uint32_t n_threads, std::span<const kernels::Core> bind_to, bool eight_bit)
      : pool_(n_threads, bind_to), eight_bit_(eight_bit) {}

  std::string_view name() const override { return "cpu"; }

  std::unique_ptr<Buffer> allocate(uint64_t bytes) override {
    try {
      if (bytes >= kLargeBuffer) return std::make_unique<LargeBuffer>(bytes);
      return std::make_unique<SmallBuffer>(bytes);
    } catch (const std::bad_alloc&) {
      throw Error(Error::Kind::OutOfMemory,
                  "The system has no " + std::to_string(bytes) +
                      " bytes of memory left; use a shorter context (-c) or a smaller model.");
    }
  }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<Stream>(); }
  void synchronize(Stream&) override {}
  void copy_to_device(Stream&, void* to, const void* host, uint64_t bytes) override { std::memcpy(to, host, bytes); }
  void copy_to_host(Stream&, void* host, const void* from, uint64_t bytes) override { std::memcpy(host, from, bytes); }
  void copy(Stream&, void* to, const void* from, uint64_t bytes) override { std::memcpy(to, from, bytes); }

  std::vector<ResidentOffer> resident_offers(const LinearStack& stack, bool measured) override {
    const Linear& matrix = stack.first;
    const auto count = static_cast<uint64_t>(stack.count);
    // A copy can lie in huge pages, which a mapped file cannot: a pass over it stops at no page walk.
    std::vector<ResidentOffer> offers = {{nullptr, matrix.bytes() * count, 0}};
    const kernels::ResidentForm* form = kernels::resident_form(matrix.type);
    if (form == nullptr || !eight_bit_ || matrix.n_inputs % form->unit_columns != 0 ||
        form->group_product.at(kernels::chosen_isa()) == nullptr)
      return offers;
    offers.push_back({form, form->bytes(matrix.n_outputs, matrix.n_inputs) * count, 0});
    if (!measured) return offers;
    const MeasuredRates rates = measured_rates(matrix.type);
    const double weights =
        static_cast<double>(count) * static_cast<double>(matrix.n_outputs) * static_cast<double>(matrix.n_inputs);
    for (ResidentOffer& offer : offers)
      offer.seconds =
          std::max(static_cast<double>(offer.bytes) / rates.bytes_per_second,
                   weights / (offer.form != nullptr ? rates.form_weights_per_second : rates.weights_per_second));
    return offers;
  }

  MeasuredRates measured_rates(gguf::TensorType type) override {
    if (bandwidth_ == 0) bandwidth_ = kernels::read_bandwidth(pool_);
    auto [found, is_new] = rates_.try_emplace(type);
    if (is_new) {
      const kernels::ResidentForm* form = kernels::resident_form(type);
      const bool has_form = form != nullptr && form->group_product.at(kernels::chosen_isa()) != nullptr;
      found->second = {bandwidth_, kernels::product_rate(pool_, type, nullptr),
                       has_form ? kernels::product_rate(pool_, type, form) : 0};
    }
    return found->second;
  }

  void make_resident(Stream&, LinearStack& stack, const ResidentOffer& offer, std::byte* to,
                     const std::function<void(uint64_t done)>& on_bytes) override {
    const Linear matrix = stack.first;
    const kernels::ResidentForm* form = offer.form;
    const uint64_t matrix_bytes = offer.bytes / static_cast<uint64_t>(stack.count);
    const int64_t n_groups = (matrix.n_outputs + kernels::kRowGroup - 1) / kernels::kRowGroup;
    for (int64_t i = 0; i < stack.count; ++i) {
      const std::byte* from = stack.at(i).data;
      std::byte* matrix_to = to + matrix_bytes * static_cast<uint64_t>(i);
      pool_.run_ranges(n_groups, 1, [&](int64_t begin, int64_t end) {
        for (int64_t group = begin; group < end; ++group) {
          const int64_t first_row = group * kernels::kRowGroup;
          if (form == nullptr) {
            const int64_t n_rows = std::min(kernels::kRowGroup, matrix.n_outputs - first_row);
            const uint64_t at = matrix.row_bytes * static_cast<uint64_t>(first_row);
            std::memcpy(matrix_to + at, from + at, matrix.row_bytes * static_cast<uint64_t>(n_rows));
            continue;
          }
          const std::byte* rows[kernels::kRowGroup];
          for (int64_t r = 0; r < kernels::kRowGroup; ++r)
            rows[r] = from + matrix.row_bytes * static_cast<uint64_t>(std::min(first_row + r, matrix.n_outputs - 1));
          form->pack(rows, matrix.n_inputs,
                     matrix_to + form->group_bytes(matrix.n_inputs) * static_cast<uint64_t>(group));
        }
      });
      on_bytes(matrix.bytes() * static_cast<uint64_t>(i + 1));
    }
    stack.first.form = form;
    stack.first.place = Place::Buffer;
    stack.first.data = to;
    stack.stride_bytes = matrix_bytes;
  }

  // From the first rows on: what is written never reaches blocks that are still to be read, because those end where the form
  // does or later. Only the blocks of the rows at hand may be written over, so they are copied first.
  void make_resident_in_place(Stream&, Linear& matrix, const ResidentOffer& offer, std::byte* to) override {
    const kernels::ResidentForm& form = *offer.form;
    const uint64_t group_bytes = form.group_bytes(matrix.n_inputs);
    const int64_t n_groups = (matrix.n_outputs + kernels::kRowGroup - 1) / kernels::kRowGroup;
    constexpr uint64_t kCopied = uint64_t{4} << 20;
    const auto n_at_once =
        static_cast<int64_t>(std::max<uint64_t>(1, kCopied / (matrix.row_bytes * kernels::kRowGroup)));
    std::vector<std::byte> copied(matrix.row_bytes * static_cast<uint64_t>(n_at_once * kernels::kRowGroup));
    for (int64_t first = 0; first < n_groups; first += n_at_once) {
      const int64_t first_row = first * kernels::kRowGroup;
      const int64_t n_rows = std::min(n_at_once * kernels::kRowGroup, matrix.n_outputs - first_row);
      std::memcpy(copied.data(), matrix.data + matrix.row_bytes * static_cast<uint64_t>(first_row),
                  matrix.row_bytes * static_cast<uint64_t>(n_rows));
      pool_.run(std::min(n_at_once, n_groups - first), [&](int64_t group) {
        const std::byte* rows[kernels::kRowGroup];
        for (int64_t r = 0; r < kernels::kRowGroup; ++r)
          rows[r] = copied.data() +
                    matrix.row_bytes * static_cast<uint64_t>(std::min(group * kernels::kRowGroup + r, n_rows - 1));
        form.pack(rows, matrix.n_inputs, to + group_bytes * static_cast<uint64_t>(first + group));
      });
    }
    matrix.form = offer.form;
    matrix.data = to;
  }

  void touch_weights(const std::byte* matrices, int64_t n_matrices, uint64_t matrix_bytes) override {
    kernels::touch_pages(pool_, matrices, n_matrices, matrix_bytes);
  }

  void embed(Stream&, const Linear& table, std::span<const int32_t> ids, Rows out) override {
    pool_.run(out.n_rows,
              [&](int64_t i) { kernels::dequantize_row(matrix_of(table), ids[static_cast<size_t>(i)], out.row(i)); });
  }

  void rms_norm(Stream&, Rows x, const Vector& weight, float epsilon, Rows out) override {
    kernels::rms_norm(pool_, float_rows(x), weight.data, weight.size, epsilon, float_rows(out));
  }

  std::unique_ptr<Input> prepare(Stream&, Rows x) override { return std::make_unique<CpuInput>(x, eight_bit_); }

  void multiply(Stream&, std::span<const Product> products) override {
    std::vector<kernels::MatrixProduct> calls;
    calls.reserve(products.size());
    for (const Product& p : products)
      calls.push_back({matrix_of(*p.weights), &static_cast<const CpuInput*>(p.input)->activations, p.input_rows,
                       p.output.n_rows, p.output.data, p.output.stride});
    if (!kernels::multiply(pool_, calls))
      throw Error(
          Error::Kind::BadFile,
          "The model computed an activation that is not a finite number; its weights are damaged, or too large for "
          "float32.");
    for (const Product& p : products) add_bias_and_adapters(p);
  }

  void multiply_transposed(Stream&, std::span<const TransposedProduct> products) override {
    std::vector<kernels::TransposedMatrixProduct> calls;
    calls.reserve(products.size());
    for (const TransposedProduct& p : products)
      calls.push_back(
          {matrix_of(*p.weights), p.input.data, p.input.stride, p.input.n_rows, p.output.data, p.output.stride});
    kernels::multiply_transposed(pool_, calls);
  }

  void rope_angles(Stream&, const kernels::reference::Rope& rope, std::span<const int32_t> positions, Rows cosines,
                   Rows sines) override {
    kernels::rope_angles(pool_, rope, positions.data(), float_rows(cosines), float_rows(sines));
  }

  void rope(Stream&, Rows x, int64_t n_heads, int64_t head_stride, kernels::reference::RopePairs pairs, Rows cosines,
            Rows sines) override {
    kernels::rope(pool_, float_rows(x), n_heads, head_stride, pairs, float_rows(cosines), float_rows(sines));
  }

  void swiglu(Stream&, Rows gate, Rows up) override { kernels::swiglu(pool_, float_rows(gate), float_rows(up)); }
  void copy_rows(Stream&, Rows from, Rows to) override { kernels::copy_rows(pool_, float_rows(from), float_rows(to)); }
  void add(Stream&, Rows x, Rows y) override { kernels::add(pool_, float_rows(x), float_rows(y)); }
  void store(Stream&, Rows x, int64_t n_heads, kernels::CacheType type, void* to, int64_t row_bytes,
             int64_t head_bytes) override {
    kernels::store_rows(pool_, float_rows(x), n_heads, type, to, row_bytes, head_bytes);
  }
  void load(Stream&, kernels::CacheType type, const void* from, int64_t row_bytes, Rows x) override {
    kernels::load_rows(pool_, type, from, row_bytes, float_rows(x));
  }

  void attention(Stream&, const AttentionShape& shape, Rows q, std::span<const CacheView* const> caches,
                 std::span<const int32_t> n_visible, Rows out) override {
    std::vector<kernels::AttentionRow> rows;
    std::vector<kernels::KeysAndValues> contexts;
    contexts.reserve(caches.size());  // rows point into it
    for (size_t i = 0; i < caches.size(); ++i) {
      const CacheView& view = *caches[i];
      if (i == 0 || caches[i] != caches[i - 1])
        contexts.push_back({view.key_pages, view.value_pages, view.page_positions, view.type, view.key_row_bytes,
                            view.value_row_bytes, view.key_head_bytes, view.value_head_bytes});
      const auto row = static_cast<int64_t>(i);
      rows.push_back({q.row(row), &contexts.back(), n_visible[i], out.row(row)});
    }
    kernels::attend(pool_, {shape.n_heads, shape.n_kv_heads, shape.key_size, shape.value_size, shape.scale},
                    rows.data(), static_cast<int64_t>(rows.size()));
  }

  void route(Stream&, const kernels::reference::RouterRule& rule, Rows logits, const Vector* bias,
             std::span<int32_t> ids, std::span<float> weights) override {
    kernels::route(pool_, rule, float_rows(logits), bias != nullptr ? bias->data : nullptr, ids.data(), weights.data());
  }

  void weighted_sum(Stream&, Rows y, std::span<const int32_t> places, std::span<const float> weights, int64_t n_used,
                    Rows out) override {
    kernels::weighted_sum(pool_, float_rows(y), places.data(), weights.data(), n_used, float_rows(out));
  }

 private:
  // y += bias; y += scale * B (A x) for every adapter. Both are rare and small beside the product itself.
  static void add_bias_and_adapters(const Product& p) {
    const Linear& w = *p.weights;
    const kernels::VectorLoops& loops = kernels::vector_loops();
    const Rows& x = static_cast<const CpuInput*>(p.input)->rows;
    for (int64_t i = 0; i < p.output.n_rows; ++i) {
      float* y = p.output.row(i);
      if (w.bias) loops.add_scaled(1.0f, w.bias.data, y, w.n_outputs);
      const float* input = x.row(p.input_rows != nullptr ? p.input_rows[i] : i);
      for (const Adapter& adapter : w.adapters) {
        std::vector<float> low(static_cast<size_t>(adapter.rank));
        for (int64_t r = 0; r < adapter.rank; ++r)
          low[static_cast<size_t>(r)] = loops.dot(adapter.a->data() + r * w.n_inputs, input, w.n_inputs);
        for (int64_t o = 0; o < w.n_outputs; ++o)
          y[o] += adapter.scale * loops.dot(adapter.b->data() + o * adapter.rank, low.data(), adapter.rank);
      }
    }
  }

  kernels::ThreadPool pool_;
  bool eight_bit_;
  double bandwidth_ = 0;  // bytes a second; 0 until measured
  std::map<gguf::TensorType, MeasuredRates> rates_;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(uint32_t n_threads, bool pin_threads, bool eight_bit_activations) {
  const std::vector<kernels::Core> cores = pin_threads ? kernels::usable_cores().cores : std::vector<kernels::Core>();
  try {
    kernels::chosen_isa();  // whose refusal is the user's to read
    return std::make_unique<CpuDevice>(n_threads, cores, eight_bit_activations);
  } catch (const std::invalid_argument& error) {
    throw Error(Error::Kind::Usage, error.what());
  } catch (const std::system_error& error) {
    throw Error(Error::Kind::Device, "The system does not give this process " + std::to_string(n_threads) +
                                         " threads (" + error.code().message() + "); ask for fewer (-t).");
  }
}

}  // namespace sluice::engine
