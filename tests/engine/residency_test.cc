// Weights in another form than the file's: the same logits to the bit, and memory that says so.

#include <doctest/doctest.h>

#include <vector>

#include "engine/device/cpu_device.h"
#include "engine/model/weights.h"
#include "engine/placement/memory.h"
#include "engine/placement/residency.h"
#include "kernels/cpu/dispatch.h"
#include "tests/engine/fixtures.h"

using namespace sluice;
using engine::Residency;

namespace {

std::vector<float> logits_with(Residency residency, uint32_t n_threads, uint64_t& resident_bytes) {
  engine::ModelOptions options;
  options.residency = residency;
  options.n_threads = n_threads;
  uint64_t last_done = 0, last_total = 0;
  options.on_progress = [&](uint64_t done, uint64_t total) {
    CHECK(done >= last_done);
    CHECK(done <= total);
    last_done = done;
    last_total = total;
  };
  const auto model = tests::open_fixture("deepseek2-r1-ud", options);
  CHECK(last_done == last_total);  // the bar ends full
  resident_bytes = model->resident_bytes();
  engine::SessionOptions session_options;
  session_options.n_context = 64;
  engine::Session session(model, session_options);
  const auto tokens = tests::read_golden("deepseek2-r1-ud").tokens;
  auto logits = tests::logits_of_every_position(session, tokens);
  session.truncate(0);
  session.append(tokens);  // and all at once
  logits.insert(logits.end(), session.logits().begin(), session.logits().end());
  return logits;
}

}  // namespace

TEST_CASE("resident forms change no bit of the logits, for one thread and several") {
  uint64_t of_file = 0, of_fast = 0, of_auto = 0;
  const auto file = logits_with(Residency::File, 1, of_file);
  CHECK(of_file == 0);
  CHECK(logits_with(Residency::Fast, 3, of_fast) == file);
  CHECK(logits_with(Residency::Automatic, 2, of_auto) == file);
  // The experts of this file are IQ1_S in part, whose other form is larger than a copy.
  CHECK(of_auto > 0);
  if (kernels::chosen_isa() == kernels::Isa::Reference)
    CHECK(of_fast == of_auto);
  else
    CHECK(of_fast >= of_auto);
}

TEST_CASE("weights take forms as far as the memory to spare holds what those are larger, dense ones first") {
  engine::ModelOptions options;
  options.residency = Residency::File;
  const auto model = tests::open_fixture("deepseek2-r1-ud", options);
  const auto device = engine::make_cpu_device(2, false, true);
  const auto stream = device->make_stream();
  constexpr uint64_t kSome = 10'000;
  uint64_t before = 0;
  for (const uint64_t spare_bytes : {uint64_t{0}, kSome, uint64_t{1} << 40}) {
    engine::ModelWeights weights = engine::bind_weights(model->file(), model->spec());
    uint64_t last = 0, of_all = 0;
    const auto forms = engine::choose_forms(weights, engine::offers_of(*device), Residency::Fast, spare_bytes);
    const auto resident = engine::make_resident(*device, *stream, forms,
                                                [&](uint64_t done, uint64_t total) { last = done, of_all = total; });
    const uint64_t rounding = 64 * resident.moved.size();
    CHECK(resident.bytes <= resident.file_bytes + spare_bytes + rounding);
    CHECK(resident.bytes >= before);
    CHECK(last == of_all);
    CHECK(last == resident.file_bytes);
    CHECK(weights.token_embedding.place == engine::Place::MappedFile);
    before = resident.bytes;
    if (spare_bytes != kSome || kernels::chosen_isa() == kernels::Isa::Reference) continue;
    // Not all fits: something has taken a larger form, and the experts of the last layer have been copied as they are.
    CHECK(resident.bytes > resident.file_bytes + rounding);
    const auto& experts = std::get<engine::ExpertsWeights>(weights.layers.back().ffn);
    CHECK(experts.down.first.place == engine::Place::Buffer);
    CHECK(experts.down.first.form == nullptr);
  }
}

TEST_CASE("forgotten pages of a mapped file can be read again") {
  const auto model = tests::open_fixture("llama-q8_0");
  const auto& tensor = model->file().tensors()[0];
  const std::vector<std::byte> before(tensor.data, tensor.data + tensor.bytes);
  engine::forget_pages(tensor.data, tensor.bytes);
  engine::forget_pages(tensor.data, 1);  // no whole page: nothing
  CHECK(std::equal(before.begin(), before.end(), tensor.data));
}
