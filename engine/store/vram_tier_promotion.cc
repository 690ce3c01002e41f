// Promotions: which experts come into a tier's slots behind a pass, and the moments at which they leave and arrive.

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/store/vram_tier.h"

namespace sluice::engine {

// What may be saved up of the link, in experts: what a change of subject needs at once.
static constexpr double kMostCredit = 16;

void VramTier::welcome(Stream& stream) {
  using State = BackgroundCopy::State;
  bool follows = false;
  for (size_t i = 0; i < arrivals_.size();) {
    Arrival& arrival = arrivals_[i];
    const State state = arrival.host.copy->state;
    if (state == State::Waiting) {
      ++i;
      continue;
    }
    if (state != State::Failed) {
      if (!std::exchange(follows, true)) device_.follow(stream, *copies_);
      write_place(stream, arrival.expert, place_of(arrival.slot));
      const auto [layer, id] = expert_of(arrival.expert);
      store_->may_drop(layer, id);
      ++counts_.n_promotions;
      for (const CopyPart& part : arrival.host.copy->parts)
        (part.is_to_host ? counts_.copied_back_bytes : counts_.promoted_bytes) += part.bytes;
      counts_.n_copied_back += arrival.host.goes_back != nullptr;
    }
    slots_.release(arrival.slot);
    if (state == State::Failed) {
      slots_.clear(arrival.slot);
      ++counts_.n_failed_copies;
    }
    leaving_.push_back(std::move(arrival.host));
    arrivals_.erase(arrivals_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

// Of copies that have ended.
void VramTier::let_go_of_host_memory() {
  using State = BackgroundCopy::State;
  std::erase_if(leaving_, [&](HostEnds& host) {
    BackgroundCopy& copy = *host.copy;
    if (!background_) end_copy(device_, *copies_, copy);
    if (copy.state == State::Waiting || copy.state == State::UnderWay) return false;
    if (host.goes_back) host.goes_back->finish(copy.host_has_all);
    return true;
  });
}

bool VramTier::wait_for_return(BackgroundCopy& copy) {
  if (background_)
    background_->wait_for(copy);
  else
    end_copy(device_, *copies_, copy);
  return copy.host_has_all;
}

void VramTier::promote(Stream& stream) {
  if (store_ == nullptr || memory_.empty()) return;
  const size_t n_before = arrivals_.size();
  try {
    choose_arrivals(stream);
    // No kernel reads the slots any more when the copies begin.
    if (arrivals_.size() > n_before) device_.follow(*copies_, stream);
  } catch (...) {
    for (size_t i = n_before; i < arrivals_.size(); ++i)
      arrivals_[i].host.copy->state = BackgroundCopy::State::Failed;  // nobody waits for them
    throw;
  }
  for (size_t i = n_before; i < arrivals_.size(); ++i) {
    if (background_)
      background_->begin(arrivals_[i].host.copy);
    else
      begin_copy(device_, *copies_, *arrivals_[i].host.copy);
  }
}

bool VramTier::pays(ExpertNumber expert, std::optional<ExpertNumber> victim, double n_copies) const {
  if (!options_.promotion.must_pay) return true;
  // A copy reads the host's memory at least as long as a miss does.
  const double misses_a_copy =
      host_seconds_ > 0 ? std::max(1.0, link_seconds(expert_of(expert).layer) / host_seconds_) : 1;
  const double certainty = popularity_.certainty();
  double saved = popularity_.uses_a_token(expert, certainty);
  if (victim) saved -= popularity_.uses_a_token(*victim, certainty);
  return saved * kPopularTokens > n_copies * misses_a_copy;
}

void VramTier::choose_arrivals(Stream& stream) {
  std::ranges::sort(missed_, std::greater());
  credit_bytes_ = std::min(credit_bytes_, kMostCredit * most_slot_bytes());
  for (const auto& [worth, expert] : missed_) {
    const auto [layer, expert_id] = expert_of(expert);
    const uint32_t slot_class = class_of_layer_[layer];
    const auto bytes = static_cast<double>(classes_[slot_class].slot_bytes);
    if (credit_bytes_ < bytes) break;
    if (slots_.find(expert)) continue;
    const auto least = slots_.least_worth(slot_class);
    if (slots_.n_free(slot_class) == 0 && (!least || least->second >= worth)) continue;
    const auto victim = least ? std::optional(least->first) : std::nullopt;
    const bool goes_back = least && !store_->has(expert_of(least->first).layer, expert_of(least->first).expert_id);
    if (!pays(expert, victim, goes_back ? 2 : 1)) continue;
    if (!store_->can_spare_slots(layer)) continue;
    HostEnds host{store_->hold(layer, expert_id), nullptr, std::make_shared<BackgroundCopy>()};
    if (host.source == nullptr) continue;
    const auto add = [&copy = *host.copy](const std::byte* place, const Linear& matrix, bool is_to_host) {
      const std::byte* const from = is_to_host ? place : matrix.data;
      const std::byte* const to = is_to_host ? matrix.data : place;
      copy.parts.push_back({const_cast<std::byte*>(to), from, matrix.bytes(), is_to_host});
    };
    const auto add_all = [&](const ExpertPlace& place, const ExpertHandles& handles, bool is_to_host) {
      add(place.gate, handles.gate, is_to_host);
      add(place.up, handles.up, is_to_host);
      add(place.down, handles.down, is_to_host);
    };
    double cost = bytes;
    if (least) {
      const auto [least_layer, least_id] = expert_of(least->first);
      if (goes_back) {
        cost += bytes;
        if (credit_bytes_ < cost) continue;
        host.goes_back = store_->bring_back(least_layer, least_id,
                                            [this, copy = host.copy.get()] { return wait_for_return(*copy); });
        if (host.goes_back)
          add_all(places_[least->first], host.goes_back->handles, true);
        else if (store_->is_complete())
          continue;  // the disk would be needed again
        else
          cost -= bytes;
      }
      write_place(stream, least->first, {});
      store_->needed_again(least_layer, least_id);
    }
    const auto slot = slots_.take(expert, slot_class, worth);
    add_all(place_of(*slot), host.source->handles, false);
    arrivals_.push_back({*slot, expert, std::move(host)});
    credit_bytes_ -= cost;
  }
}

void VramTier::settle(Stream& stream) {
  if (background_) background_->wait_for_all();
  device_.synchronize(*copies_);
  welcome(stream);
  let_go_of_host_memory();
}

}  // namespace sluice::engine
