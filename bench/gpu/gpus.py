"""The GPUs that kernels are predicted for, and every constant of the prediction. None is measured here: they are data sheets' numbers,
NVIDIA's table of arithmetic throughput, and latencies as microbenchmarks in the literature have them, rounded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    name: str
    architecture: int  # of the cubin: 89 is sm_89
    n_sms: int
    clock_hz: float  # sustained; boost as the data sheet has it
    peak_bytes_s: float
    sm_shared_bytes: int
    float_lanes: int  # FP32 an SM and cycle; whole numbers have 64 everywhere
    float64_lanes: int
    memory_latency_s: float  # of a load that goes to DRAM
    tensor_products: int  # of 8-bit numbers, an SM and cycle, dense: the data sheet's rate by SMs and clock
    float_tensor_products: int  # the same of 16-bit floats with sums in 32 bits
    mma_share: float  # of both that mma.sync reaches; Hopper's whole rate needs wgmma, which other GPUs do not have


GPUS = [
    Gpu("RTX 4090", 89, 128, 2.52e9, 1008e9, 100 << 10, 128, 2, 600e-9, 1024, 256, 1.0),
    Gpu("A100-80GB", 80, 108, 1.41e9, 2039e9, 164 << 10, 64, 32, 560e-9, 2048, 1024, 1.0),
    Gpu("H100 SXM", 90, 132, 1.755e9, 3350e9, 228 << 10, 128, 64, 650e-9, 4096, 2048, 0.63),
]

# Of other GPUs by their architecture, as data sheets of cards with it have them, by SMs and clock.
TENSOR_PRODUCTS = {75: 1024, 80: 2048, 86: 1024, 89: 1024, 90: 4096, 100: 8192, 120: 1024}
# The same of 16-bit floats with sums in 32 bits; of GeForce cards, where there are others as well.
FLOAT_TENSOR_PRODUCTS = {75: 256, 80: 1024, 86: 256, 89: 256, 90: 2048, 100: 4096, 120: 256}

ACHIEVABLE = 0.92  # of peak_bytes_s, by a kernel that does nothing but read
ISSUE_SLOTS = 4  # warp instructions an SM and cycle
INTEGER_LANES = 64  # IADD3, LOP3, SHF, PRMT, compares, ...: the ALU pipe
MULTIPLY_LANES = 64  # IMAD and dp4a: the heavy half of the FMA pipe, which floats share
CONVERSION_LANES = 16  # MUFU, I2F, F2I, POPC
LSU_INSTRUCTIONS = 1  # warp instructions of memory an SM and cycle
SHARED_WAVEFRONTS = 1  # of 128 bytes, an SM and cycle: shared memory and first-level cache together
L2_BYTES_A_CYCLE = 64  # into an SM
L2_LATENCY_S = 200e-9
LAUNCH_GAP_S = 1.2e-6  # from the end of a kernel to the begin of the next in a graph, which depends on it
BLOCK_START_S = 0.3e-6  # a launch's first thread blocks reach their SMs, arguments are fetched

# Cycles until the result of an instruction of variable latency is there; the others' stalls stand in the SASS.
LATENCIES = {"LDS": 24, "LDG": 36, "LDC": 30, "SHFL": 24, "MUFU": 20, "I2F": 16, "F2I": 16, "F2F": 16, "POPC": 16, "FLO": 16,
             "S2R": 25, "S2UR": 25, "R2UR": 12, "DADD": 16, "DMUL": 16, "DFMA": 16}
OTHER_LATENCY = 12
