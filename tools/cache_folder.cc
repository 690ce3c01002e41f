#include "tools/cache_folder.h"

#include <cstdlib>

namespace sluice::tools {

std::filesystem::path cache_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/')
    return std::filesystem::path(cache) / "sluice";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/')
    return std::filesystem::path(home) / ".cache" / "sluice";
  return {};
}

}  // namespace sluice::tools
