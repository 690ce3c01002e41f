// Whole texts from files and standard input.
#pragma once

#include <filesystem>
#include <string>

namespace sluice::tools {

// All bytes of the file as they are; "-" is standard input. Throws UsageError when it cannot be read.
std::string read_text(const std::filesystem::path& path);

// All bytes of standard input; says on stderr that it waits when nothing comes for a moment. Throws UsageError.
std::string read_stdin();

}  // namespace sluice::tools
