// A GPU that is too small, or fails, or is not there: a message and slower memory, never a crash.

#include "engine/device/cuda_device.h"
#include "engine/forward/host_side.h"
#include "tests/cuda_device/vram_sizes.h"
#include "tests/engine/small_machine.h"

using namespace sluice;
using engine::DeviceKind;

namespace {

constexpr const char* kModel = "deepseek2-v2-lite";

tests::Answer gpu_answer(const engine::ModelOptions& options) {
  const tests::Golden golden = tests::read_golden(kModel);
  return tests::answer(tests::fixture_path(kModel), options, std::span(golden.tokens).first(5), 3, 2);
}

}  // namespace

TEST_CASE(
    "a GPU that holds a part of the model leaves the rest to the CPU or reads it from RAM, with the same logits") {
  const tests::Golden golden = tests::read_golden(kModel);
  tests::fresh_gpu();
  const tests::Answer whole = gpu_answer(tests::options_for(DeviceKind::Cuda));
  for (const uint64_t vram_bytes : {1 << 0, 1 << 16, 300 << 10, 600 << 10}) {
    CAPTURE(vram_bytes);
    tests::fresh_gpu();
    engine::ModelOptions options = tests::options_for(DeviceKind::Cuda);
    options.vram_bytes = vram_bytes;
    const tests::Answer part = gpu_answer(options);
    const engine::LogitsComparison all = tests::compare(whole, part, golden.n_vocabulary);
    CHECK(all.largest_kl < 1e-3);
    CHECK(all.n_same_choice == all.n_positions);
    const auto model = engine::Model::open(tests::fixture_path(kModel), options);
    CHECK(model->device_memory().device_bytes <= vram_bytes);
    CHECK(model->device_memory().host_bytes > 0);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("VRAM that ends at any moment is no error") {
  tests::fresh_gpu();
  const tests::Answer whole = gpu_answer(tests::options_for(DeviceKind::Cuda));
  for (uint64_t nth = 1; nth < 200; nth += nth < 20 ? 1 : 13) {
    CAPTURE(nth);
    tests::fresh_gpu();
    simt::inject_fault({simt::FaultPoint::Malloc, nth, 2, 1000000});
    CHECK(gpu_answer(tests::options_for(DeviceKind::Cuda)).logits == whole.logits);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("where nobody asks, GPU and CPU share what VRAM does not hold if that is faster, or the CPU says why not") {
  const tests::Golden golden = tests::read_golden(kModel);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(6);
  const auto cpu = tests::answer(tests::fixture_path(kModel), tests::options_for(DeviceKind::Cpu), tokens, 3, 2);
  struct Case {
    const char* name;
    uint64_t vram_bytes;           // 0: all
    double vram_bytes_per_second;  // of the card
    engine::ActivationPrecision precision;
    bool is_on_gpu, is_shared;
    const char* why;
  };
  constexpr auto kInt8 = engine::ActivationPrecision::Int8;
  const uint64_t part = tests::vram_without(tests::fixture_path(kModel), 0.5);
  for (const Case& c :
       {Case{"room for all", 0, 800e9, kInt8, true, false, ""}, Case{"for a part", part, 800e9, kInt8, true, true, ""},
        Case{"not for the caches", uint64_t{200} << 10, 800e9, kInt8, false, false, "no room for attention"},
        Case{"a slow card", part, 1e6, kInt8, false, false, "not faster, by the plan"},
        Case{"a slow card that holds all", 0, 1e6, kInt8, true, false, ""},
        Case{"floats", 0, 800e9, engine::ActivationPrecision::Float32, false, false, "float32"}}) {
    CAPTURE(std::string(c.name));
    simt::GpuOptions gpu;
    gpu.devices[0].device_bytes_per_second = c.vram_bytes_per_second;
    tests::fresh_gpu(gpu);
    engine::ModelOptions options = tests::options_for(DeviceKind::Automatic);
    options.machine = tests::small_machine();
    options.vram_bytes = c.vram_bytes;
    options.activations = c.precision;
    const auto model = engine::Model::open(tests::fixture_path(kModel), options);
    CAPTURE(std::string(model->why_no_gpu()));
    CHECK(model->is_on_gpu() == c.is_on_gpu);
    CHECK((model->forward_context().host != nullptr) == c.is_shared);
    CHECK(model->why_no_gpu().empty() == c.is_on_gpu);
    CHECK(std::string(model->why_no_gpu()).find(c.why) != std::string::npos);
    CHECK(model->why_no_gpu().find('\n') == std::string_view::npos);
    if (!c.is_on_gpu) continue;
    CHECK(model->device_memory().host_bytes == 0);
    engine::Session session(model, options.session);
    tests::check_same(cpu, tests::answer(session, tokens, 3, 2), golden.n_vocabulary);
  }
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("a machine that nobody described is measured before the choice") {
  engine::ModelOptions options = tests::options_for(DeviceKind::Automatic);
  options.vram_bytes = tests::vram_without(tests::fixture_path(kModel), 0.5);
  tests::fresh_gpu();
  const auto model = engine::Model::open(tests::fixture_path(kModel), options);
  CHECK(model->machine().ram_bytes_per_second > 0);
  CHECK(model->is_on_gpu() == model->why_no_gpu().empty());
}

TEST_CASE("a GPU that fails gives a sentence, and the next session works") {
  using simt::FaultPoint;
  for (const FaultPoint point : {FaultPoint::HostAlloc, FaultPoint::Copy, FaultPoint::Launch, FaultPoint::StreamCreate,
                                 FaultPoint::GraphInstantiate}) {
    for (const uint64_t nth : {uint64_t{1}, uint64_t{2}, uint64_t{7}, uint64_t{60}}) {
      CAPTURE(static_cast<int>(point));
      CAPTURE(nth);
      tests::fresh_gpu();
      simt::inject_fault({point, nth, 999, 1});
      try {
        gpu_answer(tests::options_for(DeviceKind::Cuda));
      } catch (const engine::Error& error) {
        CHECK(error.kind() == engine::Error::Kind::Device);
        CHECK(std::string(error.what()).find("--device cpu") != std::string::npos);
      }
    }
  }
  tests::fresh_gpu();
  CHECK(!gpu_answer(tests::options_for(DeviceKind::Cuda)).logits.empty());
  simt::report_leaks();
  CHECK(simt::take_findings() == std::vector<std::string>());
}

TEST_CASE("a session whose pass failed gives the same logits when it is asked again") {
  using simt::FaultPoint;
  const tests::Golden golden = tests::read_golden(kModel);
  const std::span<const int32_t> tokens = std::span(golden.tokens).first(5);
  const auto options = tests::options_for(DeviceKind::Cuda);
  std::vector<float> expected;
  {
    tests::fresh_gpu();
    engine::Session whole(engine::Model::open(tests::fixture_path(kModel), options), options.session);
    whole.append(tokens);
    expected.assign(whole.logits().begin(), whole.logits().end());
  }
  for (const FaultPoint point : {FaultPoint::Copy, FaultPoint::Launch})
    for (const uint64_t nth : {uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{20}}) {
      CAPTURE(static_cast<int>(point));
      CAPTURE(nth);
      tests::fresh_gpu();  // without the fault of the round before, if nothing met it
      engine::Session session(engine::Model::open(tests::fixture_path(kModel), options), options.session);
      simt::inject_fault({point, nth, 999, 1});
      if (point == FaultPoint::Launch || nth < 4) CHECK_THROWS_AS(session.append(tokens), engine::Error);
      if (session.tokens().empty()) session.append(tokens);
      CHECK(std::ranges::equal(session.logits(), expected));
    }
}

TEST_CASE("graphs that cannot be made are done without") {
  tests::fresh_gpu();
  const tests::Answer whole = gpu_answer(tests::options_for(DeviceKind::Cuda));
  tests::fresh_gpu();
  simt::inject_fault({simt::FaultPoint::GraphInstantiate, 1, 2, 1000000});
  CHECK(gpu_answer(tests::options_for(DeviceKind::Cuda)).logits == whole.logits);
}

TEST_CASE("a missing, old or blind driver is told apart, and asking for the GPU is then an error of the device") {
  struct Case {
    simt::Driver driver;
    const char* why;
  };
  for (const Case& c : {Case{simt::Driver::Missing, "there is no NVIDIA driver"}, Case{simt::Driver::TooOld, "too old"},
                        Case{simt::Driver::NoDevice, "sees no GPU"}}) {
    simt::GpuOptions options;
    options.driver = c.driver;
    tests::fresh_gpu(options);
    const engine::CudaGpu gpu = engine::find_cuda_gpu();
    CHECK(!gpu.is_usable);
    CHECK_MESSAGE(gpu.why_not.find(c.why) != std::string::npos, gpu.why_not);
    const auto model = engine::Model::open(tests::fixture_path(kModel), tests::options_for(DeviceKind::Automatic));
    CHECK(!model->is_on_gpu());
    CHECK(model->why_no_gpu() == gpu.why_not);
    try {
      engine::Model::open(tests::fixture_path(kModel), tests::options_for(DeviceKind::Cuda));
      FAIL("it opened");
    } catch (const engine::Error& error) {
      CHECK(error.kind() == engine::Error::Kind::Device);
      CHECK(std::string(error.what()).find(gpu.why_not) != std::string::npos);
    }
  }
  simt::GpuOptions old_gpu;
  old_gpu.devices[0].major = 7;
  old_gpu.devices[0].minor = 0;
  tests::fresh_gpu(old_gpu);
  CHECK(engine::find_cuda_gpu().why_not.find("compute capability 7.0") != std::string::npos);
}
