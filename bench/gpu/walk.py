"""How many instructions the warps of a launch execute, of which pipe, and how long one takes: from the loops of its machine code and
the numbers of turns that its shape gives (kernels/cuda/gemv.cuh); for other kernels, from the PTX that the emulation counted."""

import math
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

sys.path.append(str(Path(__file__).resolve().parent.parent.parent / "tests/simt/ptx_to_cpp"))

from instructions import instruction_class  # noqa: E402
from sass import cycles_of, pipes_of

# Classes of PTX and the pipe that most of their machine code runs in. Moves and control mostly vanish.
PTX_PIPES = {"global load": "memory", "global store": "memory", "shared load": "memory", "shared store": "memory", "atomic": "memory",
             "async copy": "memory", "exchange": "memory", "integer": "integer", "float": "float", "dot": "multiply",
             "conversion": "conversion", "matrix": "tensor", "control": "control"}


@dataclass
class Work:
    source: str  # "SASS" or "PTX"
    warp_pipes: Counter  # instructions of an average warp
    warp_cycles: float  # of a warp that is alone and waits for no memory but the first-level cache
    inner: int  # instructions of a turn of the inner loop, and the weights of a turn
    inner_weights: float
    stages: float = 0  # pieces of the ring that a warp goes through, or tiles of a block that copies one while it multiplies another
    parts: dict = field(default_factory=dict)  # instructions of a warp, by what they are for
    multiplies_floats: bool = False  # on tensor cores: 16-bit floats with sums in 32 bits, where all else is of 8-bit numbers

    @property
    def instructions(self):
        return sum(self.warp_pipes.values())


def has(kernel, loop, opcode):
    return kernel.opcodes(loop)[opcode] > 0


def gemv_loops(kernel):
    """The loop over stages, over units, over groups whose pieces are copied, and in that the one that copies from inside a matrix."""
    stage = max((loop for loop in kernel.loops if len(loop.children) > 1), key=lambda loop: len(loop.blocks))
    groups = next(loop for loop in stage.children if any(has(kernel, child, "LDGSTS") for child in loop.children))
    copy = min((loop for loop in groups.children if has(kernel, loop, "LDGSTS")), key=lambda loop: len(loop.blocks))
    units = max((loop for loop in stage.children if loop is not groups),
                key=lambda loop: kernel.opcodes(loop)["IDP"] * 100 + kernel.opcodes(loop)["FFMA"] * 10 + kernel.opcodes(loop)["LDS"])
    return stage, units, groups, copy


def units_a_turn(kernel, units):
    """A turn of an unrolled loop takes several units: of floats one FFMA each; other formats are not unrolled."""
    own = kernel.opcodes(units)
    return 1 if own["IDP"] else max(1, own["FFMA"])


def block_with(kernel, loop, opcode):
    own = loop.blocks - set().union(*[child.blocks for child in loop.children])
    return next(at for at in sorted(own) if any(i.opcode == opcode for i in kernel.blocks[at].instructions))


def gemv_work(kernel, launch, table_words):
    shape = launch["shape"]
    stage, units, groups, copy = gemv_loops(kernel)
    n_groups = 32 // shape["lanes"]
    mode = shape["mode"]  # GemvMode: Products, GateUp, Gate, Up, Down
    n_passes = {1: 2, 4: shape["n_used"]}.get(mode, 1)
    rows = shape["n_rounds"] * n_passes
    a_turn = units_a_turn(kernel, units)

    unit_way = kernel.body(units)
    copy_way = kernel.body(copy, [block_with(kernel, copy, "LDGSTS")])
    copies_a_turn = 32 * sum(i.opcode == "LDGSTS" for i in copy_way)

    unit_turns = copy_turns = 0.0
    for piece in range(shape["n_pieces"]):
        n_units = min(shape["units_a_piece"], shape["units_a_row"] - piece * shape["units_a_piece"])
        unit_turns += math.ceil(math.ceil(n_units / shape["lanes"]) / a_turn)
        n_bytes = min(shape["piece_bytes"], shape["row_bytes"] - piece * shape["piece_bytes"])
        step = math.gcd(math.gcd(shape["row_bytes"], shape["piece_bytes"]), 16)  # pieces begin at multiples of it
        heads = range(0, 16, step)
        copy_turns += sum(math.ceil((n_bytes + head) / (16 * copies_a_turn)) for head in heads) / len(heads) * n_groups

    group_way = kernel.body(groups, [copy.header])
    stage_way = kernel.body(stage, [units.header, groups.header])
    end_way = kernel.body(stage, [units.header, groups.header, block_with(kernel, stage, "SHFL")])
    first_way = kernel.way(kernel.entry, {stage.header}, set(kernel.blocks), [l for l in kernel.loops if stage.header not in l.blocks]) or []

    turns = [("units", unit_way, rows * unit_turns), ("copies", copy_way, rows * copy_turns),
             ("begins of copies", group_way, rows * shape["n_pieces"] * n_groups), ("stages", stage_way, rows * (shape["n_pieces"] - 1)),
             ("ends of rows", end_way, rows), ("start", first_way, 1)]
    if table_words:
        fill = max((l for l in kernel.loops if stage.header not in l.blocks and l.header < stage.header and has(kernel, l, "STS")),
                   key=lambda l: kernel.opcodes(l)["STS"])
        way = kernel.body(fill)
        stores = sum({"STS": 1}.get(i.opcode, 0) * (4 if ".128" in i.text else 2 if ".64" in i.text else 1) for i in way)
        turns.append(("table", way, table_words / launch["block"] / max(1, stores)))
    pipes, cycles = Counter(), 0.0
    for _, way, n in turns:
        for pipe, count in pipes_of(way).items():
            pipes[pipe] += count * n
        cycles += cycles_of(way) * n
    weights_a_unit = launch["n_columns"] / shape["units_a_row"]
    return Work("SASS", pipes, cycles, len(unit_way), weights_a_unit * 32 * a_turn, rows * shape["n_pieces"],
                {name: len(way) * n for name, way, n in turns})


def counted_work(kernel, launch, n_warps):
    """From counted PTX; the cycles an instruction takes are those of the kernel's longest innermost loop."""
    pipes = Counter()
    for name, count in launch["counts"].items():
        if name.startswith("instructions: ") and (pipe := PTX_PIPES.get(name.removeprefix("instructions: "))):
            pipes[pipe] += count / n_warps
    innermost = [loop for loop in kernel.loops if not loop.children] if kernel else []
    way = max((kernel.body(loop) for loop in innermost), key=len, default=[])
    a_cycle = cycles_of(way) / len(way) if way else 6
    return Work("PTX", pipes, sum(pipes.values()) * a_cycle, len(way), 0)


def split_attention_work(kernel, launch, n_warps):
    """Of a row's heads on tensor cores. What its loop waits for is counted as stages of copies."""
    work = counted_work(kernel, launch, n_warps)
    work.stages = launch["n_stages"]
    work.multiplies_floats = True
    return work


def loads_in_flight(kernel):
    """Loads from device memory that a warp has on their way together, where it copies nothing in the background: those of the turn of
    an innermost loop, at least one."""
    most = 1
    for loop in kernel.loops if kernel else []:
        if not loop.children:
            most = max(most, sum(i.opcode == "LDG" for i in kernel.body(loop)))
    return most



def ptx_loop(text, name, numbers):
    """Classes of instructions, as the emulation counts them, of the block of a kernel's PTX with most matrix operations of such numbers, up
    to its first jump."""
    body = text[text.index(f".entry {name}("):]
    body = body[:body.index("\n}")]
    blocks = re.split(r"^\$L__BB\w+:", body, flags=re.M)
    of_block = lambda block: sum("mma.sync" in line and numbers in line for line in block.splitlines())
    classes = Counter()
    for line in max(blocks, key=of_block).splitlines():
        if match := re.match(r"\s*(?:\{)?\s*(?:@!?%\w+\s+)?([a-z][\w.:]*)[ \t;]", line):
            opcode = match.group(1).replace("::", "__").split(".")
            classes[instruction_class(SimpleNamespace(opcode=opcode))] += 1
            if opcode[0] == "bra":
                break
    return classes


# Products of 16-bit floats for one of a weight and an input (kernels/cuda/gemm_floats.cuh).
FLOAT_PRODUCTS = {"F16": 2, "BF16": 3, "F32": 6}

PTX_CLASSES = {"Integer": "integer", "Float": "float", "Matrix": "tensor", "SharedLoad": "memory", "SharedStore": "memory",
               "GlobalLoad": "memory", "Conversion": "conversion", "Control": "control"}


def tile_work(kernel, launch, n_warps, ptx):
    """Of kernels/cuda/gemm.cuh: the loop that multiplies, 32 columns a turn, is the machine code's. All else a warp does is the PTX that
    the emulation counted less that of the same loop; which decoder is taken can be seen there only. Of gemm_floats.cuh alike: there it
    is a block of the loop over steps. A warp for which its tile has no inputs multiplies nothing: cycles are those of the
    others, but for what is outside the loop, which is the mean of both and too little where such warps are."""
    of_floats = launch["format"] in FLOAT_PRODUCTS
    if of_floats:
        way = max((block.instructions for block in kernel.blocks.values()), key=lambda own: sum(i.opcode == "HMMA" for i in own))
        n_operations = sum(i.opcode == "HMMA" for i in way)
        turns = launch["n_columns"] / (n_operations / FLOAT_PRODUCTS[launch["format"]])  # 16 pairs of fragments, 16 columns each
    else:
        multiply = min((loop for loop in kernel.loops if has(kernel, loop, "IMMA")), key=lambda loop: len(loop.blocks))
        way = kernel.body(multiply)
        turns = launch["n_columns"] / 32
    rest = Counter(counted_work(kernel, launch, n_warps).warp_pipes)
    in_block = ptx_loop(ptx, launch["kernel"], ".f32" if of_floats else ".s8.s8")
    if of_floats and in_block["Matrix"] != n_operations:
        raise SystemExit(f"gpu_counts.py: {launch['kernel']} multiplies in other blocks of machine code than of PTX.")
    n_warps_a_block = launch["block"] // 32
    busy = min(1.0, math.ceil(launch["n_inputs"] / 32) / n_warps_a_block)
    for name, n in in_block.items():
        if name in PTX_CLASSES:
            rest[PTX_CLASSES[name]] -= n * turns * busy
    pipes = Counter({pipe: n * turns * busy for pipe, n in pipes_of(way).items()})
    for pipe, n in rest.items():
        if n < 0:
            raise SystemExit(f"gpu_counts.py: {launch['kernel']} has fewer {pipe} instructions than its loop.")
        pipes[pipe] += n
    others = [i for i in kernel.instructions if not any(i.address == own.address for own in way)]
    return Work("SASS and PTX", pipes, cycles_of(way) * turns + sum(rest.values()) * cycles_of(others, 2) / len(others), len(way), 0,
                parts={"multiplying": len(way) * turns * busy, "else": sum(rest.values())}, multiplies_floats=of_floats)
