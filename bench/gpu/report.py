"""The section of docs/performance.md."""

import math
from dataclasses import dataclass

import gpus
from gpus import GPUS
from layers import FORMATS, LLAMA, LLAMA_TOKEN, R1, R1_LAYER, TARGETS

REFERENCE = {"IQ1_S": (R1, "experts gate, up"), "IQ2_XXS": (R1, "experts gate, up")}  # else Llama's gate, up


@dataclass
class Row:
    launch: dict
    gpu: object
    registers: int
    local: int
    work: object
    prediction: object


def percent(x):
    return f"{100 * x:.0f}%"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def moved_bytes(launch):
    return (launch["counts"]["distinct sectors read"] + launch["counts"]["sectors written"]) * 32


def needed_bytes(launch):
    return launch["weight_bytes"] + launch["other_bytes"]


def instructions_a_weight(row):
    launch = row.launch
    n_warps = math.prod(launch["grid"]) * math.ceil(launch["block"] / 32)
    return 32 * row.work.instructions * n_warps / launch["weights"]


def ptx_a_weight(launch):
    return 32 * sum(n for name, n in launch["counts"].items() if name.startswith("instructions")) / launch["weights"]


def by_gpu(found, key, value):
    return " / ".join(value(found[(*key, gpu.name)]) for gpu in GPUS)


def ratio(counts, above, below):
    return f"{counts.get(above, 0) / counts[below]:.1f}" if counts.get(below) else "-"


def kernels_table(found):
    rows = []
    for name in FORMATS:
        model, place = REFERENCE.get(name, (LLAMA, "gate, up"))
        key = model, place, name
        launch = found[(*key, GPUS[0].name)].launch
        counts = launch["counts"]
        rows.append([name, by_gpu(found, key, lambda r: str(r.registers)), by_gpu(found, key, lambda r: str(r.prediction.warps_an_sm)),
                     by_gpu(found, key, lambda r: f"{r.work.inner}"),
                     by_gpu(found, key, lambda r: f"{instructions_a_weight(r):.1f}"), f"{ptx_a_weight(launch):.1f}",
                     f"{moved_bytes(launch) / needed_bytes(launch):.3f}",
                     ratio(counts, "global copy sectors", "global copy requests"),
                     ratio(counts, "shared load wavefronts", "shared load requests"),
                     by_gpu(found, key, lambda r: percent(r.prediction.steady)), by_gpu(found, key, lambda r: r.prediction.bound)])
    return table(["format", "registers", "warps an SM", "inner loop", "instructions a weight", "PTX", "moved / needed", "sectors a copy",
                  "wavefronts a shared load", "steady", "bound"], rows)


def parts_table(found):
    """Of the A100's machine code."""
    gpu = next(gpu for gpu in GPUS if gpu.architecture == 80)
    names = ["units", "copies", "begins of copies", "stages", "ends of rows", "start", "table"]
    rows = []
    for name in FORMATS:
        model, place = REFERENCE.get(name, (LLAMA, "gate, up"))
        parts = found[model, place, name, gpu.name].work.parts
        rows.append([name, *[percent(parts.get(part, 0) / sum(parts.values())) for part in names]])
    return table(["format", *names], rows)


def shapes_table(found):
    places = []
    for model, place, name, _ in found:
        if name in FORMATS and not place.startswith(("attend", "join", "router")) and "quantise" not in place and (model, place) not in places:
            places.append((model, place))
    rows = []
    for model, place in places:
        cells = [by_gpu(found, (model, place, name), lambda r: f"{100 * r.prediction.fraction:.0f}") for name in FORMATS]
        rows.append([model, place, *cells])
    return table(["model", "matrix", *FORMATS], rows)


def microseconds(row):
    return row.prediction.seconds * 1e6


def others_table(found):
    rows, seen = [], set()
    for model, place, name, _ in found:
        key = model, place, name
        if key in seen or not (name == "" or place.startswith(("attend", "join", "router", "kv_b"))):
            continue
        if place.startswith("kv_b") and name not in ("Q6_K", "Q8_0"):
            continue
        seen.add(key)
        rows.append([model, place, name or "-", by_gpu(found, key, lambda r: str(r.registers)),
                     by_gpu(found, key, lambda r: str(r.prediction.warps_an_sm)), by_gpu(found, key, lambda r: f"{microseconds(r):.1f}"),
                     by_gpu(found, key, lambda r: percent(r.prediction.fraction)), by_gpu(found, key, lambda r: r.prediction.bound)])
    return table(["model", "launch", "cache or weights", "registers", "warps an SM", "us", "of peak", "bound"], rows)


def total(found, launches, gpu):
    """Seconds in kernels, seconds between them, launches."""
    n = sum(one[4] for one in launches)
    return sum(found[(*one[:3], gpu.name)].prediction.seconds * one[3] for one in launches), n * gpus.LAUNCH_GAP_S, n


def sums_table(found):
    rows = []
    for title, launches, rate in (("Llama-8B, Q4_K, a token at 4096 positions", LLAMA_TOKEN, True),
                                  ("DeepSeek-R1 UD-IQ1_S, a layer at 4096 positions", R1_LAYER, False)):
        for gpu in GPUS:
            inside, between, n = total(found, launches, gpu)
            largest = sorted(((found[(*one[:3], gpu.name)].prediction.seconds * one[3], one[1]) for one in launches), reverse=True)[:3]
            names = ", ".join(f"{name} {percent(seconds / (inside + between))}" for seconds, name in largest)
            made = f"{(inside + between) * 1e6:.0f} us" + (f" ({1 / (inside + between):.0f} tokens/s)" if rate else "")
            rows.append([title, gpu.name, n, made, percent(between / (inside + between)), names])
    return table(["what", "GPU", "launches", "predicted", "between launches", "the largest"], rows)


def targets_table(found):
    rows = []
    for name, model, place, least in TARGETS:
        for gpu in GPUS:
            row = found[model, place, name, gpu.name]
            wanted = least[gpu.name]
            verdict = "reported" if wanted is None else "met" if row.prediction.steady >= wanted else "missed"
            second = sorted(row.prediction.bounds.items(), key=lambda b: -b[1])[:3]
            shares = ", ".join(f"{bound} {seconds * 1e6:.1f}" for bound, seconds in second)
            rows.append([name, gpu.name, "-" if wanted is None else percent(wanted), percent(row.prediction.steady),
                         percent(row.prediction.fraction), verdict, shares])
    return table(["format", "GPU", "target", "steady", "whole launch", "verdict", "largest bounds, us"], rows)


def met_targets(section):
    """Of a section as it stands in the document."""
    met = set()
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[5] == "met":
            met.add(f"{cells[0]} on the {cells[1]}")
    return met


def assumptions():
    gpu_rows = [[gpu.name, gpu.n_sms, f"{gpu.clock_hz / 1e9:.3f} GHz", f"{gpu.peak_bytes_s / 1e9:.0f} GB/s", f"{gpu.sm_shared_bytes >> 10} KiB",
                 gpu.float_lanes, gpu.float64_lanes, f"{gpu.memory_latency_s * 1e9:.0f} ns"] for gpu in GPUS]
    return table(["GPU", "SMs", "clock", "peak", "shared an SM", "FP32 lanes", "FP64 lanes", "latency"], gpu_rows) + f"""
An SM issues {gpus.ISSUE_SLOTS} warp instructions a cycle, does {gpus.INTEGER_LANES} whole-number and logical operations, {gpus.MULTIPLY_LANES} IMAD and dp4a
(in a pipe beside them, which floats share), {gpus.CONVERSION_LANES} conversions, {gpus.LSU_INSTRUCTIONS} memory instruction, {gpus.SHARED_WAVEFRONTS} pass of 128 bytes
through shared memory and first-level cache, and takes {gpus.L2_BYTES_A_CYCLE} bytes from L2. Memory gives {percent(gpus.ACHIEVABLE)} of its peak. A launch begins
{gpus.BLOCK_START_S * 1e6:.1f} us and a latency before its bytes flow; from one kernel to the next in a graph are {gpus.LAUNCH_GAP_S * 1e6:.1f} us.
"""


def section(found):
    return f"""## CUDA kernels, counted

**Predicted by counting, not timed**: no GPU was there. `bench/gpu_counts.py` writes this section: run it again when kernels change.
Numbers stand for {" / ".join(gpu.name for gpu in GPUS)}.

The time of a launch is the largest of its bounds, as if none disturbed another, so real times will be longer. Nothing of it was held
against a measurement yet. The weakest part is *latency* for kernels that are not products.

- *memory*: the different 32-byte sectors that the launch reads, and those it writes. Activations that many thread blocks read are
  counted once here; whether they come from L1 or L2 is counted under *L2 to SM* and *shared memory, L1*;
- *issue*, and each pipe: executed instructions. Of products they are SASS: the loops of the machine code, the shortest way through each,
  as often as the shape has it turn. Of all other kernels they are PTX, as the emulation executed it;
- *latency*: how long a thread block takes by itself (stalls and barriers as the compiler wrote them into the SASS; two pieces of each warp's ring on
  their way to memory, or as many loads as an innermost loop has; of R1's attention a tile of keys while the one before it is multiplied), and how many an
  SM holds;
- *start*: where all this is shorter than a launch's begin.

SMs take whole thread blocks: where a launch has few, the fullest SM decides.

### Targets

Judged by the steady rate, without a launch's begin and end, for Llama-8B's gate or up [14336 x 4096], and R1's experts' gate and up (8 x 2 x [2048 x 7168]) for IQ1_S.

{targets_table(found)}
### Products, by format

At the same matrices (IQ2_XXS: at R1's experts). "Inner loop": SASS instructions of one turn (32 weights a lane; of Q4_K, Q5_K and Q6_K 64, of floats 4).
"Instructions a weight": executed lane instructions for a weight, everything included.

{kernels_table(found)}
What executed instructions are for (sm_80): decoding and multiplying units, copies and what begins those of a row's
piece, the rest of the loop over pieces, its last turn of a row, in which lanes are added, and what a thread block does first.

{parts_table(found)}
### Products, by shape

Percent of peak bandwidth, of the whole launch.

{shapes_table(found)}
### Other launches

{others_table(found)}
### Sums

{sums_table(found)}
R1's layer has its 8 experts and everything else in VRAM, whatever the card holds. Stand-ins: `bench/gpu/layers.py`.

### What is assumed

{assumptions()}
"""
