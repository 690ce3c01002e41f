// The values of options, read from text.

#include "tools/flags.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "tools/exit_codes.h"

using namespace sluice;

TEST_CASE("a size is a number of bytes, or has a unit of 1024s") {
  constexpr uint64_t kMi = uint64_t{1} << 20, kGi = uint64_t{1} << 30;
  const struct {
    const char* text;
    uint64_t bytes;
  } rows[] = {
      {"1", 1},
      {"2147483648", 2 * kGi},
      {"9007199254740993", 9007199254740993},
      {"9223372036854775807", 9223372036854775807},
      {"2G", 2 * kGi},
      {"2g", 2 * kGi},
      {"2GB", 2 * kGi},
      {"2GiB", 2 * kGi},
      {"2gib", 2 * kGi},
      {"2 GiB", 2 * kGi},
      {"1.5G", 3 * kGi / 2},
      {".5G", kGi / 2},
      {"512M", 512 * kMi},
      {"64k", 65536},
      {"100B", 100},
      {"1.3", 1},
      {"0.001K", 1},
      {"1T", 1024 * kGi},
      {"7E", uint64_t{7} << 60},
  };
  for (const auto& row : rows) {
    CAPTURE(std::string(row.text));
    CHECK(tools::parse_bytes("--ram", row.text) == row.bytes);
  }
}

TEST_CASE("what is no size is refused with a sentence that names the option, the text and examples") {
  for (const char* text : {"",       " ",
                           "0",      "0G",
                           "0.1",    "-1",
                           "-2G",    "+2G",
                           "G",      "GiB",
                           "2X",     "2GG",
                           "2GiBs",  "2iB",
                           "2  G",   "2G ",
                           " 2G",    "1,5G",
                           "1.5.5G", "1e9",
                           "0x10",   "inf",
                           "nan",    "infG",
                           "9E",     "99999999999999999999999",
                           "1e400",  "2G\n",
                           "half"}) {
    CAPTURE(std::string(text));
    std::string sentence;
    try {
      tools::parse_bytes("--ram", text);
    } catch (const tools::UsageError& error) {
      sentence = error.what();
    }
    const std::string shown = text == std::string("2G\n") ? "2G\\n" : text;
    CHECK(sentence.find("--ram cannot be '" + shown + "'; expected a size") == 0);
    CHECK(sentence.find("give for example 2147483648, 512M or 1.5G") != std::string::npos);
  }
}

TEST_CASE("lists of sizes and numbers have commas between, and each part is checked") {
  CHECK(tools::parse_sizes("--vram", "20G,8G") == std::vector<uint64_t>{uint64_t{20} << 30, uint64_t{8} << 30});
  CHECK(tools::parse_sizes("--vram", "512M") == std::vector<uint64_t>{uint64_t{512} << 20});
  CHECK(tools::parse_integers("--gpus", "2,0,11", 0, 1000) == std::vector<int64_t>{2, 0, 11});
  for (const char* text : {"", ",", "1,", ",1", "1,,2", "1, 2", "x", "-1", "1001"}) {
    CAPTURE(std::string(text));
    CHECK_THROWS_AS(tools::parse_integers("--gpus", text, 0, 1000), tools::UsageError);
  }
  for (const char* text : {"", "8G,", "8G,0", "8G,,8G"}) {
    CAPTURE(std::string(text));
    CHECK_THROWS_AS(tools::parse_sizes("--vram", text), tools::UsageError);
  }
}
