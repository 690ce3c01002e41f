#include "tests/arrows/arrows.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace fs = std::filesystem;
using namespace sluice::arrows;

static bool is_source(const fs::path& path) {
  static constexpr std::array kEndings = {".h", ".cc", ".c", ".cu", ".cuh", ".inc"};
  return std::ranges::find(kEndings, path.extension().string()) != kEndings.end();
}

// Paths from the root of all sources in the rooms that have rules.
static std::vector<std::string> all_sources() {
  const fs::path root = SLUICE_SOURCE_DIR;
  std::vector<std::string> paths;
  for (const fs::directory_entry& room : fs::directory_iterator(root)) {
    const std::string name = room.path().filename().string();
    if (!room.is_directory() || name.starts_with(".") || name == "build") continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(room.path()))
      if (entry.is_regular_file() && is_source(entry.path()))
        paths.push_back(fs::relative(entry.path(), root).generic_string());
  }
  std::ranges::sort(paths);
  return paths;
}

static std::string read_all(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_CASE("every include of the repository points the right way and the libraries keep quiet") {
  const std::vector<std::string> paths = all_sources();
  REQUIRE(paths.size() > 10);
  for (const std::string& path : paths)
    for (const std::string& breach : check_source(house_rules(), path, read_all(fs::path(SLUICE_SOURCE_DIR) / path)))
      FAIL_CHECK(breach);
}

TEST_CASE("every exception names a file that is there and needs it") {
  for (const Exception& exception : house_rules().exceptions) {
    CAPTURE(exception.path);
    CHECK_FALSE(exception.reason.empty());
    const std::string text = read_all(fs::path(SLUICE_SOURCE_DIR) / exception.path);
    Rules strict = house_rules();
    strict.exceptions.clear();
    CHECK_FALSE(check_source(strict, exception.path, text).empty());
  }
}

TEST_CASE("the rules tell right arrows from wrong ones") {
  struct Row {
    const char* path;
    const char* target;
    bool allowed;
  };
  static constexpr Row kRows[] = {
      {"gguf/file.cc", "gguf/file.h", true},
      {"gguf/file.cc", "kernels/cpu/gemv.h", false},
      {"gguf/file.cc", "engine/error.h", false},
      {"tokenizer/bpe.cc", "gguf/metadata.h", true},
      {"tokenizer/bpe.cc", "kernels/cpu/gemv.h", false},
      {"kernels/cpu/gemv.cc", "gguf/tensor_type.h", true},
      {"kernels/cpu/gemv.cc", "engine/engine.h", false},
      {"kernels/cpu/gemv.cc", "tokenizer/tokenizer.h", false},
      {"engine/model/spec.h", "gguf/file.h", true},
      {"engine/model/weights.h", "engine/device/linear.h", true},
      {"engine/model/spec.h", "engine/device/device.h", false},
      {"engine/model/spec.h", "engine/forward/forward.h", false},
      {"engine/device/device.h", "engine/session/sampler.h", false},
      {"engine/device/device.h", "engine/forward/forward.h", false},
      {"engine/device/device.h", "engine/engine.h", false},
      {"engine/store/store.h", "engine/device/device.h", true},
      {"engine/store/store.h", "engine/model/weights.h", true},
      {"engine/store/store.h", "engine/session/sampler.h", false},
      {"engine/store/store.h", "engine/forward/forward.h", false},
      {"engine/forward/moe.cc", "engine/store/store.h", true},
      {"engine/forward/moe.cc", "engine/session/state.h", false},
      {"engine/forward/moe.cc", "tokenizer/tokenizer.h", false},
      {"engine/session/session.cc", "engine/forward/forward.h", true},
      {"engine/session/session.cc", "tools/run.h", false},
      {"engine/session/session.cc", "engine/capi/boundary.h", false},
      {"engine/placement/plan.cc", "engine/model/spec.h", true},
      {"engine/placement/plan.cc", "engine/forward/forward.h", false},
      {"engine/engine.cc", "tokenizer/tokenizer.h", true},
      {"engine/engine.cc", "include/sluice.h", false},
      {"engine/capi/capi.cc", "include/sluice.h", true},
      {"engine/capi/capi.cc", "engine/forward/forward.h", false},
      {"tools/run.cc", "engine/engine.h", true},
      {"tools/run.cc", "bench/report.h", false},
      {"tests/engine/model_test.cc", "engine/model/spec.h", true},
      {"tests/engine/model_test.cc", "model_test.h", false},  // not from the root
      {"tests/engine/model_test.cc", "../main.h", false},
      {"tests/engine/model_test.cc", "tests/../gguf/file.h", false},
      {"include/sluice.h", "engine/engine.h", false},
      {"examples/generate.c", "gguf/file.h", false},
      {"attic/old.cc", "gguf/file.h", false},  // a room without a rule
  };
  for (const Row& row : kRows) {
    CAPTURE(row.path);
    CAPTURE(row.target);
    const std::string text = "#pragma once\n#include <vector>\n  # include \"" + std::string(row.target) + "\"\n";
    const std::vector<std::string> breaches = check_source(house_rules(), row.path, text);
    CHECK(breaches.empty() == row.allowed);
    if (!row.allowed) {
      REQUIRE(breaches.size() == 1);
      CHECK(breaches[0].starts_with(std::string(row.path) + ":3: "));
    }
  }
}

TEST_CASE("a library that prints or ends the process is reported, a program is not") {
  static constexpr const char* kWrong[] = {
      "#include <iostream>\n",
      "#  include <print>\n",
      "void f() { std::cerr << 1; }\n",
      "void f() { printf (\"x\"); }\n",
      "void f() { std::fprintf(stderr, \"x\"); }\n",
      "void f() { std::exit(1); }\n",
      "void f() { abort(); }\n",
      "void f() { assert(1 == 1); }\n",
      "int quote = '\"'; void f() { abort(); }  // \"\n",
      "int n = 1'000; void f() { abort(); } int m = 1'0;\n",
  };
  for (const char* text : kWrong) {
    CAPTURE(text);
    for (const char* path : {"gguf/a.cc", "tokenizer/a.cc", "kernels/cpu/a.cc", "engine/session/a.cc"})
      CHECK(check_source(house_rules(), path, text).size() >= 1);
    CHECK(check_source(house_rules(), "tools/a.cc", text).empty());
  }
  static constexpr const char* kRight[] = {
      "// never calls exit() or abort(); see <iostream>\n",  "/* printf(\n abort() */ int x;\n",
      "const char* s = \"call exit(1) or \\\" abort()\";\n", "const char* s = R\"x(abort() \" exit(1))x\"; int y;\n",
      "void f() { std::snprintf(buffer, size, \"x\"); }\n",  "static_assert(sizeof(int) == 4);\n",
      "void f() { on_exit_cleanup(); my_abort(); }\n",
  };
  for (const char* text : kRight) {
    CAPTURE(text);
    CHECK(check_source(house_rules(), "engine/session/a.cc", text).empty());
  }
}

TEST_CASE("an include in a comment is no include, and an exception is honoured for its file only") {
  CHECK(check_source(house_rules(), "gguf/a.cc", "// #include \"engine/engine.h\"\n").empty());
  CHECK(check_source(house_rules(), "gguf/a.cc", "/*\n#include \"engine/engine.h\"\n*/\n").empty());

  Rules rules = house_rules();
  rules.exceptions.push_back({"gguf/a.cc", rules.bans[0].pattern, "made up"});
  CHECK(check_source(rules, "gguf/a.cc", "#include <iostream>\n").empty());
  CHECK_FALSE(check_source(rules, "gguf/b.cc", "#include <iostream>\n").empty());
}
