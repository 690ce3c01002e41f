// The thread that brings experts to the GPU (engine/store/background_copies.h), over virtual time: a real one would move the only clock
// there is. The VRAM tier's copies, which it asks for without a thread, wait here and begin when that thread would begin them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "bench/virtual_time/forwarding_device.h"

namespace sluice::bench {

// The device that the tier sees.
class CopyThread : public ForwardingDevice {
 public:
  // staging_seconds: what bringing a copy of so many bytes into pinned memory takes, link_seconds: what it takes from there on.
  CopyThread(engine::Device& gpu, std::function<double(uint64_t bytes)> staging_seconds,
             std::function<double(uint64_t bytes)> link_seconds)
      : ForwardingDevice(gpu), staging_seconds_(std::move(staging_seconds)), link_seconds_(std::move(link_seconds)) {}

  // The first stream that is made is the tier's; before begin() its copies are done at once.
  std::unique_ptr<engine::Stream> make_stream() override;
  void begin() { is_beside_ = true; }
  // Begins what the thread would have begun by now.
  void catch_up();

  void copy_to_device(engine::Stream& stream, void* to, const void* host, uint64_t bytes) override;
  void synchronize(engine::Stream& stream) override;
  void follow(engine::Stream& later, engine::Stream& earlier) override;

 private:
  struct Copy {
    double when = 0;  // it is in pinned memory
    void* to = nullptr;
    const void* from = nullptr;
    uint64_t bytes = 0;
  };
  void begin_first();
  void begin_all();

  std::function<double(uint64_t)> staging_seconds_, link_seconds_;
  engine::Stream* copies_ = nullptr;
  bool is_beside_ = false;
  std::deque<Copy> waiting_;
  double free_ = 0;       // when the thread has staged what it was given
  double link_free_ = 0;  // and the link has it
};

}  // namespace sluice::bench
