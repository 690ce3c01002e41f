#include "engine/store/dense_stream.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "engine/store/clock.h"

namespace sluice::engine {

// How far ahead parts that stay are read while they come for the first time. More would let them pass the experts' guesses.
static constexpr uint64_t kFirstReadAhead = uint64_t{256} << 20;

uint64_t padded_bytes(const DensePart& part, uint64_t block_bytes) {
  uint64_t bytes = 0;
  for (const DenseMatrix& matrix : part.matrices) bytes += LoadPart::padded_bytes(matrix.extent, block_bytes);
  return bytes;
}

uint64_t kept_bytes(const DensePart& part, uint64_t block_bytes) {
  uint64_t bytes = 0;
  for (const DenseMatrix& matrix : part.matrices) bytes += kept_bytes(matrix, block_bytes);
  return bytes;
}

uint64_t smallest_ring(std::span<const DensePart> parts, const std::vector<bool>& stays, uint64_t block_bytes) {
  uint64_t largest_part = 0, largest_matrix = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (stays[i]) continue;
    largest_part = std::max(largest_part, padded_bytes(parts[i], block_bytes));
    for (const DenseMatrix& matrix : parts[i].matrices)
      largest_matrix = std::max(largest_matrix, LoadPart::padded_bytes(matrix.extent, block_bytes));
  }
  return largest_part + largest_matrix;
}

DenseStream::DenseStream(Loader& loader, std::vector<DensePart> parts, std::vector<bool> stays, std::byte* kept,
                         std::span<std::byte> ring)
    : loader_(loader), parts_(std::move(parts)), stays_(std::move(stays)), kept_(parts_.size()), ring_(ring) {
  for (size_t i = 0; i < parts_.size(); ++i) {
    for (const DenseMatrix& matrix : parts_[i].matrices) {
      matrix.place(nullptr);
      if (!stays_[i]) {
        has_streamed_ = true;
        continue;
      }
      const uint64_t bytes = kept_bytes(matrix, loader_.block_bytes());
      std::byte* blocks = kept + bytes - LoadPart::padded_bytes(matrix.extent, loader_.block_bytes());
      kept_[i].push_back({kept, {matrix.extent, blocks}, nullptr, false});
      kept += bytes;
      ++n_kept_left_;
    }
  }
  if (has_streamed_) next_part_ = next_streamed(parts_.size() - 1);
}

DenseStream::~DenseStream() {
  while (!in_ring_.empty()) drop_front();
  for (auto& matrices : kept_)
    for (Kept& kept : matrices)
      if (kept.load && !kept.is_there && !loader_.cancel(*kept.load)) loader_.settle(*kept.load);
}

void DenseStream::wait_for(Load& load) {
  if (loader_.is_done(load)) return loader_.wait(load);  // throws if it failed
  const Clock::time_point begin = Clock::now();
  loader_.hasten(load, Urgency::Now);
  loader_.settle(load);
  wait_seconds_ += seconds_since(begin);
  loader_.wait(load);
}

void DenseStream::acquire(size_t part) {
  if (parts_[part].matrices.empty()) return;
  current_ = part;
  if (stays_[part])
    acquire_kept(part);
  else
    acquire_streamed(part);
}

void DenseStream::release(size_t part) noexcept {
  if (stays_[part]) return;
  for (const DenseMatrix& matrix : parts_[part].matrices) matrix.place(nullptr);
  while (!in_ring_.empty() && in_ring_.front().part == part) drop_front();
}

void DenseStream::acquire_kept(size_t part) {
  uint64_t no_window = 0;
  begin_kept(part, no_window);
  if (n_kept_left_ > 0 || has_streamed_) read_ahead();
  for (size_t i = 0; i < kept_[part].size(); ++i) {
    Kept& kept = kept_[part][i];
    if (kept.is_there) continue;
    try {
      wait_for(*kept.load);
    } catch (...) {
      kept.load = nullptr;  // the next pass may try again
      ++n_kept_left_;
      throw;
    }
    kept.is_there = true;
    kept.load = nullptr;
    bytes_read_ += kept.target.extent.bytes;
    parts_[part].matrices[i].place(kept.target.data(loader_.block_bytes()));
  }
}

void DenseStream::acquire_streamed(size_t part) {
  // A pass that was given up leaves parts behind that the next one, which begins at the first, does not need yet.
  while (!in_ring_.empty() && in_ring_.front().part != part) drop_front();
  if (in_ring_.empty()) {
    next_part_ = part;
    next_matrix_ = 0;
  }
  const size_t n_matrices = parts_[part].matrices.size();
  size_t n_begun = 0;
  const auto count = [&] {
    n_begun = 0;
    while (n_begun < in_ring_.size() && in_ring_[n_begun].part == part && n_begun < n_matrices) ++n_begun;
  };
  for (count(); n_begun < n_matrices; count()) {
    // What is in the ring behind this part is of it too, or there is nothing: the next matrix is this part's.
    if (!begin_next_streamed()) throw std::logic_error("The ring is smaller than smallest_ring() says.");
  }
  read_ahead();
  for (size_t i = 0; i < n_matrices; ++i) {
    InRing& matrix = in_ring_[i];
    try {
      wait_for(*matrix.load);
    } catch (...) {
      while (!in_ring_.empty()) drop_front();
      next_part_ = next_streamed(parts_.size() - 1);  // the next pass begins anew, and not in the middle of a part
      next_matrix_ = 0;
      throw;
    }
    bytes_read_ += matrix.target.extent.bytes;
    parts_[part].matrices[matrix.matrix].place(matrix.target.data(loader_.block_bytes()));
  }
}

// Begins the matrices of a part that stays, as far as the window reaches; a window of 0 has no end.
bool DenseStream::begin_kept(size_t part, uint64_t& window) {
  for (Kept& kept : kept_[part]) {
    if (kept.is_there) continue;
    const uint64_t bytes = kept.target.extent.bytes;
    if (window > 0) {
      if (bytes >= window) return false;
      window -= bytes;
    }
    if (kept.load) continue;
    kept.load = loader_.begin({kept.target}, Urgency::Soon);
    --n_kept_left_;
  }
  return true;
}

void DenseStream::read_ahead() {
  if (n_kept_left_ > 0) {  // the first pass: in the order of need
    uint64_t window = kFirstReadAhead;
    for (size_t step = 0; step < parts_.size(); ++step) {
      const size_t part = (current_ + step) % parts_.size();
      if (stays_[part]) {
        if (!begin_kept(part, window)) return;
        continue;
      }
      while (next_part_ == part) {
        const size_t matrix = next_matrix_;
        if (!begin_next_streamed()) return;
        if (next_matrix_ <= matrix) break;
      }
    }
    return;
  }
  while (has_streamed_ && begin_next_streamed()) {
  }
}

void DenseStream::turn_some(Device& device, Stream& stream, double seconds) {
  const Clock::time_point begin = Clock::now();
  for (; next_to_turn_ < parts_.size(); ++next_to_turn_) {
    for (size_t i = 0; i < kept_[next_to_turn_].size(); ++i) {
      const Kept& kept = kept_[next_to_turn_][i];
      const DenseMatrix& matrix = parts_[next_to_turn_].matrices[i];
      Linear& handle = *matrix.handles[0].linear;
      if (matrix.form.form == nullptr || handle.form != nullptr) continue;
      if (!kept.is_there) return;  // a pass has yet to need it
      device.make_resident_in_place(stream, handle, matrix.form, kept.memory);
      if (seconds_since(begin) > seconds) return;
    }
  }
}

size_t DenseStream::next_streamed(size_t part) const {
  do {
    part = (part + 1) % parts_.size();
  } while (stays_[part] || parts_[part].matrices.empty());
  return part;
}

// The place of `bytes` in the ring behind what is in it, in one piece.
std::optional<uint64_t> DenseStream::find_room(uint64_t bytes) const {
  if (in_ring_.empty()) return bytes <= ring_.size() ? std::optional<uint64_t>(0) : std::nullopt;
  const uint64_t tail = in_ring_.front().begin, head = in_ring_.back().end;
  if (head > tail) {
    if (ring_.size() - head >= bytes) return head;
    return bytes < tail ? std::optional<uint64_t>(0) : std::nullopt;
  }
  return tail - head > bytes ? std::optional<uint64_t>(head) : std::nullopt;
}

bool DenseStream::begin_next_streamed() {
  // The ring may hold all that passes; then there is nothing to read before some of it has been used.
  if (!in_ring_.empty() && in_ring_.front().part == next_part_ && in_ring_.front().matrix == next_matrix_) return false;
  const DenseMatrix& matrix = parts_[next_part_].matrices[next_matrix_];
  const uint64_t bytes = LoadPart::padded_bytes(matrix.extent, loader_.block_bytes());
  const std::optional<uint64_t> begin = find_room(bytes);
  if (!begin) return false;
  const LoadPart target{matrix.extent, ring_.data() + *begin};
  in_ring_.push_back(
      {next_part_, next_matrix_, *begin, *begin + bytes, target, loader_.begin({target}, Urgency::Soon)});
  if (++next_matrix_ == parts_[next_part_].matrices.size()) {
    next_matrix_ = 0;
    next_part_ = next_streamed(next_part_);
  }
  return true;
}

void DenseStream::drop_front() {
  Load& load = *in_ring_.front().load;
  if (!loader_.cancel(load)) loader_.settle(load);
  in_ring_.pop_front();
}

}  // namespace sluice::engine
