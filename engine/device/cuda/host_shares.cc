#include "engine/device/cuda/host_shares.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <stdexcept>

namespace sluice::engine::cuda {

static double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

HostShares::HostShares(Pass& pass) : pass_(pass) {
  pass_.set_hooks({[this] {
                     abandon(meetings_, pass_.stream());
                     for (Meeting& meeting : meetings_) meeting.went_unanswered();  // as was to be
                   },
                   [this] {
                     for (const size_t meeting : finished_) times_.waited_seconds += meetings_[meeting].gpu_waited();
                     finished_.clear();
                     for (Meeting& meeting : meetings_)
                       if (meeting.went_unanswered())
                         throw Error(
                             Error::Kind::Device,
                             "The GPU went on without the host's part of a pass; --device cpu does without it.");
                   }});
}

kernels::cuda::PublishCall HostShares::begin(uint32_t layer, int64_t n_used, kernels::cuda::PublishCall call,
                                             HostWork work) {
  if (meetings_.empty()) way_ = find_way_to_wait();
  const int64_t n_rows = call.inputs.n_rows;
  // Rounded, so that batches of all sizes get along with few.
  const auto most_rows = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n_rows)));
  const auto key = std::tuple(layer, most_rows, n_used);
  if (!meeting_of_.contains(key)) {
    meetings_.emplace_back(kernels::cuda::MeetingShape{most_rows, n_used, call.inputs.n_columns}, way_);
    meeting_of_.emplace(key, meetings_.size() - 1);
  }
  if (++last_number_ == 0) ++last_number_;
  const uint32_t number = last_number_;
  std::erase_if(open_, [&](const Open& left) { return left.layer == layer; });  // of a pass that was cancelled
  const size_t meeting = meeting_of_.at(key);
  call.pass = pass_.cells(std::span<const uint32_t>(&number, 1));
  open_.push_back({layer, meeting, call.pass});
  pass_.add_host_work(
      [this, meeting, number, n_rows, own = std::move(work)] { do_work(meeting, number, n_rows, own); });
  return meetings_[meeting].complete(call);
}

void HostShares::do_work(size_t index, uint32_t number, int64_t n_rows, const HostWork& work) {
  Meeting& meeting = meetings_[index];
  const double begin = seconds_now();
  const Choice choice = meeting.wait_for_choice(number, n_rows, pass_.stream());
  const double chosen = seconds_now();
  times_.host_waited_seconds += chosen - begin;
  const Rows results = meeting.results();
  const Rows inputs{const_cast<float*>(choice.inputs), results.n_rows, results.n_cols, results.stride};
  if (work({inputs, choice.ids, choice.weights, choice.hits}, results))
    meeting.answer(results);
  else
    meeting.answer_nothing();
  times_.host_seconds += seconds_now() - chosen;
  finished_.push_back(index);
}

DeviceTimes HostShares::times() const {
  DeviceTimes times = times_;
  times.pass_seconds = pass_.busy_seconds();
  return times;
}

void HostShares::finish(uint32_t layer, const Rows& out, bool replaces) {
  const auto found = std::ranges::find(open_, layer, &Open::layer);
  if (found == open_.end()) throw std::logic_error("Work of the host is finished that was not begun.");
  meetings_[found->meeting].add_answer(pass_.launches(), out, found->number, replaces);
  open_.erase(found);
}

}  // namespace sluice::engine::cuda
