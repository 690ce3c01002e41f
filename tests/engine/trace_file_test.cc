// Traces as files: what is written is read back, whatever was cut off, and what is damaged is refused.

#include <doctest/doctest.h>

#include <fstream>
#include <functional>
#include <iterator>

#include "engine/error.h"
#include "engine/traces/byte_order.h"
#include "engine/traces/made_up_routing.h"
#include "engine/traces/trace_file.h"
#include "tests/scratch_folder.h"

using namespace sluice;
using namespace sluice::engine::traces;

namespace {

const TraceHeader kHeader{"a model", "deepseek2", 5, {1, 2, 4}, 6, 2};

Pass pass_at(uint32_t first_position, uint32_t n_rows) {
  Pass pass{first_position, {}, {}, {}};
  for (uint32_t row = 0; row < n_rows; ++row) {
    pass.tokens.push_back(static_cast<int32_t>(100 * first_position + row));
    for (uint32_t layer = 0; layer < 3; ++layer) {
      const auto first = static_cast<uint16_t>((row + layer + first_position) % 6);
      pass.expert_ids.insert(pass.expert_ids.end(), {first, static_cast<uint16_t>((first + 4) % 6)});
      pass.weights.insert(pass.weights.end(), {1.5f, 0.25f + static_cast<float>(row)});
    }
  }
  return pass;
}

const std::vector<Pass> kPasses = {pass_at(0, 3), pass_at(3, 1), pass_at(4, 1), pass_at(0, 2)};

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::filesystem::path& path, const TraceHeader& header, const std::vector<Pass>& passes) {
  TraceWriter writer(path);
  writer.begin(header);
  for (const Pass& pass : passes) writer.add(pass);
  CHECK(writer.bytes() == std::filesystem::file_size(path));
}

// The sentence with which the bytes are refused as a trace; empty when they are none.
std::string refusal_of(const tests::ScratchFolder& folder, std::string_view bytes) {
  try {
    read_trace(folder.write("other", bytes));
  } catch (const engine::Error& error) {
    CHECK(error.kind() == engine::Error::Kind::BadFile);
    return error.what();
  }
  return {};
}

size_t n_tokens(const std::vector<Pass>& passes) {
  size_t n = 0;
  for (const Pass& pass : passes) n += pass.n_rows();
  return n;
}

// The beginning of the passes, so many tokens long.
std::vector<Pass> first_tokens(size_t n) {
  std::vector<Pass> cut;
  for (const Pass& pass : kPasses) {
    const size_t rows = std::min(n, pass.n_rows());
    if (rows == 0) break;
    cut.push_back(pass);
    cut.back().tokens.resize(rows);
    cut.back().expert_ids.resize(rows * kHeader.n_choices());
    cut.back().weights.resize(rows * kHeader.n_choices());
    n -= rows;
  }
  return cut;
}

template <class T>
void set(std::string& bytes, size_t at, T number) {
  std::vector<std::byte> raw;
  put(raw, number);
  std::memcpy(bytes.data() + at, raw.data(), raw.size());
}

std::span<const std::byte> raw(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

constexpr size_t kHeadBytes = 40 + 3 * 4 + 7 + 9 + 8;  // of kHeader
constexpr size_t kTokenBytes = 16 + 6 * 4;

}  // namespace

TEST_CASE("a trace is read back as it was written") {
  const tests::ScratchFolder folder;
  write(folder / "t", kHeader, kPasses);
  const Trace trace = read_trace(folder / "t");
  CHECK(trace.header == kHeader);
  CHECK(trace.passes == kPasses);
  CHECK(trace.cut_bytes == 0);
  CHECK(std::filesystem::file_size(folder / "t") == kHeadBytes + 7 * kTokenBytes);

  // Over a longer one, and without a token.
  write(folder / "t", kHeader, {});
  CHECK(read_trace(folder / "t").passes.empty());
  CHECK(read_trace(folder / "t").header == kHeader);
}

TEST_CASE("weights are kept as f16, the largest ones as its largest") {
  const tests::ScratchFolder folder;
  Pass pass = pass_at(0, 1);
  pass.weights = {0.1f, -0.1f, 70000, -1e30f, 0, 1e-9f};
  write(folder / "t", kHeader, {pass});
  const std::vector<float> weights = read_trace(folder / "t").passes.at(0).weights;
  CHECK(weights[0] == doctest::Approx(0.1).epsilon(0.0005));
  CHECK(weights[1] == doctest::Approx(-0.1).epsilon(0.0005));
  CHECK(std::vector(weights.begin() + 2, weights.end()) == std::vector<float>{65504, -65504, 0, 0});
}

TEST_CASE("a trace of the largest number of experts is read back") {
  const tests::ScratchFolder folder;
  RoutingRecipe recipe;
  recipe.n_layers = 2;
  recipe.n_experts = kMostExperts;
  MadeUpRouting routing(recipe);
  const Pass pass = routing.next(3);
  write(folder / "t", routing.header(), {pass});
  CHECK(read_trace(folder / "t").passes.at(0).expert_ids == pass.expert_ids);
}

TEST_CASE("a trace that was cut anywhere reads back up to its last whole token") {
  const tests::ScratchFolder folder;
  write(folder / "t", kHeader, kPasses);
  const std::string whole = bytes_of(folder / "t");
  for (size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    if (n < kHeadBytes) {
      CHECK(refusal_of(folder, whole.substr(0, n)) != "");
      continue;
    }
    const Trace trace = read_trace(folder.write("cut", whole.substr(0, n)));
    CHECK(trace.passes == first_tokens((n - kHeadBytes) / kTokenBytes));
    CHECK(trace.cut_bytes == (n - kHeadBytes) % kTokenBytes);
  }
}

TEST_CASE("a trace is on the disk while its run goes on") {
  const tests::ScratchFolder folder;
  TraceWriter writer(folder / "t");
  writer.begin(kHeader);
  CHECK(read_trace(folder / "t").passes.empty());
  writer.add(kPasses[0]);
  CHECK(read_trace(folder / "t").passes == std::vector<Pass>{kPasses[0]});
}

TEST_CASE("a byte that changed is noticed wherever it is") {
  const tests::ScratchFolder folder;
  write(folder / "t", kHeader, kPasses);
  const std::string whole = bytes_of(folder / "t");
  for (size_t at = 0; at < whole.size(); ++at)
    for (const char bit : {'\x01', '\x80'}) {
      CAPTURE(at);
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ bit);
      CHECK(refusal_of(folder, damaged) != "");
    }
}

TEST_CASE("what cannot be is refused even where the check sums are right") {
  const tests::ScratchFolder folder;
  write(folder / "t", kHeader, kPasses);
  const std::string whole = bytes_of(folder / "t");
  const auto with_head = [&](size_t at, uint32_t number) {
    std::string bytes = whole;
    set(bytes, at, number);
    set(bytes, kHeadBytes - 8, check_sum(raw(bytes).first(kHeadBytes - 8)));
    return refusal_of(folder, bytes);
  };
  const auto contains = [](const std::string& text, const char* part) {
    CAPTURE(text);
    CHECK(text.find(part) != std::string::npos);
  };
  contains(with_head(8, 0xFFFFFFFF), "its head is damaged");  // header_bytes
  contains(with_head(12, 4), "not below 4");                  // n_layers
  contains(with_head(12, 65537), "at most 65536 are allowed");
  contains(with_head(16, 0xFFFFFFFF), "its head is damaged");   // n_expert_layers
  contains(with_head(20, 65537), "at most 65536 are allowed");  // n_experts
  contains(with_head(20, 1), "uses 2 of 1 experts");
  contains(with_head(24, 0), "uses 0 of 6 experts");  // n_used
  contains(with_head(28, 2), "in a form that this program does not know");
  contains(with_head(32, 4097), "its head is damaged");  // name_bytes
  contains(with_head(36, 0xFFFFFFF0), "its head is damaged");
  contains(with_head(40, 2), "not ascending");  // expert_layers

  std::string many = whole;
  set(many, 20, uint32_t{65536});
  set(many, 24, uint32_t{65536});
  many.replace(16, 4, std::string("\x00\x00\x01\x00", 4));
  CHECK(refusal_of(folder, many) != "");

  const auto with_token = [&](size_t token, const std::function<void(std::string&, size_t)>& change) {
    std::string bytes = whole;
    const size_t at = kHeadBytes + token * kTokenBytes;
    change(bytes, at);
    const auto record = raw(bytes).subspan(at, kTokenBytes);
    set(bytes, at + 12, short_check_sum(record.first(12)) ^ short_check_sum(record.subspan(16)));
    return refusal_of(folder, bytes);
  };
  CHECK(with_token(1, [](std::string&, size_t) {}) == "");
  contains(with_token(1, [](std::string& b, size_t at) { set(b, at, int32_t{-1}); }), "its id is negative");
  contains(with_token(1, [](std::string& b, size_t at) { set(b, at + 4, uint32_t{9}); }), "does not follow");
  contains(with_token(1, [](std::string& b, size_t at) { set(b, at + 8, uint32_t{2}); }), "does not follow");
  contains(with_token(0, [](std::string& b, size_t at) { set(b, at + 8, uint32_t{1}); }), "does not follow");
  contains(with_token(1,
                      [](std::string& b, size_t at) {  // a row is missing
                        set(b, at + 4, uint32_t{2});
                        set(b, at + 8, uint32_t{2});
                      }),
           "does not follow");
  contains(with_token(2, [](std::string& b, size_t at) { set(b, at + 16, uint16_t{6}); }), "does not exist");
  contains(with_token(2, [](std::string& b, size_t at) { std::memcpy(&b[at + 18], &b[at + 16], 2); }), "twice");
  contains(with_token(3, [](std::string& b, size_t at) { set(b, at + 16 + 12, uint16_t{0x7C00}); }),
           "not a finite number");
}

TEST_CASE("files that are no traces are refused with a sentence") {
  const tests::ScratchFolder folder;
  CHECK(refusal_of(folder, "").find("shorter than the head of a trace") != std::string::npos);
  CHECK(refusal_of(folder, std::string(1000, 'x')).find("does not begin like a trace") != std::string::npos);
  CHECK(refusal_of(folder, "SLTRACE2" + std::string(1000, 'x')).find("another version") != std::string::npos);
  CHECK_THROWS_WITH_AS(TraceReader(folder / "none"), doctest::Contains("cannot be opened: No such file"),
                       engine::Error);
  CHECK_THROWS_WITH_AS(TraceReader(folder.path()), doctest::Contains("it is a folder"), engine::Error);
}

TEST_CASE("a path is tried before the run, and what lies there stays until the trace begins") {
  const tests::ScratchFolder folder;
  CHECK_THROWS_WITH_AS(TraceWriter(folder / "no folder/t"), doctest::Contains("No such file or directory"),
                       engine::Error);
  CHECK_THROWS_WITH_AS(TraceWriter(folder.path()), doctest::Contains("Is a directory"), engine::Error);
  { const TraceWriter never_began(folder / "new"); }
  CHECK_FALSE(std::filesystem::exists(folder / "new"));
  folder.write("old", "precious");
  { const TraceWriter never_began(folder / "old"); }
  CHECK(bytes_of(folder / "old") == "precious");
  TraceWriter writer(folder / "old");
  CHECK_THROWS_AS(writer.begin({"", "", 3, {}, 4, 2}), engine::Error);
  CHECK(bytes_of(folder / "old") == "precious");
}

TEST_CASE("a disk that is full is an error with a sentence") {
  if (!std::filesystem::exists("/dev/full")) return;
  TraceWriter writer("/dev/full");
  CHECK_THROWS_WITH_AS(writer.begin(kHeader), doctest::Contains("No space left on device"), engine::Error);
}

TEST_CASE("long names are cut, not refused") {
  const tests::ScratchFolder folder;
  TraceHeader header = kHeader;
  header.model_name = std::string(5000, 'n');
  write(folder / "t", header, kPasses);
  CHECK(read_trace(folder / "t").header.model_name == std::string(4096, 'n'));
  CHECK(n_tokens(read_trace(folder / "t").passes) == 7);
}
