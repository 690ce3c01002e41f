// Thousands of damaged files made from one sound one by a seeded generator: each must open or throw gguf::Error.
#include <doctest/doctest.h>

#include <random>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "tests/gguf/memory_file.h"
#include "tests/gguf/test_folder.h"

namespace sluice::gguf::testing {

static std::string sound_file(const TestFolder& folder) {
  Writer writer;
  Metadata& metadata = writer.metadata();
  metadata.add("general.architecture", make_string("llama"));
  metadata.add("general.alignment", make_uint32(32));
  metadata.add("a.bool", make_bool(true));
  metadata.add("a.float", make_float32(1.5f));
  metadata.add("a.long", make_signed(ValueType::Int64, -5));
  metadata.add("tokens", make_string_array({"<s>", "a", "bc"}));
  metadata.add("types", make_int32_array({1, 2, 3}));
  Array inner;
  inner.element_type = ValueType::Uint8;
  inner.unsigned_values = {1, 2, 3};
  Array outer;
  outer.element_type = ValueType::Array;
  outer.arrays = {inner, inner};
  metadata.add("nested", make_array(outer));
  metadata.add("split.count", make_unsigned(ValueType::Uint16, 1));
  writer.add_tensor("w", TensorType::F32, {4, 2}, [] { return as_bytes("0123456789abcdef0123456789abcdef"); });
  writer.add_tensor("q", TensorType::Q8_0, {32}, [] { return as_bytes("0123456789abcdef0123456789abcdef01"); });
  writer.write(folder / "sound.gguf");
  return read_file(folder / "sound.gguf");
}

// Bytes that sit at the edges of what lengths and counts may be.
static void damage(std::string& bytes, std::mt19937& random) {
  auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  switch (below(5)) {
    case 0:
      bytes[below(bytes.size())] ^= static_cast<char>(1 << below(8));
      break;
    case 1:
      bytes[below(bytes.size())] = static_cast<char>(random());
      break;
    case 2:
      bytes.resize(1 + below(bytes.size()));
      break;
    case 3: {
      constexpr uint64_t kEdges[] = {0, 1, 0x7fffffff, 0xffffffff, uint64_t{1} << 33, ~uint64_t{0}, ~uint64_t{0} >> 1};
      uint64_t edge = kEdges[below(std::size(kEdges))];
      for (size_t i = 0, at = below(bytes.size()); i < 8 && at + i < bytes.size(); ++i)
        bytes[at + i] = static_cast<char>(edge >> (8 * i));
      break;
    }
    case 4: {
      size_t from = below(bytes.size());
      bytes.erase(from, std::min<size_t>(1 + below(16), bytes.size() - 1));
      break;
    }
  }
}

// Touches everything a File hands out.
static uint64_t use(const File& file) {
  uint64_t sum = 0;
  for (const Tensor& tensor : file.tensors())
    for (uint64_t i = 0; i < tensor.bytes; ++i) sum += static_cast<uint64_t>(tensor.data[i]);
  for (const auto& [key, value] : file.metadata().entries()) {
    CHECK(find_fault(value) == "");
    CHECK(file.metadata().find(key) == &value);
  }
  return sum;
}

TEST_CASE("A damaged file opens or throws gguf::Error, and never anything worse") {
  TestFolder folder;
  const std::string sound = sound_file(folder);
  MemoryFile damaged;
  std::mt19937 random(20);
  int n_opened = 0;
  int n_refused = 0;
  uint64_t sum = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string bytes = sound;
    for (int hits = static_cast<int>(random() % 3); hits >= 0; --hits) damage(bytes, random);
    damaged.assign(bytes);
    try {
      sum += use(File::open(damaged.path()));
      ++n_opened;
    } catch (const Error& error) {
      CHECK(std::string_view(error.what()).ends_with("."));
      ++n_refused;
    }
  }
  CHECK(n_opened > 100);
  CHECK(n_refused > 1000);
  CHECK(sum > 0);
}

TEST_CASE("A sound file cut off at any byte is refused, until only the padding at its end is missing") {
  TestFolder folder;
  const std::string sound = sound_file(folder);
  File file = File::open(folder / "sound.gguf");
  const Tensor& last = file.tensors().back();
  MemoryFile cut;
  for (size_t bytes = 0; bytes <= sound.size(); ++bytes) {
    CAPTURE(bytes);
    cut.assign(sound.substr(0, bytes));
    CHECK(refusal_of(cut.path()).empty() == (bytes >= last.file_offset + last.bytes));
  }
}

}  // namespace sluice::gguf::testing
