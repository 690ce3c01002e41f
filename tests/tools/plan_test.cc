// sluice plan, simulate and the files that they read.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tools/program.h"
#include "tests/tools/small_files.h"

using namespace sluice::test;
using nlohmann::json;

static std::string machine_path(const std::string& name) {
  return std::string(SLUICE_ROOT) + "/bench/machines/" + name + ".json";
}

// A sparse file of a published model; made once.
static std::string sparse(const std::string& preset) {
  const std::string path = scratch(preset + ".gguf");
  if (!std::filesystem::exists(path))
    REQUIRE(call({"synth", path, "--preset", preset, "--sparse", "-q"}).exit_code == 0);
  return path;
}

static json plan_json(const std::string& path, const std::string& machine, std::vector<std::string> more = {}) {
  if (std::ranges::find(more, "-c") == more.end()) more.insert(more.end(), {"-c", "4096"});
  more.insert(more.begin(), {"plan", path, "-m", machine, "--json"});
  const Outcome outcome = call(more);
  CHECK_MESSAGE((outcome.exit_code == 0 || outcome.exit_code == 4), outcome.err);
  return json::parse(outcome.out);
}

TEST_CASE("the plan of each published model on each machine is the golden one") {
  std::ifstream file(std::string(SLUICE_ROOT) + "/tests/data/plans.json");
  const json golden = json::parse(file);
  CHECK(golden.size() == 6);
  for (const auto& [model, of_machines] : golden.items()) {
    CHECK(of_machines.size() >= 5);
    for (const auto& [setting, expected] : of_machines.items()) {
      CAPTURE(model);
      CAPTURE(setting);
      // A machine, and options.
      std::istringstream stream(setting);
      const std::vector<std::string> words{std::istream_iterator<std::string>(stream), {}};
      const json plan = plan_json(sparse(model), machine_path(words.front()), {words.begin() + 1, words.end()});
      for (const char* key : {"fits", "vram_used_bytes", "ram_used_bytes", "disk_weight_bytes", "bound"})
        CHECK(plan[key] == expected[key]);
      for (const char* key : {"decode_tok_s", "prefill_tok_s", "disk_bytes_per_token"})
        CHECK(plan[key].get<double>() == doctest::Approx(expected[key].get<double>()).epsilon(1e-3));
      REQUIRE(plan["prompts"].size() == expected["first_token_s"].size());
      for (size_t i = 0; i < plan["prompts"].size(); ++i)
        CHECK(plan["prompts"][i]["seconds"].get<double>() ==
              doctest::Approx(expected["first_token_s"][i].get<double>()).epsilon(1e-3));
    }
    std::filesystem::remove(scratch(model + ".gguf"));
  }
}

TEST_CASE("R1 in 1.58 bits fills the workstation's VRAM and reads no disk") {
  const json plan = plan_json(sparse("r1-ud-iq1s"), machine_path("rtx4090-48g-124g"));
  CHECK(plan["vram_used_bytes"].get<double>() >= 46.0 * (1 << 30));
  CHECK(plan["vram_used_bytes"].get<double>() + plan["vram"]["margin_bytes"].get<double>() <= 48.0 * (1 << 30));
  CHECK(plan["disk_bytes_per_token"] < 1);  // of sums of shares
  CHECK(plan["disk_weight_bytes"] == 0);
  CHECK(plan["hit_tier"] == "vram");
  double before = 0;
  for (const json& row : plan["by_hit_rate"]) {
    CHECK(row["share"].get<double>() > before);
    before = row["share"];
  }
  CHECK(plan["by_hit_rate"][0]["is_uniform"] == true);
  double a_token = 0;
  for (const json& group : plan["groups"]) a_token += group["bytes_per_token"].get<double>();
  CHECK(a_token == doctest::Approx(14.6e9).epsilon(0.01));  // 4.04 GB of experts, 10.6 of the rest
}

TEST_CASE("over two GPUs a plan says which layers lie where") {
  const json plan = plan_json(sparse("r1-ud-iq1s"), machine_path("rtx4090-rtx3060-64g"));
  REQUIRE(plan["gpus"].size() == 2);
  const json &first = plan["gpus"][0], &second = plan["gpus"][1];
  CHECK(first["name"] == "RTX 4090 24 GB");
  CHECK(first["first_layer"] == 0);
  CHECK(second["first_layer"] == first["n_layers"]);
  CHECK(first["n_layers"].get<int>() + second["n_layers"].get<int>() == 61);
  CHECK(first["used_bytes"].get<uint64_t>() + second["used_bytes"].get<uint64_t>() == plan["vram_used_bytes"]);
  CHECK(first["used_bytes"].get<double>() > 0.97 * (double(24ull << 30) - double(256ull << 20)));
  CHECK(second["used_bytes"].get<double>() > 0.97 * (double(12ull << 30) - double(256ull << 20)));
  // The same share, as near as whole layers come to it.
  CHECK(std::abs(first["expert_share"].get<double>() - second["expert_share"].get<double>()) < 0.03);
  const Outcome words = call({"plan", sparse("r1-ud-iq1s"), "-m", machine_path("rtx4090-rtx3060-64g")});
  for (const char* part : {"GPU 1    ", "RTX 3060 12 GB: layers ", " of their experts"})
    CHECK_MESSAGE(contains(words.out, part), part);
  // A part of each GPU, whichever the larger part is of.
  const Outcome halves =
      call({"plan", sparse("r1-ud-iq1s"), "-m", machine_path("rtx4090-rtx3060-64g"), "--vram", "10G,12G", "--json"});
  const json of_halves = json::parse(halves.out);
  CHECK(of_halves["gpus"][0]["used_bytes"].get<double>() <= 10.0 * (1 << 30));
  CHECK(of_halves["gpus"][1]["used_bytes"] > of_halves["gpus"][0]["used_bytes"]);
  CHECK(contains(
      call({"plan", sparse("r1-ud-iq1s"), "-m", machine_path("rtx4090-rtx3060-64g"), "--vram", "10G,12G,8G"}).err,
      "There are 3 sizes of VRAM for the 2 GPUs of"));
  // What the first one holds alone needs no other.
  const json small = plan_json(sparse("qwen3-30b"), machine_path("rtx4090-rtx3060-64g"));
  CHECK(small["gpus"][0]["n_layers"] == 48);
  CHECK(small["gpus"][1]["used_bytes"] == 0);
  CHECK(contains(call({"plan", sparse("qwen3-30b"), "-m", machine_path("rtx4090-rtx3060-64g")}).out, "not used"));
}

TEST_CASE("the latent cache of R1's whole context fits into 24 GB, and one row's way through it is counted") {
  for (const char* cache : {"f16", "q8_0"}) {
    CAPTURE(std::string(cache));
    const json plan =
        plan_json(sparse("r1-ud-iq1s"), machine_path("rtx4090-24g-64g"), {"-c", "131072", "--cache-type", cache});
    // 61 layers of 512 latent and 64 rotated columns: two bytes each, or 34 for 32 of them.
    const uint64_t row = std::string(cache) == "f16" ? 576 * 2 : 576 / 32 * 34;
    CHECK(plan["vram"]["state_bytes"] == 61 * row * 131072);
    // Heads attend together, so each of 32 pieces of the context, however long, leaves 512 sums, a scale and a maximum for each of 128 heads.
    const uint64_t of_pieces = uint64_t{32} * 128 * (512 + 2) * 4;
    CHECK(plan["vram"]["workspace_bytes"] >= of_pieces);
    CHECK(plan["vram"]["workspace_bytes"] < of_pieces + 40'000'000);
    CHECK(plan["vram_used_bytes"].get<uint64_t>() + plan["vram"]["margin_bytes"].get<uint64_t>() <=
          (uint64_t{24} << 30));
    CHECK(plan["vram_used_bytes"].get<double>() > 0.97 * double(uint64_t{24} << 30));
    for (const json& group : plan["groups"])
      if (group["role"] == "attention" || group["role"] == "routers") CHECK(group["ram_bytes"] == 0);
  }
}

TEST_CASE("prompts are planned in passes as a run makes them, with the experts' way to the GPU") {
  const std::vector<std::string> words = {
      "plan", sparse("r1-ud-iq1s"), "-m", machine_path("rtx4090-48g-124g"), "-c", "32768", "--json"};
  const auto planned = [&](std::vector<std::string> more) {
    more.insert(more.begin(), words.begin(), words.end());
    return json::parse(call(more).out);
  };
  const json mapped = planned({"--store", "mapped"}), pinned = planned({}), never = planned({"--streamed-rows", "0"});
  for (const json* plan : {&mapped, &pinned, &never}) {
    REQUIRE((*plan)["prompts"].size() == 3);
    CHECK((*plan)["prompts"][0]["n_tokens"] == 1024);
    CHECK((*plan)["prompts"][2]["n_tokens"] == 32768);
  }
  // A mapped file is not pinned: GPU and CPU share 32 rows a pass.
  CHECK(mapped["prompts"][0]["passes"] == 32);
  CHECK(mapped["prompts"][0]["streamed_passes"] == 0);
  CHECK(mapped["reads_experts_in_ram"] == false);
  CHECK(pinned["disk_weight_bytes"] == 0);
  CHECK(pinned["prompts"][0]["streamed_passes"] == 1);
  CHECK(pinned["prompts"][1]["streamed_passes"] == 2);
  CHECK(pinned["prompts"][2]["rows_per_pass"] == 4096);
  CHECK(pinned["prompts"][2]["ring_bytes"].get<double>() > 1e9);
  CHECK(pinned["prompts"][2]["expert_share_then"] < pinned["by_hit_rate"][0]["share"]);
  CHECK(pinned["prompts"][1]["tok_s"].get<double>() > 5 * mapped["prompts"][1]["tok_s"].get<double>());
  CHECK(pinned["decode_tok_s"].get<double>() > 1.2 * mapped["decode_tok_s"].get<double>());
  CHECK(never["prompts"][1]["streamed_passes"] == 0);
  CHECK(never["run"]["streamed_rows"] == 0);
  bool would_help = false;
  for (const json& one : mapped["what_would_help"])
    would_help = would_help || contains(one["change"].get<std::string>(), "pinned memory (--store auto)");
  CHECK(would_help);
  const Outcome in_words = call({"plan", sparse("r1-ud-iq1s"), "-m", machine_path("rtx4090-48g-124g")});
  for (const char* part : {"1024 tokens: the first one after ", "4096 tokens: ", "over PCIe, ring "})
    CHECK_MESSAGE(contains(in_words.out, part), part);
}

TEST_CASE("a plan is told in words, with the bound and what would help") {
  const Outcome outcome = call({"plan", sparse("r1-ud-iq1s"), "-m", machine_path("laptop-32g")});
  REQUIRE(outcome.exit_code == 0);
  for (const char* part : {"routed experts", "tokens/s, bound by disk", "what would help decode most: a disk of twice",
                           "chosen experts found in memory", "(predicted"})
    CHECK_MESSAGE(contains(outcome.out, part), part);
  const Outcome too_small = call({"plan", sparse("r1-ud-iq1s"), "-m", machine_path("laptop-32g"), "--ram", "300M"});
  CHECK(too_small.exit_code == 4);
  CHECK(contains(too_small.out, "too little memory"));
}

TEST_CASE("a machine file that is none is refused with what is wrong") {
  json machine = json::parse(read_file(machine_path("rtx4060-8g-64g")));
  const auto refused = [&](const json& changed, const std::string& part) {
    const Outcome outcome = call({"plan", sparse("r1-ud-iq1s"), "-m", write_file("machine.json", changed.dump())});
    CHECK(outcome.exit_code == 2);
    CHECK_MESSAGE(contains(outcome.err, part), outcome.err);
  };
  CHECK(call({"plan", sparse("r1-ud-iq1s"), "-m", write_file("machine.json", machine.dump())}).exit_code == 0);
  for (const auto& [name, value] : machine.items()) {
    if (name == "name" || name == "source" || name == "gpus") continue;
    json changed = machine;
    changed.erase(name);
    refused(changed, "'" + name + "' is missing");
    changed[name] = "much";
    refused(changed, "'" + name + "'");
    if (name == "kernels") continue;
    for (const double bad : {-1.0, 0.0, 1e30}) {
      changed[name] = bad;
      refused(changed, "a number from");
    }
  }
  json changed = machine;
  changed["kernels"]["Q9_Z"] = machine["kernels"]["Q4_K"];
  refused(changed, "'Q9_Z' is no tensor type");
  changed = machine;
  changed["kernels"]["Q4_K"] = 3;
  refused(changed, "'Q4_K' is no object");
  changed = machine;
  changed["kernels"] = json::object();
  refused(changed, "'kernels'");
  changed = machine;
  changed["gpus"] = {1};
  refused(changed, "gpus");
  changed["gpus"] = "one";
  refused(changed, "gpus");
  refused(json::array(), "JSON object");
  CHECK(call({"plan", sparse("r1-ud-iq1s"), "-m", write_file("machine.json", "{\"name\"")}).exit_code == 2);
  CHECK(call({"plan", sparse("r1-ud-iq1s"), "-m", scratch("no such file")}).exit_code == 2);
  CHECK(call({"plan", scratch("no such model"), "-m", machine_path("laptop-32g")}).exit_code == 3);
}

TEST_CASE("run takes a saved plan for its model, and no other") {
  const std::string path = scratch("small.gguf");
  REQUIRE(call({"synth", path, "--preset", "v2-lite", "--layers", "2", "--embedding", "256", "--ff", "512",
                "--expert-ff", "256", "--vocabulary", "400", "--heads", "2", "--experts", "6", "-q"})
              .exit_code == 0);
  const Outcome planned = call({"plan", path, "-m", machine_path("laptop-32g"), "--json", "-c", "300"});
  REQUIRE_MESSAGE(planned.exit_code == 0, planned.err);
  const std::string saved = write_file("plan.json", planned.out);
  const Outcome obeyed = call({"run", path, "--plan", saved, "-p", "a", "--json"});
  REQUIRE_MESSAGE(obeyed.exit_code == 0, obeyed.err);
  CHECK(json::parse(obeyed.out)["n_context"] == 300);

  const Outcome other = call({"run", base_model(), "--plan", saved, "-p", "a"});
  CHECK(other.exit_code == 2);
  CHECK(contains(other.err, "another model"));
  CHECK(call({"run", path, "--plan", saved, "--ram", "1G", "-p", "a"}).exit_code == 2);
  json plan = json::parse(planned.out);
  CHECK(plan["run"]["vram_bytes"] == json::array());
  plan["run"]["vram_bytes"] = {1000};
  CHECK(call({"run", path, "--plan", write_file("plan.json", plan.dump()), "-p", "a"}).exit_code == 0);
  plan["run"]["vram_bytes"] = {1000, 0, 1000};  // tests/cuda_device runs one over two GPUs
  CHECK(call({"run", path, "--plan", write_file("plan.json", plan.dump()), "-p", "a"}).exit_code == 0);
  for (const json& bad : {json("much"), json(-1), json(1e30)}) {
    plan["run"]["vram_bytes"] = {bad};
    CHECK(call({"run", path, "--plan", write_file("plan.json", plan.dump()), "-p", "a"}).exit_code == 2);
  }
  plan = json::parse(planned.out);
  plan["fits"] = false;
  CHECK(call({"run", path, "--plan", write_file("plan.json", plan.dump()), "-p", "a"}).exit_code == 4);
  for (const char* key :
       {"n_context", "n_batch", "cache", "resident", "store", "ram_bytes", "vram_bytes", "streamed_rows"}) {
    CAPTURE(key);
    json changed = json::parse(planned.out);
    changed["run"].erase(key);
    CHECK(call({"run", path, "--plan", write_file("plan.json", changed.dump()), "-p", "a"}).exit_code == 2);
    changed["run"][key] = json::object();
    CHECK(call({"run", path, "--plan", write_file("plan.json", changed.dump()), "-p", "a"}).exit_code == 2);
  }
}

TEST_CASE("simulate prints a line for each size and policy, and its JSON adds up") {
  const std::string trace = scratch("t.trace");
  REQUIRE(call({"trace", trace, "--make", "--skew", "1", "--tokens", "40"}).exit_code == 0);
  const std::vector<std::string> words = {"simulate", sparse("r1-ud-iq1s"),       "--trace", trace,
                                          "-m",       machine_path("laptop-32g"), "--ram",   "20G,28G"};
  const Outcome table = call(words);
  REQUIRE_MESSAGE(table.exit_code == 0, table.err);
  CHECK(std::count(table.out.begin(), table.out.end(), '\n') == 2 + 8);
  auto with_json = words;
  with_json.insert(with_json.end(), {"--json", "--policy", "lru", "--heat", trace});
  const json report = json::parse(call(with_json).out);
  REQUIRE(report["runs"].size() == 2);
  for (const json& run : report["runs"]) {
    CHECK(run["policy"] == "lru");
    double shares = 0, seconds = 0;
    for (const char* share : {"in_vram", "in_ram", "guessed", "missed"}) shares += run[share].get<double>();
    CHECK(shares == doctest::Approx(1));
    for (const auto& [part, of_path] : run["critical_path_seconds"].items()) seconds += of_path.get<double>();
    CHECK(1 / seconds == doctest::Approx(run["tok_s"].get<double>()));
  }
  CHECK(report["runs"][1]["in_ram"] > report["runs"][0]["in_ram"]);
  CHECK(call({"simulate", sparse("r1-ud-iq1s"), "-m", machine_path("laptop-32g")}).exit_code == 2);
  const Outcome other = call({"simulate", sparse("qwen3-30b"), "--trace", trace, "-m", machine_path("laptop-32g")});
  CHECK(other.exit_code == 2);
  CHECK(contains(other.err, "another model"));
}

TEST_CASE("the simulation is near the engine's runs over virtual time") {
  // docs/performance.md, "The engine over virtual time": R1 with slots for 29% of the experts, which are equally popular, at 2048 positions.
  const std::string trace = scratch("uniform.trace");
  REQUIRE(call({"trace", trace, "--make", "--skew", "0", "--locality", "0", "--tokens", "48"}).exit_code == 0);
  const auto simulated = [&](std::vector<std::string> more) {
    more.insert(more.begin(),
                {"simulate", sparse("r1-ud-iq1s"), "--trace", trace, "-m", machine_path("rtx4090-48g-124g"), "--vram",
                 "45.7G", "-c", "4096", "--policy", "hybrid", "--promotions", "0", "--json"});
    const Outcome outcome = call(more);
    REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    return json::parse(outcome.out)["runs"][0];
  };
  const json mapped = simulated({"--store", "mapped"}), reads = simulated({}),
             deferred = simulated({"--defer-experts"}), without = simulated({"--no-reads"});
  CHECK(mapped["in_vram"].get<double>() == doctest::Approx(0.29).epsilon(0.04));
  CHECK(mapped["tok_s"].get<double>() == doctest::Approx(11.8).epsilon(0.1));
  CHECK(mapped["read_by_gpu_per_token"] == 0);
  CHECK(reads["tok_s"].get<double>() == doctest::Approx(16.1).epsilon(0.1));
  CHECK(reads["read_by_gpu_per_token"].get<double>() == doctest::Approx(115).epsilon(0.1));
  CHECK(deferred["tok_s"].get<double>() == doctest::Approx(18.3).epsilon(0.1));
  CHECK(deferred["read_by_gpu_per_token"].get<double>() == doctest::Approx(98).epsilon(0.15));
  CHECK(without["tok_s"] == mapped["tok_s"]);
}

TEST_CASE("doctor writes a machine that plan reads") {
  const std::string path = scratch("own/machine.json");
  const Outcome outcome = call({"doctor", base_model(), "--machine", path});
  REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  const json machine = json::parse(read_file(path));
  CHECK(machine["kernels"].size() > 0);
  CHECK(machine["ram_bytes_per_second"].get<double>() > 1e8);
  CHECK(call({"plan", sparse("r1-ud-iq1s"), "-m", path, "--ram", "20G"}).exit_code == 0);
}
