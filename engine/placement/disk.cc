#include "engine/placement/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "engine/error.h"

namespace sluice::engine {
namespace {

using Clock = std::chrono::steady_clock;
using Kind = Error::Kind;

constexpr uint64_t kAssumedAlignment = 4096;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string reason(int error) {
  return std::generic_category().message(error);
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

struct TestFile {
  Descriptor descriptor;
  std::string name;  // for messages
  uint64_t bytes = 0;
  bool has_holes = false;
};

struct Piece {
  uint32_t file = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

TestFile test_file(Descriptor descriptor, const std::string& name) {
  struct stat status {};
  if (descriptor.number() < 0 || fstat(descriptor.number(), &status) != 0)
    throw Error(Kind::BadFile, name + " cannot be opened: " + reason(errno) + "; give a file that can be read");
  if (!S_ISREG(status.st_mode))
    throw Error(Kind::BadFile, name + " is no regular file, so its disk cannot be measured; give a model file");
  const auto bytes = static_cast<uint64_t>(status.st_size);
  return {std::move(descriptor), name, bytes, static_cast<uint64_t>(status.st_blocks) * 512 < bytes};
}

bool is_in_memory(const TestFile& file) {
  constexpr unsigned kTmpfs = 0x01021994, kRamfs = 0x858458f6;  // linux/magic.h
  struct statfs status {};
  if (fstatfs(file.descriptor.number(), &status) != 0) return false;
  const auto type = static_cast<unsigned>(status.f_type);
  return type == kTmpfs || type == kRamfs;
}

// Whole pieces in random order, as many as the test reads; of a file that is smaller than one, as much as can be read
// directly.
std::vector<Piece> choose_pieces(const std::vector<TestFile>& files, const ReadTest& test, uint64_t alignment) {
  std::vector<Piece> pieces;
  for (uint32_t i = 0; i < files.size(); ++i) {
    const uint64_t bytes = files[i].bytes;
    for (uint64_t n = 0; n < bytes / test.piece_bytes; ++n)
      pieces.push_back({i, n * test.piece_bytes, test.piece_bytes});
    if (bytes < test.piece_bytes && bytes >= alignment) pieces.push_back({i, 0, bytes / alignment * alignment});
  }
  std::shuffle(pieces.begin(), pieces.end(), std::mt19937_64(std::random_device()()));
  pieces.resize(std::min<size_t>(pieces.size(), std::max<uint64_t>(1, test.most_bytes / test.piece_bytes)));
  return pieces;
}

// Every thread takes the next piece until there is none, time is up, or a read has failed.
class Reading {
 public:
  Reading(const std::vector<TestFile>& files, const std::vector<Piece>& pieces, const ReadTest& test,
          uint64_t alignment)
      : files_(files), pieces_(pieces), test_(test) {
    const size_t n_threads = std::clamp<size_t>(test.n_in_flight, 1, std::max<size_t>(1, pieces.size()));
    const uint64_t buffer_bytes = (test.piece_bytes + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < n_threads; ++i) {
      buffers_.emplace_back(static_cast<std::byte*>(std::aligned_alloc(alignment, buffer_bytes)));
      if (!buffers_.back()) throw Error(Kind::OutOfMemory, "there is no memory for reading the disk; free some");
      std::memset(buffers_.back().get(), 0, buffer_bytes);
    }
  }

  void run() {
    begin_ = Clock::now();
    std::vector<std::thread> threads;
    try {
      while (threads.size() + 1 < buffers_.size())
        threads.emplace_back([this, i = threads.size()] { read_pieces(buffers_[i].get()); });
    } catch (const std::system_error&) {  // fewer threads then
    }
    read_pieces(buffers_.back().get());
    for (std::thread& thread : threads) thread.join();
    seconds_ = seconds_since(begin_);
  }

  uint64_t bytes() const { return bytes_; }
  double seconds() const { return seconds_; }
  int error() const { return error_; }
  const Piece& failed() const { return pieces_[failed_]; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  void read_pieces(std::byte* buffer) {
    while (error_ == 0 && seconds_since(begin_) < test_.most_seconds) {
      const size_t i = next_++;
      if (i >= pieces_.size()) return;
      const Piece& piece = pieces_[i];
      ssize_t n = 0;
      do {
        n = pread(files_[piece.file].descriptor.number(), buffer, piece.bytes, static_cast<off_t>(piece.offset));
      } while (n < 0 && errno == EINTR);
      int none = 0;
      if (n < 0 && error_.compare_exchange_strong(none, errno)) failed_ = i;
      if (n > 0) bytes_ += static_cast<uint64_t>(n);
    }
  }

  const std::vector<TestFile>& files_;
  const std::vector<Piece>& pieces_;
  const ReadTest test_;
  std::vector<std::unique_ptr<std::byte[], Free>> buffers_;
  Clock::time_point begin_;
  std::atomic<size_t> next_{0};
  std::atomic<uint64_t> bytes_{0};
  std::atomic<int> error_{0};
  size_t failed_ = 0;  // written by the one thread that sets error_, read after all have ended
  double seconds_ = 0;
};

// False when a file system refuses.
bool set_direct(const TestFile& file, bool is_direct) {
  const int flags = fcntl(file.descriptor.number(), F_GETFL);
  return flags >= 0 && fcntl(file.descriptor.number(), F_SETFL, is_direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

// Without direct reads the page cache must be empty, or its speed is measured.
void read_through_cache(const TestFile& file) {
  set_direct(file, false);
  posix_fadvise(file.descriptor.number(), 0, 0, POSIX_FADV_DONTNEED);
  posix_fadvise(file.descriptor.number(), 0, 0, POSIX_FADV_RANDOM);
}

ReadRate measure(const std::vector<TestFile>& files, const ReadTest& test) {
  ReadRate rate;
  uint64_t alignment = kAssumedAlignment;
  rate.is_direct = true;
  for (const TestFile& file : files) {
    const DirectAlignment wanted = direct_alignment(file.descriptor.number());
    if (&file == &files.front()) rate.alignment = wanted;
    rate.is_direct = rate.is_direct && wanted.is_supported && set_direct(file, true);
    rate.is_in_memory = rate.is_in_memory || is_in_memory(file);
    rate.has_holes = rate.has_holes || file.has_holes;
    alignment = std::max({alignment, uint64_t{wanted.memory_bytes}, uint64_t{wanted.offset_bytes}});
  }
  const std::vector<Piece> pieces = choose_pieces(files, test, alignment);
  while (!pieces.empty()) {
    if (!rate.is_direct) std::ranges::for_each(files, read_through_cache);
    Reading reading(files, pieces, test, alignment);
    reading.run();
    rate.bytes = reading.bytes();
    rate.seconds = reading.seconds();
    if (reading.error() == 0) break;
    // Some file systems take the flag and refuse the reads.
    if (!rate.is_direct || (reading.error() != EINVAL && reading.error() != EOPNOTSUPP))
      throw Error(Kind::Device, files[reading.failed().file].name + " cannot be read at byte " +
                                    std::to_string(reading.failed().offset) + ": " + reason(reading.error()) +
                                    "; check the disk");
    rate.is_direct = false;
  }
  rate.alignment.is_supported = rate.alignment.is_supported && (rate.is_direct || pieces.empty());
  return rate;
}

// Random, because file systems may compress. Stops after some seconds with what is written by then.
void write_random(int descriptor, const std::string& name, uint64_t bytes) {
  constexpr double kMostSeconds = 5;
  const auto begin = Clock::now();
  std::vector<uint64_t> piece((uint64_t{1} << 20) / sizeof(uint64_t));
  std::mt19937_64 random(1);
  for (uint64_t done = 0; done < bytes && seconds_since(begin) < kMostSeconds;) {
    for (uint64_t& word : piece) word = random();
    const ssize_t n =
        write(descriptor, piece.data(), std::min<uint64_t>(bytes - done, piece.size() * sizeof(uint64_t)));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      throw Error(Kind::Device, "a file to measure with cannot be written into " + name + ": " +
                                    reason(n < 0 ? errno : ENOSPC) + "; make room there or give a model file");
    done += static_cast<uint64_t>(n);
  }
  fsync(descriptor);
}

}  // namespace

ReadRate measure_reads(std::span<const std::filesystem::path> paths, const ReadTest& test) {
  std::vector<TestFile> files;
  for (const std::filesystem::path& path : paths)
    files.push_back(test_file(Descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), path.string()));
  return measure(files, test);
}

ReadRate measure_reads_in_folder(const std::filesystem::path& folder, uint64_t file_bytes, const ReadTest& test) {
  std::string name = (folder / ".sluice-disk-test-XXXXXX").string();
  Descriptor descriptor(mkostemp(name.data(), O_CLOEXEC));
  if (descriptor.number() < 0)
    throw Error(Kind::Device, "a file to measure with cannot be made in " + folder.string() + ": " + reason(errno) +
                                  "; go to a folder that can be written, or give a model file");
  unlink(name.c_str());  // at once, so that it goes away whatever happens
  write_random(descriptor.number(), folder.string(), file_bytes);
  std::vector<TestFile> files;
  files.push_back(test_file(std::move(descriptor), name));
  return measure(files, test);
}

}  // namespace sluice::engine
