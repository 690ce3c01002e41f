#include "engine/store/loader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "engine/error.h"

namespace sluice::engine {

// Large enough that a drive reaches its speed with a few in flight, small enough that what is urgent waits for little.
static constexpr uint64_t kPieceBytes = uint64_t{1} << 20;

Loader::Loader(const DiskFiles& files, std::unique_ptr<Disk> disk)
    : files_(files), disk_(std::move(disk)), thread_([this] { run(); }) {}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  disk_->wake();
  thread_.join();
}

std::vector<Loader::Piece> Loader::cut(const LoadPart& part, const std::shared_ptr<Load>& load) const {
  const uint64_t block = block_bytes();
  const uint64_t piece_bytes = std::max(kPieceBytes, block);
  const uint64_t begin = part.extent.offset / block * block;
  const uint64_t bytes = LoadPart::padded_bytes(part.extent, block);
  std::vector<Piece> pieces;
  for (uint64_t done = 0; done < bytes; done += piece_bytes) {
    const uint64_t n = std::min(piece_bytes, bytes - done);
    Piece piece;
    piece.read = {0, part.extent.file, begin + done, {{part.to + done, static_cast<size_t>(n)}}};
    piece.needed_end = std::min(begin + done + n, part.extent.end());
    piece.loads = {load};
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

static uint64_t bytes_of(const DiskRead& read) {
  uint64_t bytes = 0;
  for (const iovec& part : read.to) bytes += part.iov_len;
  return bytes;
}

// Joins the piece that follows in the file to this one. Where an extent ends inside a block, the next begins inside the same
// block: that block is read for the first and copied for the second.
bool Loader::join(Piece& piece, Piece& next) const {
  const uint64_t end = piece.read.offset + bytes_of(piece.read);
  const uint64_t block = block_bytes();
  const uint64_t next_bytes = bytes_of(next.read);
  const bool shares_block = next.read.offset + block == end && piece.needed_end > next.read.offset;
  if (piece.read.file != next.read.file || (next.read.offset != end && !shares_block) ||
      end - piece.read.offset + next_bytes > std::max(kPieceBytes, 2 * block) || next.read.to.size() != 1)
    return false;
  iovec to = next.read.to[0];
  if (shares_block) {
    const iovec& last = piece.read.to.back();
    piece.shared.push_back(
        {static_cast<const std::byte*>(last.iov_base) + last.iov_len - block, static_cast<std::byte*>(to.iov_base)});
    to = {static_cast<std::byte*>(to.iov_base) + block, to.iov_len - block};
  }
  if (to.iov_len > 0) piece.read.to.push_back(to);
  piece.needed_end = std::max(piece.needed_end, next.needed_end);  // one may lie inside the other
  piece.loads.push_back(next.loads[0]);
  return true;
}

std::vector<std::shared_ptr<Load>> Loader::begin(std::span<const std::vector<LoadPart>> loads, Urgency urgency) {
  std::vector<std::shared_ptr<Load>> begun;
  std::vector<Piece> pieces;
  for (const std::vector<LoadPart>& parts : loads) {
    begun.push_back(std::make_shared<Load>());
    begun.back()->urgency = urgency;
    for (const LoadPart& part : parts)
      for (Piece& piece : cut(part, begun.back())) pieces.push_back(std::move(piece));
  }
  // Neighbours in the file are seldom neighbours in the list: an expert is three extents in three tensors.
  std::vector<size_t> by_offset(pieces.size());
  for (size_t i = 0; i < by_offset.size(); ++i) by_offset[i] = i;
  std::ranges::sort(by_offset, {}, [&](size_t i) { return std::pair(pieces[i].read.file, pieces[i].read.offset); });
  std::vector<bool> is_joined(pieces.size(), false);
  uint64_t n_joined = 0;
  for (size_t i = 0, into = 0; i < by_offset.size(); ++i) {
    if (i > 0 && join(pieces[by_offset[into]], pieces[by_offset[i]])) {
      is_joined[by_offset[i]] = true;
      ++n_joined;
    } else {
      into = i;
    }
  }
  {
    const std::lock_guard lock(mutex_);
    counts_.n_joined += n_joined;
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (is_joined[i]) continue;
      for (const auto& load : pieces[i].loads) ++load->n_pieces_left;
      queues_[static_cast<size_t>(urgency)].push_back(std::move(pieces[i]));
    }
    if (!is_idle_) return begun;
    is_idle_ = false;
  }
  disk_->wake();
  return begun;
}

std::shared_ptr<Load> Loader::begin(std::vector<LoadPart> parts, Urgency urgency) {
  const std::vector<LoadPart> loads[] = {std::move(parts)};
  return begin(loads, urgency)[0];
}

void Loader::hasten(Load& load, Urgency urgency) {
  const std::lock_guard lock(mutex_);
  if (load.urgency <= urgency) return;
  load.urgency = urgency;
  auto& to = queues_[static_cast<size_t>(urgency)];
  const auto is_of_load = [&](const Piece& piece) {
    return std::ranges::any_of(piece.loads, [&](const auto& owner) { return owner.get() == &load; });
  };
  // A joined piece takes its other loads with it, so it may be in a queue that is more urgent than this load was.
  for (size_t queue = static_cast<size_t>(urgency) + 1; queue < kUrgencies; ++queue) {
    auto& from = queues_[queue];
    const auto moved = std::stable_partition(from.begin(), from.end(), [&](const Piece& p) { return !is_of_load(p); });
    std::move(moved, from.end(), std::back_inserter(to));
    from.erase(moved, from.end());
  }
}

bool Loader::cancel(Load& load) {
  const std::lock_guard lock(mutex_);
  if (load.n_pieces_left == 0 || load.n_in_flight > 0) return false;
  size_t n_queued = 0;
  const auto is_alone = [&](const Piece& piece) { return piece.loads.size() == 1 && piece.loads[0].get() == &load; };
  for (const auto& queue : queues_) n_queued += static_cast<size_t>(std::ranges::count_if(queue, is_alone));
  if (n_queued != load.n_pieces_left) return false;  // part of it comes with a neighbour's
  for (auto& queue : queues_) std::erase_if(queue, is_alone);
  load.n_pieces_left = 0;
  load.error = "This load was given up.";
  ++counts_.n_cancelled;
  done_.notify_all();
  return true;
}

bool Loader::is_done(const Load& load) const {
  const std::lock_guard lock(mutex_);
  return load.n_pieces_left == 0;
}

bool Loader::has_failed(const Load& load) const {
  const std::lock_guard lock(mutex_);
  return load.n_pieces_left == 0 && !load.error.empty();
}

void Loader::settle(Load& load) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return load.n_pieces_left == 0; });
}

void Loader::wait(Load& load) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return load.n_pieces_left == 0; });
  if (!load.error.empty()) throw Error(Error::Kind::BadFile, load.error);
}

LoaderCounts Loader::counts() const {
  const std::lock_guard lock(mutex_);
  LoaderCounts counts = counts_;
  if (!in_flight_.empty()) counts.busy_seconds += seconds_since(busy_since_);
  return counts;
}

// Starts the most urgent piece. False when there is none, or no room.
bool Loader::start_next(std::unique_lock<std::mutex>& lock) {
  if (is_ending_ || in_flight_.size() >= disk_->depth()) return false;
  for (auto& queue : queues_) {
    if (queue.empty()) continue;
    Piece piece = std::move(queue.front());
    queue.pop_front();
    piece.read.id = next_id_++;
    for (const auto& load : piece.loads) ++load->n_in_flight;
    DiskRead read = piece.read;
    if (in_flight_.empty()) busy_since_ = Clock::now();
    in_flight_.emplace(read.id, std::move(piece));
    lock.unlock();
    disk_->start(std::move(read));
    lock.lock();
    return true;
  }
  return false;
}

void Loader::run() {
  std::array<DiskCompletion, 16> completions;
  std::unique_lock lock(mutex_);
  for (;;) {
    while (start_next(lock)) {
    }
    if (is_ending_ && in_flight_.empty()) break;
    is_idle_ = in_flight_.size() < disk_->depth();
    lock.unlock();
    const size_t n = disk_->wait(completions);
    lock.lock();
    is_idle_ = false;
    for (size_t i = 0; i < n; ++i) complete(completions[i]);
    if (n > 0) done_.notify_all();
  }
  for (auto& queue : queues_)
    for (Piece& piece : queue) end_piece(piece, "This load was given up.");
  done_.notify_all();
}

void Loader::end_piece(Piece& piece, const std::string& error) {
  if (error.empty())
    for (const SharedBlock& block : piece.shared) std::memcpy(block.to, block.from, block_bytes());
  for (const auto& load : piece.loads) {
    --load->n_pieces_left;
    if (!error.empty()) load->error = error;
  }
}

void Loader::complete(const DiskCompletion& completion) {
  const auto found = in_flight_.find(completion.id);
  if (found == in_flight_.end()) return;
  Piece piece = std::move(found->second);
  in_flight_.erase(found);
  if (in_flight_.empty()) counts_.busy_seconds += seconds_since(busy_since_);
  for (const auto& load : piece.loads) --load->n_in_flight;
  const std::string& path = files_.path(piece.read.file).string();
  const auto at_byte = [&] { return std::to_string(piece.read.offset); };

  const bool is_to_repeat = completion.result == -EINTR || completion.result == -EAGAIN;
  if (completion.result < 0 && !is_to_repeat)
    return end_piece(piece, path + ": Reading weights failed at byte " + at_byte() + ": " +
                                std::generic_category().message(static_cast<int>(-completion.result)) +
                                ". Check the disk, and that the file is still there.");
  const uint64_t bytes = is_to_repeat ? 0 : static_cast<uint64_t>(completion.result);
  counts_.n_reads += 1;
  counts_.bytes_read += bytes;
  if (piece.read.offset + bytes >= piece.needed_end) return end_piece(piece, {});

  // A short read: go on behind the last whole block. One that brought none is the end of a file that has shrunk.
  uint64_t whole = bytes / block_bytes() * block_bytes();
  if (whole == 0 && !is_to_repeat)
    return end_piece(piece, path + ": The file ends at byte " + std::to_string(piece.read.offset + bytes) +
                                " while weights up to byte " + std::to_string(piece.needed_end) +
                                " are needed; it has shrunk since it was opened. Download it again.");
  piece.read.offset += whole;
  while (whole > 0) {
    iovec& first = piece.read.to.front();
    const uint64_t n = std::min<uint64_t>(whole, first.iov_len);
    first = {static_cast<std::byte*>(first.iov_base) + n, first.iov_len - n};
    if (first.iov_len == 0) piece.read.to.erase(piece.read.to.begin());
    whole -= n;
  }
  const auto& most_urgent = *std::ranges::min_element(piece.loads, {}, [](const auto& load) { return load->urgency; });
  queues_[static_cast<size_t>(most_urgent->urgency)].push_front(std::move(piece));
}

}  // namespace sluice::engine
