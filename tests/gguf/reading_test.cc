// Sound files that the writer does not make, and the tensor types.
#include <doctest/doctest.h>

#include <set>

#include "gguf/file.h"
#include "tests/gguf/raw_gguf.h"
#include "tests/gguf/test_folder.h"

namespace sluice::gguf::testing {

TEST_CASE("Version 2 reads like version 3") {
  TestFolder folder;
  for (uint32_t version : {2, 3}) {
    RawGguf raw(1, 2, version);
    raw.key("general.architecture", ValueType::String).string("llama").key("x", ValueType::Float32).f32(0.5f);
    raw.tensor("w", {8, 2}, TensorType::F32, 0).data(64);
    write_file(folder / "v.gguf", raw);
    File file = File::open(folder / "v.gguf");
    CHECK(file.version() == version);
    CHECK(file.metadata().get_string("general.architecture") == "llama");
    CHECK(file.metadata().get_float("x") == 0.5);
    REQUIRE(file.find_tensor("w") != nullptr);
    CHECK(file.find_tensor("w")->bytes == 64);
    CHECK(static_cast<unsigned>(file.find_tensor("w")->data[1]) == 8);
  }
}

TEST_CASE("A file without keys and tensors opens") {
  TestFolder folder;
  write_file(folder / "bare.gguf", RawGguf(0, 0));
  File file = File::open(folder / "bare.gguf");
  CHECK(file.tensors().empty());
  CHECK(file.metadata().entries().empty());
  CHECK(file.shards()[0].data_offset == 32);
}

TEST_CASE("Tensors may lie in any order with gaps between them, and the last needs no padding") {
  TestFolder folder;
  RawGguf raw(3, 0);
  raw.tensor("late", {3}, TensorType::F32, 256)
      .tensor("early", {5}, TensorType::F32, 0)
      .tensor("middle", {8}, TensorType::F32, 96);
  write_file(folder / "gaps.gguf", raw.data(268));
  File file = File::open(folder / "gaps.gguf");
  REQUIRE(file.tensors().size() == 3);
  CHECK(file.tensors()[0].name == "late");
  CHECK(file.tensors()[0].file_offset == file.shards()[0].data_offset + 256);
  CHECK(file.tensors()[0].file_offset + file.tensors()[0].bytes == file.shards()[0].file_bytes);
}

TEST_CASE("general.alignment of any integer type is obeyed") {
  TestFolder folder;
  write_file(
      folder / "a.gguf",
      RawGguf(1, 1).key("general.alignment", ValueType::Uint64).u64(8).tensor("w", {2}, TensorType::F32, 8).data(64));
  File file = File::open(folder / "a.gguf");
  CHECK(file.alignment() == 8);
  CHECK(file.tensors()[0].file_offset == file.shards()[0].data_offset + 8);
}

TEST_CASE("A link to a file opens") {
  TestFolder folder;
  write_file(folder / "blob", RawGguf(0, 0));
  std::filesystem::create_symlink(folder / "blob", folder / "link.gguf");
  CHECK(refusal_of(folder / "link.gguf") == "");
}

TEST_CASE("Tensor types are found by number and by name in any case") {
  std::set<std::string_view> names;
  uint32_t last = 0;
  for (const TypeLayout& layout : all_type_layouts()) {
    CAPTURE(layout.name);
    auto number = static_cast<uint32_t>(layout.type);
    CHECK((names.empty() || number > last));
    last = number;
    CHECK(names.insert(layout.name).second);
    CHECK(find_type_layout(number) == &layout);
    CHECK(&type_layout(layout.type) == &layout);
    CHECK(type_from_name(layout.name) == layout.type);
    CHECK(layout.block_values > 0);
    CHECK(layout.block_bytes > 0);
    CHECK(withdrawn_type_name(number).empty());
  }
  CHECK(type_from_name("q4_k") == TensorType::Q4_K);
  CHECK(type_from_name("Q4_") == std::nullopt);
  CHECK(type_from_name("") == std::nullopt);
  for (uint32_t number : {4, 5, 31, 32, 33, 36, 37, 38}) {
    CHECK(find_type_layout(number) == nullptr);
    CHECK(!withdrawn_type_name(number).empty());
  }
  CHECK(find_type_layout(0xffffffff) == nullptr);
  CHECK_THROWS_AS(type_layout(static_cast<TensorType>(99)), std::invalid_argument);
}

TEST_CASE("Bits a value follow from the block sizes") {
  struct Case {
    TensorType type;
    double bits;
  };
  for (Case c : {Case{TensorType::Q4_0, 4.5},
                 {TensorType::Q8_0, 8.5},
                 {TensorType::Q4_K, 4.5},
                 {TensorType::Q6_K, 6.5625},
                 {TensorType::IQ1_S, 1.5625},
                 {TensorType::IQ2_XXS, 2.0625},
                 {TensorType::TQ2_0, 2.0625},
                 {TensorType::MXFP4, 4.25},
                 {TensorType::NVFP4, 4.5},
                 {TensorType::Q1_0, 1.125}}) {
    const TypeLayout& layout = type_layout(c.type);
    CAPTURE(layout.name);
    CHECK(8.0 * layout.block_bytes / layout.block_values == c.bits);
  }
}

}  // namespace sluice::gguf::testing
