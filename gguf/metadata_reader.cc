#include "gguf/metadata_reader.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "gguf/limits.h"
#include "gguf/message.h"

namespace sluice::gguf {

namespace {

// Bytes of one value in the file, the fewest where it varies: a string has at least its length, an array its type and
// count.
uint64_t smallest_bytes(ValueType type) {
  switch (type) {
    case ValueType::Uint8:
    case ValueType::Int8:
    case ValueType::Bool:
      return 1;
    case ValueType::Uint16:
    case ValueType::Int16:
      return 2;
    case ValueType::Uint32:
    case ValueType::Int32:
    case ValueType::Float32:
      return 4;
    case ValueType::Uint64:
    case ValueType::Int64:
    case ValueType::Float64:
    case ValueType::String:
      return 8;
    case ValueType::Array:
      return 12;
  }
  return 1;
}

// Bytes of memory that one element of an array takes, without the text of strings.
uint64_t element_memory(ValueType type) {
  if (type == ValueType::String) return sizeof(std::string);
  if (type == ValueType::Array) return sizeof(Array);
  return sizeof(uint64_t);
}

class MetadataReader {
 public:
  explicit MetadataReader(Reader& reader) : reader_(reader) {}

  Metadata read(uint64_t n_keys) {
    Metadata metadata;
    metadata.set_source(reader_.path().string());
    for (uint64_t i = 0; i < n_keys; ++i) {
      reader_.set_subject(joined("the name of metadata key ", i + 1, " of ", n_keys));
      std::string key = reader_.read_string(std::min(kMaxKeyBytes, memory_left_));
      memory_left_ -= key.size();
      if (key.empty()) fail(reader_.path(), "Metadata key ", i + 1, " of ", n_keys, " has an empty name. ", kFaulty);
      reader_.set_subject(joined("the metadata key ", in_quotes(key)));
      Value value = read_value(read_type());
      metadata.add(std::move(key), std::move(value));
    }
    return metadata;
  }

 private:
  static constexpr const char* kFaulty =
      "The file is damaged or was made by a faulty tool; download or convert it again.";

  ValueType read_type() {
    auto number = reader_.read<uint32_t>();
    if (number > static_cast<uint32_t>(ValueType::Float64))
      fail(reader_.path(), "A value in ", reader_.subject(), " has type ", number,
           ", but the format knows types 0 to 12 only. ", kFaulty);
    return static_cast<ValueType>(number);
  }

  Value read_value(ValueType type) {
    switch (type) {
      case ValueType::Uint8:
        return {type, uint64_t{reader_.read<uint8_t>()}};
      case ValueType::Uint16:
        return {type, uint64_t{reader_.read<uint16_t>()}};
      case ValueType::Uint32:
        return {type, uint64_t{reader_.read<uint32_t>()}};
      case ValueType::Uint64:
        return {type, reader_.read<uint64_t>()};
      case ValueType::Int8:
        return {type, int64_t{reader_.read<int8_t>()}};
      case ValueType::Int16:
        return {type, int64_t{reader_.read<int16_t>()}};
      case ValueType::Int32:
        return {type, int64_t{reader_.read<int32_t>()}};
      case ValueType::Int64:
        return {type, reader_.read<int64_t>()};
      case ValueType::Float32:
        return {type, double{reader_.read<float>()}};
      case ValueType::Float64:
        return {type, reader_.read<double>()};
      case ValueType::Bool:
        return {type, read_bool()};
      case ValueType::String:
        return {type, read_text()};
      case ValueType::Array:
        return {type, std::make_shared<const Array>(read_array(1))};
    }
    return {};
  }

  bool read_bool() {
    auto byte = reader_.read<uint8_t>();
    if (byte > 1)
      fail(reader_.path(), "A bool in ", reader_.subject(), " is ", int{byte}, ", but only 0 and 1 are allowed. ",
           kFaulty);
    return byte == 1;
  }

  std::string read_text() {
    std::string text = reader_.read_string(memory_left_);
    memory_left_ -= text.size();
    return text;
  }

  Array read_array(uint32_t depth) {
    if (depth > kMaxArrayDepth)
      fail(reader_.path(), "Arrays in ", reader_.subject(), " are nested deeper than ", kMaxArrayDepth, " levels. ",
           kFaulty);
    Array array;
    array.element_type = read_type();
    auto n = reader_.read<uint64_t>();
    reader_.require(n, smallest_bytes(array.element_type), "array element");
    take_memory(n, element_memory(array.element_type));
    switch (array.element_type) {
      case ValueType::Uint8:
        read_numbers<uint8_t>(array.unsigned_values, n);
        break;
      case ValueType::Uint16:
        read_numbers<uint16_t>(array.unsigned_values, n);
        break;
      case ValueType::Uint32:
        read_numbers<uint32_t>(array.unsigned_values, n);
        break;
      case ValueType::Uint64:
        read_numbers<uint64_t>(array.unsigned_values, n);
        break;
      case ValueType::Int8:
        read_numbers<int8_t>(array.signed_values, n);
        break;
      case ValueType::Int16:
        read_numbers<int16_t>(array.signed_values, n);
        break;
      case ValueType::Int32:
        read_numbers<int32_t>(array.signed_values, n);
        break;
      case ValueType::Int64:
        read_numbers<int64_t>(array.signed_values, n);
        break;
      case ValueType::Float32:
        read_numbers<float>(array.float_values, n);
        break;
      case ValueType::Float64:
        read_numbers<double>(array.float_values, n);
        break;
      case ValueType::Bool:
        array.unsigned_values.reserve(n);
        for (uint64_t i = 0; i < n; ++i) array.unsigned_values.push_back(read_bool());
        break;
      case ValueType::String:
        array.strings.reserve(n);
        for (uint64_t i = 0; i < n; ++i) array.strings.push_back(read_text());
        break;
      case ValueType::Array:
        array.arrays.reserve(n);
        for (uint64_t i = 0; i < n; ++i) array.arrays.push_back(read_array(depth + 1));
        break;
    }
    return array;
  }

  template <class T, class Element>
  void read_numbers(std::vector<Element>& elements, uint64_t n) {
    elements.reserve(n);
    std::array<T, 1024> chunk;
    while (elements.size() < n) {
      size_t count = std::min<uint64_t>(n - elements.size(), chunk.size());
      reader_.read_bytes(chunk.data(), count * sizeof(T));
      elements.insert(elements.end(), chunk.begin(), chunk.begin() + count);
    }
  }

  void take_memory(uint64_t count, uint64_t bytes_each) {
    std::optional<uint64_t> bytes = checked_multiply(count, bytes_each);
    if (!bytes || *bytes > memory_left_)
      fail(reader_.path(), "The metadata up to ", reader_.subject(), " with its ", counted(count, "array element"),
           " take more than the ", kMaxMetadataMemory >> 20, " MiB of memory that are allowed for metadata. ", kFaulty);
    memory_left_ -= *bytes;
  }

  Reader& reader_;
  uint64_t memory_left_ = kMaxMetadataMemory;
};

}  // namespace

Metadata read_metadata(Reader& reader, uint64_t n_keys) {
  return MetadataReader(reader).read(n_keys);
}

}  // namespace sluice::gguf
