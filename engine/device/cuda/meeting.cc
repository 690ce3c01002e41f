#include "engine/device/cuda/meeting.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "kernels/cuda/start.h"

namespace sluice::engine::cuda {

namespace {

using kernels::cuda::kGateClosed;
using kernels::cuda::kGateOpen;

// Looks at a word before a call of the runtime, or sleep: some tens of microseconds.
constexpr int kLooks = 256;

uint32_t load(uint32_t* word) {
  return std::atomic_ref<uint32_t>(*word).load(std::memory_order_acquire);
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

bool becomes(uint32_t* word, uint32_t value) {
  for (int i = 0; i < kLooks; ++i) {
    if (load(word) == value) return true;
    pause();
  }
  return false;
}

// On a thread of the driver.
void sleep_until_open(void* gate) {
  auto* const word = static_cast<uint32_t*>(gate);
  if (!becomes(word, kGateOpen)) std::atomic_ref<uint32_t>(*word).wait(kGateClosed, std::memory_order_acquire);
}

}  // namespace

WaitBy find_way_to_wait() {
  const Memory word = pinned_memory(sizeof(uint32_t));
  std::memcpy(word.host(), &kGateOpen, sizeof kGateOpen);
  kernels::cuda::Launches list;
  append_wait_for_word(list, {reinterpret_cast<const uint32_t*>(word.device()), kGateOpen, 0});
  const StreamHandle stream;
  check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "recording a graph");
  cudaError_t status = kernels::cuda::start(list[0], stream.get());
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream.get(), &graph);
  if (status == cudaSuccess) status = ended;
  cudaGraphExec_t made = nullptr;
  if (status == cudaSuccess) status = cudaGraphInstantiate(&made, graph, 0);
  if (status == cudaSuccess) status = cudaGraphLaunch(made, stream.get());
  if (status == cudaSuccess) status = cudaStreamSynchronize(stream.get());
  if (made != nullptr) cudaGraphExecDestroy(made);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
  return status == cudaSuccess ? WaitBy::StreamOperation : WaitBy::HostFunction;
}

Meeting::Meeting(const kernels::cuda::MeetingShape& shape, WaitBy way)
    : shape_(shape),
      way_(way),
      memory_(pinned_memory(kernels::cuda::meeting_bytes(shape))),
      here_(place_meeting(shape, memory_.host())),
      there_(place_meeting(shape, memory_.device())) {
  std::memset(memory_.host(), 0, memory_.bytes());
}

kernels::cuda::PublishCall Meeting::complete(kernels::cuda::PublishCall call) const {
  call.shape = shape_;
  call.to = there_;
  return call;
}

void Meeting::publish(kernels::cuda::Launches& launches, const kernels::cuda::PublishCall& call) const {
  publish_choice(launches, complete(call));
}

void Meeting::add_answer(kernels::cuda::Launches& launches, const Rows& rows, const uint32_t* pass,
                         bool replaces) const {
  if (rows.n_rows <= 0) return;
  note_arrival(launches, there_);
  if (way_ == WaitBy::StreamOperation)
    append_wait_for_word(launches, {there_.gate, kGateOpen, 0});
  else
    append_host_function(launches, {sleep_until_open, here_.gate});
  add_result(launches, {shape_, there_, {rows.data, rows.n_rows, rows.n_cols, rows.stride}, pass, replaces});
}

Choice Meeting::wait_for_choice(uint32_t pass, int64_t n_rows, cudaStream_t stream) {
  if (pass == 0 || n_rows <= 0 || n_rows > shape_.most_rows)
    throw std::logic_error("A meeting is asked for a choice of no pass, or of more rows than it has room for.");
  while (!becomes(here_.published, pass)) {
    // A GPU that failed publishes nothing.
    const cudaError_t status = cudaStreamQuery(stream);
    if (status == cudaSuccess && load(here_.published) != pass)
      throw Error(Error::Kind::Device,
                  "The GPU ended a pass without saying which experts it chose; --device cpu does without it.");
    if (status != cudaErrorNotReady) check(status, "computing");
    std::this_thread::yield();
  }
  pass_ = pass;
  n_rows_ = n_rows;
  const auto n = static_cast<size_t>(n_rows), n_pairs = n * static_cast<size_t>(shape_.n_used);
  return {{here_.ids, n_pairs}, {here_.weights, n_pairs}, {here_.hits, n}, here_.inputs};
}

Rows Meeting::results() const {
  return {here_.results, n_rows_, shape_.n_columns, shape_.n_columns};
}

void Meeting::answer(const Rows& rows) {
  if (rows.n_rows != n_rows_ || rows.n_cols != shape_.n_columns)
    throw std::logic_error("An answer to the GPU has another shape than the choice.");
  if (rows.data != here_.results)
    for (int64_t i = 0; i < rows.n_rows; ++i)
      std::copy_n(rows.row(i), rows.n_cols, here_.results + i * shape_.n_columns);
  send(true);
}

void Meeting::answer_nothing() {
  send(false);
}

void Meeting::send(bool has_rows) {
  if (pass_ == 0) throw std::logic_error("The GPU is answered twice, or before it has chosen.");
  *here_.answer = {pass_, has_rows ? 1u : 0u};
  pass_ = 0;
  open_gate();
}

// What was written before lies before this for whoever sees the gate open.
void Meeting::open_gate() const noexcept {
  std::atomic_ref<uint32_t> gate(*here_.gate);
  gate.store(kGateOpen, std::memory_order_release);
  if (way_ == WaitBy::HostFunction) gate.notify_all();
}

double Meeting::gpu_waited() const {
  const kernels::cuda::GpuMoments& at = *here_.moments;
  return at.went_on > at.arrived ? static_cast<double>(at.went_on - at.arrived) * 1e-9 : 0;
}

bool Meeting::went_unanswered() {
  const bool is_so = load(here_.unanswered) != 0;
  *here_.unanswered = 0;
  return is_so;
}

void abandon(std::span<Meeting> meetings, cudaStream_t stream) noexcept {
  // A gate that is opened here may be closed once more, by a layer that the GPU comes to only now: so again, until all is done.
  do {
    for (Meeting& meeting : meetings) {
      meeting.pass_ = 0;
      meeting.open_gate();
    }
    std::this_thread::yield();
  } while (cudaStreamQuery(stream) == cudaErrorNotReady);
  cudaGetLastError();  // a failure of the GPU is met again by the next who waits for it
}

}  // namespace sluice::engine::cuda
