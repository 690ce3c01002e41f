// Dense weights that do not all fit in memory: some parts stay, the others pass through a ring of memory, read in the order in
// which passes need them and ahead of them as far as the ring holds. A pass needs every part once, so there is nothing to learn
// and nothing to decide: whichever parts stay, they are the same for every token, and none is read in vain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/store/dense_parts.h"
#include "engine/store/loader.h"

namespace sluice::engine {

// Bytes of a part in memory: as it passes through, and as it stays.
uint64_t padded_bytes(const DensePart& part, uint64_t block_bytes);
uint64_t kept_bytes(const DensePart& part, uint64_t block_bytes);
// The smallest ring for parts of which only the chosen ones pass through it: the largest part, and room for a matrix that does
// not fit between the end of another one and the end of the ring. 0 when none does.
uint64_t smallest_ring(std::span<const DensePart> parts, const std::vector<bool>& stays, uint64_t block_bytes);

class DenseStream {
 public:
  // stays: a flag for each part. kept: block-aligned memory for those that stay; ring: for the others. Parts that stay are read
  // when they are needed first. The loader, the handles of the parts and the memory must outlive the stream.
  DenseStream(Loader& loader, std::vector<DensePart> parts, std::vector<bool> stays, std::byte* kept,
              std::span<std::byte> ring);
  ~DenseStream();

  // Waits for a part and sets its handles. Throws Error.
  void acquire(size_t part);
  void release(size_t part) noexcept;
  // Starts reading what comes next.
  void read_ahead();
  // Turns matrices that stay into their forms, for about so long and at least one, unless all are. Between passes only.
  void turn_some(Device& device, Stream& stream, double seconds);

  uint64_t bytes_read() const { return bytes_read_; }
  double wait_seconds() const { return wait_seconds_; }

 private:
  // A matrix of a part that stays.
  struct Kept {
    std::byte* memory = nullptr;  // the blocks come to its end
    LoadPart target;
    std::shared_ptr<Load> load;  // null: not begun
    bool is_there = false;
  };
  // A matrix in the ring.
  struct InRing {
    size_t part = 0;
    size_t matrix = 0;
    uint64_t begin = 0, end = 0;  // in the ring
    LoadPart target;
    std::shared_ptr<Load> load;
  };

  void acquire_kept(size_t part);
  void acquire_streamed(size_t part);
  bool begin_kept(size_t part, uint64_t& window);
  bool begin_next_streamed();
  std::optional<uint64_t> find_room(uint64_t bytes) const;
  size_t next_streamed(size_t part) const;
  void drop_front();
  void wait_for(Load& load);

  Loader& loader_;
  std::vector<DensePart> parts_;
  std::vector<bool> stays_;
  std::vector<std::vector<Kept>> kept_;  // of each part that stays
  size_t n_kept_left_ = 0;               // matrices that stay and are not begun
  std::span<std::byte> ring_;
  std::deque<InRing> in_ring_;
  size_t next_part_ = 0, next_matrix_ = 0;  // what enters the ring next
  bool has_streamed_ = false;
  size_t current_ = 0;  // the part that was acquired last
  uint64_t bytes_read_ = 0;
  double wait_seconds_ = 0;
  size_t next_to_turn_ = 0;  // a part: all before it have their forms
};

}  // namespace sluice::engine
