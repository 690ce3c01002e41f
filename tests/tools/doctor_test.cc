// What sluice doctor tells of a machine.

#include <doctest/doctest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/tools/program.h"
#include "tests/tools/small_files.h"
#include "tools/doctor_report.h"

using namespace sluice;
using namespace sluice::test;
using engine::HugePages;
using nlohmann::json;
using tools::Findings;

namespace {

Findings healthy() {
  Findings found;
  found.n_cores = 8;
  found.n_threads = 6;
  found.quota = 6.4;
  found.isa = "avx2";
  found.isas_found = {"reference", "avx2"};
  found.memory = {uint64_t{64} << 30, uint64_t{48} << 30, uint64_t{2} << 30, uint64_t{3} << 30, "/sys/fs/cgroup/a"};
  found.bandwidth = 25.5e9;
  found.disk_place = "model.gguf";
  found.disk = engine::ReadRate{3000000000, 1.0, true, false, false, {true, true, 4, 512}};
  found.disk_reads_in_flight = 8;
  found.lockable = {uint64_t{8} << 20, true};
  found.huge_pages = HugePages::OnRequest;
  found.io_uring = {true, 0, 0};
  found.nvcc = "/usr/local/cuda/bin/nvcc";
  found.nvcc_version = "12.4.131";
  found.gpus = {1, "550.54.14", {"NVIDIA GeForce RTX 4090"}};
  return found;
}

size_t n_lines_with(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("doctor tells of a healthy machine in a line each, without advice") {
  const std::string text = tools::doctor_text(healthy());
  for (
      const char* part :
      {"cores         8, 6 threads by default, a quota of 6.40 CPUs\n", "instructions  avx2 (found: reference, avx2)\n",
       "memory        64.0 GiB, 48.0 GiB available, 2.0 GiB left by the limit of 3.0 GiB in /sys/fs/cgroup/a\n",
       "bandwidth     25.50 GB/s measured, 6 threads reading memory\n",
       "disk          3.00 GB/s measured with direct reads of 1 MiB, 8 in flight (2.8 GiB in 1.00 s from model.gguf)\n",
       "alignment     direct reads need 4 bytes in memory and 512 in the file (told by the kernel)\n",
       "memlock       8.0 MiB, which this process may exceed (CAP_IPC_LOCK)\n", "huge pages    madvise\n",
       "io_uring      allowed\n", "nvcc          12.4.131 (/usr/local/cuda/bin/nvcc)\n",
       "GPU           NVIDIA GeForce RTX 4090, driver 550.54.14\n"}) {
    CAPTURE(std::string(part));
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK(n_lines_with(text, "\n") == 11);
  CHECK(n_lines_with(text, "advice") == 0);
}

TEST_CASE("doctor advises where something is off") {
  const struct {
    const char* what;
    std::function<void(Findings&)> spoil;
    const char* part;
    size_t n_advices;
  } rows[] = {
      {"no model for compilers and GPUs",
       [](Findings& f) {
         f.nvcc.clear();
         f.gpus = {};
       },
       "nvcc          none\nGPU           no GPU of NVIDIA\n", 0},
      {"a GPU without a driver",
       [](Findings& f) {
         f.gpus = {2, "", {}};
       },
       "GPU           2 of NVIDIA, no driver loaded\n", 1},
      {"little lockable memory", [](Findings& f) { f.lockable.is_exempt = false; }, "best effort", 1},
      {"all memory lockable",
       [](Findings& f) {
         f.lockable = {engine::kNoLimit, false};
       },
       "memlock       no limit\n", 0},
      {"no huge pages", [](Findings& f) { f.huge_pages = HugePages::Never; },
       "`echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled`", 1},
      {"huge pages unknown", [](Findings& f) { f.huge_pages = HugePages::Unknown; }, "huge pages    unknown\n", 0},
      {"io_uring switched off",
       [](Findings& f) {
         f.io_uring = {false, 1, 2};
       },
       "sysctl kernel.io_uring_disabled=0", 1},
      {"io_uring filtered",
       [](Findings& f) {
         f.io_uring = {false, 38, 0};
       },
       "this container forbids it", 1},
      {"no direct reads",
       [](Findings& f) {
         f.disk->is_direct = false;
         f.disk->alignment.is_supported = false;
       },
       "alignment     no direct reads here\n", 1},
      {"a file in memory", [](Findings& f) { f.disk->is_in_memory = true; }, "no speed of a disk", 1},
      {"a file with holes", [](Findings& f) { f.disk->has_holes = true; }, "this file has holes", 1},
      {"a small file", [](Findings& f) { f.disk->bytes = 0; }, "disk          not measured: model.gguf is too small\n",
       0},
      {"no disk",
       [](Findings& f) {
         f.disk.reset();
         f.disk_failure = "it is gone";
       },
       "disk          not measured: it is gone\n", 0},
      {"no control group",
       [](Findings& f) {
         f.memory = {1 << 30, 1 << 29, engine::kNoLimit, engine::kNoLimit, ""};
       },
       "memory        1.0 GiB, 512.0 MiB available, no limit of a control group\n", 0},
      {"no quota", [](Findings& f) { f.quota = 0; }, "no quota of CPU time\n", 0},
      {"a forced level", [](Findings& f) { f.isa_is_forced = true; }, "avx2 by SLUICE_ISA", 0},
  };
  for (const auto& row : rows) {
    CAPTURE(std::string(row.what));
    Findings found = healthy();
    row.spoil(found);
    const std::string text = tools::doctor_text(found);
    CAPTURE(text);
    CHECK(text.find(row.part) != std::string::npos);
    CHECK(n_lines_with(text, "advice: ") == row.n_advices);
    CHECK(json::parse(tools::doctor_json(found).dump()).is_object());
  }
}

TEST_CASE("doctor --json holds numbers, and null for what is unknown or unlimited") {
  const auto full = tools::doctor_json(healthy());
  CHECK(full["cpu_quota"] == 6.4);
  CHECK(full["memory"]["usable_bytes"] == uint64_t{2} << 30);
  CHECK(full["disk"]["bytes_per_second"] == 3e9);
  CHECK(full["disk"]["alignment"]["offset_bytes"] == 512);
  CHECK(full["gpu"]["models"][0] == "NVIDIA GeForce RTX 4090");
  const auto none = tools::doctor_json(Findings{});
  for (const char* pointer :
       {"/cpu_quota", "/memory/total_bytes", "/memory/available_bytes", "/memory/cgroup_left_bytes",
        "/memory/usable_bytes", "/io_uring/disabled_setting", "/nvcc/path", "/gpu/driver_version"}) {
    CAPTURE(std::string(pointer));
    CHECK(none.at(nlohmann::ordered_json::json_pointer(pointer)).is_null());
  }
}

TEST_CASE("doctor measures this machine, and the disk of a model") {
  const Outcome outcome = call({"doctor", base_model(), "--json"});
  CHECK(outcome.exit_code == 0);
  const json found = json::parse(outcome.out);
  CHECK(found["cores"] >= 1);
  CHECK(found["memory"]["read_bytes_per_second"] > 1e6);
  CHECK(found["disk"]["place"] == base_model());
  const Outcome text = call({"doctor", base_model()});
  CHECK(text.exit_code == 0);
  CHECK(text.out.starts_with("cores "));
}

TEST_CASE("doctor refuses what is no model, and more than one") {
  CHECK(call({"doctor", write_file("no.gguf", "nonsense")}).exit_code == 3);
  CHECK(call({"doctor", "/nowhere/no.gguf"}).exit_code == 3);
  CHECK(call({"doctor", base_model(), base_model()}).exit_code == 2);
}
