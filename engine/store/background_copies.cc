#include "engine/store/background_copies.h"

#include <algorithm>

#include "engine/store/clock.h"

namespace sluice::engine {

void begin_copy(Device& device, Stream& stream, BackgroundCopy& copy) noexcept {
  size_t n_begun = 0;
  try {
    for (const CopyPart& part : copy.parts) {
      if (part.is_to_host)
        device.copy_to_host(stream, part.to, part.from, part.bytes);
      else
        device.copy_to_device(stream, part.to, part.from, part.bytes);
      ++n_begun;
    }
    copy.state = BackgroundCopy::State::UnderWay;
  } catch (...) {
    // Whoever hears of the failure uses the host's memory for something else.
    try {
      device.synchronize(stream);
      copy.host_has_all = std::none_of(copy.parts.begin() + static_cast<std::ptrdiff_t>(n_begun), copy.parts.end(),
                                       [](const CopyPart& part) { return part.is_to_host; });
    } catch (...) {
    }
    stream.abandon();
    copy.state = BackgroundCopy::State::Failed;
  }
}

void end_copy(Device& device, Stream& stream, BackgroundCopy& copy) noexcept {
  if (copy.state != BackgroundCopy::State::UnderWay) return;
  try {
    device.synchronize(stream);
    copy.host_has_all = true;
    copy.state = BackgroundCopy::State::Done;
  } catch (...) {  // a failure of the device is met again by the next pass
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

void BackgroundCopies::wait_for(const BackgroundCopy& copy) {
  using State = BackgroundCopy::State;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return copy.state == State::Done || copy.state == State::Failed; });
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
    begin_copy(device_, stream_, *copy);
    end_copy(device_, stream_, *copy);
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
