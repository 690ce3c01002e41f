#include "kernels/cpu/control_groups.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace sluice::kernels {
namespace {

using Path = std::filesystem::path;

// One mounted hierarchy: where it is mounted, and which of its groups is shown there. Both are paths as the process
// sees them.
struct Hierarchy {
  bool version_2 = false;
  Path mount_point;
  Path mounted_group;  // "/" unless a container sees a part only
};

bool has_item(std::string_view list, std::string_view item) {
  std::istringstream items{std::string(list)};
  for (std::string one; std::getline(items, one, ',');)
    if (one == item) return true;
  return false;
}

// The kernel writes blanks, line ends and backslashes of a path as "\040": three octal digits.
std::string unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto is_octal = [&](size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && is_octal(i + 1) && is_octal(i + 2) && is_octal(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// A line of /proc/self/mountinfo is "ID PARENT DEVICE ROOT MOUNT_POINT OPTIONS [...] - TYPE SOURCE SUPER_OPTIONS".
std::vector<Hierarchy> mounted_hierarchies(const Path& root, std::string_view controller) {
  std::vector<Hierarchy> found;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string id, parent, device, mounted, mount_point, word, type, source, super_options;
    words >> id >> parent >> device >> mounted >> mount_point;
    while (words >> word && word != "-") {
    }
    words >> type >> source >> super_options;
    const bool version_2 = type == "cgroup2";
    if (version_2 || (type == "cgroup" && has_item(super_options, controller)))
      found.push_back({version_2, unescaped(mount_point), unescaped(mounted)});
  }
  return found;
}

// The process's group in a hierarchy. A line of /proc/self/cgroup is "ID:CONTROLLERS:GROUP", version 2 names no
// controllers.
Path group_of_process(const Path& root, std::string_view controller, bool version_2) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    if (version_2 ? controllers.empty() : has_item(controllers, controller)) return line.substr(second + 1);
  }
  return "/";
}

// Where the group lies below the mount point. Empty, which is the topmost group that is to be seen, when the mount does
// not show it.
Path below_mount(const Path& group, const Path& mounted_group) {
  const Path relative = group.lexically_relative(mounted_group);
  const bool is_outside = relative.empty() || std::ranges::find(relative, Path("..")) != relative.end();
  return is_outside || relative == "." ? Path() : relative;
}

}  // namespace

std::vector<ControlGroup> control_groups(const Path& root, std::string_view controller) {
  std::vector<ControlGroup> groups;
  for (const Hierarchy& hierarchy : mounted_hierarchies(root, controller)) {
    const Path mount_point = root / hierarchy.mount_point.relative_path();
    const Path own = below_mount(group_of_process(root, controller, hierarchy.version_2).lexically_normal(),
                                 hierarchy.mounted_group);
    for (Path below = own;; below = below.parent_path()) {
      groups.push_back({hierarchy.version_2, below == own, mount_point / below});
      if (below.empty()) break;
    }
  }
  return groups;
}

}  // namespace sluice::kernels
