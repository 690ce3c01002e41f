"""Prefill attention on tensor cores, predicted from counted launches, and the section of docs/performance.md about it.

Counted is a micro-batch of 512 rows at one key head, all rows seeing 1024 positions and all seeing 2048 (bench/gpu/count_cases.cc). What the
second adds is what each further 1024 positions add. From both follows the launch for all key heads at a context in which the rows see
the last 512 positions one after another, as many as its middle row sees on average."""

import math
from dataclasses import dataclass, replace

import gpus
from gpus import GPUS

ROWS = 512
CONTEXTS = (4096, 32768)
SEEN = (1024, 2048)
MMA_PRODUCTS = 16 * 8 * 16  # of an m16n8k16

PRODUCT_SHARE = 0.6  # of the peak, assumed of the products that make expanded keys and values


@dataclass(frozen=True)
class Case:
    model: str
    place: str
    n_kv_heads: int
    heads_per_group: int
    key_size: int
    value_size: int

    @property
    def n_heads(self):
        return self.n_kv_heads * self.heads_per_group


CASES = [Case("Llama-8B", "prefill", 8, 4, 128, 128), Case("DeepSeek-R1", "prefill, expanded", 128, 1, 192, 128),
         Case("DeepSeek-R1", "prefill, absorbed", 1, 128, 576, 512)]
EXPANDED, ABSORBED = CASES[1:]


def is_prefill(launch):
    return launch["place"].startswith("prefill")


def launch_at(launches, case, cache, n_positions):
    """Counts for one key head, of rows that see as many positions as the micro-batch's rows do on average."""
    first, second = (next(l for l in launches if (l["model"], l["place"], l["format"]) == (case.model, f"{case.place} seeing {n}", cache))
                     for n in SEEN)
    seen = n_positions - ROWS / 2
    share = (seen - SEEN[0]) / (SEEN[1] - SEEN[0])
    names = first["counts"].keys() | second["counts"].keys()
    value = lambda launch, name: launch["counts"].get(name, 0)
    return first, {name: value(first, name) + (value(second, name) - value(first, name)) * share for name in names}


def useful_products(case, n_positions, rows=ROWS):
    seen = n_positions - (rows - 1) / 2
    return rows * seen * case.n_heads * (case.key_size + case.value_size)


@dataclass
class Prediction:
    seconds: float
    bound: str
    bounds: dict
    blocks_an_sm: int
    warps_a_block: int
    peak: float  # share of the tensor cores' peak that products which must be made take


def predict(gpu, case, launch, counts, blocks_an_sm, n_positions):
    n_blocks = math.prod(launch["grid"]) * case.n_kv_heads
    # Blocks are handed out whole, and the fullest SM ends last.
    imbalance = math.ceil(n_blocks / gpu.n_sms) * gpu.n_sms / n_blocks
    counts = {name: n * case.n_kv_heads for name, n in counts.items()}
    of = lambda *names: sum(counts.get(f"instructions: {name}", 0) for name in names)
    sm_seconds = lambda cycles: cycles * imbalance / gpu.n_sms / gpu.clock_hz
    wavefronts = sum(n for name, n in counts.items() if name.startswith("shared") and name.endswith(" wavefronts") and "least" not in name)
    memory_names = ("global load", "global store", "shared load", "shared store", "async copy", "exchange")
    rows_bytes = ROWS * case.n_heads * (case.key_size + case.value_size) * 4
    peak = gpu.float_tensor_products * gpu.n_sms * gpu.clock_hz
    bounds = {
        "tensor cores": sm_seconds(of("matrix") * MMA_PRODUCTS / gpu.float_tensor_products / gpu.mma_share),
        "shared memory": sm_seconds(wavefronts / gpus.SHARED_WAVEFRONTS),
        "issue": sm_seconds(sum(n for name, n in counts.items() if name.startswith("instructions: ") and name != "instructions: move") /
                            gpus.ISSUE_SLOTS),
        "integer pipe": sm_seconds(of("integer") * 32 / gpus.INTEGER_LANES),
        "float pipe": sm_seconds(of("float") * 32 / gpu.float_lanes),
        "conversions": sm_seconds(of("conversion") * 32 / gpus.CONVERSION_LANES),
        "load/store": sm_seconds(of(*memory_names) / gpus.LSU_INSTRUCTIONS),
        "L2 to SM": sm_seconds((counts.get("global copy sectors", 0) + counts.get("global load sectors", 0)) * 32 / gpus.L2_BYTES_A_CYCLE),
        "memory": (counts["distinct sectors read"] * 32 + rows_bytes) / (gpu.peak_bytes_s * gpus.ACHIEVABLE),
    }
    bound = max(bounds, key=bounds.get)
    seconds = bounds[bound] + gpus.BLOCK_START_S + gpu.memory_latency_s
    return Prediction(seconds, bound, bounds, blocks_an_sm, launch["block"] // 32, useful_products(case, n_positions) / seconds / peak)


def predict_counted(gpu, launch, blocks_an_sm):
    """The launch as it was counted, at one key head and with all rows seeing as many positions."""
    place, seen = launch["place"].rsplit(" seeing ", 1)
    case = next(case for case in CASES if (case.model, case.place) == (launch["model"], place))
    one_head = replace(case, n_kv_heads=1)
    return predict(gpu, one_head, launch, launch["counts"], blocks_an_sm, int(seen) + (ROWS - 1) / 2)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def expansion_seconds(gpu, n_positions):
    """The products that make keys and values of all positions of R1's latents."""
    products = n_positions * 128 * 512 * (128 + 128)
    return products / (gpu.float_tensor_products * gpu.mma_share * gpu.n_sms * gpu.clock_hz * PRODUCT_SHARE)


def section(launches, kernels, occupancies):
    """kernels: architecture -> mangled name -> (registers, local, shared, code); occupancies: questions -> blocks an SM."""
    launches = [launch for launch in launches if is_prefill(launch)]
    found, rows = {}, []
    for case in CASES:
        for cache in ("F16", "Q8_0"):
            if case is EXPANDED and cache != "F16":
                continue  # made as such, whatever the cache is
            for n_positions in CONTEXTS:
                cells = []
                for gpu in GPUS:
                    launch, counts = launch_at(launches, case, cache, n_positions)
                    registers, _, shared, _ = kernels[gpu.architecture][launch["kernel"]]
                    blocks = occupancies([(gpu.architecture // 10, gpu.architecture % 10, gpu.n_sms, gpu.sm_shared_bytes, registers, shared,
                                           launch["block"], launch["dynamic_shared_bytes"])])[0]
                    one = predict(gpu, case, launch, counts, blocks, n_positions)
                    found[case, cache, n_positions, gpu.name] = one
                    cells.append((registers, one))
                by_gpu = lambda value: " / ".join(value(*cell) for cell in cells)
                second = lambda one: sorted(one.bounds.items(), key=lambda b: -b[1])[1]
                rows.append([case.model, case.place, cache, n_positions, by_gpu(lambda r, p: str(r)),
                             by_gpu(lambda r, p: str(p.blocks_an_sm * p.warps_a_block)), by_gpu(lambda r, p: f"{p.seconds * 1e3:.2f}"),
                             by_gpu(lambda r, p: f"{100 * p.peak:.0f}%"), by_gpu(lambda r, p: p.bound),
                             by_gpu(lambda r, p: f"{second(p)[0]} {100 * second(p)[1] / max(p.bounds.values()):.0f}%")])
    forms = []
    for n_positions in CONTEXTS:
        for gpu in GPUS:
            expanded = found[EXPANDED, "F16", n_positions, gpu.name].seconds
            absorbed = found[ABSORBED, "F16", n_positions, gpu.name].seconds
            up = expansion_seconds(gpu, n_positions)
            forms.append([n_positions, gpu.name, f"{up * 1e3:.2f}", f"{expanded * 1e3:.2f}", f"{(up + expanded) * 1e3:.2f}",
                          f"{absorbed * 1e3:.2f}", f"{absorbed / (up + expanded):.1f}"])
    return f"""## Prefill attention, counted

**Predicted by counting, not timed**: no GPU was there. `bench/gpu_counts.py` writes this section. A layer's attention of a micro-batch of {ROWS} rows
that end at the given position; numbers stand for {" / ".join(gpu.name for gpu in GPUS)}.

The time is the largest bound, as if none disturbed another and as if warps always had something to issue, so real times will be longer: a
block's softmax waits for its scores, and few warps are there to fill the gap. "Of peak": the multiply-adds that attention must make,
against the tensor cores' rate for 16-bit floats with sums in 32 bits ({", ".join(f"{gpu.name} {gpu.float_tensor_products}" for gpu in GPUS)} an SM and cycle).
On the H100 `mma.sync` reaches about {100 * GPUS[-1].mma_share:.0f}% of that, as published measurements have it; what reaches more is `wgmma`, which is not used.

{table(["model", "launch", "cache", "context", "registers", "warps an SM", "ms", "of peak", "bound", "next bound, of it"], rows)}
Latent attention of R1, expanded against absorbed, ms a layer. Making keys and values is taken to reach {100 * PRODUCT_SHARE:.0f}% of the peak:

{table(["context", "GPU", "making keys and values", "expanded attention", "together", "absorbed", "absorbed / expanded"], forms)}"""
