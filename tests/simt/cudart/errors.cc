// Errors: the last one of a thread, and their names.
#include "tests/simt/cudart/machine.h"

namespace sluice::simt {
namespace {

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
#define SLUICE_ERROR(error, text) \
  { error, #error, text }
constexpr ErrorText kErrors[] = {
    SLUICE_ERROR(cudaSuccess, "no error"),
    SLUICE_ERROR(cudaErrorInvalidValue, "invalid argument"),
    SLUICE_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    SLUICE_ERROR(cudaErrorInitializationError, "initialization error"),
    SLUICE_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    SLUICE_ERROR(cudaErrorInvalidPitchValue, "invalid pitch argument"),
    SLUICE_ERROR(cudaErrorInvalidSymbol, "invalid device symbol"),
    SLUICE_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    SLUICE_ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    SLUICE_ERROR(cudaErrorMissingConfiguration, "__global__ function call is not configured"),
    SLUICE_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    SLUICE_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    SLUICE_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    SLUICE_ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    SLUICE_ERROR(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    SLUICE_ERROR(cudaErrorPeerAccessUnsupported, "peer access is not supported between these two devices"),
    SLUICE_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    SLUICE_ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    SLUICE_ERROR(cudaErrorSymbolNotFound, "named symbol not found"),
    SLUICE_ERROR(cudaErrorNotReady, "device not ready"),
    SLUICE_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    SLUICE_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    SLUICE_ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    SLUICE_ERROR(cudaErrorPeerAccessAlreadyEnabled, "peer access is already enabled"),
    SLUICE_ERROR(cudaErrorPeerAccessNotEnabled, "peer access has not been enabled"),
    SLUICE_ERROR(cudaErrorHostMemoryAlreadyRegistered, "part or all of the requested memory range is already mapped"),
    SLUICE_ERROR(cudaErrorHostMemoryNotRegistered, "pointer does not correspond to a registered memory region"),
    SLUICE_ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    SLUICE_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    SLUICE_ERROR(cudaErrorNotPermitted, "operation not permitted"),
    SLUICE_ERROR(cudaErrorNotSupported, "operation not supported"),
    SLUICE_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    SLUICE_ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    SLUICE_ERROR(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate capture sequences"),
    SLUICE_ERROR(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    SLUICE_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    SLUICE_ERROR(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    SLUICE_ERROR(cudaErrorStreamCaptureImplicit,
                 "operation would make the legacy stream depend on a capturing blocking stream"),
    SLUICE_ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    SLUICE_ERROR(cudaErrorStreamCaptureWrongThread,
                 "attempt to terminate a thread-local capture sequence from another thread"),
    SLUICE_ERROR(cudaErrorGraphExecUpdateFailure,
                 "the graph update was not performed because it included changes which violated constraints specific "
                 "to instantiated graph update"),
    SLUICE_ERROR(cudaErrorUnknown, "unknown error"),
};
#undef SLUICE_ERROR

const ErrorText* find_text(cudaError_t error) {
  for (const ErrorText& entry : kErrors) {
    if (entry.error == error) return &entry;
  }
  return nullptr;
}

// Of a device that died there is no other error any more.
cudaError_t error_of_thread(Machine& m) {
  const cudaError_t died_of = m.devices[static_cast<size_t>(current_device())].died_of;
  return died_of != cudaSuccess ? died_of : last_error();
}

}  // namespace
}  // namespace sluice::simt

using namespace sluice::simt;

extern "C" {

cudaError_t cudaGetLastError() {
  Call call("cudaGetLastError", {.needs_driver = false, .works_on_dead_device = true});
  const cudaError_t error = error_of_thread(call.m());
  last_error() = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() {
  Call call("cudaPeekAtLastError", {.needs_driver = false, .works_on_dead_device = true});
  return error_of_thread(call.m());
}

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* found = find_text(error);
  return found == nullptr ? "unrecognized error code" : found->name;
}

const char* cudaGetErrorString(cudaError_t error) {
  const ErrorText* found = find_text(error);
  return found == nullptr ? "unrecognized error code" : found->text;
}

}  // extern "C"
