#include "engine/store/expert_stream.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace sluice::engine {

// Of the experts that can be fetched at a time, those of one group: as many again are read while its copies read these, and as many are
// asked for besides.
static constexpr int64_t kGroupsFetched = 3;

ExpertStream::ExpertStream(Device& device, WeightStore& store, int64_t n_experts_a_layer)
    : device_(device), store_(store), copies_(device.make_stream()), places_(static_cast<size_t>(n_experts_a_layer)) {}

ExpertStream::~ExpertStream() {
  try {
    device_.synchronize(*copies_);  // they write into the ring
  } catch (...) {
  }
}

bool ExpertStream::make_ring(uint64_t half_bytes) {
  if (half_bytes_ != 0) return true;
  for (std::unique_ptr<Buffer>& half : halves_) half = device_.allocate_own(half_bytes, 0);
  if (halves_[0] == nullptr || halves_[1] == nullptr) {
    halves_ = {};
    return false;
  }
  half_bytes_ = half_bytes;
  return true;
}

void ExpertStream::free_ring() {
  end();
  copied_ = {};
  halves_ = {};
  half_bytes_ = 0;
}

uint64_t ExpertStream::bytes_in_ring(const ExpertHandles& expert) {
  return in_slot(expert.gate.bytes()) + in_slot(expert.up.bytes()) + in_slot(expert.down.bytes());
}

void ExpertStream::begin(Stream& stream, std::vector<Expert> experts) {
  end();
  stream_ = &stream;
  experts_ = std::move(experts);
  // What is fetched last in each layer has the time of the others to come.
  std::ranges::stable_sort(experts_, {}, [](const Expert& expert) { return std::pair(expert.layer, !expert.hold); });
  ring_places_.clear();
  uint64_t used = 0;
  for (size_t i = 0; i < experts_.size(); ++i) {
    const ExpertHandles& handles = experts_[i].like;
    const uint64_t bytes = bytes_in_ring(handles);
    const bool is_fetched = experts_[i].hold == nullptr;
    if (bytes > half_bytes_) throw std::logic_error("An expert does not fit into its ring.");
    const auto has_room = [&](const Group& group) {
      const int64_t n_more = store_.n_fetchable(group.layer) / kGroupsFetched - static_cast<int64_t>(i - group.begin);
      return used + bytes <= half_bytes_ && (!is_fetched || n_more > 0);
    };
    if (groups_.empty() || groups_.back().layer != experts_[i].layer || groups_.back().is_fetched != is_fetched ||
        !has_room(groups_.back())) {
      groups_.push_back({experts_[i].layer, is_fetched, i, i});
      used = 0;
    }
    const auto* const gate =
        static_cast<const std::byte*>(halves_[(groups_.size() - 1) % 2]->data()) + std::exchange(used, used + bytes);
    const std::byte* const up = gate + in_slot(handles.gate.bytes());
    ring_places_.push_back({gate, up, up + in_slot(handles.up.bytes())});
    groups_.back().end = i + 1;
  }
  // What the stream was asked for before may read the ring.
  device_.begin_after(*copies_, *device_.moment(stream));
  while (next_copy_ < std::min<size_t>(2, groups_.size()) && !groups_[next_copy_].is_fetched) copy(next_copy_);
}

void ExpertStream::fetch_ahead() {
  for (; next_fetch_ < experts_.size(); ++next_fetch_) {
    Expert& expert = experts_[next_fetch_];
    if (expert.hold) continue;
    expert.hold = store_.fetch(expert.layer, expert.id);
    if (!expert.hold) return;
  }
}

void ExpertStream::let_go_of_fetched() {
  if (copies_read_.empty()) return;
  device_.synchronize(*copies_);
  for (const size_t i : std::exchange(copies_read_, {})) experts_[i].hold = nullptr;
}

void ExpertStream::copy(size_t group) {
  next_copy_ = group + 1;
  const bool is_fetched = groups_[group].is_fetched;
  if (is_fetched) {
    let_go_of_fetched();
    fetch_ahead();
  }
  for (size_t i = groups_[group].begin; i < groups_[group].end; ++i) {
    if (!experts_[i].hold) throw std::logic_error("An expert waits for memory that nobody will let go.");
    if (is_fetched) {
      experts_[i].hold->wait();
      copies_read_.push_back(i);
    }
    const auto& [gate, up, down] = experts_[i].hold->handles;
    const auto copy = [&](const std::byte* to, const Linear& from) {
      device_.copy_to_device(*copies_, const_cast<std::byte*>(to), from.data, from.bytes());
      copied_bytes_ += from.bytes();
    };
    copy(ring_places_[i].gate, gate);
    copy(ring_places_[i].up, up);
    copy(ring_places_[i].down, down);
    ++n_copied_;
  }
  copied_[group % 2] = device_.moment(*copies_);
}

ExpertParts& ExpertStream::parts(uint32_t layer) {
  layer_ = layer;
  fetch_ahead();
  return parts_;
}

std::span<const ExpertPlace> ExpertStream::next() {
  const bool is_there_one = next_group_ < groups_.size() && groups_[next_group_].layer == layer_;
  // The half in which the last group was is free behind its products.
  if (std::exchange(is_handed_out_, false) && next_copy_ < groups_.size())
    device_.begin_after(*copies_, *device_.moment(*stream_));
  // The next group but one as well, unless the host would have to wait for it.
  for (const size_t end = std::min(next_group_ + 2, groups_.size()); next_copy_ < end; copy(next_copy_))
    if (groups_[next_copy_].is_fetched && !(is_there_one && next_copy_ == next_group_)) break;
  if (next_copy_ == groups_.size()) let_go_of_fetched();
  if (!is_there_one) return {};
  const Group& group = groups_[next_group_];
  device_.begin_after(*stream_, *copied_[next_group_ % 2]);
  std::ranges::fill(places_, ExpertPlace{});
  for (size_t i = group.begin; i < group.end; ++i) places_[static_cast<size_t>(experts_[i].id)] = ring_places_[i];
  ++next_group_;
  is_handed_out_ = true;
  return places_;
}

void ExpertStream::end() {
  if (experts_.empty()) return;
  try {
    device_.synchronize(*copies_);
  } catch (...) {
    copies_->abandon();  // a failure of the device is met again by whoever uses it next
  }
  experts_.clear();
  groups_.clear();
  copies_read_.clear();
  next_group_ = next_copy_ = next_fetch_ = 0;
  is_handed_out_ = false;
}

}  // namespace sluice::engine
