#include "engine/placement/nvidia.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>

extern char** environ;

namespace sluice::engine {

using Path = std::filesystem::path;

static constexpr std::string_view kVersionCharacters = "0123456789.";

static std::string first_word(const Path& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

static std::vector<Path> entries_of(const Path& folder) {
  std::vector<Path> paths;
  std::error_code failure;
  for (std::filesystem::directory_iterator entry(folder, failure), end; !failure && entry != end;
       entry.increment(failure))
    paths.push_back(entry->path());
  std::ranges::sort(paths);
  return paths;
}

NvidiaGpus read_nvidia_gpus(const Path& root) {
  NvidiaGpus gpus;
  // Display controllers (class 3) of NVIDIA.
  for (const Path& device : entries_of(root / "sys/bus/pci/devices"))
    gpus.n_found += first_word(device / "vendor") == "0x10de" && first_word(device / "class").starts_with("0x03");
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 ...", or with other words before the number.
  std::ifstream version(root / "proc/driver/nvidia/version");
  std::string line, word;
  std::getline(version, line);
  std::istringstream words(line);
  while (gpus.driver_version.empty() && words >> word) {
    const bool is_version = word.find_first_not_of(kVersionCharacters) == std::string::npos;
    if (is_version && word.find('.') != std::string::npos && word.size() < 32) gpus.driver_version = word;
  }
  for (const Path& gpu : entries_of(root / "proc/driver/nvidia/gpus")) {
    std::ifstream information(gpu / "information");
    while (std::getline(information, line)) {
      const size_t begin = line.starts_with("Model:") ? line.find_first_not_of(" \t", 6) : std::string::npos;
      if (begin != std::string::npos) gpus.models.push_back(line.substr(begin));
    }
  }
  return gpus;
}

Path find_nvcc(std::string_view search_path, const Path& root) {
  std::vector<Path> folders;
  std::istringstream parts{std::string(search_path)};
  for (std::string part; std::getline(parts, part, ':');)
    if (!part.empty()) folders.emplace_back(part);
  folders.push_back(root / "usr/local/cuda/bin");
  for (const Path& folder : folders) {
    std::error_code failure;
    const Path nvcc = folder / "nvcc";
    if (std::filesystem::is_regular_file(nvcc, failure) && access(nvcc.c_str(), X_OK) == 0) return nvcc;
  }
  return {};
}

std::string parse_nvcc_version(std::string_view printed) {
  // "Cuda compilation tools, release 12.4, V12.4.131"
  const size_t release = printed.find("release ");
  const size_t version = release == std::string_view::npos ? release : printed.find(", V", release);
  if (version == std::string_view::npos) return "";
  const std::string_view rest = printed.substr(version + 3);
  return std::string(rest.substr(0, std::min<size_t>(rest.find_first_not_of(kVersionCharacters), 32)));
}

std::string nvcc_version(const Path& nvcc) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::string program = nvcc.string(), flag = "--version";
  const std::array<char*, 3> arguments = {program.data(), flag.data(), nullptr};
  pid_t child = 0;
  const int failure = posix_spawn(&child, program.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string printed;
  std::array<char, 4096> buffer{};
  // What does not fit is no version; a program that prints for ever then gets a broken pipe.
  for (ssize_t n = 1; failure == 0 && n > 0 && printed.size() < (1 << 16);) {
    n = read(ends[0], buffer.data(), buffer.size());
    if (n > 0) printed.append(buffer.data(), static_cast<size_t>(n));
  }
  close(ends[0]);
  if (failure != 0) return "";
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return parse_nvcc_version(printed);
}

}  // namespace sluice::engine
