// What the writer writes, the reader reads.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "tests/gguf/test_folder.h"

namespace sluice::gguf::testing {

template <class Made, class Read>
static void check_same_elements(const Made& made, const Read& read) {
  REQUIRE(made.size() == read.size());
  for (size_t i = 0; i < made.size(); ++i) CHECK(made[i] == read[i]);
}

static void check_same(const Array& made, const Array& read) {
  CHECK(made.element_type == read.element_type);
  CHECK(made.size() == read.size());
  check_same_elements(made.unsigned_values, read.unsigned_values);
  check_same_elements(made.signed_values, read.signed_values);
  check_same_elements(made.float_values, read.float_values);
  check_same_elements(made.strings, read.strings);
  REQUIRE(made.arrays.size() == read.arrays.size());
  for (size_t i = 0; i < made.arrays.size(); ++i) check_same(made.arrays[i], read.arrays[i]);
}

static void check_same(const Value& made, const Value& read) {
  CHECK(made.type == read.type);
  REQUIRE(made.data.index() == read.data.index());
  if (made.type == ValueType::Array)
    check_same(*std::get<std::shared_ptr<const Array>>(made.data), *std::get<std::shared_ptr<const Array>>(read.data));
  else
    CHECK((made.data == read.data));
}

static Array unsigned_array(ValueType type, std::vector<uint64_t> values) {
  Array array;
  array.element_type = type;
  array.unsigned_values = std::move(values);
  return array;
}

static Array signed_array(ValueType type, std::vector<int64_t> values) {
  Array array;
  array.element_type = type;
  array.signed_values = std::move(values);
  return array;
}

static Array float_array(ValueType type, std::vector<double> values) {
  Array array;
  array.element_type = type;
  array.float_values = std::move(values);
  return array;
}

static Array string_array(std::vector<std::string> values) {
  Array array;
  array.element_type = ValueType::String;
  array.strings = std::move(values);
  return array;
}

static Array array_of_arrays(std::vector<Array> values) {
  Array array;
  array.element_type = ValueType::Array;
  array.arrays = std::move(values);
  return array;
}

template <class T>
static constexpr int64_t kLowest = std::numeric_limits<T>::min();
template <class T>
static constexpr int64_t kHighest = std::numeric_limits<T>::max();

TEST_CASE("Every type of metadata value comes back as it was written") {
  std::vector<Value> values = {
      make_unsigned(ValueType::Uint8, 255),
      make_unsigned(ValueType::Uint16, 65535),
      make_unsigned(ValueType::Uint32, 4294967295),
      make_unsigned(ValueType::Uint64, std::numeric_limits<uint64_t>::max()),
      make_signed(ValueType::Int8, -128),
      make_signed(ValueType::Int16, -32768),
      make_signed(ValueType::Int32, kLowest<int32_t>),
      make_signed(ValueType::Int64, kLowest<int64_t>),
      make_signed(ValueType::Int64, -1),
      make_float32(1e-45f),
      make_float32(-INFINITY),
      {ValueType::Float64, 0.1},
      make_bool(true),
      make_bool(false),
      make_string(""),
      make_string(std::string("a\0b", 3)),
      make_string(std::string(1 << 20, 'x')),
      make_array(unsigned_array(ValueType::Uint8, {0, 255})),
      make_array(unsigned_array(ValueType::Uint16, {0, 65535})),
      make_array(unsigned_array(ValueType::Uint32, {0, 4294967295})),
      make_array(unsigned_array(ValueType::Uint64, {0, std::numeric_limits<uint64_t>::max()})),
      make_array(unsigned_array(ValueType::Bool, {0, 1, 1})),
      make_array(signed_array(ValueType::Int8, {-128, 127})),
      make_array(signed_array(ValueType::Int16, {-32768, 32767})),
      make_array(signed_array(ValueType::Int32, {kLowest<int32_t>, kHighest<int32_t>})),
      make_array(signed_array(ValueType::Int64, {kLowest<int64_t>, kHighest<int64_t>})),
      make_array(float_array(ValueType::Float32, {0.5, -0.25})),
      make_array(float_array(ValueType::Float64, {0.1, 1e300})),
      make_array(string_array({"", "one", std::string(300000, 'y')})),
      make_array(string_array({})),
      make_array(array_of_arrays({unsigned_array(ValueType::Uint8, {1}), string_array({"a", "b"}),
                                  array_of_arrays({array_of_arrays({}), float_array(ValueType::Float32, {2})})})),
      make_int32_array({-1, 2}),
      make_uint32_array({1, 2}),
      make_float32_array({1.5f}),
      make_string_array({"x"}),
  };
  std::vector<uint64_t> many(100001);
  std::iota(many.begin(), many.end(), uint64_t{0});
  values.push_back(make_array(unsigned_array(ValueType::Uint32, many)));

  TestFolder folder;
  Writer writer;
  for (size_t i = 0; i < values.size(); ++i) writer.metadata().add("key." + std::to_string(i), values[i]);
  writer.write(folder / "all.gguf");

  for (Mapping mapping : {Mapping::Map, Mapping::DirectoryOnly}) {
    File file = File::open(folder / "all.gguf", mapping);
    CHECK(file.version() == 3);
    CHECK(file.alignment() == 32);
    CHECK(file.tensors().empty());
    const auto& entries = file.metadata().entries();
    REQUIRE(entries.size() == values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      CAPTURE(i);
      CHECK(entries[i].key == "key." + std::to_string(i));
      check_same(values[i], entries[i].value);
    }
  }
}

TEST_CASE("Every tensor type comes back with its name, shape, size and data, in one to four dimensions") {
  TestFolder folder;
  for (uint64_t alignment : {8, 32, 4096}) {
    CAPTURE(alignment);
    Writer writer;
    writer.metadata().add("general.alignment", make_uint32(static_cast<uint32_t>(alignment)));
    std::vector<std::string> contents;
    contents.reserve(all_type_layouts().size());
    uint64_t n = 0;
    for (const TypeLayout& layout : all_type_layouts()) {
      std::vector<uint64_t> dims = {3 * uint64_t{layout.block_values}, 5, 2, 3};
      dims.resize(1 + n++ % 4);
      uint64_t n_rows =
          (dims.size() > 1 ? dims[1] : 1) * (dims.size() > 2 ? dims[2] : 1) * (dims.size() > 3 ? dims[3] : 1);
      contents.emplace_back(3 * layout.block_bytes * n_rows, static_cast<char>('a' + n));
      writer.add_tensor("tensor." + std::string(layout.name), layout.type, dims,
                        [text = std::string_view(contents.back())] { return as_bytes(text); });
    }
    writer.write(folder / "types.gguf");

    File file = File::open(folder / "types.gguf");
    CHECK(file.alignment() == alignment);
    REQUIRE(file.shards().size() == 1);
    CHECK(file.shards()[0].file_bytes == std::filesystem::file_size(folder / "types.gguf"));
    CHECK(file.shards()[0].data_offset % alignment == 0);
    REQUIRE(file.tensors().size() == all_type_layouts().size());
    std::string whole = read_file(folder / "types.gguf");
    File unmapped = File::open(folder / "types.gguf", Mapping::DirectoryOnly);
    for (size_t i = 0; i < contents.size(); ++i) {
      const TypeLayout& layout = all_type_layouts()[i];
      CAPTURE(layout.name);
      const Tensor& tensor = file.tensors()[i];
      CHECK(tensor.name == "tensor." + std::string(layout.name));
      CHECK(file.find_tensor(tensor.name) == &tensor);
      CHECK(tensor.type == layout.type);
      CHECK(tensor.n_dims == 1 + i % 4);
      CHECK(tensor.dims[0] == 3 * layout.block_values);
      CHECK(tensor.dims[1] == (tensor.n_dims > 1 ? 5 : 1));
      CHECK(tensor.dims[2] == (tensor.n_dims > 2 ? 2 : 1));
      CHECK(tensor.dims[3] == (tensor.n_dims > 3 ? 3 : 1));
      CHECK(tensor.n_values == tensor.dims[0] * tensor.n_rows());
      CHECK(tensor.row_bytes == 3 * layout.block_bytes);
      CHECK(tensor.bytes == contents[i].size());
      CHECK(tensor.file_offset % alignment == 0);
      REQUIRE(tensor.data != nullptr);
      CHECK(std::memcmp(tensor.data, contents[i].data(), tensor.bytes) == 0);
      CHECK(whole.compare(tensor.file_offset, tensor.bytes, contents[i]) == 0);
      CHECK(unmapped.tensors()[i].data == nullptr);
      CHECK(unmapped.tensors()[i].file_offset == tensor.file_offset);
    }
    CHECK(file.find_tensor("tensor.") == nullptr);
  }
}

TEST_CASE("A File that was moved keeps its tensors") {
  TestFolder folder;
  Writer writer;
  writer.add_tensor("t", TensorType::F32, {4}, [] { return as_bytes("0123456789abcdef"); });
  writer.write(folder / "a.gguf");
  writer.write(folder / "b.gguf");
  File first = File::open(folder / "a.gguf");
  File second = std::move(first);
  File third = File::open(folder / "b.gguf");
  third = std::move(second);
  REQUIRE(third.find_tensor("t") != nullptr);
  CHECK(std::memcmp(third.find_tensor("t")->data, "0123456789abcdef", 16) == 0);
}

}  // namespace sluice::gguf::testing
