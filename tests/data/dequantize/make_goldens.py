"""Writes the golden files of tests/kernels: blocks of every tensor type with the values that the Python package `gguf` gives them.

pip install gguf numpy; then run this script. Each NAME.bin is little-endian:
    u32 number of blocks | the blocks | their values as f32
quantize_NAME.bin:  u32 number of values | the values as f32 | the blocks that the package makes of them
half.bin:           u32 number of values | the values as f32 | their f16 | their bf16
iq_grids.bin:       the points of IQ1, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S in that order, one i8 a value
"""

import pathlib

import gguf.quants as quants
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type

HERE = pathlib.Path(__file__).parent
random = np.random.default_rng(20261123)

# Where the f16 scales of a block lie. IQ1_M's lies in pieces, and the FP4 formats have 8-bit scales that random bytes cover.
F16_OFFSETS = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q8_1: [0, 2],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
    Type.IQ1_S: [0], Type.IQ2_XXS: [0], Type.IQ2_XS: [0], Type.IQ2_S: [0], Type.IQ3_XXS: [0], Type.IQ3_S: [0],
    Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.TQ1_0: [52], Type.TQ2_0: [64],
}
BLOCK_BYTES = {kind: size[1] for kind, size in GGML_QUANT_SIZES.items()}
BLOCK_BYTES[Type.Q8_1] = 36  # the package says 40, from the days when scale and sum were f32
EXTREMES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0x7E01]  # up to the largest, infinity and NaN
ORDINARY = [0x1234, 0xA5C3, 0x2E66]


def set_f16(block, offset, bits):
    block[offset:offset + 2] = np.frombuffer(np.uint16(bits).tobytes(), dtype=np.uint8)


def blocks_of(kind):
    scales = EXTREMES + ORDINARY
    blocks = random.integers(0, 256, (len(scales), BLOCK_BYTES[kind]), dtype=np.uint8)
    for i, bits in enumerate(scales):
        for k, offset in enumerate(F16_OFFSETS.get(kind, [])):
            set_f16(blocks[i], offset, bits if k == 0 else scales[(i * 5 + 3) % len(scales)])
        if kind == Type.IQ1_M:
            for j in range(4):
                blocks[i][48 + 2 * j + 1] = (blocks[i][48 + 2 * j + 1] & 0x0F) | ((bits >> (4 * j) & 15) << 4)
        if kind == Type.Q8_K:
            scale = [0, -0.0, 1e-45, 1e-38, 3.4e38, np.inf, np.nan, -1.5][i % 8] if i < 8 else random.normal()
            blocks[i][:4] = np.frombuffer(np.float32(scale).tobytes(), dtype=np.uint8)
    return blocks


def fp4_blocks(kind):
    """Every value of the 8-bit scale at least once."""
    if kind == Type.MXFP4:
        blocks = random.integers(0, 256, (256, 17), dtype=np.uint8)
        blocks[:, 0] = np.arange(256)
    else:
        blocks = random.integers(0, 256, (64, 36), dtype=np.uint8)
        blocks[:, :4] = np.arange(256).reshape(64, 4)
    return blocks


def dequantize(kind, blocks):
    n = len(blocks)
    if kind == Type.Q8_1:  # the package has neither this format nor the next: f16 scale, f16 sum, 32 signed bytes
        scale = np.array([np.frombuffer(block[:2].tobytes(), "<f2")[0] for block in blocks], dtype=np.float32)
        return (scale[:, None] * blocks[:, 4:].copy().view(np.int8).astype(np.float32)).ravel()
    if kind == Type.Q8_K:  # f32 scale, 256 signed bytes, 16 sums
        scale = np.array([np.frombuffer(block[:4].tobytes(), "<f4")[0] for block in blocks], dtype=np.float32)
        return (scale[:, None] * blocks[:, 4:260].copy().view(np.int8).astype(np.float32)).ravel()
    values = quants.dequantize(blocks, kind)
    assert values.dtype == np.float32 and values.size == n * GGML_QUANT_SIZES[kind][0]
    return values.ravel()


def write(name, *arrays):
    HERE.joinpath(name + ".bin").write_bytes(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays))


def plain_types():
    edge = [0, -0.0, 1, -1, 0.1, 1e-45, -1e-39, 1.17549435e-38, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan]
    f64 = np.array(edge + [1e300, -1e300, 1e-300, 16777217, 1 + 2**-24, 1 + 3 * 2**-24] + list(random.normal(size=20)), "<f8")
    f32 = f64.astype("<f4")
    f16 = np.concatenate([np.array([0, 1, 0x3FF, 0x400, 0x7BFF, 0x7C00, 0x7C01, 0x7E00, 0x8001, 0xFC00], "<u2"),
                          random.integers(0, 65536, 54).astype("<u2")]).view("<f2")
    bf16 = np.concatenate([np.array([0, 1, 0x7F, 0x80, 0x7F7F, 0x7F80, 0x7FC0, 0x8001, 0xFF80], "<u2"),
                           random.integers(0, 65536, 55).astype("<u2")])
    integers = {f"I{8 * size}": np.concatenate([np.array([np.iinfo(kind).min, np.iinfo(kind).max, 0, 1, -1], kind),
                                                random.integers(np.iinfo(kind).min, np.iinfo(kind).max, 59, dtype=kind)])
                for size, kind in [(1, np.int8), (2, np.int16), (4, np.int32), (8, np.int64)]}
    for name, array in {"F64": f64, "F32": f32, "F16": f16, **integers}.items():
        write(name, np.uint32(array.size), array, array.astype("<f4"))
    write("BF16", np.uint32(bf16.size), bf16, quants.dequantize(bf16.view(np.uint8).reshape(1, -1), Type.BF16))


def rows_to_quantize():
    rows = [random.normal(size=32) * 10.0**e for e in (-7, -4, -2, 0, 2, 4)]
    rows += [np.zeros(32), np.full(32, 0.75), np.full(32, -3.0), np.arange(32) - 16.0, np.arange(32) / 2.0]
    rows += [np.where(np.arange(32) % 2, 5.0, -5.0), np.where(np.arange(32) % 2, -5.0, 5.0)]  # which of two largest comes first
    rows += [(np.arange(32) - 15.5) * 127 / 15.5, (np.arange(32) % 8 - 3.5) * 1.0]
    rows += [np.where(np.arange(32) == 9, 127.0, np.arange(32) - 15.5)]  # Q8_0: scale 1, so halves to be rounded
    return np.array(rows, dtype=np.float32)


def main():
    plain_types()
    for kind in list(F16_OFFSETS) + [Type.IQ1_M, Type.Q8_K]:
        blocks = blocks_of(kind)
        write(kind.name, np.uint32(len(blocks)), blocks, dequantize(kind, blocks))
    for kind in (Type.MXFP4, Type.NVFP4):
        blocks = fp4_blocks(kind)
        write(kind.name, np.uint32(len(blocks)), blocks, dequantize(kind, blocks))
    rows = rows_to_quantize()
    for kind in (Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0):
        write("quantize_" + kind.name, np.uint32(rows.size), rows, quants.quantize(rows, kind))

    bits = np.concatenate([random.integers(0, 2**32, 400), random.integers(0x33000000, 0x39000000, 400),  # f16's subnormals
                           random.integers(0x47700000, 0x47900000, 200), random.integers(0x38800000, 0x47700000, 400) & ~0xFFF,
                           [0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 0x477FEFFF, 0x477FF000]])
    values = bits.astype(np.uint32).view(np.float32)
    bf16 = quants.quantize(values.reshape(1, -1), Type.BF16)
    write("half", np.uint32(values.size), values, values.astype(np.float16), bf16)

    grids = []
    for kind in (quants.IQ1_S, quants.IQ2_XXS, quants.IQ2_XS, quants.IQ2_S, quants.IQ3_XXS, quants.IQ3_S):
        kind.init_grid()
        grids.append(kind.grid.ravel().astype(np.int8))
    write("iq_grids", *grids)


with np.errstate(all="ignore"):
    main()
