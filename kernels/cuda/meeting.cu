#include "kernels/cuda/meeting.h"

#include "kernels/cuda/clock.cuh"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/publish.cuh"

namespace sluice::kernels::cuda {

namespace {

constexpr int64_t kThreads = 256;
// Two cache lines, because processors fetch them in pairs.
constexpr uint64_t kApart = 128;

uint64_t rounded(uint64_t bytes) {
  return (bytes + kApart - 1) / kApart * kApart;
}

void check(const MeetingShape& shape, int64_t n_rows) {
  require(shape.most_rows > 0 && shape.most_rows <= 0xFFFF && shape.n_used >= 0 && shape.n_used <= 32 &&
              shape.n_columns > 0 && shape.n_columns <= 0x7FFFFFFF,
          "A meeting of CPU and GPU has 1 to 65535 rows, of at least one column, and 32 experts a row at most.");
  require(n_rows <= shape.most_rows, "A meeting has no room for so many rows.");
}

__global__ void __launch_bounds__(kThreads) publish_rows(const PublishArguments a) {
  publish(a);
}

struct ArrivalArguments {
  GpuMoments* moments;
};

__global__ void note_moment(const ArrivalArguments a) {
  a.moments->arrived = nanoseconds();
}

struct AddArguments {
  Answer answer;
  float* rows;
  int64_t rows_stride;
  int64_t n_columns;
  int64_t n_rows;
};

// The host's memory is read past all caches, and both reads are under way together: each takes a microsecond over PCIe.
__global__ void __launch_bounds__(kThreads) add_rows_of_host(const AddArguments a) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= a.n_columns) return;
  if (column == 0 && blockIdx.y == 0) a.answer.moments->went_on = nanoseconds();
  const float result = __ldcv(a.answer.results + blockIdx.y * a.n_columns + column);
  const uint2 answer = __ldcv(reinterpret_cast<const uint2*>(a.answer.head));  // pass, has_rows
  if (answer.x != *a.answer.pass) {
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *a.answer.unanswered = 1;
    return;
  }
  float& value = a.rows[blockIdx.y * a.rows_stride + column];
  if (answer.y != 0)
    value = a.answer.replaces != 0 ? result : value + result;
  else if (a.answer.replaces != 0)
    value = 0;
}

template <class T>
T* take(std::byte*& at, uint64_t n) {
  T* const place = reinterpret_cast<T*>(at);
  at += rounded(n * sizeof(T));
  return place;
}

}  // namespace

MeetingPlaces place_meeting(const MeetingShape& shape, void* memory) {
  check(shape, 0);
  const auto n_rows = static_cast<uint64_t>(shape.most_rows), n_slots = n_rows * static_cast<uint64_t>(shape.n_used),
             n_values = n_rows * static_cast<uint64_t>(shape.n_columns);
  auto* at = static_cast<std::byte*>(memory);
  MeetingPlaces places;
  places.published = take<uint32_t>(at, 1);
  places.ids = take<int32_t>(at, n_slots);
  places.weights = take<float>(at, n_slots);
  places.hits = take<uint32_t>(at, n_rows);
  places.inputs = take<float>(at, n_values);
  places.unanswered = take<uint32_t>(at, 1);
  places.moments = take<GpuMoments>(at, 1);
  places.gate = take<uint32_t>(at, 1);
  places.answer = take<AnswerHead>(at, 1);
  places.results = take<float>(at, n_values);
  return places;
}

uint64_t meeting_bytes(const MeetingShape& shape) {
  check(shape, 0);
  const auto n_rows = static_cast<uint64_t>(shape.most_rows), n_slots = n_rows * static_cast<uint64_t>(shape.n_used);
  return 5 * kApart + 2 * rounded(n_slots * 4) + rounded(n_rows * 4) +
         2 * rounded(n_rows * static_cast<uint64_t>(shape.n_columns) * 4);
}

void check_publication(const PublishCall& call) {
  check(call.shape, call.inputs.n_rows);
  require(call.inputs.n_columns == call.shape.n_columns, "A meeting's inputs have another length than its results.");
  require(call.to.published != nullptr && call.inputs.data != nullptr && call.pass != nullptr,
          "Publishing a choice needs rows, and a place for them.");
  require(call.shape.n_used == 0 || (call.places != nullptr && call.ids != nullptr && call.weights != nullptr),
          "Publishing a choice needs what was chosen.");
  require((call.n_from_host == nullptr) == (call.host_places == nullptr) &&
              (call.n_from_host == nullptr || (call.chosen_places != nullptr && call.inputs.n_rows == 1)),
          "Experts are read from the host's memory for one row, with places for them.");
}

void publish_choice(Launches& list, const PublishCall& call) {
  check_publication(call);
  if (call.inputs.n_rows <= 0) return;
  append_launch(list, "Publishing a choice", reinterpret_cast<const void*>(publish_rows), "publish choice", {1},
                kThreads, 0, publish_arguments(call));
}

void note_arrival(Launches& list, const MeetingPlaces& to) {
  require(to.moments != nullptr, "Noting a moment needs a place for it.");
  if (note_end(list, &to.moments->arrived)) return;
  append_launch(list, "Noting when the GPU waits", reinterpret_cast<const void*>(note_moment), "note moment", {1}, 1, 0,
                ArrivalArguments{to.moments});
}

void add_result(Launches& list, const AddResultCall& call) {
  check(call.shape, call.rows.n_rows);
  require(call.rows.n_columns == call.shape.n_columns, "A meeting's rows have another length than its results.");
  require(
      call.from.answer != nullptr && call.from.moments != nullptr && call.rows.data != nullptr && call.pass != nullptr,
      "Adding what the host computed needs rows, and where it is.");
  const AddArguments a{{call.from.answer, call.from.results, call.pass, call.from.unanswered, call.from.moments,
                        call.replaces ? uint64_t{1} : 0},
                       call.rows.data,
                       call.rows.stride,
                       call.shape.n_columns,
                       call.rows.n_rows};
  append_launch(list, "Adding what the host computed", reinterpret_cast<const void*>(add_rows_of_host), "add result",
                {divide_up(call.shape.n_columns, kThreads), call.rows.n_rows}, kThreads, 0, a);
}

std::optional<Answer> take_added_result(Launches& list, const FloatRows& rows) {
  if (list.empty() || list.back().kernel != reinterpret_cast<const void*>(add_rows_of_host)) return std::nullopt;
  AddArguments a;
  std::memcpy(static_cast<void*>(&a), list.back().arguments, sizeof a);
  if (a.rows != rows.data || a.rows_stride != rows.stride || a.n_rows != rows.n_rows || a.n_columns != rows.n_columns)
    return std::nullopt;
  list.pop_back();
  return a.answer;
}

}  // namespace sluice::kernels::cuda
