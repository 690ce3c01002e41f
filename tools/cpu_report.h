// What sluice inspect --cpu prints.
#pragma once

#include <string>

namespace sluice::tools {

// Features found, the level chosen and why, and for each kind of kernel the level that serves it. Throws UsageError when
// SLUICE_ISA cannot be obeyed.
std::string cpu_text();

}  // namespace sluice::tools
