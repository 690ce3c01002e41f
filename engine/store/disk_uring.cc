// io_uring: reads are queued without a thread a read, and the system says when they are done.

#include "engine/store/disk.h"

#if SLUICE_HAVE_LIBURING
#include <fcntl.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <unordered_map>
#include <utility>

namespace sluice::engine {
namespace {

constexpr unsigned kDepth = 16;
constexpr uint64_t kWakeId = ~uint64_t{0};  // of the read of the event that wake() sets off

class UringDisk : public Disk {
 public:
  explicit UringDisk(const DiskFiles& files) : files_(files) {}
  ~UringDisk() override {
    if (is_open_) io_uring_queue_exit(&ring_);  // cancels what is in flight and waits for it
    if (event_ >= 0) ::close(event_);
  }

  // False where the system has no io_uring.
  bool open() {
    event_ = ::eventfd(0, EFD_CLOEXEC);
    if (event_ < 0 || io_uring_queue_init(2 * kDepth, &ring_, 0) != 0) return false;
    is_open_ = true;
    return listen_for_wake();
  }

  std::string_view name() const override { return "io_uring"; }
  unsigned depth() const override { return kDepth; }

  void start(DiskRead read) override {
    const uint64_t id = read.id;
    const DiskRead& kept = in_flight_[id] = std::move(read);  // the system reads the list of targets later
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);           // there are more entries than reads in flight
    io_uring_prep_readv(entry, files_.descriptor(kept.file), kept.to.data(), static_cast<unsigned>(kept.to.size()),
                        kept.offset);
    entry->user_data = id;
    const int submitted = io_uring_submit(&ring_);
    if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN && submitted != -EBUSY) failed_ = submitted;
  }

  size_t wait(std::span<DiskCompletion> completions) override {
    size_t n = 0;
    bool is_woken = false;
    while (n == 0 && !is_woken) {
      if (failed_ != 0) return report_failure(completions);
      io_uring_cqe* entry = nullptr;
      const int waited = io_uring_submit_and_wait(&ring_, 1);
      if (waited < 0 && waited != -EINTR && waited != -EAGAIN && waited != -EBUSY) failed_ = waited;
      while (n < completions.size() && io_uring_peek_cqe(&ring_, &entry) == 0) {
        const uint64_t id = entry->user_data;
        const int64_t result = entry->res;
        io_uring_cqe_seen(&ring_, entry);
        if (id == kWakeId) {
          is_woken = true;
          if (!listen_for_wake()) failed_ = -EIO;
          continue;
        }
        forget_pages_of(id, result);
        in_flight_.erase(id);
        completions[n++] = {id, result};
      }
    }
    return n;
  }

  void wake() override {
    const uint64_t one = 1;
    while (::write(event_, &one, sizeof one) < 0 && errno == EINTR) {
    }
  }

 private:
  bool listen_for_wake() {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) return false;
    io_uring_prep_read(entry, event_, &event_count_, sizeof event_count_, 0);
    entry->user_data = kWakeId;
    return io_uring_submit(&ring_) >= 0;
  }

  // The ring itself is broken: every read that it holds has failed.
  size_t report_failure(std::span<DiskCompletion> completions) {
    size_t n = 0;
    if (in_flight_.empty()) ::usleep(10'000);  // nobody would wake us
    while (n < completions.size() && !in_flight_.empty()) {
      completions[n++] = {in_flight_.begin()->first, failed_};
      in_flight_.erase(in_flight_.begin());
    }
    return n;
  }

  // Where reads are not direct the page cache must not take the memory that the weights are to have.
  void forget_pages_of(uint64_t id, int64_t result) const {
    if (files_.are_direct() || result <= 0) return;
    const DiskRead& read = in_flight_.at(id);
    ::posix_fadvise(files_.descriptor(read.file), static_cast<off_t>(read.offset), static_cast<off_t>(result),
                    POSIX_FADV_DONTNEED);
  }

  const DiskFiles& files_;
  io_uring ring_{};
  bool is_open_ = false;
  int event_ = -1;
  uint64_t event_count_ = 0;
  int failed_ = 0;  // an error number below zero
  std::unordered_map<uint64_t, DiskRead> in_flight_;
};

}  // namespace

std::unique_ptr<Disk> make_uring_disk(const DiskFiles& files) {
  auto disk = std::make_unique<UringDisk>(files);
  if (!disk->open()) return nullptr;
  return disk;
}

}  // namespace sluice::engine

#else

namespace sluice::engine {
std::unique_ptr<Disk> make_uring_disk(const DiskFiles&) {
  return nullptr;
}
}  // namespace sluice::engine

#endif
