// The whole program on real files: hostile ones, the fixtures, and the model that comes with it.

#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/gguf/hostile_files.h"
#include "tests/tools/program.h"

using sluice::test::call;
using sluice::test::call_with;
using sluice::test::Outcome;

namespace {

const std::string kModels = SLUICE_TEST_DATA "/models/";

}  // namespace

TEST_CASE("every hostile file is refused with its message and exit status 3") {
  const auto folder = std::filesystem::temp_directory_path() / "sluice-program-hostile";
  size_t n_files = 0;
  for (const auto& hostile : sluice::gguf::testing::hostile_files()) {
    const auto path = sluice::gguf::testing::write_hostile_file(folder, hostile);
    const Outcome outcome = call({"run", path.string(), "-p", "x"});
    CAPTURE(hostile.name);
    CHECK(outcome.exit_code == 3);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.starts_with("error: "));
    CHECK_MESSAGE(outcome.err.find(hostile.message) != std::string::npos, outcome.err);
    ++n_files;
  }
  CHECK(n_files >= 40);
  std::filesystem::remove_all(folder);
}

TEST_CASE("run completes a prompt with every kind of model, the same for the same seed and any number of threads") {
  for (const char* name : {"llama", "llama-mixtral", "deepseek2-v2-lite", "deepseek2-v3-split", "deepseek2-v3-q8_0"}) {
    CAPTURE(std::string(name));
    const std::string model = kModels + name + ".gguf";
    const auto text = [&](const char* threads, const char* seed, const char* more = "--ignore-eos") {
      const Outcome outcome = call({"run", model, "-p", "hello", "-n", "12", "--ignore-eos", "-s", seed, "-t", threads,
                                    "--json", "-c", "64", more});
      REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
      const auto report = nlohmann::json::parse(outcome.out);
      CHECK(report["generated_tokens"] == 12);
      CHECK(report["stop"] == "length");
      CHECK(report["rss_bytes"].get<uint64_t>() > 0);
      return report["text"].get<std::string>();
    };
    const std::string one = text("1", "3");
    CHECK(one == text("2", "3"));
    CHECK(one == text("3", "3", "--pin"));
    CHECK(one != text("2", "4"));
  }
}

TEST_CASE("bench measures what it is asked to, in three forms") {
  const std::string model = kModels + "llama.gguf";
  const Outcome json = call({"bench", model, "-p", "8", "-n", "4", "-r", "2", "-t", "1", "-o", "json"});
  REQUIRE_MESSAGE(json.exit_code == 0, json.err);
  const auto rows = nlohmann::json::parse(json.out);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["n_prompt"] == 8);
  CHECK(rows[0]["n_gen"] == 0);
  CHECK(rows[1]["n_gen"] == 4);
  CHECK(rows[1]["n_runs"] == 2);
  CHECK(rows[1]["n_threads"] == 1);
  for (const auto& row : rows) {
    CHECK(row["avg_ts"].get<double>() > 0);
    CHECK(row["stddev_ts"].get<double>() >= 0);
  }
  CHECK(call({"bench", model, "-p", "0", "-n", "4", "-r", "1"}).out.find("| tg 4 |") != std::string::npos);
  CHECK(call({"bench", model, "-p", "8", "-n", "0", "-r", "1", "-o", "csv"}).out.starts_with("model_bytes,n_threads,"));
  const Outcome deep = call({"bench", model, "-p", "4", "-n", "2", "-r", "3", "-t", "1", "-d", "40,0,7", "-o", "json"});
  REQUIRE_MESSAGE(deep.exit_code == 0,
                  deep.err);  // the context is for 44 tokens, so each run begins behind the same ones
  const auto deep_rows = nlohmann::json::parse(deep.out);
  REQUIRE(deep_rows.size() == 6);
  for (size_t i = 0; i < 6; ++i) CHECK(deep_rows[i]["depth"] == std::vector{0, 0, 7, 7, 40, 40}[i]);
  CHECK(call({"bench", model, "-p", "0", "-n", "2", "-r", "1", "-d", "5"}).out.find("| tg 2 @ 5 |") !=
        std::string::npos);
  CHECK(call({"bench", model, "-d", "5,x"}).exit_code == 2);
  CHECK(call({"bench", model, "-d", ""}).exit_code == 2);
  CHECK(call({"bench", model, "-p", "0", "-n", "0"}).exit_code == 2);
  CHECK(call({"bench", model, "-r", "0"}).exit_code == 2);
}

TEST_CASE("logits compare equal with what was written, differ by precision, and damaged files of them are refused") {
  const auto folder = std::filesystem::temp_directory_path() / "sluice-program-logits";
  std::filesystem::create_directories(folder);
  const std::string file = (folder / "a.logits").string(), model = kModels + "deepseek2-v3-q8_0.gguf";
  // Latent attention of one fixed form, so that a prompt at once and token by token have the same bits.
  REQUIRE(call({"logits", model, "-p", "the cat sat", "-o", file, "-q", "--mla", "absorbed"}).exit_code == 0);
  const auto compare = [&](const std::string& precision) {
    const Outcome outcome = call({"logits", model, "--against", file, "--json", "-q", "-b", "1", "--mla", "absorbed",
                                  "--activations", precision});
    REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    return nlohmann::json::parse(outcome.out);
  };
  const auto same = compare("int8"), other = compare("f32");
  CHECK(same["positions"].get<int>() > 0);
  CHECK(same["equal_positions"] == same["positions"]);
  CHECK(same["mean_kl"] == 0.0);
  CHECK(other["mean_kl"] > 0.0);
  CHECK(other["largest_difference"] > 0.0);

  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  const Outcome cut = call({"logits", model, "--against", file, "-q"});
  CHECK(cut.exit_code == 2);
  CHECK(cut.err.find("the logits of --against cannot be used; found ") != std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST_CASE(
    "deferral is compared where GPU and CPU share experts, and asked for elsewhere it is a usage error that says so") {
  const std::string model = kModels + "qwen3moe.gguf";
  const Outcome alone = call({"logits", model, "-p", "the cat sat", "--compare-deferral", "--device", "cpu", "-q"});
  CHECK(alone.exit_code == 2);
  CHECK(alone.out.empty());
  CHECK(alone.err.find("Nothing is deferred here") != std::string::npos);
  const Outcome both =
      call({"logits", model, "-p", "the cat sat", "--compare-deferral", "--against", "a.logits", "-q"});
  CHECK(both.exit_code == 2);
  CHECK(both.err.find("--compare-deferral") != std::string::npos);
}

TEST_CASE("a prompt longer than the context is a usage error and says both lengths") {
  const Outcome outcome = call({"run", kModels + "llama.gguf", "-p", std::string(200, 'x'), "-c", "16"});
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.err.find("the context holds 16") != std::string::npos);
}

TEST_CASE("a GPU that is asked for and is not there is an error of the device, with its reason") {
  const Outcome outcome = call({"run", "--device", "cuda", "-n", "3"});  // ./test hides GPUs from this program
  CHECK(outcome.exit_code == 5);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.find("There is no GPU to use: ") != std::string::npos);
  const Outcome on_cpu = call({"run", "-n", "3"});
  CHECK(on_cpu.exit_code == 0);
  CHECK(on_cpu.err.find("threads; no GPU: ") != std::string::npos);
  CHECK(call({"run", "--device", "cpu", "-n", "3"}).err.find("no GPU") == std::string::npos);
}

TEST_CASE("the model that comes with the program tells a story") {
  const Outcome outcome = call({"run", "-s", "1", "-n", "60"});
  REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  CHECK(outcome.out.starts_with("Once upon a time"));
  CHECK(outcome.out.size() > 120);
  // It has learnt words: nothing but letters, spaces and ordinary punctuation.
  CHECK(outcome.out.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,!?;:'\"-\n0123456789") ==
        std::string::npos);
  CHECK(outcome.out == call({"run", "-s", "1", "-n", "60", "-t", "1"}).out);
}

TEST_CASE(
    "a model that is read from the disk as it is needed writes the same text, and the report says where it came from") {
  for (const char* name : {"llama-mixtral", "deepseek2-v3"}) {
    const std::string model = kModels + name + ".gguf";
    const auto report = [&](std::vector<std::string> more) {
      std::vector<std::string> words = {"run", model, "-p",     "hello",     "-n", "12", "--ignore-eos", "-s", "1",
                                        "-c",  "64",  "--json", "--no-heat", "-b", "16"};
      words.insert(words.end(), more.begin(), more.end());
      const Outcome outcome = call(words);
      REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
      return nlohmann::json::parse(outcome.out);
    };
    const auto mapped = report({"--store", "mapped"});
    CHECK(!mapped["decode"].contains("store"));
    for (const std::string io : {"auto", "pread"}) {
      for (const std::string policy : {"hybrid", "lru"}) {
        const auto disk = report({"--store", "disk", "--ram", "512M", "--io", io, "--policy", policy});
        CHECK(disk["text"] == mapped["text"]);
        CHECK(disk["ram_budget_bytes"] == 512 << 20);
        CHECK(disk["decode"]["store"]["policy"] == policy);
        CHECK(disk["prefill"]["disk"]["bytes"].get<uint64_t>() > 0);
        CHECK(disk["prefill"]["experts"]["misses"].get<uint64_t>() > 0);
        CHECK(disk["rss_bytes"].get<uint64_t>() < 512 << 20);
      }
    }
  }
}

TEST_CASE("a budget that holds no model is refused with exit status 4, and one that is no size with 2") {
  const std::string model = kModels + "deepseek2-v3.gguf";
  const Outcome small = call({"run", model, "-p", "x", "--ram", "2M"});
  CHECK(small.exit_code == 4);
  CHECK_MESSAGE(small.err.find("needs at least") != std::string::npos, small.err);
  CHECK(call({"run", model, "-p", "x", "--ram", "much"}).exit_code == 2);
  CHECK(call({"run", model, "-p", "x", "--store", "tape"}).exit_code == 2);
}

TEST_CASE("what a run learned of a model's experts is kept for the next one, and only where the cache is") {
  const auto cache = std::filesystem::temp_directory_path() / "sluice-program-cache";
  std::filesystem::remove_all(cache);
  const auto n_files = [&] {
    size_t n = 0;
    if (std::filesystem::exists(cache))
      for (const auto& entry : std::filesystem::recursive_directory_iterator(cache))
        n += entry.is_regular_file() ? 1 : 0;
    return n;
  };
  const std::vector<std::string> words = {
      "run", kModels + "llama-mixtral.gguf", "-p", "hello", "-n", "4", "-s", "1", "--store", "disk", "--ram", "512M",
      "-q"};
  std::vector<std::string> without = words;
  without.push_back("--no-heat");
  const auto call_there = [&](const std::vector<std::string>& arguments) {
    return call_with({arguments, "", {{"XDG_CACHE_HOME", cache.string()}}, {}, ""});
  };
  CHECK(call_there(without).exit_code == 0);
  CHECK(n_files() == 0);
  const Outcome first = call_there(words), second = call_there(words);
  CHECK(first.exit_code == 0);
  CHECK(second.out == first.out);
  CHECK(n_files() == 1);
  std::filesystem::remove_all(cache);
}
