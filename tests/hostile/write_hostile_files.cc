// write_hostile_files DIR: writes every broken file into DIR, and DIR/manifest.tsv with a line for each:
// the path of the file to open, relative to DIR <TAB> what must stand in the message about it.
#include <cstdio>
#include <exception>
#include <fstream>

#include "tests/gguf/hostile_files.h"

int main(int argc, char** argv) {
  using namespace sluice::gguf::testing;
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIR\n", argv[0]);
    return 2;
  }
  try {
    const std::filesystem::path folder = argv[1];
    std::filesystem::create_directories(folder);
    std::ofstream manifest(folder / "manifest.tsv", std::ios::binary);
    for (const HostileFile& hostile : hostile_files()) {
      std::filesystem::path path = write_hostile_file(folder, hostile);
      manifest << path.lexically_relative(folder).string() << '\t' << hostile.message << '\n';
    }
    manifest.close();
    if (!manifest) throw std::runtime_error("the manifest cannot be written");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
