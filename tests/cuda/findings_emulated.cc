// The tests of the CUDA kernels over the emulated runtime.
#include "tests/cuda/device.h"
#include "tests/simt/runtime/findings.h"

namespace sluice::test {

std::vector<std::string> take_device_findings() {
  return simt::take_findings();
}

}  // namespace sluice::test
