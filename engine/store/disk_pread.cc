// Threads that call preadv(): what works on every system.

#include <fcntl.h>
#include <sys/uio.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "engine/error.h"
#include "engine/store/disk.h"

namespace sluice::engine {
namespace {

// Enough to keep an NVMe drive busy with pieces of a mebibyte.
constexpr unsigned kThreads = 6;

class PreadDisk : public Disk {
 public:
  explicit PreadDisk(const DiskFiles& files) : files_(files) {
    for (unsigned i = 0; i < kThreads; ++i) {
      try {
        threads_.emplace_back([this] { serve(); });
      } catch (const std::system_error& error) {
        if (!threads_.empty()) break;  // fewer do as well, only slower
        throw Error(Error::Kind::Device,
                    std::string("The system gives this process no thread to read the disk with (") +
                        error.code().message() + "); allow more (ulimit -u).");
      }
    }
  }
  ~PreadDisk() override {
    {
      const std::lock_guard lock(mutex_);
      is_ending_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  std::string_view name() const override { return "pread"; }
  unsigned depth() const override { return static_cast<unsigned>(threads_.size()); }

  void start(DiskRead read) override {
    {
      const std::lock_guard lock(mutex_);
      reads_.push_back(std::move(read));
    }
    work_.notify_one();
  }

  size_t wait(std::span<DiskCompletion> completions) override {
    std::unique_lock lock(mutex_);
    news_.wait(lock, [this] { return !done_.empty() || is_woken_; });
    is_woken_ = false;
    size_t n = 0;
    for (; n < completions.size() && !done_.empty(); ++n) {
      completions[n] = done_.front();
      done_.pop_front();
    }
    return n;
  }

  void wake() override {
    {
      const std::lock_guard lock(mutex_);
      is_woken_ = true;
    }
    news_.notify_one();
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return !reads_.empty() || is_ending_; });
      if (reads_.empty()) return;
      const DiskRead read = std::move(reads_.front());
      reads_.pop_front();
      lock.unlock();
      const int64_t result = fetch(read);
      lock.lock();
      done_.push_back({read.id, result});
      news_.notify_one();
    }
  }

  int64_t fetch(const DiskRead& read) const {
    const int descriptor = files_.descriptor(read.file);
    const ssize_t n =
        ::preadv(descriptor, read.to.data(), static_cast<int>(read.to.size()), static_cast<off_t>(read.offset));
    if (n < 0) return -errno;
    // Where reads are not direct the page cache must not take the memory that the weights are to have.
    if (!files_.are_direct())
      ::posix_fadvise(descriptor, static_cast<off_t>(read.offset), static_cast<off_t>(n), POSIX_FADV_DONTNEED);
    return n;
  }

  const DiskFiles& files_;
  std::mutex mutex_;
  std::condition_variable work_;  // reads, or the end
  std::condition_variable news_;  // completions, or wake()
  std::deque<DiskRead> reads_;
  std::deque<DiskCompletion> done_;
  bool is_woken_ = false;
  bool is_ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<Disk> make_pread_disk(const DiskFiles& files) {
  return std::make_unique<PreadDisk>(files);
}

}  // namespace sluice::engine
