// Thread blocks an SM, by cuda_occupancy.h, which needs no GPU. Reads lines of
//
//   major minor SMs shared-bytes-an-SM   registers static-shared-bytes   threads dynamic-shared-bytes
//
// and answers each with the number of thread blocks that an SM holds.
#include <cuda_occupancy.h>

#include <iostream>

int main() {
  int major, minor, n_sms, n_registers, n_threads;
  size_t sm_shared_bytes, static_bytes, dynamic_bytes;
  while (std::cin >> major >> minor >> n_sms >> sm_shared_bytes >> n_registers >> static_bytes >> n_threads >>
         dynamic_bytes) {
    cudaOccDeviceProp device{};
    device.computeMajor = major;
    device.computeMinor = minor;
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = minor == 0 ? 2048 : 1536;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerBlock = 48 << 10;
    device.sharedMemPerMultiprocessor = sm_shared_bytes;
    device.numSms = n_sms;
    device.sharedMemPerBlockOptin = sm_shared_bytes - 1024;
    device.reservedSharedMemPerBlock = 1024;
    cudaOccFuncAttributes function{};
    function.maxThreadsPerBlock = 1024;
    function.numRegs = n_registers;
    function.sharedSizeBytes = static_bytes;
    function.maxDynamicSharedSizeBytes = device.sharedMemPerBlockOptin - static_bytes;
    function.partitionedGCConfig = PARTITIONED_GC_OFF;
    function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    function.numBlockBarriers = 1;
    cudaOccDeviceState state{};
    state.carveoutConfig = SHAREDMEM_CARVEOUT_DEFAULT;
    cudaOccResult result{};
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, n_threads, dynamic_bytes) !=
        CUDA_OCC_SUCCESS) {
      std::cerr << "occupancy: cuda_occupancy.h refuses the kernel or the GPU.\n";
      return 1;
    }
    std::cout << result.activeBlocksPerMultiprocessor << "\n";
  }
}
