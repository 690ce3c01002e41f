// A long context on the GPU: it goes on with what the CPU has read, and finds what stands at its begin.
#include "tests/engine/needle.h"

#include "tests/cuda_device/fixture.h"

using namespace sluice;
using engine::DeviceKind;

TEST_CASE("the GPU finds a name at the begin of a context that the CPU has read, whichever holds the experts") {
  const auto path = std::filesystem::path(SLUICE_SOURCE_DIR) / "models/tiny-tales.gguf";
  struct Row {
    uint64_t vram_bytes;  // 0: all that there is
    engine::CacheType cache;
  };
  for (const Row& row : {Row{0, engine::CacheType::F16}, Row{uint64_t{6} << 20, engine::CacheType::Q8_0}}) {
    CAPTURE(row.vram_bytes);
    tests::fresh_gpu();
    engine::ModelOptions options = tests::options_for(DeviceKind::Cpu, row.cache);
    options.session.n_context = 512;
    const auto cpu = engine::Model::open(path, options);
    options.device = DeviceKind::Cuda;
    options.vram_bytes = row.vram_bytes;
    const auto gpu = engine::Model::open(path, options);
    const tests::NeedleResult result = tests::find_needles(
        cpu, options.session, {.n_tokens = 500, .n_names = 4, .question = " One day,", .asked = gpu});
    MESSAGE(result.n_tokens << " tokens: " << result.n_found << " of " << result.n_names << ", gain " << result.gain);
    CHECK(result.n_found == 4);
  }
}
