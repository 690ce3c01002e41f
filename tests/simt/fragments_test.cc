// Where the elements of matrices lie in the registers of a warp: the formulas of the PTX ISA, written down for each shape, with i the
// element of a fragment, g = lane / 4 (groupID) and t = lane % 4 (threadID_in_group).
#include <bit>
#include <cmath>

#include "tests/simt/launching.h"

namespace sluice::simt {
namespace {

struct FragmentArguments {
  const uint32_t* a;
  const uint32_t* b;
  const uint32_t* c;
  uint32_t* d;
};

struct Place {
  int row, column;
};
using Formula = Place (*)(int i, int g, int t);

enum class Element { F16, BF16, TF32, S8, U8, F32, S32 };
int bits_of(Element e) {
  return e == Element::S8 || e == Element::U8 ? 8 : e == Element::F16 || e == Element::BF16 ? 16 : 32;
}

struct Shape {
  const char* kernel;
  int m, k, architecture;
  Element a, b, sum;
  int n_a, n_b, n_c;  // elements of a lane's fragments
  Formula place_a, place_b, place_c;
};

Place c_of_16(int i, int g, int t) {
  return {i < 2 ? g : g + 8, t * 2 + (i & 1)};
}

const Shape kShapes[] = {
    {"mma_m16n8k8_f16", 16, 8, 75, Element::F16, Element::F16, Element::F32, 4, 2, 4,
     [](int i, int g, int t) {
       return Place{i < 2 ? g : g + 8, t * 2 + (i & 1)};
     },
     [](int i, int g, int t) {
       return Place{t * 2 + i, g};
     },
     c_of_16},
    {"mma_m8n8k16_s8", 8, 16, 75, Element::S8, Element::S8, Element::S32, 4, 4, 2,
     [](int i, int g, int t) {
       return Place{g, t * 4 + i};
     },
     [](int i, int g, int t) {
       return Place{t * 4 + i, g};
     },
     [](int i, int g, int t) {
       return Place{g, t * 2 + i};
     }},
    {"mma_m16n8k16_f16", 16, 16, 80, Element::F16, Element::F16, Element::F32, 8, 4, 4,
     [](int i, int g, int t) {
       return Place{i < 2 || (i >= 4 && i < 6) ? g : g + 8, t * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
     },
     [](int i, int g, int t) {
       return Place{t * 2 + (i & 1) + (i >= 2 ? 8 : 0), g};
     },
     c_of_16},
    {"mma_m16n8k16_bf16", 16, 16, 80, Element::BF16, Element::BF16, Element::F32, 8, 4, 4,
     [](int i, int g, int t) {
       return Place{i < 2 || (i >= 4 && i < 6) ? g : g + 8, t * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
     },
     [](int i, int g, int t) {
       return Place{t * 2 + (i & 1) + (i >= 2 ? 8 : 0), g};
     },
     c_of_16},
    {"mma_m16n8k16_f16_f16", 16, 16, 80, Element::F16, Element::F16, Element::F16, 8, 4, 4,
     [](int i, int g, int t) {
       return Place{i < 2 || (i >= 4 && i < 6) ? g : g + 8, t * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
     },
     [](int i, int g, int t) {
       return Place{t * 2 + (i & 1) + (i >= 2 ? 8 : 0), g};
     },
     c_of_16},
    {"mma_m16n8k8_tf32", 16, 8, 80, Element::TF32, Element::TF32, Element::F32, 4, 2, 4,
     [](int i, int g, int t) {
       return Place{i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4};
     },
     [](int i, int g, int t) {
       return Place{i == 0 ? t : t + 4, g};
     },
     c_of_16},
    {"mma_m16n8k4_tf32", 16, 4, 80, Element::TF32, Element::TF32, Element::F32, 2, 1, 4,
     [](int i, int g, int t) {
       return Place{i == 0 ? g : g + 8, t};
     },
     [](int, int g, int t) {
       return Place{t, g};
     },
     c_of_16},
    {"mma_m16n8k16_s8", 16, 16, 80, Element::S8, Element::S8, Element::S32, 8, 4, 4,
     [](int i, int g, int t) {
       return Place{i < 4 ? g : g + 8, t * 4 + (i & 3)};
     },
     [](int i, int g, int t) {
       return Place{t * 4 + i, g};
     },
     c_of_16},
    {"mma_m16n8k32_s8", 16, 32, 80, Element::S8, Element::S8, Element::S32, 16, 8, 4,
     [](int i, int g, int t) {
       return Place{i < 4 || (i >= 8 && i < 12) ? g : g + 8, t * 4 + (i & 3) + (i >= 8 ? 16 : 0)};
     },
     [](int i, int g, int t) {
       return Place{t * 4 + (i & 3) + (i >= 4 ? 16 : 0), g};
     },
     c_of_16},
    {"mma_m16n8k32_u8_s8", 16, 32, 80, Element::U8, Element::S8, Element::S32, 16, 8, 4,
     [](int i, int g, int t) {
       return Place{i < 4 || (i >= 8 && i < 12) ? g : g + 8, t * 4 + (i & 3) + (i >= 8 ? 16 : 0)};
     },
     [](int i, int g, int t) {
       return Place{t * 4 + (i & 3) + (i >= 4 ? 16 : 0), g};
     },
     c_of_16},
};

// Codes of small whole numbers.
uint32_t code(Element e, int v) {
  const float f = float(v);
  switch (e) {
    case Element::F16: {
      if (v == 0) return 0;
      const int exponent = std::ilogb(f);
      return (v < 0 ? 0x8000u : 0u) | uint32_t(exponent + 15) << 10 |
             uint32_t(std::ldexp(std::fabs(f), 10 - exponent) - 1024);
    }
    case Element::BF16:
      return std::bit_cast<uint32_t>(f) >> 16;
    case Element::TF32:
    case Element::F32:
      return std::bit_cast<uint32_t>(f);
    case Element::S8:
    case Element::U8:
      return uint32_t(v) & 255;
    case Element::S32:
      return uint32_t(v);
  }
  return 0;
}

struct Matrix {
  int rows, columns;
  std::vector<int> values;
  int& at(Place p) { return values[size_t(p.row * columns + p.column)]; }
};

uint32_t random_state = 1;
Matrix random_matrix(int rows, int columns, int low, int high) {
  Matrix m{rows, columns, std::vector<int>(size_t(rows * columns))};
  for (int& v : m.values) {
    random_state = random_state * 1664525u + 1013904223u;
    v = low + int((random_state >> 16) % uint32_t(high - low + 1));
  }
  return m;
}

std::vector<uint32_t> fragments(Matrix& m, Element e, int n, Formula place) {
  const int per_register = 32 / bits_of(e), n_registers = n / per_register;
  std::vector<uint32_t> registers(size_t(32 * n_registers));
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < n; ++i) {
      registers[size_t(lane * n_registers + i / per_register)] |= code(e, m.at(place(i, lane / 4, lane % 4)))
                                                                  << bits_of(e) * (i % per_register);
    }
  }
  return registers;
}

TEST_CASE("mma.sync multiplies matrices whose elements lie where the PTX ISA says") {
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const GridOptions& options : all_orders()) {
      const OptionsForNow now(options);
      for (const Shape& shape : kShapes) {
        if (architecture < shape.architecture) continue;
        CAPTURE(shape.kernel);
        const bool is_whole = shape.sum == Element::S32;
        Matrix a = random_matrix(shape.m, shape.k,
                                 shape.a == Element::U8 ? 0
                                 : is_whole             ? -128
                                                        : -5,
                                 shape.a == Element::U8 ? 255
                                 : is_whole             ? 127
                                                        : 5);
        Matrix b = random_matrix(shape.k, 8, is_whole ? -128 : -5, is_whole ? 127 : 5);
        Matrix c = random_matrix(shape.m, 8, -100, 100);
        Matrix d = c;
        for (int row = 0; row < shape.m; ++row) {
          for (int column = 0; column < 8; ++column) {
            for (int k = 0; k < shape.k; ++k) d.at({row, column}) += a.at({row, k}) * b.at({k, column});
          }
        }
        const DeviceArray<uint32_t> fa(fragments(a, shape.a, shape.n_a, shape.place_a));
        const DeviceArray<uint32_t> fb(fragments(b, shape.b, shape.n_b, shape.place_b));
        const DeviceArray<uint32_t> fc(fragments(c, shape.sum, shape.n_c, shape.place_c));
        const std::vector<uint32_t> expected = fragments(d, shape.sum, shape.n_c, shape.place_c);
        const DeviceArray<uint32_t> fd(expected.size());
        REQUIRE(launch(shape.kernel, {1}, {32}, 0, FragmentArguments{fa.get(), fb.get(), fc.get(), fd.get()}) ==
                GridResult::Done);
        CHECK(std::vector<uint32_t>(fd.get(), fd.get() + fd.size()) == expected);
      }
      CHECK(joined(take_findings()) == "");
    }
  }
}

TEST_CASE("ldmatrix gives each lane the elements that the PTX ISA says") {
  // Element column of row r (of the tile r / 8) is 8 r + column.
  std::vector<uint32_t> rows(32 * 4);
  for (uint32_t i = 0; i < rows.size(); ++i) rows[i] = (2 * i + 1) << 16 | 2 * i;
  const DeviceArray<uint32_t> a(rows);
  struct Case {
    const char* kernel;
    int n;
    bool transposed;
  };
  for (int architecture : {75, 80}) {
    choose_architecture(architecture);
    for (const Case& one : {Case{"ldmatrix_x1", 1, false},
                            {"ldmatrix_x2", 2, false},
                            {"ldmatrix_x4", 4, false},
                            {"ldmatrix_x1_trans", 1, true},
                            {"ldmatrix_x4_trans", 4, true}}) {
      for (const GridOptions& options : all_orders()) {
        const OptionsForNow now(options);
        CAPTURE(one.kernel);
        const DeviceArray<uint32_t> d(size_t(32 * one.n));
        REQUIRE(launch(one.kernel, {1}, {32}, 0, FragmentArguments{a.get(), nullptr, nullptr, d.get()}) ==
                GridResult::Done);
        for (int lane = 0; lane < 32; ++lane) {
          for (int tile = 0; tile < one.n; ++tile) {
            const auto element = [&](int row, int column) { return uint32_t(8 * (8 * tile + row) + column); };
            const int row = lane / 4, column = 2 * (lane % 4);
            const uint32_t low = one.transposed ? element(column, row) : element(row, column);
            const uint32_t high = one.transposed ? element(column + 1, row) : element(row, column + 1);
            CHECK(d[size_t(lane * one.n + tile)] == (high << 16 | low));
          }
        }
        CHECK(joined(take_findings()) == "");
      }
    }
  }
}

TEST_CASE("A matrix operation of a part of a warp is refused") {
  choose_architecture(75);
  const DeviceArray<uint32_t> memory(std::vector<uint32_t>(256, 0u));
  CHECK(launch("mma_m8n8k16_s8", {1}, {16}, 0,
               FragmentArguments{memory.get(), memory.get(), memory.get(), memory.get()}) == GridResult::Aborted);
  const std::vector<std::string> findings = take_findings();
  REQUIRE(findings.size() == 1);
  CHECK_MESSAGE(findings[0].rfind("wrong warp mask", 0) == 0, findings[0]);
}

}  // namespace
}  // namespace sluice::simt
