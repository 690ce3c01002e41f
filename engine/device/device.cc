#include "engine/device/device.h"

#include <stdexcept>

namespace sluice::engine {

std::unique_ptr<Buffer> Device::allocate_weights(uint64_t bytes, uint64_t) {
  return allocate(bytes);
}

std::unique_ptr<Buffer> Device::allocate_own(uint64_t, uint64_t) {
  return nullptr;
}

std::unique_ptr<Input> Device::norm_and_prepare(Stream& stream, Rows x, const Rows* change, const Vector& weight,
                                                float epsilon, Rows out) {
  if (change != nullptr) add(stream, x, *change);
  rms_norm(stream, x, weight, epsilon, out);
  return prepare(stream, out);
}

std::unique_ptr<Input> Device::swiglu_and_prepare(Stream& stream, Rows gate, Rows up) {
  swiglu(stream, gate, up);
  return prepare(stream, gate);
}

void Device::multiply_experts(Stream&, const RoutedExperts&) {
  throw std::logic_error("A device that does not hold the experts was asked to multiply by them.");
}

void Device::begin_host_work(Stream&, uint32_t, const Input&, HostWork) {
  throw std::logic_error("A device that runs in the host was asked to run beside it.");
}

void Device::finish_host_work(Stream&, uint32_t, Rows, bool) {
  throw std::logic_error("A device that runs in the host was asked to run beside it.");
}

}  // namespace sluice::engine
