// The instruction sets that kernels are written for, and what each of them has of one thing.
#pragma once

#include <cstddef>
#include <string_view>

namespace sluice::kernels {

// Levels: each has all of the one before it. Reference is what every machine has.
enum class Isa {
  Reference,
  Avx2,        // with FMA and F16C: Haswell, Zen, and later
  Avx512,      // F, BW, DQ and VL: Skylake-X
  Avx512Vnni,  // and VNNI and VBMI: Ice Lake, Zen 4, and later
};
inline constexpr size_t kIsaCount = 4;

// As SLUICE_ISA spells it.
constexpr std::string_view isa_name(Isa isa) {
  constexpr std::string_view kNames[kIsaCount] = {"reference", "avx2", "avx512", "avx512-vnni"};
  return kNames[static_cast<size_t>(isa)];
}

// One thing, written for some instruction sets. This is the only place that says what a level uses that has none of its
// own: that of the highest level below it.
template <typename Kernel>
struct ByIsa {
  Kernel* reference = nullptr;
  Kernel* avx2 = nullptr;
  Kernel* avx512 = nullptr;
  Kernel* avx512_vnni = nullptr;

  // The level whose kernel serves a machine that runs at `most`; Reference also when there is none at all.
  constexpr Isa level(Isa most) const {
    if (most >= Isa::Avx512Vnni && avx512_vnni != nullptr) return Isa::Avx512Vnni;
    if (most >= Isa::Avx512 && avx512 != nullptr) return Isa::Avx512;
    if (most >= Isa::Avx2 && avx2 != nullptr) return Isa::Avx2;
    return Isa::Reference;
  }
  // Its kernel, or null.
  constexpr Kernel* at(Isa most) const {
    switch (level(most)) {
      case Isa::Avx512Vnni:
        return avx512_vnni;
      case Isa::Avx512:
        return avx512;
      case Isa::Avx2:
        return avx2;
      case Isa::Reference:
        break;
    }
    return reference;
  }
};

}  // namespace sluice::kernels

// A kernel that exists on x86-64 only: null elsewhere.
#if defined(__x86_64__)
#define SLUICE_X86(kernel) kernel
#else
#define SLUICE_X86(kernel) nullptr
#endif
