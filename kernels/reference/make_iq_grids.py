"""Writes iq_grids.cc, and kernels/cuda/formats/iq_grids.cuh with the same tables, from those of the Python package `gguf` (pip install gguf numpy)."""

import pathlib

import gguf.quants as quants
import numpy as np

GRIDS = [  # name, class, bits a value
    ("kGridIq1", quants.IQ1_S, 2),
    ("kGridIq2Xxs", quants.IQ2_XXS, 2),
    ("kGridIq2Xs", quants.IQ2_XS, 2),
    ("kGridIq2S", quants.IQ2_S, 2),
    ("kGridIq3Xxs", quants.IQ3_XXS, 4),
    ("kGridIq3S", quants.IQ3_S, 4),
]


def packed(kind, bits):
    """Each point of the grid as 16 bits: the position of value i in grid_map, from bit `bits * i` on."""
    kind.init_grid()
    grid = kind.grid.reshape(kind.grid_shape)
    position = {value: i for i, value in enumerate(kind.grid_map)}
    return [sum(position[int(value)] << (bits * i) for i, value in enumerate(point)) for point in grid]


def main():
    assert list(quants.IQ2_XXS.ksigns) == [i | (i.bit_count() & 1) << 7 for i in range(128)]  # what iq_signs() computes
    lines = ['// Made by make_iq_grids.py; do not edit. The layout of an entry is described in iq_grids.h.', '// clang-format off',
             '#include "kernels/reference/iq_grids.h"', '', 'namespace sluice::kernels::reference {']
    for name, kind, bits in GRIDS:
        entries = packed(kind, bits)
        assert max(entries) < 65536
        lines += ['', f'const uint16_t {name}[{len(entries)}] = {{']
        for start in range(0, len(entries), 16):
            lines.append('  ' + ','.join(f'0x{entry:04X}' for entry in entries[start:start + 16]) + ',')
        lines.append('};')
    lines += ['', '}  // namespace sluice::kernels::reference', '']
    here = pathlib.Path(__file__).parent
    (here / "iq_grids.cc").write_text("\n".join(lines))

    cuda = ['// Made by kernels/reference/make_iq_grids.py; do not edit. kernels/reference/iq_grids.h describes an entry.',
            '// clang-format off', '#pragma once', '', '#include <cstdint>', '', 'namespace sluice::kernels::cuda {', 'namespace {']
    cuda += [line.replace('const uint16_t', '__device__ const uint16_t') for line in lines[5:-3]]
    cuda += ['', '}  // namespace', '}  // namespace sluice::kernels::cuda', '']
    (here.parent / "cuda/formats/iq_grids.cuh").write_text("\n".join(cuda))


main()
