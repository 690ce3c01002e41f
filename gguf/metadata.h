// The key-value part of a GGUF file.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sluice::gguf {

enum class ValueType : uint32_t {
  Uint8 = 0,
  Int8 = 1,
  Uint16 = 2,
  Int16 = 3,
  Uint32 = 4,
  Int32 = 5,
  Float32 = 6,
  Bool = 7,
  String = 8,
  Array = 9,
  Uint64 = 10,
  Int64 = 11,
  Float64 = 12,
};

// "uint8", "string" ...; "unknown" for a number that is no type.
std::string_view value_type_name(ValueType type);

struct Array;

// One value. Integers keep their sign class but not their width (`type` remembers it for the writer); floats are held
// as double, which holds every float exactly.
struct Value {
  ValueType type = ValueType::Uint32;
  std::variant<uint64_t, int64_t, double, bool, std::string, std::shared_ptr<const Array>> data = uint64_t{0};
};

// An array keeps its elements in the one vector that fits its element type: unsigned integers and bools in
// `unsigned_values`, signed integers in `signed_values`, floats in `float_values`, strings in `strings`, arrays in
// `arrays`.
struct Array {
  ValueType element_type = ValueType::Uint32;
  std::vector<uint64_t> unsigned_values;
  std::vector<int64_t> signed_values;
  std::vector<double> float_values;
  std::vector<std::string> strings;
  std::vector<Array> arrays;

  uint64_t size() const;
};

// Keys in file order with typed getters. A getter returns nothing when the key is absent and throws Error when the
// value has another type or does not fit: a model must never run on a misread number.
class Metadata {
 public:
  // Throws Error when the key is already there.
  void add(std::string key, Value value);
  // Adds or replaces.
  void set(std::string key, Value value);

  bool contains(std::string_view key) const;
  const Value* find(std::string_view key) const;

  // Any integer type is accepted where the number fits.
  std::optional<uint64_t> get_unsigned(std::string_view key) const;
  std::optional<int64_t> get_signed(std::string_view key) const;
  // Floats, and integers too.
  std::optional<double> get_float(std::string_view key) const;
  std::optional<bool> get_bool(std::string_view key) const;
  std::optional<std::string_view> get_string(std::string_view key) const;
  const Array* get_array(std::string_view key) const;
  const std::vector<std::string>* get_strings(std::string_view key) const;

  struct Entry {
    std::string key;
    Value value;
  };
  const std::vector<Entry>& entries() const { return entries_; }

  // The path that the messages of Error begin with; none by default.
  void set_source(std::string path) { source_ = std::move(path); }

 private:
  [[noreturn]] void refuse(std::string_view key, const std::string& reason) const;

  std::string source_;
  std::vector<Entry> entries_;
  std::map<std::string, size_t, std::less<>> index_;
};

// Why this value cannot stand in a file (its type and its data disagree, a number does not fit its type, an array holds
// elements of another type or nests too deep), or an empty string when it can.
std::string find_fault(const Value& value);

// Makers for the writer and for tests. make_unsigned and make_signed throw Error when the number does not fit the type.
Value make_unsigned(ValueType type, uint64_t value);
Value make_signed(ValueType type, int64_t value);
Value make_uint32(uint32_t value);
Value make_float32(float value);
Value make_bool(bool value);
Value make_string(std::string value);
Value make_string_array(std::vector<std::string> values);
Value make_int32_array(const std::vector<int32_t>& values);
Value make_uint32_array(const std::vector<uint32_t>& values);
Value make_float32_array(const std::vector<float>& values);
Value make_array(Array array);

}  // namespace sluice::gguf
