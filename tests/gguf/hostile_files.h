// Broken, foreign and hostile files, each with what the user must be told about it.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace sluice::gguf::testing {

struct HostileFile {
  std::string name;
  std::vector<std::pair<std::string, std::string>> files;  // name and bytes; the first is the one to open
  std::string message;                                     // must stand in the message
};

// Single files and sets of shards.
std::vector<HostileFile> hostile_files();

// The shards among them.
std::vector<HostileFile> hostile_shards();

// Writes the files into FOLDER/NAME/ and returns the path of the one to open.
std::filesystem::path write_hostile_file(const std::filesystem::path& folder, const HostileFile& hostile);

}  // namespace sluice::gguf::testing
