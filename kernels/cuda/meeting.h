// Where the CPU and the GPU meet in a layer whose experts they share: the GPU says what it chose, the CPU computes the experts that are
// not in VRAM, the GPU adds what comes back.
//
// Both speak through one piece of mapped memory of the host, laid out here. Each side's words lie on cache lines of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/cuda/answer.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/rows.h"

namespace sluice::kernels::cuda {

struct MeetingShape {
  int64_t most_rows = 0;
  int64_t n_used = 0;     // experts a row, at most 32; 0 where nothing is chosen
  int64_t n_columns = 0;  // of inputs and results
};

// Places in the mapped memory, by the addresses of one side.
struct MeetingPlaces {
  // The GPU's, which the host may read once `published` is the pass's number. Passes have numbers other than 0.
  uint32_t* published = nullptr;
  int32_t* ids = nullptr;          // [n_rows, n_used]
  float* weights = nullptr;        // [n_rows, n_used]
  uint32_t* hits = nullptr;        // [n_rows]: bit k: the GPU computes the row's k-th expert
  float* inputs = nullptr;         // [n_rows, n_columns]: what the experts are applied to
  uint32_t* unanswered = nullptr;  // becomes 1 where the GPU found no answer of this pass behind the open gate
  GpuMoments* moments = nullptr;   // valid when all of the pass is done
  // The host's, which the GPU may read once the gate is open. The GPU closes it before it publishes; the host opens it.
  uint32_t* gate = nullptr;
  AnswerHead* answer = nullptr;
  float* results = nullptr;  // [n_rows, n_columns]: the sum over the experts that were no hits, times their weights
};
inline constexpr uint32_t kGateClosed = 0, kGateOpen = 1;

// Bytes of mapped memory, and the places in it from `memory` on (aligned to 128 bytes), which is its address on either side. Throws
// std::invalid_argument for a shape that cannot be.
uint64_t meeting_bytes(const MeetingShape& shape);
MeetingPlaces place_meeting(const MeetingShape& shape, void* memory);

// After the router: closes the gate, copies inputs, ids and weights, marks what the GPU multiplies, and then says so by the pass's number, with a
// release that the host sees.
struct PublishCall {
  MeetingShape shape;
  MeetingPlaces to;  // device addresses
  const ExpertPlace* places =
      nullptr;  // device memory, [n_experts]: the table that multiply_experts reads; constant in a pass
  const int32_t* ids = nullptr;    // device memory, [n_rows, n_used]
  const float* weights = nullptr;  // the same
  FloatRows inputs;                // device memory, [n_rows, n_columns]
  const uint32_t* pass = nullptr;  // device memory: the number
  // Of one row, misses that the GPU multiplies as well, reading them in the host's memory over PCIe: of m misses n_from_host[m], device
  // memory, [n_used + 1]. host_places: as places, mapped addresses; null where it is not to be read there. Null: none.
  const ExpertPlace* host_places = nullptr;
  const uint32_t* n_from_host = nullptr;
  // [n_rows, n_used], device memory: where each choice lies for this pass; null where nobody asks.
  ExpertPlace* chosen_places = nullptr;
};
void publish_choice(Launches& list, const PublishCall& call);

// Before the wait for the gate: notes the moment at which the GPU comes to it, so that what it waits for the host is known. Where the last
// launch of the list is a product, it notes its end; otherwise this is a launch of its own.
void note_arrival(Launches& list, const MeetingPlaces& to);

// Behind a wait for the gate: rows += results, if the host has any, or rows = results. Where the answer is not this pass's, nothing is added, and
// `unanswered` says so to whoever waits for the stream. Notes the moment.
struct AddResultCall {
  MeetingShape shape;
  MeetingPlaces from;  // device addresses
  FloatRows rows;      // device memory, [n_rows, n_columns]
  const uint32_t* pass = nullptr;
  bool replaces = false;  // rows are the results alone; zeros where the host has none
};
void add_result(Launches& list, const AddResultCall& call);
// Where the last launch of the list adds an answer to just these rows: takes it off, for a launch that does the same beside its own work.
std::optional<Answer> take_added_result(Launches& list, const FloatRows& rows);

// What publish_choice and add_result demand of a call; throw std::invalid_argument.
void check_publication(const PublishCall& call);

}  // namespace sluice::kernels::cuda
