"""The time of a launch on a GPU, as the largest of its bounds."""

import math
from dataclasses import dataclass

import gpus

TENSOR_PRODUCTS = 16 * 8 * 32  # of an operation, of 8-bit numbers
FLOAT_TENSOR_PRODUCTS = 16 * 8 * 16  # of one of 16-bit floats
SLOTS_ON_THEIR_WAY = 2  # of a warp's ring (kGemvSlots - 1)


@dataclass
class Prediction:
    seconds: float  # of the kernel, without the gap before it
    bound: str
    bounds: dict
    warps_an_sm: int
    steady: float  # fraction of peak without start and end
    fraction: float  # of peak


def predict(gpu, launch, work, blocks_an_sm, in_flight):
    counts = launch["counts"]
    n_blocks = math.prod(launch["grid"])
    warps_a_block = math.ceil(launch["block"] / 32)
    n_warps = n_blocks * warps_a_block
    # Blocks are handed out whole: the fullest SM decides what SMs are bound by.
    imbalance = math.ceil(n_blocks / gpu.n_sms) * gpu.n_sms / n_blocks
    blocks_at_once = min(blocks_an_sm, math.ceil(n_blocks / gpu.n_sms))

    def sm_seconds(cycles):
        return cycles * imbalance / gpu.n_sms / gpu.clock_hz

    pipes = {pipe: n * n_warps for pipe, n in work.warp_pipes.items()}
    of = lambda *names: sum(pipes.get(name, 0) for name in names) * 32
    wavefronts = sum(n for name, n in counts.items() if name.startswith("shared") and name.endswith(" wavefronts") and "least" not in name)
    # A load that the first-level cache serves passes it 128 bytes at a time.
    cached_sectors = sum(counts.get(f"global {way} sectors", 0) for way in ("load", "store", "atomic"))
    wavefronts += max(cached_sectors / 4, counts.get("global load requests", 0))
    distinct = counts["distinct sectors read"] * 32
    dram = distinct + counts["sectors written"] * 32

    # What passes from the second-level cache into SMs: copies (which go past the first), and of loads a share an SM at least.
    loaded = min(counts.get("global load sectors", 0) * 32, launch["other_bytes"] * min(n_blocks, gpu.n_sms) + launch["weight_bytes"])
    from_l2 = counts.get("global copy sectors", 0) * 32 + loaded

    is_attention = "n_stages" in launch
    if is_attention:  # of the queries nothing else can begin before; then a tile is copied while another is multiplied
        wait, start = work.stages * gpu.memory_latency_s, gpu.memory_latency_s
    elif work.stages:
        wait = work.stages * gpu.memory_latency_s / SLOTS_ON_THEIR_WAY
        start = gpu.memory_latency_s + (gpu.memory_latency_s if launch["shape"]["mode"] else 0)  # experts: ids and places first
    else:
        requests = counts.get("global load requests", 0) / n_warps
        share = min(1.0, counts["distinct sectors read"] / max(1.0, counts.get("global load sectors", 0)))
        latency = share * gpu.memory_latency_s + (1 - share) * gpus.LATENCIES["LDG"] / gpu.clock_hz
        wait, start = requests / in_flight * latency, 0.0
    alone = work.warp_cycles / gpu.clock_hz
    block_seconds = start + (max(wait, alone) if work.stages else wait + alone)
    rounds = n_blocks * imbalance / gpu.n_sms / blocks_at_once

    cycles_an_operation = (FLOAT_TENSOR_PRODUCTS / gpu.float_tensor_products if work.multiplies_floats else
                           TENSOR_PRODUCTS / gpu.tensor_products)
    bounds = {
        "memory": dram / (gpu.peak_bytes_s * gpus.ACHIEVABLE),
        "issue": sm_seconds(sum(pipes.values()) / gpus.ISSUE_SLOTS),
        "integer pipe": sm_seconds(of("integer") / gpus.INTEGER_LANES),
        "multiply pipe": sm_seconds((of("multiply") if gpu.float_lanes > 64 else of("multiply", "float")) / gpus.MULTIPLY_LANES),
        "float pipe": sm_seconds(of("multiply", "float") / gpu.float_lanes),
        "tensor cores": sm_seconds(of("tensor") / 32 * cycles_an_operation / gpu.mma_share),
        "float64 pipe": sm_seconds(of("float64") / gpu.float64_lanes),
        "conversions": sm_seconds(of("conversion") / gpus.CONVERSION_LANES),
        "load/store": sm_seconds(of("memory") / 32 / gpus.LSU_INSTRUCTIONS),
        "shared memory, L1": sm_seconds(wavefronts / gpus.SHARED_WAVEFRONTS),
        "L2 to SM": sm_seconds(from_l2 / gpus.L2_BYTES_A_CYCLE),
        "latency": rounds * block_seconds,
    }
    bound = max(bounds, key=bounds.get)
    ramp = gpus.BLOCK_START_S + (gpu.memory_latency_s if bound != "latency" else 0)
    seconds = bounds[bound] + ramp
    if bounds[bound] < ramp:
        bound = "start"
    needed = launch["weight_bytes"] + launch["other_bytes"]
    largest = max(bounds.values())
    return Prediction(seconds, bound, bounds, blocks_at_once * warps_a_block, needed / largest / gpu.peak_bytes_s,
                      needed / seconds / gpu.peak_bytes_s)
