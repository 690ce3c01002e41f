// Reads the golden files of tests/data/tokenizer: fields, each `KEY LENGTH` on a line, then LENGTH bytes and a line
// break.
#pragma once

#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace golden {

struct Field {
  std::string key;
  std::string value;
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::vector<Field> read_fields(const std::string& path) {
  std::istringstream in(read_file(path));
  std::vector<Field> fields;
  std::string key;
  size_t length = 0;
  while (in >> key >> length) {
    in.get();
    std::string value(length, '\0');
    in.read(value.data(), static_cast<std::streamsize>(length));
    in.get();
    fields.push_back({key, value});
  }
  return fields;
}

inline std::vector<sluice::tokenizer::TokenId> read_ids(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<sluice::tokenizer::TokenId>(in), {}};
}

}  // namespace golden
