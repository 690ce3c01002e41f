// Streams that wait for words in memory and write them: calls of the driver, which programs look up by name.
#include <cuda.h>

#include <atomic>
#include <cstring>

#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"

namespace sluice::simt {
namespace {

CUresult as_driver_error(cudaError_t error) {
  return static_cast<CUresult>(static_cast<int>(error));
}

struct Word {
  cudaError_t error = cudaSuccess;
  uint32_t* data = nullptr;
  StreamPointer stream;
};
Word look_at(Call& call, CUstream stream_handle, CUdeviceptr address) {
  Word word;
  word.data = reinterpret_cast<uint32_t*>(address);
  word.stream = find_stream(call.m(), stream_handle);
  if (!word.stream) {
    word.error = call.done(cudaErrorInvalidResourceHandle);
  } else if (address % 4 != 0 || !is_usable(call.m(), word.data, 4)) {
    word.error = call.misuse(cudaErrorInvalidValue, "not a word of device memory or pinned memory");
  }
  return word;
}

uint32_t load(uint32_t* word) {
  return std::atomic_ref<uint32_t>(*word).load(std::memory_order_acquire);
}

bool is_fulfilled(uint32_t* word, uint32_t value, unsigned how) {
  const uint32_t found = load(word);
  switch (how) {
    case CU_STREAM_WAIT_VALUE_EQ:
      return found == value;
    case CU_STREAM_WAIT_VALUE_AND:
      return (found & value) != 0;
    case CU_STREAM_WAIT_VALUE_NOR:
      return ~(found | value) != 0;
    default:
      return static_cast<int32_t>(found - value) >= 0;
  }
}

CUresult CUDAAPI wait_value(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned flags) {
  Call call("cuStreamWaitValue32");
  if (const cudaError_t error = call.refusal()) return as_driver_error(error);
  const Word word = look_at(call, stream, address);
  if (word.error) return as_driver_error(word.error);
  if (flags > CU_STREAM_WAIT_VALUE_NOR) return as_driver_error(call.done(cudaErrorNotSupported));  // remote writes
  Work work;
  work.kind = WorkKind::WaitValue;
  work.name = "wait for a word";
  work.device = word.stream->device;
  work.word = word.data;
  work.is_fulfilled = [data = word.data, value, flags] { return is_fulfilled(data, value, flags); };
  return as_driver_error(call.done(add_work(call.m(), call.lock(), word.stream, 0, std::move(work)).error));
}

CUresult CUDAAPI write_value(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned flags) {
  Call call("cuStreamWriteValue32");
  if (const cudaError_t error = call.refusal()) return as_driver_error(error);
  const Word word = look_at(call, stream, address);
  if (word.error) return as_driver_error(word.error);
  if (flags != CU_STREAM_WRITE_VALUE_DEFAULT) return as_driver_error(call.done(cudaErrorNotSupported));
  Work work;
  work.kind = WorkKind::WriteValue;
  work.name = "write a word";
  work.device = word.stream->device;
  work.word = word.data;
  work.value = value;
  work.effect = [data = word.data, value] {
    std::atomic_ref<uint32_t>(*data).store(value, std::memory_order_release);
    return cudaSuccess;
  };
  return as_driver_error(call.done(add_work(call.m(), call.lock(), word.stream, 0, std::move(work)).error));
}

struct EntryPoint {
  const char* name;
  int since;  // version of CUDA
  void* function;
};
const EntryPoint kEntryPoints[] = {
    {"cuStreamWaitValue32", 8000, reinterpret_cast<void*>(&wait_value)},
    {"cuStreamWriteValue32", 8000, reinterpret_cast<void*>(&write_value)},
};

}  // namespace
}  // namespace sluice::simt

using namespace sluice::simt;

extern "C" cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned version,
                                                        unsigned long long, cudaDriverEntryPointQueryResult* status) {
  Call call("cudaGetDriverEntryPointByVersion");
  if (const cudaError_t error = call.refusal()) return error;
  if (symbol == nullptr || function == nullptr) return call.done(cudaErrorInvalidValue);
  *function = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  for (const EntryPoint& entry : kEntryPoints) {
    if (std::strcmp(entry.name, symbol) != 0) continue;
    result = static_cast<int>(version) < entry.since || static_cast<int>(version) > call.m().options.driver_version
                 ? cudaDriverEntryPointVersionNotSufficent
                 : cudaDriverEntryPointSuccess;
    if (result == cudaDriverEntryPointSuccess) *function = entry.function;
  }
  if (status != nullptr) *status = result;
  return call.done(result == cudaDriverEntryPointSuccess || status != nullptr ? cudaSuccess : cudaErrorSymbolNotFound);
}
