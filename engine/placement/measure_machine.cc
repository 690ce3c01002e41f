#include "engine/placement/measure_machine.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

#include "engine/device/cpu_device.h"
#include "engine/placement/memory.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/rates.h"
#include "kernels/format.h"

namespace sluice::engine {
namespace {

constexpr int64_t kManyInputs = 64;
constexpr double kTouchSeconds = 0.05;  // in which memory is touched for the first time
constexpr double kSustainedSeconds = 0.5;

// Passes a second over weights that do not fit in the caches, until `stop`.
class Multiplying {
 public:
  explicit Multiplying(kernels::ThreadPool& pool)
      : pool_(pool),
        weights_(static_cast<size_t>(kRows) * kRowBytes),
        x_(kColumns, 1.0f),
        out_(kRows),
        input_(x_.data(), 1, kColumns, kColumns, true) {}

  // Passes in so many seconds, or until the flag is set.
  double passes_a_second(double seconds, const std::atomic<bool>& stop) {
    using Clock = std::chrono::steady_clock;
    const kernels::MatrixProduct product{{gguf::TensorType::Q4_K, weights_.data(), kRows, kColumns, kRowBytes, nullptr},
                                         &input_,
                                         nullptr,
                                         1,
                                         out_.data(),
                                         kRows};
    const auto begin = Clock::now();
    double done = 0, passed = 0;
    do {
      kernels::multiply(pool_, std::span(&product, 1));
      ++done;
      passed = std::chrono::duration<double>(Clock::now() - begin).count();
    } while (passed < seconds && !stop);
    return done / passed;
  }

  // If memory or the multiplier set the rate, whichever is slower.
  static double passes_a_second_at_best(double bytes_per_second, double weights_per_second) {
    return std::min(bytes_per_second / (kRows * kRowBytes), weights_per_second / (kRows * kColumns));
  }
  static constexpr gguf::TensorType kType = gguf::TensorType::Q4_K;

 private:
  static constexpr int64_t kColumns = 4096, kRows = 28672;  // 64.5 MiB
  static constexpr uint64_t kRowBytes = kColumns / 256 * 144;
  kernels::ThreadPool& pool_;
  std::vector<std::byte> weights_;
  std::vector<float> x_, out_;
  kernels::Activations input_;
};

}  // namespace

std::vector<gguf::TensorType> measured_types() {
  std::vector<gguf::TensorType> types;
  for (const kernels::Format& format : kernels::all_formats())
    if (format.row_group_product.at(kernels::chosen_isa()) != nullptr) types.push_back(format.type);
  // Without vector kernels all formats are about as slow as this one.
  if (types.empty()) types.push_back(gguf::TensorType::F32);
  return types;
}

Machine measure_cpu(uint32_t n_threads, std::span<const gguf::TensorType> types) {
  Machine machine = measure_cpu(*make_cpu_device(n_threads, false, true), n_threads, types);
  // The best of short measures is what the hardware can do. What a program gets for longer is less on a machine that others
  // share, or that gets warm: all rates are brought down to it.
  kernels::ThreadPool pool(n_threads);
  Multiplying multiplying(pool);
  const std::atomic<bool> never = false;
  multiplying.passes_a_second(kTouchSeconds, never);
  const double passes = multiplying.passes_a_second(kSustainedSeconds, never);
  const double best = multiplying.passes_a_second_at_best(machine.ram_bytes_per_second,
                                                          kernels::product_rate(pool, Multiplying::kType, nullptr));
  const double share = std::min(1.0, passes / best);
  machine.ram_bytes_per_second *= share;
  machine.attention_multiply_adds_per_second *= share;
  for (auto& [type, rates] : machine.kernels) {
    rates.weights_per_second *= share;
    rates.form_weights_per_second *= share;
    rates.multiply_adds_per_second *= share;
  }
  return machine;
}

Machine measure_cpu(Device& device, uint32_t n_threads, std::span<const gguf::TensorType> types) {
  Machine machine;
  machine.ram_bytes = available_memory_bytes() + resident_bytes();
  machine.n_cores = n_threads;
  kernels::ThreadPool pool(n_threads);
  for (const gguf::TensorType type : types) {
    const MeasuredRates rates = device.measured_rates(type);
    machine.ram_bytes_per_second = rates.bytes_per_second;
    machine.kernels[type] = {rates.weights_per_second / n_threads, rates.form_weights_per_second / n_threads,
                             kernels::product_rate(pool, type, nullptr, kManyInputs) / n_threads};
  }
  machine.attention_multiply_adds_per_second = kernels::attention_rate(pool) / n_threads;
  return machine;
}

void measure_disk(Machine& machine, const DiskTest& disk_test) {
  kernels::ThreadPool pool(machine.n_cores);
  Multiplying multiplying(pool);
  std::atomic<bool> never = false, is_read = false;
  multiplying.passes_a_second(kTouchSeconds, never);
  const double alone = multiplying.passes_a_second(kSustainedSeconds, never);
  ReadRate rate;
  std::exception_ptr failure;
  std::thread reader([&] {
    try {
      ReadTest test;
      test.most_seconds = kSustainedSeconds;
      rate = disk_test(test);
    } catch (...) {
      failure = std::current_exception();
    }
    is_read = true;
  });
  const double beside = multiplying.passes_a_second(2 * kSustainedSeconds, is_read);
  reader.join();
  if (failure) std::rethrow_exception(failure);
  machine.disk_bytes_per_second = rate.bytes_per_second();
  machine.cpu_share_beside_disk = std::min(1.0, beside / alone);
}

}  // namespace sluice::engine
