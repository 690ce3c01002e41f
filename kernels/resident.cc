#include "kernels/resident.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/resident_iq1_s.h"
#include "kernels/cpu/side_by_side.h"

namespace sluice::kernels {
namespace {

std::vector<ResidentForm> all_forms() {
  std::vector<ResidentForm> forms = {kResidentIQ1S};
#if defined(__x86_64__)
  for (size_t i = 0; i < side_by_side::kCount; ++i) {
    const SideBySide& form = side_by_side::kForms[i];
    forms.push_back({form.type,
                     "8 rows side by side",
                     form.unit_columns(),
                     form.unit_bytes(),
                     side_by_side::kPack[i],
                     nullptr,
                     {.avx2 = avx2::kSideBySideProducts[i], .avx512_vnni = avx512_vnni::kSideBySideProducts[i]},
                     {.avx2 = avx2::kSideBySideFills[i]}});
  }
#endif
  return forms;
}

}  // namespace

const ResidentForm* resident_form(gguf::TensorType type) {
  static const std::vector<ResidentForm> forms = all_forms();
  const auto found = std::ranges::find(forms, type, &ResidentForm::type);
  return found == forms.end() ? nullptr : &*found;
}

}  // namespace sluice::kernels
