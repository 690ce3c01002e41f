// Copies from the host's memory to a device on a thread of their own: ordinary memory must first be brought into pinned memory, which the
// thread that evaluates has no time for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/device/device.h"

namespace sluice::engine {

struct CopyPart {
  void* to = nullptr;  // device memory
  const std::byte* from = nullptr;
  uint64_t bytes = 0;
};

// One copy, of some parts.
struct BackgroundCopy {
  enum class State : uint8_t { Waiting, UnderWay, Failed };  // UnderWay: the stream has all of it
  std::vector<CopyPart> parts;
  std::atomic<State> state = State::Waiting;

  uint64_t bytes() const {
    uint64_t all = 0;
    for (const CopyPart& part : parts) all += part.bytes;
    return all;
  }
};

// Does the copy now, on the stream; what fails is its state.
void do_copy(Device& device, Stream& stream, BackgroundCopy& copy) noexcept;

class BackgroundCopies {
 public:
  // The stream is used by the thread alone, but for Device::follow(). Both must outlive this.
  BackgroundCopies(Device& device, Stream& stream);
  ~BackgroundCopies();  // what waits is not copied
  BackgroundCopies(const BackgroundCopies&) = delete;
  BackgroundCopies& operator=(const BackgroundCopies&) = delete;

  void begin(std::shared_ptr<BackgroundCopy> copy);
  void wait_for_all();

  // What one second brought so far, from one who had nothing else to do; 0: nothing was measured.
  double bytes_per_second() const { return bytes_per_second_; }
  double busy_seconds() const { return busy_seconds_; }

 private:
  void run();

  Device& device_;
  Stream& stream_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<BackgroundCopy>> waiting_;
  bool is_busy_ = false;
  bool ends_ = false;
  std::atomic<double> bytes_per_second_ = 0;
  std::atomic<double> busy_seconds_ = 0;
  std::thread thread_;
};

}  // namespace sluice::engine
