// The getters never hand out a misread number.
#include <doctest/doctest.h>

#include <limits>

#include "gguf/error.h"
#include "gguf/metadata.h"
#include "tests/gguf/raw_gguf.h"
#include "tests/gguf/test_folder.h"

namespace sluice::gguf::testing {

static constexpr uint64_t kLargestSigned = std::numeric_limits<int64_t>::max();

TEST_CASE("An absent key gives nothing") {
  Metadata metadata;
  CHECK(!metadata.contains("a"));
  CHECK(metadata.find("a") == nullptr);
  CHECK(!metadata.get_unsigned("a"));
  CHECK(!metadata.get_signed("a"));
  CHECK(!metadata.get_float("a"));
  CHECK(!metadata.get_bool("a"));
  CHECK(!metadata.get_string("a"));
  CHECK(metadata.get_array("a") == nullptr);
  CHECK(metadata.get_strings("a") == nullptr);
}

TEST_CASE("Integers are accepted where the number fits") {
  Metadata metadata;
  metadata.add("unsigned", make_unsigned(ValueType::Uint8, 200));
  metadata.add("signed", make_signed(ValueType::Int32, 7));
  metadata.add("negative", make_signed(ValueType::Int16, -7));
  metadata.add("largest signed", make_unsigned(ValueType::Uint64, kLargestSigned));
  metadata.add("beyond signed", make_unsigned(ValueType::Uint64, kLargestSigned + 1));

  CHECK(metadata.get_unsigned("unsigned") == 200);
  CHECK(metadata.get_signed("unsigned") == 200);
  CHECK(metadata.get_unsigned("signed") == 7);
  CHECK(metadata.get_signed("negative") == -7);
  CHECK(metadata.get_signed("largest signed") == std::numeric_limits<int64_t>::max());
  CHECK(metadata.get_unsigned("beyond signed") == kLargestSigned + 1);
  CHECK_THROWS_WITH_AS(metadata.get_unsigned("negative"), doctest::Contains("is -7, but a number not below zero"),
                       Error);
  CHECK_THROWS_WITH_AS(metadata.get_signed("beyond signed"), doctest::Contains("is 9223372036854775808, but"), Error);
}

TEST_CASE("A getter refuses every other type by name") {
  const std::vector<std::pair<std::string, Value>> values = {
      {"integer", make_uint32(1)},  {"float", make_float32(1.5f)},    {"bool", make_bool(true)},
      {"string", make_string("1")}, {"array", make_int32_array({1})}, {"strings", make_string_array({"1"})},
  };
  Metadata metadata;
  for (const auto& [key, value] : values) metadata.add(key, value);

  auto accepted = [&](auto getter) {
    std::string keys;
    for (const auto& [key, value] : values) {
      try {
        getter(key);
        keys += key + " ";
      } catch (const Error& error) {
        CHECK(std::string(error.what()).starts_with("The metadata key '" + key + "' "));
        CHECK(std::string(error.what()).find(" was expected.") != std::string::npos);
      }
    }
    return keys;
  };
  CHECK(accepted([&](auto& key) { return metadata.get_unsigned(key); }) == "integer ");
  CHECK(accepted([&](auto& key) { return metadata.get_signed(key); }) == "integer ");
  CHECK(accepted([&](auto& key) { return metadata.get_float(key); }) == "integer float ");
  CHECK(accepted([&](auto& key) { return metadata.get_bool(key); }) == "bool ");
  CHECK(accepted([&](auto& key) { return metadata.get_string(key); }) == "string ");
  CHECK(accepted([&](auto& key) { return metadata.get_array(key); }) == "array strings ");
  CHECK(accepted([&](auto& key) { return metadata.get_strings(key); }) == "strings ");
  CHECK(metadata.get_float("integer") == 1.0);
  CHECK(metadata.get_string("string") == "1");
  CHECK(metadata.get_strings("strings")->at(0) == "1");
  CHECK(metadata.get_array("array")->signed_values.at(0) == 1);
}

TEST_CASE("A getter's message begins with the path of the file") {
  TestFolder folder;
  write_file(folder / "m.gguf", RawGguf(0, 1).key("general.name", ValueType::String).string("x"));
  File file = File::open(folder / "m.gguf");
  CHECK_THROWS_WITH_AS(
      file.metadata().get_unsigned("general.name"),
      doctest::Contains(
          ((folder / "m.gguf").string() + ": The metadata key 'general.name' has the type string").c_str()),
      Error);
}

TEST_CASE("Keys keep their order, add refuses a second one, and set replaces in place") {
  Metadata metadata;
  metadata.add("z", make_uint32(1));
  metadata.add("a", make_uint32(2));
  CHECK_THROWS_AS(metadata.add("z", make_uint32(3)), Error);
  CHECK(metadata.get_unsigned("z") == 1);
  metadata.set("z", make_uint32(4));
  metadata.set("m", make_uint32(5));
  REQUIRE(metadata.entries().size() == 3);
  CHECK(metadata.entries()[0].key == "z");
  CHECK(metadata.entries()[1].key == "a");
  CHECK(metadata.entries()[2].key == "m");
  CHECK(metadata.get_unsigned("z") == 4);
}

TEST_CASE("A number that does not fit its type cannot be made") {
  CHECK_THROWS_AS(make_unsigned(ValueType::Uint8, 256), Error);
  CHECK_THROWS_AS(make_unsigned(ValueType::Uint16, 65536), Error);
  CHECK_THROWS_AS(make_unsigned(ValueType::Uint32, uint64_t{1} << 32), Error);
  CHECK_THROWS_AS(make_unsigned(ValueType::Int32, 1), Error);
  CHECK_THROWS_AS(make_unsigned(ValueType::Bool, 1), Error);
  CHECK_THROWS_AS(make_signed(ValueType::Int8, 128), Error);
  CHECK_THROWS_AS(make_signed(ValueType::Int16, -32769), Error);
  CHECK_THROWS_AS(make_signed(ValueType::Int32, int64_t{1} << 31), Error);
  CHECK_THROWS_AS(make_signed(ValueType::Uint8, 1), Error);
}

TEST_CASE("A value whose parts disagree is found out") {
  Array wrong_place;
  wrong_place.element_type = ValueType::Uint8;
  wrong_place.strings = {"a"};
  Array too_large;
  too_large.element_type = ValueType::Uint8;
  too_large.unsigned_values = {256};
  Array deep;
  for (int i = 0; i < 4; ++i) {
    Array outer;
    outer.element_type = ValueType::Array;
    outer.arrays = {deep};
    deep = outer;
  }
  for (const Array& array : {wrong_place, too_large, deep}) CHECK_THROWS_AS(make_array(array), Error);
  CHECK(find_fault({ValueType::Float32, uint64_t{1}}) != "");
  CHECK(find_fault({ValueType::Uint32, 1.0}) != "");
  CHECK(find_fault({ValueType::String, true}) != "");
  CHECK(find_fault({ValueType::Array, std::string("x")}) != "");
  CHECK(find_fault({ValueType::Array, std::shared_ptr<const Array>()}) != "");
  CHECK(find_fault({ValueType::Bool, true}) == "");
}

}  // namespace sluice::gguf::testing
