// Matrix operations of one warp on fragments that the test makes: registers in, registers out.
#include <cstdint>

struct FragmentArguments {
  const uint32_t* a;  // [32, registers of a lane]
  const uint32_t* b;
  const uint32_t* c;
  uint32_t* d;
};

#define LOAD(name, n)                                                          \
  uint32_t name[4] = {};                                                       \
  for (int i = 0; i < n; ++i) name[i] = x.name[threadIdx.x * n + i];

#define MMA(name, n_a, n_b, n_c, operands, outs, ...)                          \
  extern "C" __global__ void mma_##name(FragmentArguments x) {                 \
    LOAD(a, n_a) LOAD(b, n_b) LOAD(c, n_c)                                     \
    uint32_t d[4] = {};                                                        \
    asm volatile(operands : outs : __VA_ARGS__);                               \
    for (int i = 0; i < n_c; ++i) x.d[threadIdx.x * n_c + i] = d[i];           \
  }
#define A1 "r"(a[0])
#define A2 A1, "r"(a[1])
#define A4 A2, "r"(a[2]), "r"(a[3])
#define B1 "r"(b[0])
#define B2 B1, "r"(b[1])
#define C2 "r"(c[0]), "r"(c[1])
#define C4 C2, "r"(c[2]), "r"(c[3])
#define D2 "=r"(d[0]), "=r"(d[1])
#define D4 D2, "=r"(d[2]), "=r"(d[3])
// Sums in floats travel as bits.
#define FLOAT_SUMS(name, opcode, n_a, A_LIST, a_text, n_b, B_LIST, b_text, c0, c1, c2, c3)                                                     \
  MMA(name, n_a, n_b, 4,                                                                                                                 \
      "{.reg .f32 p, q, r, s, t, u, v, w; mov.b32 p, " c0 "; mov.b32 q, " c1 "; mov.b32 r, " c2 "; mov.b32 s, " c3                       \
      "; " opcode " {t, u, v, w}, {" a_text "}, {" b_text "}, {p, q, r, s}; mov.b32 %0, t; mov.b32 %1, u; mov.b32 %2, v; mov.b32 %3, w;}", \
      D4, A_LIST, B_LIST, C4)

FLOAT_SUMS(m16n8k8_f16, "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", 2, A2, "%4, %5", 1, B1, "%6", "%7", "%8", "%9", "%10")
MMA(m8n8k16_s8, 1, 1, 2, "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%4, %5};", D2, A1, B1, C2)
#if __CUDA_ARCH__ >= 800
FLOAT_SUMS(m16n8k16_f16, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 4, A4, "%4, %5, %6, %7", 2, B2, "%8, %9", "%10", "%11", "%12", "%13")
FLOAT_SUMS(m16n8k16_bf16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 4, A4, "%4, %5, %6, %7", 2, B2, "%8, %9", "%10", "%11", "%12", "%13")
FLOAT_SUMS(m16n8k8_tf32, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 4, A4, "%4, %5, %6, %7", 2, B2, "%8, %9", "%10", "%11", "%12", "%13")
FLOAT_SUMS(m16n8k4_tf32, "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", 2, A2, "%4, %5", 1, B1, "%6", "%7", "%8", "%9", "%10")
MMA(m16n8k16_f16_f16, 4, 2, 2, "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%8, %9};", D2, A4, B2, C2)
MMA(m16n8k16_s8, 2, 1, 4, "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};", D4, A2, B1, C4)
MMA(m16n8k32_s8, 4, 2, 4, "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};", D4, A4, B2, C4)
MMA(m16n8k32_u8_s8, 4, 2, 4, "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};", D4, A4, B2, C4)
#endif

// a: [32 rows, 8] 16-bit elements, row i for lane i. d: [32, n].
#define LOAD_MATRIX(name, n, text, outs)                                                     \
  extern "C" __global__ void ldmatrix_##name(FragmentArguments x) {                          \
    __shared__ __align__(16) uint32_t rows[32][4];                                           \
    for (int i = 0; i < 4; ++i) rows[threadIdx.x][i] = x.a[threadIdx.x * 4 + i];             \
    __syncwarp();                                                                            \
    uint32_t d[4] = {};                                                                      \
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(rows[threadIdx.x]));  \
    asm volatile(text : outs : "r"(at));                                                     \
    for (int i = 0; i < n; ++i) x.d[threadIdx.x * n + i] = d[i];                             \
  }
LOAD_MATRIX(x1, 1, "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];", "=r"(d[0]))
LOAD_MATRIX(x2, 2, "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];", D2)
LOAD_MATRIX(x4, 4, "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];", D4)
LOAD_MATRIX(x1_trans, 1, "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];", "=r"(d[0]))
LOAD_MATRIX(x4_trans, 4, "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];", D4)
