#include "kernels/resident.h"

#include "kernels/cpu/resident_iq1_s.h"

namespace sluice::kernels {

const ResidentForm* resident_form(gguf::TensorType type) {
  return type == gguf::TensorType::IQ1_S ? &kResidentIQ1S : nullptr;
}

}  // namespace sluice::kernels
