// Brings stretches of files into memory, in the order of their urgency, on a thread of its own.
//
// Loads are cut into pieces, so that what is needed now passes what was only guessed, and pieces of neighbours in the file are
// joined into one read.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/store/clock.h"
#include "engine/store/disk.h"

namespace sluice::engine {

enum class Urgency : uint8_t {
  Now,    // somebody waits, or will in a moment
  Soon,   // certainly needed, later
  Guess,  // probably needed
};
inline constexpr size_t kUrgencies = 3;

// An extent and the memory for it. The blocks that the extent touches come to `to`, block-aligned memory of padded_bytes(); the
// extent itself then begins at data().
struct LoadPart {
  Extent extent;
  std::byte* to = nullptr;

  static uint64_t padded_bytes(const Extent& extent, uint64_t block_bytes) {
    const uint64_t begin = extent.offset / block_bytes * block_bytes;
    return (extent.end() - begin + block_bytes - 1) / block_bytes * block_bytes;
  }
  // The most that padded_bytes() of an extent of this size can be, wherever in a block it begins.
  static uint64_t most_padded_bytes(uint64_t bytes, uint64_t block_bytes) {
    return (bytes + 2 * block_bytes - 2) / block_bytes * block_bytes;
  }
  std::byte* data(uint64_t block_bytes) const { return to + extent.offset % block_bytes; }
};

// Some parts that are wanted together. Made by the loader and guarded by its lock.
class Load {
 private:
  friend class Loader;
  Urgency urgency = Urgency::Guess;
  size_t n_pieces_left = 0;  // queued or in flight
  size_t n_in_flight = 0;
  std::string error;  // a sentence; empty when all is well
};

// What the loader has done so far.
struct LoaderCounts {
  uint64_t n_reads = 0;
  uint64_t bytes_read = 0;   // with the rounding to blocks
  uint64_t n_joined = 0;     // pieces that came by the read of a neighbour
  double busy_seconds = 0;   // with a read in flight
  uint64_t n_cancelled = 0;  // loads that were given up
};

// begin(), wait() and the rest may be called from any thread. Memory of a load must stay until it is done or cancelled.
class Loader {
 public:
  // The files must outlive the loader.
  Loader(const DiskFiles& files, std::unique_ptr<Disk> disk);
  // Waits for what is in flight; what is queued is given up.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // Queues the loads, each a list of parts. They are fetched in this order within their urgency.
  std::vector<std::shared_ptr<Load>> begin(std::span<const std::vector<LoadPart>> loads, Urgency urgency);
  std::shared_ptr<Load> begin(std::vector<LoadPart> parts, Urgency urgency);

  // Raises the urgency of what is still queued.
  void hasten(Load& load, Urgency urgency);
  // Gives the load up unless something of it is on its way, and says whether it did.
  bool cancel(Load& load);
  bool is_done(const Load& load) const;
  // Done, and something went wrong; wait() says what.
  bool has_failed(const Load& load) const;
  // Waits until the load is done. Throws Error(BadFile) with what went wrong.
  void wait(Load& load);
  // Waits until the load is done, whether well or not, and throws nothing.
  void settle(Load& load);

  LoaderCounts counts() const;
  uint64_t block_bytes() const { return files_.block_bytes(); }
  std::string_view disk_name() const { return disk_->name(); }

 private:
  // After a read, these bytes belong to a second extent as well: the block where one ends and its neighbour begins.
  struct SharedBlock {
    const std::byte* from = nullptr;
    std::byte* to = nullptr;
  };
  struct Piece {
    DiskRead read;
    uint64_t needed_end = 0;  // in the file; what lies behind is rounding, and may be past the end of the file
    std::vector<std::shared_ptr<Load>> loads;
    std::vector<SharedBlock> shared;
  };

  std::vector<Piece> cut(const LoadPart& part, const std::shared_ptr<Load>& load) const;
  bool join(Piece& piece, Piece& next) const;
  void run();
  bool start_next(std::unique_lock<std::mutex>& lock);
  void complete(const DiskCompletion& completion);
  void end_piece(Piece& piece, const std::string& error);

  const DiskFiles& files_;
  std::unique_ptr<Disk> disk_;
  mutable std::mutex mutex_;
  std::condition_variable done_;
  std::deque<Piece> queues_[kUrgencies];
  std::unordered_map<uint64_t, Piece> in_flight_;
  uint64_t next_id_ = 0;
  bool is_idle_ = false;  // the thread waits and has nothing in flight, or could start more
  bool is_ending_ = false;
  LoaderCounts counts_;
  Clock::time_point busy_since_;  // while something is in flight
  std::thread thread_;
};

}  // namespace sluice::engine
