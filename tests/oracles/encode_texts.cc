// Prints the token ids of texts, for comparison with other tokenisers.
//
//     encode_texts MODEL.gguf [parse] < TEXTS > IDS
//
// Standard input holds texts, each a line with its length in bytes, then the bytes. For each text one line comes out:
// the ids, with a space before each, then " |" and 1 when decoding them gave the text again, else 0. The time goes to
// standard error.
#include <cstdio>
#include <ctime>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>

#include "gguf/file.h"
#include "tokenizer/tokenizer.h"

using namespace sluice;

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fputs("usage: encode_texts MODEL.gguf [parse] < TEXTS > IDS\n", stderr);
    return 2;
  }
  const auto milliseconds_since = [](std::clock_t begin) {
    return static_cast<double>(std::clock() - begin) * 1e3 / CLOCKS_PER_SEC;
  };
  const bool parse = argc > 2 && std::string_view(argv[2]) == "parse";
  const auto specials = parse ? tokenizer::Specials::Parse : tokenizer::Specials::AsText;
  const gguf::File file = gguf::File::open(argv[1], gguf::Mapping::DirectoryOnly);
  const auto load_begin = std::clock();
  const auto tokenizer = tokenizer::Tokenizer::from_metadata(file.metadata());
  const double load_ms = milliseconds_since(load_begin);

  double encode_ms = 0;
  size_t n_bytes = 0;
  std::string length;
  std::string text;
  while (std::getline(std::cin, length)) {
    text.resize(std::stoull(length));
    std::cin.read(text.data(), static_cast<std::streamsize>(text.size()));
    const auto begin = std::clock();
    const auto ids = tokenizer.encode(text, specials);
    encode_ms += milliseconds_since(begin);
    n_bytes += text.size();
    std::string line;
    for (const auto id : ids) line.append(1, ' ').append(std::to_string(id));
    line += tokenizer.decode(ids, true) == text ? " |1\n" : " |0\n";
    std::cout << line;
  }
  std::fprintf(stderr, "loaded in %.1f ms; encoded %zu bytes in %.1f ms\n", load_ms, n_bytes, encode_ms);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
