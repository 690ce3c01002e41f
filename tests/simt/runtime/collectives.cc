#include "tests/simt/runtime/collectives.h"

#include <bit>
#include <cstdio>

#include "tests/simt/runtime/ordering.h"

namespace sluice::simt {
namespace {

std::string hex(uint32_t mask) {
  char text[16];
  std::snprintf(text, sizeof text, "%08x", mask);
  return text;
}

Complete completions[1024];  // of each waiting thread, by its linear index

void complete_lanes(Warp& warp, uint32_t lanes, Complete complete) {
  complete(warp, lanes);
  warp.waiting &= ~lanes;
  for_each_lane(lanes, [&](uint32_t lane) { warp.threads[lane].state = ThreadState::Ready; });
}

// The lanes of the mask are all here; they must have come for the same thing.
void check_agreement(Warp& warp, const Thread& one, uint32_t lanes, bool is_aligned) {
  for_each_lane(lanes, [&](uint32_t lane) {
    const Thread& other = warp.threads[lane];
    if (other.kind == one.kind && (other.mask & warp.exist & ~warp.exited) == lanes &&
        (!is_aligned || other.site == one.site))
      return;
    find_fault("wrong warp mask", one.site,
               "lane " + std::to_string(one.lane) + " of warp " + std::to_string(warp.index) +
                   " meets the lanes of the mask " + hex(one.mask) + ", but lane " + std::to_string(lane) +
                   " waits in another operation or with the mask " + hex(other.mask),
               other.site);
    abort_grid();
  });
}

}  // namespace

void meet_lanes(CollectiveKind kind, uint32_t mask, void* request, Complete complete, bool is_aligned, uint32_t site) {
  Thread* thread = this_thread();
  Warp& warp = block.warps[thread->warp];
  const uint32_t bit = 1u << thread->lane;
  if ((mask & bit) == 0) {
    find_fault("wrong warp mask", site,
               name_of(*thread) + " (lane " + std::to_string(thread->lane) + ") is not in the mask " + hex(mask) +
                   " that it gives");
    mask |= bit;
  }
  if (mask & warp.exited) {
    find_fault("wrong warp mask", site,
               name_of(*thread) + " meets the lanes of the mask " + hex(mask) + ", but of them " +
                   hex(mask & warp.exited) + " have ended");
  }
  thread->kind = kind;
  thread->mask = mask;
  thread->request = request;
  thread->site = site;
  thread->state = ThreadState::AtCollective;
  completions[thread->linear] = complete;
  const uint32_t lanes = mask & warp.exist & ~warp.exited;
  if (((warp.waiting | bit) & lanes) != lanes) {
    warp.waiting |= bit;
    wait_here();
    return;
  }
  check_agreement(warp, *thread, lanes, is_aligned);
  complete_lanes(warp, lanes, complete);
  block.current_warp = warp.index;
  go_on_with(warp, lanes & ~bit);
}

void lane_exited(Warp& warp) {
  for (;;) {
    const Thread* ready = nullptr;
    uint32_t lanes = 0;
    for_each_lane(warp.waiting, [&](uint32_t lane) {
      const uint32_t needed = warp.threads[lane].mask & warp.exist & ~warp.exited;
      if (ready == nullptr && (warp.waiting & needed) == needed) {
        ready = &warp.threads[lane];
        lanes = needed;
      }
    });
    if (ready == nullptr) return;
    find_fault("wrong warp mask", ready->site,
               name_of(*ready) + " meets the lanes of the mask " + hex(ready->mask) + ", but of them " +
                   hex(ready->mask & warp.exited) + " have ended");
    check_agreement(warp, *ready, lanes, false);
    complete_lanes(warp, lanes, completions[ready->linear]);
    make_ready(warp, lanes);
  }
}

// ---- shuffles

namespace {

struct ShuffleRequest {
  Shuffle mode;
  uint32_t value, b, c;
  Shuffled result;
};

// The lane that is read and whether it lies in the segment, as the PTX ISA's pseudocode has it.
void complete_shuffle(Warp& warp, uint32_t lanes) {
  for_each_lane(lanes, [&](uint32_t lane) {
    auto& request = *static_cast<ShuffleRequest*>(warp.threads[lane].request);
    const uint32_t distance = request.b & 31, clamp = request.c & 31, segment = request.c >> 8 & 31;
    const int last = int((lane & segment) | (clamp & ~segment));
    const int first = int(lane & segment);
    int source = 0;
    bool in_range = false;
    switch (request.mode) {
      case Shuffle::Up:
        source = int(lane) - int(distance);
        in_range = source >= last;
        break;
      case Shuffle::Down:
        source = int(lane + distance);
        in_range = source <= last;
        break;
      case Shuffle::Butterfly:
        source = int(lane ^ distance);
        in_range = source <= last;
        break;
      case Shuffle::Index:
        source = first | int(distance & ~segment);
        in_range = source <= last;
        break;
    }
    if (!in_range) source = int(lane);
    // What a lane that does not take part gives is undefined: all ones, no number in any float format.
    const uint32_t value =
        lanes >> source & 1 ? static_cast<ShuffleRequest*>(warp.threads[source].request)->value : 0xffffffffu;
    request.result = {value, in_range};
  });
}

struct VoteRequest {
  bool predicate;
  uint32_t ballot, lanes;
};

void complete_vote(Warp& warp, uint32_t lanes) {
  uint32_t ballot = 0;
  for_each_lane(lanes, [&](uint32_t lane) {
    ballot |= uint32_t(static_cast<VoteRequest*>(warp.threads[lane].request)->predicate) << lane;
  });
  for_each_lane(lanes, [&](uint32_t lane) {
    auto& request = *static_cast<VoteRequest*>(warp.threads[lane].request);
    request.ballot = ballot;
    request.lanes = lanes;
  });
}

VoteRequest take_vote(bool predicate, uint32_t mask, uint32_t site) {
  VoteRequest request{predicate, 0, 0};
  meet_lanes(CollectiveKind::Vote, mask, &request, complete_vote, false, site);
  return request;
}

struct MatchRequest {
  uint64_t value;
  uint32_t same, lanes;  // lanes: that met; some may have ended when another one goes on
};

void complete_match(Warp& warp, uint32_t lanes) {
  for_each_lane(lanes, [&](uint32_t lane) {
    auto& request = *static_cast<MatchRequest*>(warp.threads[lane].request);
    request.same = 0;
    request.lanes = lanes;
    for_each_lane(lanes, [&](uint32_t other) {
      request.same |= uint32_t(static_cast<MatchRequest*>(warp.threads[other].request)->value == request.value)
                      << other;
    });
  });
}

struct ReduceRequest {
  Reduction operation;
  bool is_signed;
  uint32_t value, result;
};

uint32_t reduce_two(Reduction operation, bool is_signed, uint32_t a, uint32_t b) {
  const bool a_is_less = is_signed ? int32_t(a) < int32_t(b) : a < b;
  switch (operation) {
    case Reduction::Add:
      return a + b;
    case Reduction::Min:
      return a_is_less ? a : b;
    case Reduction::Max:
      return a_is_less ? b : a;
    case Reduction::And:
      return a & b;
    case Reduction::Or:
      return a | b;
    case Reduction::Xor:
      return a ^ b;
  }
  return 0;
}

void complete_reduction(Warp& warp, uint32_t lanes) {
  const auto& first = *static_cast<ReduceRequest*>(warp.threads[std::countr_zero(lanes)].request);
  uint32_t result = first.value;
  for_each_lane(lanes & (lanes - 1), [&](uint32_t lane) {
    result = reduce_two(first.operation, first.is_signed, result,
                        static_cast<ReduceRequest*>(warp.threads[lane].request)->value);
  });
  for_each_lane(lanes,
                [&](uint32_t lane) { static_cast<ReduceRequest*>(warp.threads[lane].request)->result = result; });
}

}  // namespace

Shuffled shuffle(Shuffle mode, uint32_t value, uint32_t b, uint32_t c, uint32_t mask, uint32_t site) {
  ShuffleRequest request{mode, value, b, c, {}};
  meet_lanes(CollectiveKind::Shuffle, mask, &request, complete_shuffle, false, site);
  return request.result;
}

bool vote_all(bool predicate, uint32_t mask, uint32_t site) {
  const VoteRequest vote = take_vote(predicate, mask, site);
  return vote.ballot == vote.lanes;
}
bool vote_any(bool predicate, uint32_t mask, uint32_t site) {
  return take_vote(predicate, mask, site).ballot != 0;
}
bool vote_uni(bool predicate, uint32_t mask, uint32_t site) {
  const VoteRequest vote = take_vote(predicate, mask, site);
  return vote.ballot == 0 || vote.ballot == vote.lanes;
}
uint32_t vote_ballot(bool predicate, uint32_t mask, uint32_t site) {
  return take_vote(predicate, mask, site).ballot;
}

uint32_t match_any(uint64_t value, uint32_t mask, uint32_t site) {
  MatchRequest request{value, 0, 0};
  meet_lanes(CollectiveKind::Match, mask, &request, complete_match, false, site);
  return request.same;
}
uint32_t match_all(uint64_t value, uint32_t mask, uint32_t site) {
  MatchRequest request{value, 0, 0};
  meet_lanes(CollectiveKind::Match, mask, &request, complete_match, false, site);
  return request.same == request.lanes ? mask : 0;
}

uint32_t reduce_unsigned(Reduction operation, uint32_t value, uint32_t mask, uint32_t site) {
  ReduceRequest request{operation, false, value, 0};
  meet_lanes(CollectiveKind::Reduce, mask, &request, complete_reduction, false, site);
  return request.result;
}
int32_t reduce_signed(Reduction operation, int32_t value, uint32_t mask, uint32_t site) {
  ReduceRequest request{operation, true, uint32_t(value), 0};
  meet_lanes(CollectiveKind::Reduce, mask, &request, complete_reduction, false, site);
  return int32_t(request.result);
}

uint32_t active_lanes() {
  const Thread* thread = this_thread();
  const Warp& warp = block.warps[thread->warp];
  return warp.exist & ~warp.exited & ~warp.waiting;
}

void synchronize_warp(uint32_t mask, uint32_t site) {
  meet_lanes(
      CollectiveKind::SynchronizeWarp, mask, nullptr, [](Warp& warp, uint32_t lanes) { order_warp(warp, lanes); },
      false, site);
}

}  // namespace sluice::simt
