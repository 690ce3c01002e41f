// CPU and GPU share the experts of layers, in every schedule that CUDA allows: the sum is that of all experts on the host.

#include "engine/device/cuda/meeting.h"

#include "kernels/cuda/start.h"
#include "tests/cuda_device/shared_layers.h"
#include "tests/cuda_device/watched_publication.h"

using namespace sluice;
using engine::cuda::Meeting;
using engine::cuda::Memory;
using engine::cuda::WaitBy;
using tests::Mistake;
using tests::SharedLayers;
using tests::SharedSetup;

namespace {

constexpr double kTolerance = 1e-5;
constexpr WaitBy kWays[] = {WaitBy::StreamOperation, WaitBy::HostFunction};

struct Schedule {
  const char* name;
  simt::Effects effects;
  uint64_t seed;
};
constexpr Schedule kSchedules[] = {{"eager", simt::Effects::Eager, 1},   {"lazy", simt::Effects::Lazy, 1},
                                   {"seed 1", simt::Effects::Seeded, 1}, {"seed 2", simt::Effects::Seeded, 2},
                                   {"seed 3", simt::Effects::Seeded, 3}, {"seed 4", simt::Effects::Seeded, 4}};

void fresh_gpu(const Schedule& schedule, bool check_accesses) {
  simt::GpuOptions options;
  options.effects = schedule.effects;
  options.seed = schedule.seed;
  options.goes_on_after_seconds = 0;
  options.gives_up_after_seconds = 5;
  options.host_functions_may_wait = true;
  tests::fresh_gpu(options, check_accesses);
}

void check_no_findings() {
  for (const std::string& finding : simt::take_findings()) FAIL_CHECK(finding);
}

// Passes with all experts in VRAM, with none, and all between.
void run_passes(const SharedSetup& setup, int n_passes) {
  SharedLayers layers(setup);
  for (int i = 0; i < n_passes; ++i) {
    CAPTURE(i);
    CHECK(layers.run((i + SharedLayers::kExperts) % (SharedLayers::kExperts + 1)) < kTolerance);
    CHECK(!layers.went_unanswered());
  }
  CHECK(layers.n_hits() > 0);
  CHECK(layers.n_misses() > 0);
  CHECK(layers.counts().graph_launches == (setup.graphs ? static_cast<uint64_t>(n_passes) : 0));
  CHECK(layers.counts().graphs_made == (setup.graphs ? 1 : 0));
}

}  // namespace

TEST_CASE("shared experts give the sum of all experts, whatever is in VRAM, in many passes of one graph") {
  for (const Schedule& schedule : kSchedules)
    for (const WaitBy way : kWays)
      for (const int64_t n_rows : {1, 3}) {
        CAPTURE(std::string(schedule.name));
        CAPTURE(static_cast<int>(way));
        CAPTURE(n_rows);
        fresh_gpu(schedule, false);
        run_passes({.n_layers = n_rows == 1 ? 1 : 2, .n_rows = n_rows, .way = way},
                   way == WaitBy::StreamOperation ? 50 : 18);
        check_no_findings();
      }
}

TEST_CASE("hosts that take their time before or after an answer are waited for, with graphs and without") {
  for (const Schedule& schedule : kSchedules)
    for (const WaitBy way : kWays)
      for (const bool graphs : {true, false})
        for (const double before : {0.0, 1e-3})
          for (const double after : {0.0, 1e-3}) {
            if (!graphs && before != after) continue;
            CAPTURE(std::string(schedule.name));
            CAPTURE(static_cast<int>(way));
            CAPTURE(graphs);
            CAPTURE(before);
            CAPTURE(after);
            fresh_gpu(schedule, false);
            run_passes({.n_layers = 2,
                        .n_rows = 3,
                        .way = way,
                        .graphs = graphs,
                        .delay_before = before,
                        .delay_after = after},
                       6);
            check_no_findings();
          }
}

TEST_CASE("how long the GPU stood still for the host is known after the pass") {
  for (const WaitBy way : kWays) {
    CAPTURE(static_cast<int>(way));
    fresh_gpu(kSchedules[0], false);
    SharedLayers layers({.n_layers = 2, .n_rows = 1, .way = way, .sleep_before_answer = 0.02});
    for (int pass = 0; pass < 3; ++pass) {
      layers.run(0);
      for (int64_t layer = 0; layer < 2; ++layer) {
        CHECK(layers.gpu_waited(layer) >= 0.019);
        CHECK(layers.gpu_waited(layer) < 1);
      }
    }
    check_no_findings();
  }
}

TEST_CASE("nothing in a meeting is read or written by both sides without an order between them") {
  for (const Schedule& schedule : kSchedules)
    for (const WaitBy way : kWays)
      for (const bool graphs : {true, false}) {
        CAPTURE(std::string(schedule.name));
        CAPTURE(static_cast<int>(way));
        CAPTURE(graphs);
        fresh_gpu(schedule, true);
        run_passes({.n_layers = 2, .n_rows = graphs ? 3 : 1, .way = way, .graphs = graphs}, 4);
        check_no_findings();
      }
}

TEST_CASE("each mistake in a meeting is found in every schedule") {
  struct Case {
    const char* name;
    Mistake mistake;
  };
  for (const Case& c : {Case{"no wait", Mistake::NoWait}, Case{"gate before rows", Mistake::EarlyGate},
                        Case{"stale rows", Mistake::StaleAnswer}, Case{"early read", Mistake::EarlyRead},
                        Case{"table changes", Mistake::ChangingTable}, Case{"hits twice", Mistake::AnswersHits}})
    for (const Schedule& schedule : kSchedules)
      for (const WaitBy way : kWays) {
        CAPTURE(std::string(c.name));
        CAPTURE(std::string(schedule.name));
        CAPTURE(static_cast<int>(way));
        fresh_gpu(schedule, true);
        int n_wrong = 0, n_unanswered = 0;
        {
          SharedLayers layers({.n_layers = 2, .n_rows = 1, .way = way, .mistake = c.mistake});
          for (int i = 0; i < 2; ++i) {
            if (!(layers.run(4) < kTolerance)) ++n_wrong;
            if (layers.went_unanswered()) ++n_unanswered;
          }
        }
        const auto findings = simt::take_findings();
        MESSAGE(std::string(c.name) << ", " << std::string(schedule.name) << ", "
                                    << std::string(way == WaitBy::StreamOperation ? "stream" : "function") << ": "
                                    << n_wrong << " wrong, " << n_unanswered << " unanswered, " << findings.size()
                                    << " findings");
        CHECK(n_wrong + n_unanswered + static_cast<int>(findings.size()) > 0);
      }
}

TEST_CASE("a pass may be given up at any moment, and the next one is right") {
  constexpr int64_t kLayers = 3;
  for (const Schedule& schedule : kSchedules)
    for (const WaitBy way : kWays)
      for (const bool graphs : {true, false}) {
        CAPTURE(std::string(schedule.name));
        CAPTURE(static_cast<int>(way));
        CAPTURE(graphs);
        fresh_gpu(schedule, false);
        SharedLayers layers({.n_layers = kLayers, .n_rows = 1, .way = way, .graphs = graphs});
        layers.abandon();  // of nothing
        for (int64_t n_met = 0; n_met <= kLayers; ++n_met)
          for (const bool has_chosen : {false, true}) {
            CAPTURE(n_met);
            CAPTURE(has_chosen);
            layers.start(3);
            for (int64_t l = 0; l < n_met; ++l) layers.meet(l);
            if (has_chosen && n_met < kLayers) layers.meeting(n_met).wait_for_choice(layers.pass(), 1, layers.stream());
            layers.abandon();
            CHECK(cudaStreamQuery(layers.stream()) == cudaSuccess);
            CHECK(layers.went_unanswered() == (n_met < kLayers));
            CHECK_THROWS_AS(layers.meeting(n_met % kLayers).answer_nothing(), std::logic_error);
            CHECK(layers.run(3) < kTolerance);
            CHECK(!layers.went_unanswered());
          }
        check_no_findings();
      }
}

TEST_CASE("a GPU that dies in a pass is an error for the host that waits for it, and can be abandoned") {
  for (const WaitBy way : kWays)
    for (const uint64_t nth : {uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{9}, uint64_t{12}}) {
      CAPTURE(static_cast<int>(way));
      CAPTURE(nth);
      fresh_gpu(kSchedules[0], false);
      SharedLayers layers({.n_layers = 3, .n_rows = 1, .way = way});
      simt::inject_fault({simt::FaultPoint::KernelExecution, nth, 700, 1});
      try {
        layers.run(3);
        FAIL_CHECK("nothing was thrown");
      } catch (const engine::Error& error) {
        CHECK(error.kind() == engine::Error::Kind::Device);
      }
      layers.abandon();
      simt::take_findings();
    }
}

TEST_CASE("a stream that ends without a choice is an error") {
  fresh_gpu(kSchedules[0], false);
  const engine::cuda::StreamHandle stream;
  Meeting meeting({1, 3, 8}, WaitBy::StreamOperation);
  CHECK_THROWS_AS(meeting.wait_for_choice(1, 1, stream.get()), engine::Error);
}

TEST_CASE("answers without a choice, answers twice, and shapes that do not fit are refused") {
  fresh_gpu(kSchedules[0], false);
  SharedLayers layers({.n_layers = 1, .n_rows = 3});
  Meeting& meeting = layers.meeting(0);
  CHECK_THROWS_AS(meeting.answer_nothing(), std::logic_error);
  layers.start(8);
  CHECK_THROWS_AS(meeting.wait_for_choice(0, 3, layers.stream()), std::logic_error);
  CHECK_THROWS_AS(meeting.wait_for_choice(1, 4, layers.stream()), std::logic_error);
  meeting.wait_for_choice(1, 3, layers.stream());
  std::vector<float> rows(2 * SharedLayers::kColumns);
  CHECK_THROWS_AS(meeting.answer({rows.data(), 2, SharedLayers::kColumns, SharedLayers::kColumns}), std::logic_error);
  meeting.answer_nothing();
  CHECK_THROWS_AS(meeting.answer_nothing(), std::logic_error);
  CHECK(layers.finish() < kTolerance);
  for (const kernels::cuda::MeetingShape shape :
       {kernels::cuda::MeetingShape{0, 3, 8}, {1, -1, 8}, {1, 33, 8}, {1, 3, 0}, {1 << 16, 3, 8}, {-1, 3, 8}})
    CHECK_THROWS_AS(Meeting(shape, WaitBy::StreamOperation), std::invalid_argument);
}

TEST_CASE("rows that are made where they are sent from need no copy, and gaps between rows are left out") {
  fresh_gpu(kSchedules[0], false);
  const engine::cuda::StreamHandle stream;
  Meeting meeting({2, 1, 5}, WaitBy::StreamOperation);
  Memory memory = engine::cuda::pinned_memory(1024);
  std::memset(memory.host(), 0, 1024);
  auto* const pass = reinterpret_cast<uint32_t*>(memory.host() + 512);
  const auto table = reinterpret_cast<const kernels::cuda::ExpertPlace*>(memory.device() + 640);
  const auto values = reinterpret_cast<float*>(memory.host());
  kernels::cuda::PublishCall call;
  call.places = table;
  call.ids = reinterpret_cast<const int32_t*>(memory.device() + 768);
  call.weights = reinterpret_cast<const float*>(memory.device() + 768);
  call.inputs = {reinterpret_cast<float*>(memory.device()), 2, 5, 7};
  call.pass = reinterpret_cast<const uint32_t*>(memory.device() + 512);
  for (uint32_t number = 1; number <= 2; ++number) {
    kernels::cuda::Launches list;
    meeting.publish(list, call);
    meeting.add_answer(list, {call.inputs.data, 2, 5, 7}, call.pass);
    for (int i = 0; i < 14; ++i) values[i] = static_cast<float>(i);
    *pass = number;
    engine::cuda::Graphs(false).start(list, stream.get());
    const engine::cuda::Choice choice = meeting.wait_for_choice(number, 2, stream.get());
    CHECK(choice.hits[1] == 0);
    CHECK(choice.inputs[9] == 11);
    if (number == 1) {
      const std::vector<float> rows{1, 2, 3, 4, 5, 9, 9, 10, 20, 30, 40, 50};
      meeting.answer({const_cast<float*>(rows.data()), 2, 5, 7});
    } else {
      for (int i = 0; i < 10; ++i) meeting.results().data[i] = static_cast<float>(i < 5 ? i + 1 : (i - 4) * 10);
      meeting.answer(meeting.results());
    }
    CHECK(cudaStreamSynchronize(stream.get()) == cudaSuccess);
    const std::vector<float> got(values, values + 14);
    CHECK(got == std::vector<float>{1, 3, 5, 7, 9, 5, 6, 17, 28, 39, 50, 61, 12, 13});
  }
  check_no_findings();
}

TEST_CASE("what is published is written before its number for any other thread, and the gate closed") {
  for (const int64_t n_rows : {1, 3}) {
    fresh_gpu(kSchedules[0], true);
    constexpr int64_t kUsed = 5, kColumns = 77, kExperts = 7;
    const kernels::cuda::MeetingShape shape{n_rows, kUsed, kColumns};
    const auto n_slots = static_cast<size_t>(n_rows * kUsed), n_values = static_cast<size_t>(n_rows * kColumns);
    Memory mapped = engine::cuda::pinned_memory(kernels::cuda::meeting_bytes(shape)),
           inputs = engine::cuda::pinned_memory(1 << 16), seen = engine::cuda::pinned_memory(1 << 16);
    std::memset(mapped.host(), 0, mapped.bytes());
    auto* at = inputs.host();
    const auto take = [&](size_t bytes) {
      std::byte* const place = at;
      at += (bytes + 15) / 16 * 16;
      return place;
    };
    auto* const places =
        reinterpret_cast<kernels::cuda::ExpertPlace*>(take(kExperts * sizeof(kernels::cuda::ExpertPlace)));
    auto* const ids = reinterpret_cast<int32_t*>(take(n_slots * 4));
    auto* const weights = reinterpret_cast<float*>(take(n_slots * 4));
    auto* const values = reinterpret_cast<float*>(take(n_values * 4));
    auto* const pass = reinterpret_cast<uint32_t*>(take(4));
    for (int64_t e = 0; e < kExperts; ++e) places[e] = {e % 3 == 0 ? nullptr : mapped.host(), nullptr, nullptr};
    for (size_t i = 0; i < n_slots; ++i) ids[i] = static_cast<int32_t>(i * 4 % kExperts);
    for (size_t i = 0; i < n_slots; ++i) weights[i] = static_cast<float>(i) / 8;
    for (size_t i = 0; i < n_values; ++i) values[i] = static_cast<float>(i);
    *pass = 4711;
    kernels::cuda::PublishCall call;
    call.shape = shape;
    call.to = kernels::cuda::place_meeting(shape, mapped.device());
    call.places = places;
    call.ids = ids;
    call.weights = weights;
    call.inputs = {values, n_rows, kColumns, kColumns};
    call.pass = pass;
    auto* const got = reinterpret_cast<uint32_t*>(seen.host());
    REQUIRE(tests::publish_while_watched(call, got) == cudaSuccess);
    check_no_findings();
    CHECK(std::memcmp(got, ids, n_slots * 4) == 0);
    CHECK(std::memcmp(got + n_slots, weights, n_slots * 4) == 0);
    for (size_t row = 0; row < static_cast<size_t>(n_rows); ++row) {
      uint32_t hits = 0;
      for (size_t k = 0; k < kUsed; ++k) hits |= (ids[row * kUsed + k] % 3 != 0 ? 1u : 0u) << k;
      CHECK(got[2 * n_slots + row] == hits);
    }
    CHECK(std::memcmp(got + 2 * n_slots + static_cast<size_t>(n_rows), values, n_values * 4) == 0);
    CHECK(*kernels::cuda::place_meeting(shape, mapped.host()).gate == kernels::cuda::kGateOpen);
  }
}

TEST_CASE("streams wait by themselves where the driver lets a graph do so, else by a function of the host") {
  fresh_gpu(kSchedules[0], false);
  CHECK(engine::cuda::find_way_to_wait() == WaitBy::StreamOperation);
  simt::inject_fault({simt::FaultPoint::GraphInstantiate, 1, 801, 1});
  CHECK(engine::cuda::find_way_to_wait() == WaitBy::HostFunction);
  CHECK(cudaGetLastError() == cudaSuccess);
  simt::GpuOptions options;
  options.driver_version = 11080;
  tests::fresh_gpu(options);
  CHECK(engine::cuda::find_way_to_wait() == WaitBy::HostFunction);
  CHECK(cudaGetLastError() == cudaSuccess);
  simt::report_leaks();
  check_no_findings();
}

TEST_CASE("a meeting costs the host no calls of its own, and the host computes while the GPU does") {
  double calls[2] = {};
  for (const int64_t n_layers : {1, 4}) {
    simt::GpuOptions options;
    options.call_seconds = 1;
    options.copy_latency_seconds = options.launch_latency_seconds = options.graph_launch_seconds = 0;
    options.graph_node_seconds = options.host_function_seconds = options.default_kernel_seconds = 0;
    options.goes_on_after_seconds = 0;
    tests::fresh_gpu(options);
    SharedLayers layers({.n_layers = n_layers, .n_rows = 1});
    layers.run(4);
    const double begin = simt::host_seconds();
    layers.start(4);
    for (int64_t l = 0; l < n_layers; ++l) {
      simt::run_pending_effects();  // a GPU that has chosen already
      layers.meet(l);
    }
    layers.finish();
    calls[n_layers == 1 ? 0 : 1] = simt::host_seconds() - begin;
  }
  MESSAGE("calls a pass: " << calls[0] << " with one layer, " << calls[1] << " with four");
  CHECK(calls[0] == doctest::Approx(calls[1]));
  CHECK(calls[0] < 4.001);  // a copy there, a graph, a copy back, waiting

  // Kernels take 10 us, the host's experts 30 us. That the host sees a word as soon as a kernel wrote it, and not before, is not
  // modelled: it looks at the clock.
  double seconds[2] = {};
  for (const int64_t n_layers : {1, 11}) {
    fresh_gpu(kSchedules[0], false);
    SharedLayers layers({.n_layers = n_layers, .n_rows = 1, .delay_before = 30e-6});
    layers.run(4);
    simt::take_trace();
    const double begin = simt::host_seconds();
    layers.start(4);
    for (int64_t l = 0; l < n_layers; ++l) {
      for (bool has_chosen = false; !has_chosen; simt::advance_host(0.5e-6))
        for (const simt::Span& span : simt::take_trace())
          has_chosen = has_chosen || span.name.find("publish") != std::string::npos;
      simt::advance_host(10e-6);  // its own time: the trace tells of what began
      simt::run_pending_effects();
      layers.meet(l);
    }
    layers.finish();
    seconds[n_layers == 1 ? 0 : 1] = simt::host_seconds() - begin;
  }
  const double layer = (seconds[1] - seconds[0]) / 10;
  MESSAGE("a layer takes " << layer * 1e6 << " us");
  // Router and publication, the host's experts beside those of the GPU (two kernels), addition and residual.
  CHECK(layer > 69e-6);
  CHECK(layer < 73e-6);
}
