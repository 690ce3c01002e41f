#include "kernels/cpu/tile.h"

namespace sluice::kernels {

const ByIsa<TileProduct>& tile_products(TileKind kind) {
  // For unsigned codes, for signed ones, and for floats.
  static constexpr ByIsa<TileProduct> kNarrow = {.avx2 = SLUICE_X86(avx2::multiply_tile_narrow),
                                                 .avx512 = SLUICE_X86(avx512::multiply_tile_narrow),
                                                 .avx512_vnni = SLUICE_X86(avx512_vnni::multiply_tile_narrow)};
  static constexpr ByIsa<TileProduct> kWide = {.avx2 = SLUICE_X86(avx2::multiply_tile_wide),
                                               .avx512 = SLUICE_X86(avx512::multiply_tile_wide),
                                               .avx512_vnni = SLUICE_X86(avx512_vnni::multiply_tile_wide)};
  static constexpr ByIsa<TileProduct> kFloat = {.avx2 = SLUICE_X86(avx2::multiply_tile_float),
                                                .avx512 = SLUICE_X86(avx512::multiply_tile_float),
                                                .avx512_vnni = SLUICE_X86(avx512_vnni::multiply_tile_float)};
  switch (kind) {
    case TileKind::Narrow:
      return kNarrow;
    case TileKind::Wide:
      return kWide;
    case TileKind::Float:
      break;
  }
  return kFloat;
}

}  // namespace sluice::kernels
