// What the host answers the GPU in a layer that they share (kernels/cuda/meeting.h), for the launches that read it.
#pragma once

#include <cstdint>

namespace sluice::kernels::cuda {

// What stands before the rows that the host sends.
struct alignas(8) AnswerHead {
  uint32_t pass = 0;      // whose answer it is; 0: nobody's
  uint32_t has_rows = 0;  // 0: there is nothing to add, and the rows are not meant
};

// Of the GPU's clock, in nanoseconds.
struct GpuMoments {
  uint64_t arrived = 0;  // at the gate, with all that it computes itself
  uint64_t went_on = 0;  // with the host's answer
};

// Where a launch behind the gate finds the answer; device addresses. rows += results, if the host has any, or rows = results. Where the
// answer is not this pass's, nothing is added, and `unanswered` says so to whoever waits for the stream.
struct Answer {
  const AnswerHead* head = nullptr;  // null: there is none
  const float* results = nullptr;    // [n_rows, n_columns] without gaps
  const uint32_t* pass = nullptr;    // the pass's number
  uint32_t* unanswered = nullptr;
  GpuMoments* moments = nullptr;  // in which the launch notes that it went on
  uint64_t replaces = 0;          // rows are the results alone; zeros where the host has none
};

}  // namespace sluice::kernels::cuda
