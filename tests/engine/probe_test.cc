// What the system allows: machines made of files; and the measuring of disks, on small files.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/placement/disk.h"
#include "engine/placement/nvidia.h"
#include "engine/placement/probe.h"
#include "tests/scratch_folder.h"

using namespace sluice;
using engine::HugePages;

using Path = std::filesystem::path;
using Folder = tests::ScratchFolder;

TEST_CASE("the setting of huge pages is the word in brackets") {
  const struct {
    const char* text;
    HugePages setting;
  } rows[] = {{"always madvise [never]\n", HugePages::Never},
              {"always [madvise] never\n", HugePages::OnRequest},
              {"[always] madvise never\n", HugePages::Always},
              {"always madvise never\n", HugePages::Unknown},
              {"", HugePages::Unknown},
              {"[sometimes]", HugePages::Unknown}};
  for (const auto& row : rows) {
    CAPTURE(std::string(row.text));
    const Folder folder;
    folder.write("sys/kernel/mm/transparent_hugepage/enabled", row.text);
    CHECK(engine::read_huge_pages(folder.path()) == row.setting);
  }
  CHECK(engine::read_huge_pages("/nowhere") == HugePages::Unknown);
}

TEST_CASE("who has the capability may lock more memory than the limit") {
  const struct {
    const char* text;
    bool is_exempt;
  } rows[] = {{"Name:\tx\nCapEff:\t0000000000004000\n", true},
              {"CapEff:\t000001ffffffffff\n", true},
              {"CapPrm:\t0000000000004000\nCapEff:\t0000000000003fff\n", false},
              {"CapEff:\t\n", false},
              {"CapEff:", false},
              {"CapEff:\tffffffffffffffffffffffff\n", false},
              {"", false}};
  for (const auto& row : rows) {
    CAPTURE(std::string(row.text));
    const Folder folder;
    folder.write("proc/self/status", row.text);
    CHECK(engine::read_lockable_memory(folder.path()).is_exempt == row.is_exempt);
  }
}

TEST_CASE("the setting of io_uring is read, and its permission tried") {
  const Folder folder;
  CHECK_FALSE(engine::try_io_uring(folder.path()).disabled_setting);
  folder.write("proc/sys/kernel/io_uring_disabled", "2\n");
  CHECK(engine::try_io_uring(folder.path()).disabled_setting == 2);
  folder.write("proc/sys/kernel/io_uring_disabled", "2x\n");
  const engine::IoUring ring = engine::try_io_uring(folder.path());
  CHECK_FALSE(ring.disabled_setting);
  CHECK(ring.is_allowed == (ring.error == 0));
}

TEST_CASE("GPUs, driver and models are found, each without the others") {
  const struct {
    const char* line;
    const char* version;
  } rows[] = {{"NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\nGCC version: "
               "12.2.0\n",
               "535.129.03"},
              {"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build\n", "550.54.14"},
              {"NVRM version: something else\nGCC version: 12.2.0\n", ""},
              {"", ""}};
  for (const auto& row : rows) {
    CAPTURE(std::string(row.line));
    const Folder folder;
    folder.write("proc/driver/nvidia/version", row.line);
    folder.write("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA H100\nIRQ:   \t\t 61\n");
    folder.write("proc/driver/nvidia/gpus/0000:02:00.0/information", "Model:\n");
    folder.write("sys/bus/pci/devices/a/vendor", "0x10de\n");
    folder.write("sys/bus/pci/devices/a/class", "0x030200\n");
    folder.write("sys/bus/pci/devices/b/vendor", "0x10de\n");  // its sound
    folder.write("sys/bus/pci/devices/b/class", "0x040300\n");
    folder.write("sys/bus/pci/devices/c/vendor", "0x8086\n");
    folder.write("sys/bus/pci/devices/c/class", "0x030000\n");
    const engine::NvidiaGpus gpus = engine::read_nvidia_gpus(folder.path());
    CHECK(gpus.n_found == 1);
    CHECK(gpus.driver_version == row.version);
    CHECK(gpus.models == std::vector<std::string>{"NVIDIA H100"});
  }
  const engine::NvidiaGpus none = engine::read_nvidia_gpus("/nowhere");
  CHECK(none.n_found == 0);
  CHECK(none.driver_version.empty());
  CHECK(none.models.empty());
}

TEST_CASE("the compiler is found in the search path or its usual place, and asked for its version") {
  const Folder folder;
  CHECK(engine::find_nvcc("/nowhere:" + folder.path().string(), folder.path()).empty());
  const Path usual = folder.write("usr/local/cuda/bin/nvcc", "#!/bin/sh\necho 'Cuda tools, release 12.4, V12.4.131'\n");
  CHECK(engine::find_nvcc("", folder.path()).empty());  // may not be run
  chmod(usual.c_str(), 0755);
  CHECK(engine::find_nvcc(":::/nowhere", folder.path()) == usual);
  CHECK(engine::nvcc_version(usual) == "12.4.131");
  std::filesystem::create_directories(folder.path() / "a/nvcc");  // a folder
  const Path other = folder.write("b/nvcc", "#!/bin/sh\nexit 1\n");
  chmod(other.c_str(), 0755);
  CHECK(engine::find_nvcc((folder.path() / "a").string() + ":" + (folder.path() / "b").string(), folder.path()) ==
        other);
  CHECK(engine::nvcc_version(other) == "");
  CHECK(engine::nvcc_version("/nowhere/nvcc") == "");
  for (const char* text : {"", "release 12.4", "release 12.4, V", ", V1.2 release 3"})
    CHECK(engine::parse_nvcc_version(text) == "");
}

TEST_CASE("a disk is measured with pieces of a file, none twice") {
  const Folder folder;
  constexpr uint64_t kMi = 1 << 20;
  const struct {
    const char* what;
    uint64_t bytes, most_bytes;
    uint64_t read;
  } rows[] = {{"an empty file", 0, kMi, 0},
              {"too small for a direct read", 4095, kMi, 0},
              {"smaller than a piece", 3 * 4096 + 100, kMi, 3 * 4096},
              {"a piece and a rest", kMi + 4097, 8 * kMi, kMi},
              {"all pieces", 5 * kMi, 1024 * kMi, 5 * kMi},
              {"as many as are allowed", 5 * kMi, 2 * kMi, 2 * kMi},
              {"never fewer than one", 5 * kMi, 0, kMi}};
  for (const auto& row : rows) {
    CAPTURE(std::string(row.what));
    const std::vector<Path> files = {folder.write("model", std::string(row.bytes, 'x'))};
    const engine::ReadRate rate = engine::measure_reads(files, {.most_bytes = row.most_bytes, .most_seconds = 60});
    CHECK(rate.bytes == row.read);
    CHECK((rate.bytes_per_second() > 0) == (row.read > 0));
    CHECK_FALSE(rate.has_holes);
  }
  const std::vector<Path> two = {folder.write("a", std::string(2 * kMi, 'x')),
                                 folder.write("b", std::string(kMi, 'x'))};
  CHECK(engine::measure_reads(two, {.most_seconds = 60}).bytes == 3 * kMi);
  std::filesystem::resize_file(two[1], 64 * kMi);
  CHECK(engine::measure_reads(two, {.n_in_flight = 1, .most_seconds = 60}).has_holes);
  CHECK(engine::measure_reads(two, {.most_seconds = 0}).bytes == 0);
}

TEST_CASE("a file in memory is no disk") {
  const std::vector<Path> files = {"/dev/shm/sluice-probe-test"};
  std::ofstream(files[0]) << std::string(1 << 20, 'x');
  if (!std::filesystem::exists(files[0])) return;  // no such file system here
  CHECK(engine::measure_reads(files).is_in_memory);
  std::filesystem::remove(files[0]);
}

TEST_CASE("the file to measure with is gone afterwards") {
  const Folder folder;
  CHECK(engine::measure_reads_in_folder(folder.path(), 3 << 20).bytes == 3 << 20);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("what cannot be measured is an error with its name") {
  const Folder folder;
  for (const Path& path : {folder.path(), folder.path() / "nothing", Path("/dev/null")}) {
    CAPTURE(path.string());
    const std::vector<Path> files = {path};
    CHECK_THROWS_WITH_AS(engine::measure_reads(files), doctest::Contains(path.c_str()), engine::Error);
  }
  CHECK_THROWS_AS(engine::measure_reads_in_folder(folder.path() / "nothing"), engine::Error);
}

TEST_CASE("the alignment of direct reads is a power of two, or they are refused") {
  const Folder folder;
  const int descriptor = open(folder.write("model", "x").c_str(), O_RDONLY);
  const engine::DirectAlignment alignment = engine::direct_alignment(descriptor);
  close(descriptor);
  if (alignment.is_supported) {
    CHECK((alignment.memory_bytes & (alignment.memory_bytes - 1)) == 0);
    CHECK(alignment.offset_bytes >= 1);
  }
  CHECK_FALSE(engine::direct_alignment(-1).is_told);
}
