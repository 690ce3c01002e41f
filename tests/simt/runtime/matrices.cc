// ldmatrix and mma.sync: the layouts of fragments are those of the PTX ISA ("Matrix Fragments for mma.m16n8k16" and the others).
#include "tests/simt/runtime/collectives.h"
#include "tests/simt/runtime/watch.h"

namespace sluice::simt {
namespace {

// These operations are the whole warp's.
void require_whole_warp(Warp& warp, uint32_t lanes) {
  if (lanes == 0xffffffffu) return;
  find_fault("wrong warp mask", warp.threads[__builtin_ctz(lanes)].site,
             "a matrix operation needs all 32 lanes of the warp, of which some have ended or never were");
  abort_grid();
}

struct LoadRequest {
  uint32_t* tiles;
  int n_tiles;
  bool transposed;
  uint64_t row_address;
  uint32_t site;
};

void complete_load(Warp& warp, uint32_t lanes) {
  require_whole_warp(warp, lanes);
  const auto request_of = [&](int lane) -> LoadRequest& {
    return *static_cast<LoadRequest*>(warp.threads[lane].request);
  };
  const int n_tiles = request_of(0).n_tiles;
  uint16_t elements[4][8][8];
  for (int tile = 0; tile < n_tiles; ++tile) {
    for (int row = 0; row < 8; ++row) {
      std::memcpy(elements[tile][row], reinterpret_cast<const void*>(request_of(8 * tile + row).row_address), 16);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const LoadRequest& request = request_of(lane);
    const int row = lane / 4, column = lane % 4 * 2;
    for (int tile = 0; tile < n_tiles; ++tile) {
      const auto& e = elements[tile];
      const uint16_t low = request.transposed ? e[column][row] : e[row][column];
      const uint16_t high = request.transposed ? e[column + 1][row] : e[row][column + 1];
      request.tiles[tile] = uint32_t(high) << 16 | low;
    }
  }
}

struct MultiplyRequest {
  const MatrixShape* shape;
  uint32_t* d;
  const uint32_t *a, *b, *c;
};

int elements_in_register(MatrixElement element) {
  switch (element) {
    case MatrixElement::F16:
    case MatrixElement::BF16:
      return 2;
    case MatrixElement::TF32:
      return 1;
    default:
      return 4;
  }
}

double element_of(MatrixElement element, uint32_t word, int i) {
  switch (element) {
    case MatrixElement::F16:
      return float_of_f16(uint16_t(word >> (16 * i)));
    case MatrixElement::BF16:
      return float_of_bf16(uint16_t(word >> (16 * i)));
    case MatrixElement::TF32:
      return bits<float>(word & ~0x1fffu);  // the low bits are not read
    case MatrixElement::S8:
      return int8_t(word >> (8 * i));
    default:
      return uint8_t(word >> (8 * i));
  }
}

int32_t whole_element_of(MatrixElement element, uint32_t word, int i) {
  return element == MatrixElement::S8 ? int32_t(int8_t(word >> (8 * i))) : int32_t(uint8_t(word >> (8 * i)));
}

// Number is double for floats (products are exact in it) and int32_t for whole numbers.
template <class Number, class Element>
void multiply(Warp& warp, const MatrixShape& shape, Element element, Number (&product)[16][8]) {
  Number a[16][32], b[32][8];
  const int per_register = elements_in_register(shape.a);
  const int row_groups = shape.m / 8, k_groups = shape.k / (4 * per_register);
  for (int lane = 0; lane < 32; ++lane) {
    const auto& request = *static_cast<MultiplyRequest*>(warp.threads[lane].request);
    const int group = lane / 4, in_group = lane % 4;
    for (int k_group = 0; k_group < k_groups; ++k_group) {
      for (int i = 0; i < per_register; ++i) {
        const int k = k_group * 4 * per_register + in_group * per_register + i;
        for (int r = 0; r < row_groups; ++r)
          a[group + 8 * r][k] = element(shape.a, request.a[k_group * row_groups + r], i);
        b[k][group] = element(shape.b, request.b[k_group], i);
      }
    }
  }
  for (int row = 0; row < shape.m; ++row) {
    for (int column = 0; column < 8; ++column) {
      Number sum = 0;
      for (int k = 0; k < shape.k; ++k) sum += a[row][k] * b[k][column];
      product[row][column] = sum;
    }
  }
}

void complete_multiply(Warp& warp, uint32_t lanes) {
  require_whole_warp(warp, lanes);
  const MatrixShape& shape = *static_cast<MultiplyRequest*>(warp.threads[0].request)->shape;
  double product[16][8];
  int32_t whole[16][8];
  if (shape.sum == MatrixSum::S32)
    multiply(warp, shape, whole_element_of, whole);
  else
    multiply(warp, shape, element_of, product);
  for (int lane = 0; lane < 32; ++lane) {
    const auto& request = *static_cast<MultiplyRequest*>(warp.threads[lane].request);
    const int group = lane / 4, in_group = lane % 4;
    for (int r = 0; r < shape.m / 8; ++r) {
      for (int i = 0; i < 2; ++i) {
        const int row = group + 8 * r, column = in_group * 2 + i;
        const int at = 2 * r + i;
        switch (shape.sum) {
          case MatrixSum::F32:
            request.d[at] = bits<uint32_t>(float(double(bits<float>(request.c[at])) + product[row][column]));
            break;
          case MatrixSum::S32: {
            const int64_t sum = int64_t(int32_t(request.c[at])) + whole[row][column];
            request.d[at] = shape.saturates ? uint32_t(clamp_32(sum)) : uint32_t(sum);
            break;
          }
          case MatrixSum::F16: {
            const double c = float_of_f16(uint16_t(request.c[r] >> (16 * i)));
            const uint32_t half = f16_of_double<Rounding::Nearest>(c + product[row][column]);
            request.d[r] = i == 0 ? half : (request.d[r] & 0xffffu) | half << 16;
            break;
          }
        }
      }
    }
  }
}

}  // namespace

void load_matrix(uint32_t* tiles, int n_tiles, bool transposed, uint64_t row_address, uint32_t site) {
  if (watching && int(this_thread()->lane) < 8 * n_tiles) watch_access(row_address, site);
  LoadRequest request{tiles, n_tiles, transposed, row_address, site};
  meet_lanes(CollectiveKind::LoadMatrix, 0xffffffffu, &request, complete_load, true, site);
}

void multiply_matrices(const MatrixShape& shape, uint32_t* d, const uint32_t* a, const uint32_t* b, const uint32_t* c,
                       uint32_t site) {
  MultiplyRequest request{&shape, d, a, b, c};
  meet_lanes(CollectiveKind::MultiplyMatrices, 0xffffffffu, &request, complete_multiply, true, site);
}

}  // namespace sluice::simt
