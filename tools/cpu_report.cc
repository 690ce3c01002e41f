#include "tools/cpu_report.h"

#include <cstdlib>
#include <map>
#include <stdexcept>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/isa_features.h"
#include "tools/exit_codes.h"
#include "tools/text_format.h"

namespace sluice::tools {
namespace {

using kernels::Isa;

constexpr Isa kLevels[] = {Isa::Reference, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni};
constexpr size_t kWidth = 96, kColumn = 32;  // where a list of names ends and begins

std::string row(const std::string& first, std::string_view second, const std::string& rest) {
  return format("  %-16s %-12s ", first.c_str(), std::string(second).c_str()) + rest + "\n";
}

std::string found_text() {
  std::string text = "found\n";
  for (const Isa isa : kLevels) {
    std::string features;
    for (const kernels::IsaFeature& feature : kernels::isa_features())
      if (feature.isa == isa)
        features +=
            (features.empty() ? "" : ", ") + std::string(feature.found ? "" : "no ") + std::string(feature.name);
    if (isa == Isa::Reference) features = "any machine";
    text += row(std::string(kernels::isa_name(isa)), kernels::machine_has(isa) ? "yes" : "no", features);
  }
  return text;
}

// The kernels of a kind that one level serves, in lines.
std::string wrapped(const std::vector<std::string>& names) {
  std::string text;
  size_t line = 0;
  for (const std::string& name : names) {
    const std::string piece = name + (&name == &names.back() ? "" : ",");
    if (line > 0 && line + piece.size() > kWidth - kColumn) {
      text += "\n" + std::string(kColumn, ' ');
      line = 0;
    }
    text += (line > 0 ? " " : "") + piece;
    line += piece.size() + 1;
  }
  return text;
}

std::string kernels_text(Isa most) {
  std::vector<std::string> kinds;
  std::map<std::string, std::map<Isa, std::vector<std::string>>> names;
  for (const kernels::KernelLevel& kernel : kernels::kernel_levels(most)) {
    const std::string kind(kernel.kind);
    if (kinds.empty() || kinds.back() != kind) kinds.push_back(kind);
    names[kind][kernel.isa].push_back(kernel.name);
  }
  std::string text = "kernels\n";
  for (const std::string& kind : kinds) {
    bool is_first = true;
    for (auto level = names[kind].rbegin(); level != names[kind].rend(); ++level) {
      text += row(is_first ? kind : "", kernels::isa_name(level->first), wrapped(level->second));
      is_first = false;
    }
  }
  return text;
}

}  // namespace

std::string cpu_text() {
  try {
    const Isa chosen = kernels::chosen_isa();
    const char* forced = std::getenv("SLUICE_ISA");
    const bool is_forced = forced != nullptr && *forced != '\0';
    return found_text() + "chosen\n" +
           row(std::string(kernels::isa_name(chosen)), "", is_forced ? "by SLUICE_ISA" : "the best of this machine") +
           kernels_text(chosen);
  } catch (const std::invalid_argument& error) {
    throw UsageError(error.what());
  }
}

}  // namespace sluice::tools
