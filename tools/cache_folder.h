// Where the program keeps what it learns, for later runs.
#pragma once

#include <filesystem>

namespace sluice::tools {

// $XDG_CACHE_HOME/sluice, else ~/.cache/sluice; empty where there is no home. It may not exist yet.
std::filesystem::path cache_folder();

}  // namespace sluice::tools
