#include "engine/device/cuda/pass.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sluice::engine::cuda {

static constexpr uint64_t kValueBytes = uint64_t{256} << 10;
static constexpr uint64_t kTableBytes = uint64_t{256} << 10;
static constexpr uint64_t kStagingBytes = uint64_t{1} << 20;

Pass::Pass(bool graphs, const std::shared_ptr<VramAccount>& account, std::shared_ptr<const PinnedRanges> pinned)
    : values_(kValueBytes, false, account),
      tables_(kTableBytes, true, account),
      graphs_(graphs),
      pinned_(std::move(pinned)),
      upload_(pinned_),
      flag_(pinned_memory(sizeof(int32_t))),
      staging_(pinned_memory(kStagingBytes)) {
  std::memset(flag_.host(), 0, sizeof(int32_t));
}

Pass::~Pass() {
  cudaStreamSynchronize(stream_.get());
}

Cells& Pass::room(Cells& cells, uint64_t bytes) {
  if (!cells.has_room(bytes)) {
    if (!cells.is_empty()) wait();
    if (!cells.has_room(bytes)) cells.grow(bytes);
  }
  return cells;
}

void Pass::submit() {
  if (!launches_.empty() && !started_) started_ = std::chrono::steady_clock::now();
  values_.upload(stream_.get());
  tables_.upload(stream_.get());
  // What fails to start is not tried again.
  kernels::cuda::Launches launches = std::exchange(launches_, {});
  const std::vector<std::function<void()>> host_work = std::exchange(host_work_, {});
  try {
    graphs_.start(launches, stream_.get(), expects_repeats_);
    for (const std::function<void()>& work : host_work) work();
  } catch (...) {
    if (!host_work.empty()) hooks_.give_up();
    throw;
  }
  launches.clear();
  launches_ = std::move(launches);  // with its room
}

void Pass::drop() noexcept {
  launches_.clear();
  host_work_.clear();
  host_copies_.clear();
  started_.reset();
}

template <class Work>
void Pass::do_or_drop(Work work) {
  try {
    work();
  } catch (...) {
    drop();
    throw;
  }
}

void Pass::copy_to_host(void* host, const void* from, uint64_t bytes) {
  if (bytes == 0) return;
  do_or_drop([&] {
    submit();
    uint64_t done = 0;
    while (const uint64_t n = pinned_ ? pinned_->pinned_bytes(static_cast<std::byte*>(host) + done, bytes - done) : 0) {
      check(cudaMemcpyAsync(static_cast<std::byte*>(host) + done, static_cast<const std::byte*>(from) + done, n,
                            cudaMemcpyDefault, stream_.get()),
            "copying a result");
      done += n;
    }
    if (done == bytes) return;
    host = static_cast<std::byte*>(host) + done;
    from = static_cast<const std::byte*>(from) + done;
    bytes -= done;
    if (staged_ + bytes > staging_.bytes()) {
      wait();
      if (bytes > staging_.bytes()) staging_ = pinned_memory(std::max(bytes, 2 * staging_.bytes()));
    }
    std::byte* staged = staging_.host() + staged_;
    check(cudaMemcpyAsync(staged, from, bytes, cudaMemcpyDefault, stream_.get()), "copying a result");
    host_copies_.push_back({host, staged, bytes});
    staged_ += (bytes + 63) / 64 * 64;
  });
}

void Pass::copy_to_device(void* to, const void* host, uint64_t bytes) {
  if (bytes == 0) return;
  submit();
  upload_.copy(to, host, bytes, stream_.get());
}

void Pass::copy(void* to, const void* from, uint64_t bytes) {
  if (bytes == 0) return;
  submit();
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_.get()), "copying within it");
}

void Pass::follow(const Pass& other) {
  const EventHandle event;
  check(cudaEventRecord(event.get(), other.stream()), "ordering two streams");
  follow(event.get());
}

void Pass::follow(cudaEvent_t event) {
  check(cudaStreamWaitEvent(stream(), event, 0), "ordering two streams");
}

void Pass::wait() {
  do_or_drop([&] {
    submit();
    check(cudaStreamSynchronize(stream_.get()), "computing");
    if (started_) busy_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - *started_).count();
    started_.reset();
    if (hooks_.check) hooks_.check();
  });
  values_.reset();
  tables_.reset();
  for (const HostCopy& copy : host_copies_) std::memcpy(copy.to, copy.from, copy.bytes);
  host_copies_.clear();
  staged_ = 0;
  int32_t not_finite = 0;
  std::memcpy(&not_finite, flag_.host(), sizeof not_finite);
  std::memset(flag_.host(), 0, sizeof not_finite);
  if (not_finite != 0)
    throw Error(Error::Kind::BadFile,
                "The model computed an activation that is not a finite number; its weights are damaged, or too large "
                "for float32.");
}

}  // namespace sluice::engine::cuda
