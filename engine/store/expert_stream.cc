#include "engine/store/expert_stream.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace sluice::engine {

ExpertStream::ExpertStream(Device& device, int64_t n_experts_a_layer)
    : device_(device), copies_(device.make_stream()), places_(static_cast<size_t>(n_experts_a_layer)) {}

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
  ring_places_.clear();
  uint64_t used = 0;
  for (size_t i = 0; i < experts_.size(); ++i) {
    const ExpertHandles& handles = experts_[i].hold->handles;
    const uint64_t bytes = bytes_in_ring(handles);
    if (bytes > half_bytes_) throw std::logic_error("An expert does not fit into its ring.");
    if (groups_.empty() || groups_.back().layer != experts_[i].layer || used + bytes > half_bytes_) {
      groups_.push_back({experts_[i].layer, i, i});
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
  for (size_t group = 0; group < 2; ++group) copy(group);
}

void ExpertStream::copy(size_t group) {
  if (group >= groups_.size()) return;
  for (size_t i = groups_[group].begin; i < groups_[group].end; ++i) {
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
  return parts_;
}

std::span<const ExpertPlace> ExpertStream::next() {
  if (std::exchange(is_handed_out_, false) && next_group_ + 1 < groups_.size()) {
    device_.begin_after(*copies_, *device_.moment(*stream_));
    copy(next_group_ + 1);
  }
  if (next_group_ == groups_.size() || groups_[next_group_].layer != layer_) return {};
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
  next_group_ = 0;
  is_handed_out_ = false;
}

}  // namespace sluice::engine
