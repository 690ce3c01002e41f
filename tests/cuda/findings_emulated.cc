// The tests of the CUDA kernels with the emulated runtime. SLUICE_SIMT_ARCHITECTURE (75 or 80) chooses whose kernels run.
#include <cstdlib>

#include "tests/cuda/device.h"
#include "tests/simt/runtime/findings.h"
#include "tests/simt/runtime/kernels.h"

namespace sluice::test {

namespace {

struct ChosenArchitecture {
  ChosenArchitecture() {
    if (const char* architecture = std::getenv("SLUICE_SIMT_ARCHITECTURE"))
      simt::choose_architecture(std::atoi(architecture));
  }
};
const ChosenArchitecture kChosenArchitecture;

}  // namespace

std::vector<std::string> take_device_findings() {
  return simt::take_findings();
}

}  // namespace sluice::test
