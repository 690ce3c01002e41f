#include "engine/store/background_copies.h"

#include "engine/store/clock.h"

namespace sluice::engine {

void do_copy(Device& device, Stream& stream, BackgroundCopy& copy) noexcept {
  try {
    for (const CopyPart& part : copy.parts) device.copy_to_device(stream, part.to, part.from, part.bytes);
    copy.state = BackgroundCopy::State::UnderWay;
  } catch (...) {
    stream.abandon();
    copy.state = BackgroundCopy::State::Failed;
  }
}

BackgroundCopies::BackgroundCopies(Device& device, Stream& stream)
    : device_(device), stream_(stream), thread_([this] { run(); }) {}

BackgroundCopies::~BackgroundCopies() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BackgroundCopies::begin(std::shared_ptr<BackgroundCopy> copy) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(copy));
  }
  changed_.notify_all();
}

void BackgroundCopies::wait_for_all() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.empty() && !is_busy_; });
}

void BackgroundCopies::run() {
  // Of a new measure, how much it counts: copies differ by what else uses the memory.
  constexpr double kShareOfNew = 0.25;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ends_ || !waiting_.empty(); });
    if (ends_) return;
    const std::shared_ptr<BackgroundCopy> copy = std::move(waiting_.front());
    waiting_.pop_front();
    is_busy_ = true;
    lock.unlock();
    const auto begin = Clock::now();
    do_copy(device_, stream_, *copy);
    try {
      device_.synchronize(stream_);
    } catch (...) {  // a failure of the device is met again by the next pass
    }
    const double seconds = seconds_since(begin);
    busy_seconds_ = busy_seconds_ + seconds;
    if (seconds > 0) {
      const double rate = static_cast<double>(copy->bytes()) / seconds, old = bytes_per_second_;
      bytes_per_second_ = old > 0 ? old + kShareOfNew * (rate - old) : rate;
    }
    lock.lock();
    is_busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace sluice::engine
