// A layer's meeting of CPU and GPU, in which they share its chosen experts: the GPU publishes what it chose and which of that it computes
// itself, the CPU computes the rest meanwhile, and the GPU waits for it once, without a kernel that spins.
//
// In a pass, with a number that is not 0 and not that of the pass before:
//
//   the list of launches                      the host
//   ...
//   publish: closes the gate; choice; number  wait_for_choice
//   experts that are in VRAM, shared expert   computes the others
//   wait for the gate                         answer: rows, number, opens the gate
//   add: rows, where the number is this pass's
//   ...
//
// The list is the same for every pass and can be a graph: what the gate is waited for never changes, the pass's number is read from
// memory. The host opens a gate only after it saw the number that came behind the closing, so no opening is lost, and an open gate that is
// left over (from the pass before, or an abandoned one) is closed before it is waited for.
//
// The host's side is for one thread, that of the pass. After the list was started each of its meetings must be answered, in order, or all
// abandoned: else the stream waits for ever, and so does whoever waits for the stream.
#pragma once

#include <cstdint>
#include <span>

#include "engine/device/cuda/runtime.h"
#include "engine/device/device.h"
#include "kernels/cuda/meeting.h"

namespace sluice::engine::cuda {

// How a stream waits for the host.
enum class WaitBy : uint8_t {
  StreamOperation,  // of the driver: the GPU looks at the word itself
  HostFunction,     // a thread of the driver sleeps until the host wakes it; slower by some tens of microseconds
};
// The first that this driver can have in a graph: tries it.
WaitBy find_way_to_wait();

// What a layer's router chose, in mapped memory; stays until the meeting is answered.
struct Choice {
  std::span<const int32_t> ids;    // [n_rows * n_used]
  std::span<const float> weights;  // the same
  std::span<const uint32_t> hits;  // [n_rows]: bit k: the GPU computes the row's k-th expert
  const float* inputs = nullptr;   // [n_rows, n_columns], without gaps
};

class Meeting {
 public:
  // Throws Error(OutOfMemory), and std::invalid_argument for a shape that cannot be.
  Meeting(const kernels::cuda::MeetingShape& shape, WaitBy way);

  // The GPU's side. `call` without shape and `to`.
  void publish(kernels::cuda::Launches& launches, const kernels::cuda::PublishCall& call) const;
  // The call with them, for another launch that publishes.
  kernels::cuda::PublishCall complete(kernels::cuda::PublishCall call) const;
  // Waits for the answer, then rows += what it holds, or rows = that. `pass`: device memory, as in `publish`.
  void add_answer(kernels::cuda::Launches& launches, const Rows& rows, const uint32_t* pass,
                  bool replaces = false) const;

  // The host's side. Waits until the GPU has chosen for the n_rows rows of this pass. Throws Error(Device) when the GPU failed, or ended
  // what was on `stream` without choosing.
  Choice wait_for_choice(uint32_t pass, int64_t n_rows, cudaStream_t stream);
  // Where the rows of an answer may be made, so that they need not be copied: [n_rows, n_columns] without gaps, from wait_for_choice until
  // the answer. Not by stores that go past the caches.
  Rows results() const;
  // Sends the rows [n_rows, n_columns] of the choice waited for last; any host memory, or results().
  void answer(const Rows& rows);
  // There is nothing to add: all were hits.
  void answer_nothing();

  // How long the GPU stood still for the answer, in seconds: of the last pass, once all of it is done.
  double gpu_waited() const;
  // Whether the GPU went on without an answer since the last call: after abandon(). Nothing may be in flight.
  bool went_unanswered();

 private:
  friend void abandon(std::span<Meeting> meetings, cudaStream_t stream) noexcept;
  void send(bool has_rows);
  void open_gate() const noexcept;

  kernels::cuda::MeetingShape shape_;
  WaitBy way_;
  Memory memory_;
  kernels::cuda::MeetingPlaces here_, there_;  // the same, by the host's addresses and the GPU's
  uint32_t pass_ = 0;                          // waiting for an answer; 0: none
  int64_t n_rows_ = 0;
};

// Gives up the pass in flight: lets the stream go on through all waits for these meetings, with nothing added, until all that was started on
// it is done or the GPU has failed. Then the next pass may begin. What the given-up pass computed means nothing.
void abandon(std::span<Meeting> meetings, cudaStream_t stream) noexcept;

}  // namespace sluice::engine::cuda
