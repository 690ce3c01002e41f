#include "kernels/resident.h"

#include "kernels/cpu/resident_iq1_s.h"
#include "kernels/cpu/resident_q4_k.h"

namespace sluice::kernels {

const ResidentForm* resident_form(gguf::TensorType type) {
  for (const ResidentForm* form : {&kResidentIQ1S, &kResidentQ4K})
    if (form->type == type) return form;
  return nullptr;
}

}  // namespace sluice::kernels
