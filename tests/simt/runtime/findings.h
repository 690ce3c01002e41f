// What the emulation found wrong with a program: races, accesses out of bounds, misuse of the runtime. A test asks for them in
// the end; there must be none, or just the one that was planted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::simt {

// Thread-safe. The sentence begins with the kind of mistake ("shared memory race: ...").
void report_finding(std::string sentence);
// All so far, in order; the list is empty afterwards.
std::vector<std::string> take_findings();

}  // namespace sluice::simt
