#include "tests/cuda/device.h"

#include "kernels/cuda/start.h"

namespace sluice::test {

void run(const kernels::cuda::Launches& list) {
  for (const kernels::cuda::Launch& launch : list) {
    const cudaError_t error = kernels::cuda::start(launch, nullptr);
    REQUIRE_MESSAGE(error == cudaSuccess, launch.name << ": " << cudaGetErrorString(error));
  }
  const cudaError_t error = cudaDeviceSynchronize();
  for (const std::string& finding : take_device_findings()) FAIL_CHECK(finding);
  REQUIRE_MESSAGE(error == cudaSuccess, cudaGetErrorString(error));
}

std::vector<float> random_floats(size_t n, uint32_t seed, float deviation) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace sluice::test
