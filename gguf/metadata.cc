#include "gguf/metadata.h"

#include <limits>

#include "gguf/limits.h"
#include "gguf/message.h"

namespace sluice::gguf {

std::string_view value_type_name(ValueType type) {
  switch (type) {
    case ValueType::Uint8:
      return "uint8";
    case ValueType::Int8:
      return "int8";
    case ValueType::Uint16:
      return "uint16";
    case ValueType::Int16:
      return "int16";
    case ValueType::Uint32:
      return "uint32";
    case ValueType::Int32:
      return "int32";
    case ValueType::Float32:
      return "float32";
    case ValueType::Bool:
      return "bool";
    case ValueType::String:
      return "string";
    case ValueType::Array:
      return "array";
    case ValueType::Uint64:
      return "uint64";
    case ValueType::Int64:
      return "int64";
    case ValueType::Float64:
      return "float64";
  }
  return "unknown";
}

uint64_t Array::size() const {
  switch (element_type) {
    case ValueType::Uint8:
    case ValueType::Uint16:
    case ValueType::Uint32:
    case ValueType::Uint64:
    case ValueType::Bool:
      return unsigned_values.size();
    case ValueType::Int8:
    case ValueType::Int16:
    case ValueType::Int32:
    case ValueType::Int64:
      return signed_values.size();
    case ValueType::Float32:
    case ValueType::Float64:
      return float_values.size();
    case ValueType::String:
      return strings.size();
    case ValueType::Array:
      return arrays.size();
  }
  return 0;
}

// --- the list of keys ---

void Metadata::refuse(std::string_view key, const std::string& reason) const {
  std::string sentence = joined("The metadata key ", in_quotes(key), " ", reason);
  if (source_.empty()) throw Error(sentence);
  fail(source_, sentence);
}

void Metadata::add(std::string key, Value value) {
  auto [place, is_new] = index_.try_emplace(key, entries_.size());
  if (!is_new)
    refuse(key, "stands there twice. The file is damaged or was made by a faulty tool; download or convert it again.");
  entries_.push_back({std::move(key), std::move(value)});
}

void Metadata::set(std::string key, Value value) {
  auto [place, is_new] = index_.try_emplace(key, entries_.size());
  if (is_new)
    entries_.push_back({std::move(key), std::move(value)});
  else
    entries_[place->second].value = std::move(value);
}

bool Metadata::contains(std::string_view key) const {
  return find(key) != nullptr;
}

const Value* Metadata::find(std::string_view key) const {
  auto found = index_.find(key);
  return found == index_.end() ? nullptr : &entries_[found->second].value;
}

// --- getters ---

static std::string wrong_type(const Value& value, std::string_view wanted) {
  return joined("has the type ", value_type_name(value.type), ", but ", wanted,
                " was expected. The file is damaged or was made by a faulty tool; download or convert it again.");
}

static std::string out_of_range(const std::string& number, std::string_view wanted) {
  return joined("is ", number, ", but ", wanted,
                " was expected. The file is damaged or was made by a faulty tool; download or convert it again.");
}

std::optional<uint64_t> Metadata::get_unsigned(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* number = std::get_if<uint64_t>(&value->data)) return *number;
  const auto* number = std::get_if<int64_t>(&value->data);
  if (!number) refuse(key, wrong_type(*value, "an integer"));
  if (*number < 0) refuse(key, out_of_range(std::to_string(*number), "a number not below zero"));
  return static_cast<uint64_t>(*number);
}

std::optional<int64_t> Metadata::get_signed(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* number = std::get_if<int64_t>(&value->data)) return *number;
  const auto* number = std::get_if<uint64_t>(&value->data);
  if (!number) refuse(key, wrong_type(*value, "an integer"));
  if (*number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    refuse(key, out_of_range(std::to_string(*number), "a number of 63 bits"));
  return static_cast<int64_t>(*number);
}

std::optional<double> Metadata::get_float(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* number = std::get_if<double>(&value->data)) return *number;
  if (const auto* number = std::get_if<uint64_t>(&value->data)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<int64_t>(&value->data)) return static_cast<double>(*number);
  refuse(key, wrong_type(*value, "a number"));
}

std::optional<bool> Metadata::get_bool(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* truth = std::get_if<bool>(&value->data)) return *truth;
  refuse(key, wrong_type(*value, "a bool"));
}

std::optional<std::string_view> Metadata::get_string(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(&value->data)) return *text;
  refuse(key, wrong_type(*value, "a string"));
}

const Array* Metadata::get_array(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return nullptr;
  if (const auto* array = std::get_if<std::shared_ptr<const Array>>(&value->data)) return array->get();
  refuse(key, wrong_type(*value, "an array"));
}

const std::vector<std::string>* Metadata::get_strings(std::string_view key) const {
  const Array* array = get_array(key);
  if (!array) return nullptr;
  if (array->element_type == ValueType::String) return &array->strings;
  refuse(key,
         joined("is an array of ", value_type_name(array->element_type),
                ", but an array of strings was expected. The file is damaged or was made by a faulty tool; download or "
                "convert it again."));
}

// --- values and makers ---

static bool fits(ValueType type, uint64_t value) {
  switch (type) {
    case ValueType::Uint8:
      return value <= std::numeric_limits<uint8_t>::max();
    case ValueType::Uint16:
      return value <= std::numeric_limits<uint16_t>::max();
    case ValueType::Uint32:
      return value <= std::numeric_limits<uint32_t>::max();
    case ValueType::Uint64:
      return true;
    case ValueType::Bool:
      return value <= 1;
    default:
      return false;
  }
}

template <class T>
static bool within(int64_t value) {
  return value >= std::numeric_limits<T>::min() && value <= std::numeric_limits<T>::max();
}

static bool fits(ValueType type, int64_t value) {
  switch (type) {
    case ValueType::Int8:
      return within<int8_t>(value);
    case ValueType::Int16:
      return within<int16_t>(value);
    case ValueType::Int32:
      return within<int32_t>(value);
    case ValueType::Int64:
      return true;
    default:
      return false;
  }
}

template <class Number>
static std::string misfit(ValueType type, Number value) {
  return joined("the number ", value, " does not fit the type ", value_type_name(type));
}

static std::string find_fault(const Array& array, uint32_t depth) {
  if (depth > kMaxArrayDepth) return joined("arrays are nested deeper than ", kMaxArrayDepth, " levels");
  if (value_type_name(array.element_type) == "unknown") return "an array has an unknown element type";
  size_t all = array.unsigned_values.size() + array.signed_values.size() + array.float_values.size() +
               array.strings.size() + array.arrays.size();
  if (all != array.size())
    return joined("an array of ", value_type_name(array.element_type), " holds elements of another type");
  for (uint64_t value : array.unsigned_values)
    if (!fits(array.element_type, value)) return misfit(array.element_type, value);
  for (int64_t value : array.signed_values)
    if (!fits(array.element_type, value)) return misfit(array.element_type, value);
  for (const Array& inner : array.arrays)
    if (std::string fault = find_fault(inner, depth + 1); !fault.empty()) return fault;
  return {};
}

std::string find_fault(const Value& value) {
  std::string mismatch = joined("its data are not of its type ", value_type_name(value.type));
  if (const auto* number = std::get_if<uint64_t>(&value.data)) {
    return value.type != ValueType::Bool && fits(value.type, *number) ? "" : misfit(value.type, *number);
  }
  if (const auto* number = std::get_if<int64_t>(&value.data)) {
    return fits(value.type, *number) ? "" : misfit(value.type, *number);
  }
  if (std::holds_alternative<double>(value.data))
    return value.type == ValueType::Float32 || value.type == ValueType::Float64 ? "" : mismatch;
  if (std::holds_alternative<bool>(value.data)) return value.type == ValueType::Bool ? "" : mismatch;
  if (std::holds_alternative<std::string>(value.data)) return value.type == ValueType::String ? "" : mismatch;
  const auto& array = std::get<std::shared_ptr<const Array>>(value.data);
  if (value.type != ValueType::Array || !array) return mismatch;
  return find_fault(*array, 1);
}

static Value checked(Value value) {
  if (std::string fault = find_fault(value); !fault.empty())
    throw Error("A metadata value cannot be made: " + fault + ".");
  return value;
}

Value make_unsigned(ValueType type, uint64_t value) {
  return checked({type, value});
}
Value make_signed(ValueType type, int64_t value) {
  return checked({type, value});
}
Value make_uint32(uint32_t value) {
  return {ValueType::Uint32, uint64_t{value}};
}
Value make_float32(float value) {
  return {ValueType::Float32, double{value}};
}
Value make_bool(bool value) {
  return {ValueType::Bool, value};
}
Value make_string(std::string value) {
  return {ValueType::String, std::move(value)};
}

Value make_array(Array array) {
  return checked({ValueType::Array, std::make_shared<const Array>(std::move(array))});
}

Value make_string_array(std::vector<std::string> values) {
  Array array;
  array.element_type = ValueType::String;
  array.strings = std::move(values);
  return make_array(std::move(array));
}

Value make_int32_array(const std::vector<int32_t>& values) {
  Array array;
  array.element_type = ValueType::Int32;
  array.signed_values.assign(values.begin(), values.end());
  return make_array(std::move(array));
}

Value make_uint32_array(const std::vector<uint32_t>& values) {
  Array array;
  array.element_type = ValueType::Uint32;
  array.unsigned_values.assign(values.begin(), values.end());
  return make_array(std::move(array));
}

Value make_float32_array(const std::vector<float>& values) {
  Array array;
  array.element_type = ValueType::Float32;
  array.float_values.assign(values.begin(), values.end());
  return make_array(std::move(array));
}

}  // namespace sluice::gguf
