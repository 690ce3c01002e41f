// Copies between the host's memory and a device's on a thread of their own: ordinary memory must first be brought into pinned memory, which
// the thread that evaluates has no time for.
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
  void* to = nullptr;
  const std::byte* from = nullptr;
  uint64_t bytes = 0;
  bool is_to_host = false;  // else to the device
};

// One copy, of some parts, in order.
struct BackgroundCopy {
  // UnderWay: the stream has all of it; what follows the stream may use it. Done: so may the host. Failed: nothing of it is under way.
  enum class State : uint8_t { Waiting, UnderWay, Done, Failed };
  std::vector<CopyPart> parts;
  std::atomic<State> state = State::Waiting;
  std::atomic<bool> host_has_all = false;  // the parts to the host are there; known when the copy is Done or Failed

  uint64_t bytes() const {
    uint64_t all = 0;
    for (const CopyPart& part : parts) all += part.bytes;
    return all;
  }
};

// Begins the copy, on the stream; what fails is its state.
void begin_copy(Device& device, Stream& stream, BackgroundCopy& copy) noexcept;
// Waits for one that is under way, and all before it.
void end_copy(Device& device, Stream& stream, BackgroundCopy& copy) noexcept;

class BackgroundCopies {
 public:
  // The stream is used by the thread alone, but for Device::follow(). Both must outlive this.
  BackgroundCopies(Device& device, Stream& stream);
  ~BackgroundCopies();  // what waits is not copied
  BackgroundCopies(const BackgroundCopies&) = delete;
  BackgroundCopies& operator=(const BackgroundCopies&) = delete;

  void begin(std::shared_ptr<BackgroundCopy> copy);
  // Until it is done or has failed.
  void wait_for(const BackgroundCopy& copy);
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
