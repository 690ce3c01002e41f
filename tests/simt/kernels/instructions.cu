// One instruction a kernel, of operands from arrays. Every operand and result takes 64 bits of its array; what of them counts depends on
// the instruction.
#include <cstdint>

struct OperandArguments {
  const uint64_t* a;
  const uint64_t* b;
  const uint64_t* c;
  uint64_t* out;
  int64_t n;
};

#define KERNEL(name, result_type, result_letter, text, ...)                 \
  extern "C" __global__ void op_##name(OperandArguments x) {                \
    const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;       \
    if (i >= x.n) return;                                                   \
    result_type result;                                                     \
    asm volatile(text : "=" result_letter(result) : __VA_ARGS__);           \
    x.out[i] = result;                                                      \
  }

#define A32 "r"(uint32_t(x.a[i]))
#define B32 "r"(uint32_t(x.b[i]))
#define C32 "r"(uint32_t(x.c[i]))
#define A64 "l"(x.a[i])
#define B64 "l"(x.b[i])
#define C64 "l"(x.c[i])
#define A16 "h"(uint16_t(x.a[i]))
#define B16 "h"(uint16_t(x.b[i]))
#define C16 "h"(uint16_t(x.c[i]))

#define ONE_32(name, text) KERNEL(name, uint32_t, "r", text " %0, %1;", A32)
#define TWO_32(name, text) KERNEL(name, uint32_t, "r", text " %0, %1, %2;", A32, B32)
#define THREE_32(name, text) KERNEL(name, uint32_t, "r", text " %0, %1, %2, %3;", A32, B32, C32)
#define ONE_64(name, text) KERNEL(name, uint64_t, "l", text " %0, %1;", A64)
#define TWO_64(name, text) KERNEL(name, uint64_t, "l", text " %0, %1, %2;", A64, B64)
#define TWO_16(name, text) KERNEL(name, uint16_t, "h", text " %0, %1, %2;", A16, B16)
#define THREE_16(name, text) KERNEL(name, uint16_t, "h", text " %0, %1, %2, %3;", A16, B16, C16)
#define FROM_64(name, text) KERNEL(name, uint32_t, "r", text " %0, %1;", A64)
#define TO_64(name, text) KERNEL(name, uint64_t, "l", text " %0, %1;", A32)

// Integers
TWO_32(add_sat, "add.sat.s32")
TWO_32(sub_sat, "sub.sat.s32")
TWO_32(mul_hi_s32, "mul.hi.s32")
TWO_32(mul_hi_u32, "mul.hi.u32")
THREE_32(mad_hi_s32, "mad.hi.s32")
THREE_32(mad_lo_s32, "mad.lo.s32")
TWO_32(mul24_s32, "mul24.lo.s32")
TWO_32(mul24_hi_u32, "mul24.hi.u32")
THREE_32(sad_s32, "sad.s32")
THREE_32(sad_u32, "sad.u32")
TWO_32(div_s32, "div.s32")
TWO_32(div_u32, "div.u32")
TWO_32(rem_s32, "rem.s32")
TWO_32(rem_u32, "rem.u32")
TWO_32(min_s32, "min.s32")
TWO_32(max_u32, "max.u32")
ONE_32(abs_s32, "abs.s32")
ONE_32(neg_s32, "neg.s32")
ONE_32(popc_b32, "popc.b32")
ONE_32(clz_b32, "clz.b32")
ONE_32(brev_b32, "brev.b32")
ONE_32(bfind_u32, "bfind.u32")
ONE_32(bfind_s32, "bfind.s32")
ONE_32(bfind_shiftamt_u32, "bfind.shiftamt.u32")
ONE_32(cnot_b32, "cnot.b32")
THREE_32(bfe_u32, "bfe.u32")
THREE_32(bfe_s32, "bfe.s32")
KERNEL(bfi_b32, uint32_t, "r", "bfi.b32 %0, %1, 0x0f5a3c96, %2, %3;", A32, B32, C32)
THREE_32(shf_l_wrap, "shf.l.wrap.b32")
THREE_32(shf_l_clamp, "shf.l.clamp.b32")
THREE_32(shf_r_wrap, "shf.r.wrap.b32")
THREE_32(shf_r_clamp, "shf.r.clamp.b32")
TWO_32(shl_b32, "shl.b32")
TWO_32(shr_u32, "shr.u32")
TWO_32(shr_s32, "shr.s32")
THREE_32(prmt, "prmt.b32")
THREE_32(prmt_f4e, "prmt.b32.f4e")
THREE_32(prmt_b4e, "prmt.b32.b4e")
THREE_32(prmt_rc8, "prmt.b32.rc8")
THREE_32(prmt_ecl, "prmt.b32.ecl")
THREE_32(prmt_ecr, "prmt.b32.ecr")
THREE_32(prmt_rc16, "prmt.b32.rc16")
THREE_32(dp4a_ss, "dp4a.s32.s32")
THREE_32(dp4a_su, "dp4a.s32.u32")
THREE_32(dp4a_us, "dp4a.u32.s32")
THREE_32(dp4a_uu, "dp4a.u32.u32")
THREE_32(dp2a_lo_ss, "dp2a.lo.s32.s32")
THREE_32(dp2a_hi_us, "dp2a.hi.u32.s32")
TWO_32(bmsk_clamp, "bmsk.clamp.b32")
TWO_32(bmsk_wrap, "bmsk.wrap.b32")
THREE_32(slct_s32, "slct.b32.s32")
KERNEL(fns, uint32_t, "r", "fns.b32 %0, %1, %2, %3;", A32, "r"(uint32_t(x.b[i]) & 31), "r"(int32_t(uint32_t(x.c[i])) % 5))
#define LOP3(table) KERNEL(lop3_##table, uint32_t, "r", "lop3.b32 %0, %1, %2, %3, " #table ";", A32, B32, C32)
LOP3(0x80) LOP3(0xfe) LOP3(0x96) LOP3(0xf8) LOP3(0xea) LOP3(0xec) LOP3(0xca) LOP3(0xe8) LOP3(0x6a) LOP3(0x78) LOP3(0xc0) LOP3(0xfc)
LOP3(0x3c) LOP3(0x30) LOP3(0xa8) LOP3(0xe0) LOP3(0x40) LOP3(0x28) LOP3(0x60) LOP3(0xa0) LOP3(0x88) LOP3(0x1b) LOP3(0x00) LOP3(0xff) LOP3(0x47)
TWO_16(mul_lo_s16, "mul.lo.s16")
TWO_16(mul_hi_u16, "mul.hi.u16")
TWO_16(min_s16, "min.s16")
TWO_64(mul_hi_s64, "mul.hi.s64")
TWO_64(mul_hi_u64, "mul.hi.u64")
TWO_64(min_s64, "min.s64")
ONE_64(brev_b64, "brev.b64")
FROM_64(popc_b64, "popc.b64")
FROM_64(clz_b64, "clz.b64")
FROM_64(bfind_s64, "bfind.s64")
KERNEL(bfe_s64, uint64_t, "l", "bfe.s64 %0, %1, %2, %3;", A64, B32, C32)
KERNEL(bfe_u64, uint64_t, "l", "bfe.u64 %0, %1, %2, %3;", A64, B32, C32)
KERNEL(bfi_b64, uint64_t, "l", "bfi.b64 %0, %1, 0x0123456789abcdef, %2, %3;", A64, B32, C32)
KERNEL(shr_s64, uint64_t, "l", "shr.s64 %0, %1, %2;", A64, B32)
KERNEL(shl_b64, uint64_t, "l", "shl.b64 %0, %1, %2;", A64, B32)
KERNEL(mad_wide_s32, uint64_t, "l", "mad.wide.s32 %0, %1, %2, %3;", A32, B32, C64)
KERNEL(mul_wide_u32, uint64_t, "l", "mul.wide.u32 %0, %1, %2;", A32, B32)

// Conversions
ONE_32(cvt_rni_s32_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.rni.s32.f32 %0, f;} //")
ONE_32(cvt_rzi_s32_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.rzi.s32.f32 %0, f;} //")
ONE_32(cvt_rmi_s32_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.rmi.s32.f32 %0, f;} //")
ONE_32(cvt_rpi_u32_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.rpi.u32.f32 %0, f;} //")
ONE_32(cvt_rzi_s8_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.rzi.s8.f32 %0, f;} //")
ONE_32(cvt_rni_f32_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.rni.f32.f32 f, f; mov.b32 %0, f;} //")
ONE_32(cvt_rmi_f32_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.rmi.f32.f32 f, f; mov.b32 %0, f;} //")
ONE_32(cvt_sat_f32_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.sat.f32.f32 f, f; mov.b32 %0, f;} //")
ONE_32(cvt_ftz_f32_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.ftz.f32.f32 f, f; mov.b32 %0, f;} //")
TO_64(cvt_rzi_s64_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.rzi.s64.f32 %0, f;} //")
ONE_64(cvt_rzi_u64_f64, "{.reg .f64 f; mov.b64 f, %1; cvt.rzi.u64.f64 %0, f;} //")
FROM_64(cvt_rzi_s32_f64, "{.reg .f64 f; mov.b64 f, %1; cvt.rzi.s32.f64 %0, f;} //")
#define ROUND(mode)                                                                                               \
  ONE_32(cvt_##mode##_f32_s32, "{.reg .f32 f; cvt." #mode ".f32.s32 f, %1; mov.b32 %0, f;} //")                   \
  FROM_64(cvt_##mode##_f32_s64, "{.reg .f32 f; cvt." #mode ".f32.s64 f, %1; mov.b32 %0, f;} //")                  \
  FROM_64(cvt_##mode##_f32_u64, "{.reg .f32 f; cvt." #mode ".f32.u64 f, %1; mov.b32 %0, f;} //")                  \
  ONE_64(cvt_##mode##_f64_s64, "{.reg .f64 f; cvt." #mode ".f64.s64 f, %1; mov.b64 %0, f;} //")                   \
  FROM_64(cvt_##mode##_f32_f64, "{.reg .f64 d; .reg .f32 f; mov.b64 d, %1; cvt." #mode ".f32.f64 f, d; mov.b32 %0, f;} //") \
  TWO_32(add_##mode##_f32, "{.reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; add." #mode ".f32 f, f, g; mov.b32 %0, f;} //")  \
  TWO_32(mul_##mode##_f32, "{.reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; mul." #mode ".f32 f, f, g; mov.b32 %0, f;} //")  \
  TWO_32(div_##mode##_f32, "{.reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; div." #mode ".f32 f, f, g; mov.b32 %0, f;} //")  \
  ONE_32(sqrt_##mode##_f32, "{.reg .f32 f; mov.b32 f, %1; sqrt." #mode ".f32 f, f; mov.b32 %0, f;} //")                     \
  THREE_32(fma_##mode##_f32,                                                                                                \
           "{.reg .f32 f, g, h; mov.b32 f, %1; mov.b32 g, %2; mov.b32 h, %3; fma." #mode ".f32 f, f, g, h; mov.b32 %0, f;} //")
ROUND(rn) ROUND(rz) ROUND(rm) ROUND(rp)
ONE_32(cvt_s8_s32, "cvt.s32.s8")
ONE_32(cvt_sat_s8_s32, "cvt.sat.s8.s32")
ONE_32(cvt_sat_u8_s32, "cvt.sat.u8.s32")
ONE_32(cvt_sat_u16_s32, "cvt.sat.u16.s32")
FROM_64(cvt_sat_s32_s64, "cvt.sat.s32.s64")
TO_64(cvt_s64_s32, "cvt.s64.s32")
TO_64(cvt_u64_u32, "cvt.u64.u32")
KERNEL(cvt_rn_f16_f32, uint16_t, "h", "{.reg .f32 f; mov.b32 f, %1; cvt.rn.f16.f32 %0, f;}", A32)
KERNEL(cvt_rz_f16_f32, uint16_t, "h", "{.reg .f32 f; mov.b32 f, %1; cvt.rz.f16.f32 %0, f;}", A32)
KERNEL(cvt_f32_f16, uint32_t, "r", "{.reg .f32 f; cvt.f32.f16 f, %1; mov.b32 %0, f;}", A16)
KERNEL(cvt_rni_s32_f16, uint32_t, "r", "cvt.rni.s32.f16 %0, %1;", A16)
KERNEL(cvt_rn_f16_s32, uint16_t, "h", "cvt.rn.f16.s32 %0, %1;", A32)

// Floats
TWO_32(min_f32, "{.reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; min.f32 f, f, g; mov.b32 %0, f;} //")
TWO_32(max_f32, "{.reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; max.f32 f, f, g; mov.b32 %0, f;} //")
TWO_32(add_ftz_f32, "{.reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; add.ftz.f32 f, f, g; mov.b32 %0, f;} //")
TWO_32(mul_ftz_sat_f32, "{.reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; mul.ftz.sat.f32 f, f, g; mov.b32 %0, f;} //")
TWO_32(copysign_f32, "{.reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; copysign.f32 f, f, g; mov.b32 %0, f;} //")
ONE_32(rcp_approx, "{.reg .f32 f; mov.b32 f, %1; rcp.approx.f32 f, f; mov.b32 %0, f;} //")
ONE_32(rsqrt_approx, "{.reg .f32 f; mov.b32 f, %1; rsqrt.approx.f32 f, f; mov.b32 %0, f;} //")
ONE_32(ex2_approx, "{.reg .f32 f; mov.b32 f, %1; ex2.approx.f32 f, f; mov.b32 %0, f;} //")
ONE_32(lg2_approx, "{.reg .f32 f; mov.b32 f, %1; lg2.approx.f32 f, f; mov.b32 %0, f;} //")
ONE_32(tanh_approx, "{.reg .f32 f; mov.b32 f, %1; tanh.approx.f32 f, f; mov.b32 %0, f;} //")
#define COMPARE(name)                                                                                                     \
  TWO_32(setp_##name##_f32,                                                                                               \
         "{.reg .pred p; .reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; setp." #name ".f32 p, f, g; selp.u32 %0, 1, 0, p;} //")
COMPARE(eq) COMPARE(ne) COMPARE(lt) COMPARE(le) COMPARE(gt) COMPARE(ge) COMPARE(equ) COMPARE(neu) COMPARE(ltu) COMPARE(leu) COMPARE(gtu)
COMPARE(geu) COMPARE(num) COMPARE(nan)
THREE_32(setp_combined, "{.reg .pred p, q, r; setp.ne.u32 r, %3, 0; setp.lt.and.s32 p|q, %1, %2, r; selp.u32 %0, 1, 0, p; @q add.u32 %0, %0, 2;} //")
TWO_32(set_lt_u32_s32, "set.lt.u32.s32")

// Halves
THREE_32(fma_f16x2, "fma.rn.f16x2")
TWO_32(add_f16x2, "add.f16x2")
TWO_32(mul_f16x2, "mul.f16x2")
THREE_16(fma_f16, "fma.rn.f16")
TWO_32(set_gt_f16x2, "set.gt.f16x2.f16x2")
#if __CUDA_ARCH__ >= 800
TWO_32(cvt_rn_f16x2_f32, "{.reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; cvt.rn.f16x2.f32 %0, f, g;} //")
TWO_16(max_f16, "max.f16")
TWO_32(min_nan_f16x2, "min.NaN.f16x2")
KERNEL(cvt_rn_bf16_f32, uint16_t, "h", "{.reg .f32 f; mov.b32 f, %1; cvt.rn.bf16.f32 %0, f;}", A32)
KERNEL(cvt_rz_bf16_f32, uint16_t, "h", "{.reg .f32 f; mov.b32 f, %1; cvt.rz.bf16.f32 %0, f;}", A32)
TWO_32(cvt_rn_relu_bf16x2_f32, "{.reg .f32 f, g; mov.b32 f, %1; mov.b32 g, %2; cvt.rn.relu.bf16x2.f32 %0, f, g;} //")
THREE_32(fma_bf16x2, "fma.rn.bf16x2")
TWO_32(min_bf16x2, "min.bf16x2")
ONE_32(cvt_rna_tf32_f32, "{.reg .f32 f; mov.b32 f, %1; cvt.rna.tf32.f32 %0, f;} //")
#endif

// Exchanges of a warp: value, b and c from the arrays; the predicate in the highest bit of the result.
#define SHUFFLE(mode)                                                                                                      \
  extern "C" __global__ void op_shfl_##mode(OperandArguments x) {                                                          \
    const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;                                                      \
    uint32_t value, in_range;                                                                                              \
    asm volatile("{.reg .pred p; shfl.sync." #mode ".b32 %0|p, %2, %3, %4, 0xffffffff; selp.u32 %1, 1, 0, p;}"             \
                 : "=r"(value), "=r"(in_range) : A32, B32, C32);                                                           \
    x.out[i] = uint64_t(in_range) << 63 | value;                                                                           \
  }
SHUFFLE(up) SHUFFLE(down) SHUFFLE(bfly) SHUFFLE(idx)

// Of lanes whose b is not 0: any, all, uni, ballot; match; and, on sm_80, reductions.
extern "C" __global__ void op_votes(OperandArguments x) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  const bool p = uint32_t(x.b[i]) != 0;
  const uint32_t mask = 0xffffffffu;
  uint32_t uni;
  asm volatile("{.reg .pred p, q; setp.ne.u32 p, %1, 0; vote.sync.uni.pred q, p, 0xffffffff; selp.u32 %0, 1, 0, q;}" : "=r"(uni) : "r"(uint32_t(p)));
  x.out[i] = uint64_t(__ballot_sync(mask, p)) << 32 | uint64_t(__any_sync(mask, p) ? 1 : 0) | uint64_t(__all_sync(mask, p) ? 2 : 0) | uni << 2;
}
extern "C" __global__ void op_match(OperandArguments x) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  int all;
  const uint32_t same = __match_any_sync(0xffffffffu, uint32_t(x.a[i]) % 3);
  const uint32_t one = __match_all_sync(0xffffffffu, x.b[i], &all);
  x.out[i] = uint64_t(same) << 32 | (one & 0xffffu) << 1 | (all ? 1 : 0);
}
#if __CUDA_ARCH__ >= 800
#define REDUCE(name, text) TWO_32(redux_##name, "{.reg .b32 t; mov.b32 t, %2; redux.sync." text " %0, %1, 0xffffffff;} //")
REDUCE(add_u32, "add.u32") REDUCE(add_s32, "add.s32") REDUCE(min_s32, "min.s32") REDUCE(max_u32, "max.u32") REDUCE(xor_b32, "xor.b32")
REDUCE(and_b32, "and.b32") REDUCE(or_b32, "or.b32")
#endif

// How many threads of the block have an odd a, whether all, whether any.
extern "C" __global__ void op_counting_barriers(OperandArguments x) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  const int odd = x.a[i] & 1;
  const int n = __syncthreads_count(odd);
  const int all = __syncthreads_and(odd), any = __syncthreads_or(odd);
  x.out[i] = uint64_t(n) << 2 | (all ? 2 : 0) | (any ? 1 : 0);
}

// Atomics on one word in c[0], a copy of the results in out; 32 bits.
#define ATOMIC(name, expression)                                                     \
  extern "C" __global__ void op_atomic_##name(OperandArguments x) {                  \
    const int64_t i = threadIdx.x;                                                   \
    uint32_t* word = reinterpret_cast<uint32_t*>(const_cast<uint64_t*>(x.c));        \
    const uint32_t a = uint32_t(x.a[i]), b = uint32_t(x.b[i]);                       \
    (void)b;                                                                         \
    x.out[i] = uint32_t(expression);                                                 \
  }
ATOMIC(add, atomicAdd(word, a))
ATOMIC(min, atomicMin(reinterpret_cast<int*>(word), int(a)))
ATOMIC(max, atomicMax(word, a))
ATOMIC(exch, atomicExch(word, a))
ATOMIC(cas, atomicCAS(word, a, b))
ATOMIC(and, atomicAnd(word, a))
ATOMIC(or, atomicOr(word, a))
ATOMIC(xor, atomicXor(word, a))
ATOMIC(inc, atomicInc(word, a))
ATOMIC(dec, atomicDec(word, a))
