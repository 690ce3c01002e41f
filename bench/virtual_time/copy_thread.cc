#include "bench/virtual_time/copy_thread.h"

#include <algorithm>

#include "tests/simt/cudart/emulated_gpu.h"

namespace sluice::bench {

std::unique_ptr<engine::Stream> CopyThread::make_stream() {
  auto stream = ForwardingDevice::make_stream();
  if (copies_ == nullptr) copies_ = stream.get();
  return stream;
}

void CopyThread::begin_first() {
  const Copy copy = waiting_.front();
  waiting_.pop_front();
  simt::do_beside_host([&] { ForwardingDevice::copy_to_device(*copies_, copy.to, copy.from, copy.bytes); });
}

void CopyThread::catch_up() {
  while (!waiting_.empty() && waiting_.front().when <= simt::host_seconds()) begin_first();
}

// Whoever asks for the order of the copies has them begun: none may be forgotten.
void CopyThread::begin_all() {
  while (!waiting_.empty()) begin_first();
}

void CopyThread::copy_to_device(engine::Stream& stream, void* to, const void* host, uint64_t bytes) {
  if (&stream != copies_ || !is_beside_) return ForwardingDevice::copy_to_device(stream, to, host, bytes);
  // Two pinned buffers: one is filled while the other is copied from, and none before that is done.
  const double begin = std::max({simt::host_seconds(), free_, link_free_ - link_seconds_(bytes)});
  free_ = begin + staging_seconds_(bytes);
  link_free_ = std::max(link_free_, free_) + link_seconds_(bytes);
  waiting_.push_back({free_, to, host, bytes});
}

void CopyThread::synchronize(engine::Stream& stream) {
  if (&stream == copies_) begin_all();
  ForwardingDevice::synchronize(stream);
}

void CopyThread::follow(engine::Stream& later, engine::Stream& earlier) {
  if (&earlier == copies_) begin_all();
  ForwardingDevice::follow(later, earlier);
}

}  // namespace sluice::bench
