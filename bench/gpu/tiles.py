"""Products with many inputs: the section of docs/performance.md."""

from gpus import GPUS
from report import percent, table
from walk import FLOAT_PRODUCTS

TARGET = 0.60  # of the tensor cores' peak, for Q4_K and IQ1_S
JUDGED = ("Llama-8B", "gate, up")
JUDGED_INPUTS = (512, 4096)
AT_ONCE = 16  # loads of the input's scales and sums that a warp has on their way where it adds a block


def of_peak(row, seconds=None):
    launch, gpu = row.launch, row.gpu
    products = launch["weights"] * launch["n_inputs"]
    each = gpu.float_tensor_products / FLOAT_PRODUCTS[launch["format"]] if launch["format"] in FLOAT_PRODUCTS else gpu.tensor_products
    return products / ((seconds or row.prediction.seconds) * gpu.n_sms * gpu.clock_hz * each)


def without_latency(row):
    return max(seconds for name, seconds in row.prediction.bounds.items() if name != "latency")


def largest_bounds(row):
    bounds = sorted(row.prediction.bounds.items(), key=lambda bound: -bound[1])[:4]
    return ", ".join(f"{name} {seconds * 1e6:.0f}" for name, seconds in bounds)


def targets_table(found):
    rows = []
    for name in ("Q4_K", "IQ1_S"):
        for n_inputs in JUDGED_INPUTS:
            for gpu in GPUS:
                row = found[JUDGED[0], f"{JUDGED[1]} x {n_inputs}", name, gpu.name]
                verdict = "met" if of_peak(row) >= TARGET else "missed"
                rows.append([f"{name} x {n_inputs}", gpu.name, percent(TARGET), percent(of_peak(row)),
                             percent(of_peak(row, without_latency(row))), verdict, largest_bounds(row)])
    return table(["format and inputs", "GPU", "target", "of peak", "were latency hidden", "verdict", "largest bounds, us"], rows)


def floats_table(found):
    rows = []
    for (model, place, name, of), row in found.items():
        if name in FLOAT_PRODUCTS:
            launch, gpu = row.launch, row.gpu
            rate = launch["weights"] * launch["n_inputs"] / row.prediction.seconds
            rows.append([f"{model} {place}", name, of, percent(of_peak(row)), percent(of_peak(row, without_latency(row))),
                         percent(rate / (gpu.n_sms * gpu.clock_hz * gpu.float_lanes)), largest_bounds(row)])
    return table(["matrix x inputs", "format", "GPU", "of peak", "were latency hidden", "of float32's rate", "largest bounds, us"], rows)


def shapes_table(found):
    rows, seen = [], set()
    for model, place, name, _ in found:
        key = model, place, name
        if key in seen:
            continue
        seen.add(key)
        own = [found[(*key, gpu.name)] for gpu in GPUS]
        grid, block = own[0].launch["grid"], own[0].launch["block"]
        each = lambda value: " / ".join(value(row) for row in own)
        rows.append([model, place, name, f"{grid[0]} x {grid[1]}, {block // 32} warps", each(lambda r: str(r.registers)),
                     each(lambda r: str(r.prediction.warps_an_sm)), each(lambda r: f"{r.prediction.seconds * 1e6:.0f}"),
                     each(lambda r: percent(of_peak(r))), each(lambda r: r.prediction.bound)])
    return table(["model", "matrix x inputs", "format", "thread blocks", "registers", "warps an SM", "us", "of peak", "bound"], rows)


def section(found):
    rates = ", ".join(f"{gpu.name} {gpu.tensor_products}" for gpu in GPUS)
    float_rates = ", ".join(f"{gpu.name} {gpu.float_tensor_products}" for gpu in GPUS)
    products = ", ".join(f"{name} {n}" for name, n in FLOAT_PRODUCTS.items())
    return f"""## Products by tiles on tensor cores, counted

**Predicted by counting, not timed**, as the section above and with its assumptions; `bench/gpu_counts.py --tiles` writes this one.
Numbers stand for {" / ".join(gpu.name for gpu in GPUS)}. The loop that multiplies is the machine code's; decoding, copies and what 256 columns end
with are PTX as the emulation executed it, of which machine code has less: these bounds are too high rather than too low.

*Peak* is what the data sheets have for dense 8-bit whole numbers ({rates} products an SM and cycle). Two things keep from it besides what is
in the table: the H100 reaches about {percent(GPUS[2].mma_share)} of it with mma.sync (its own instructions, wgmma, are not used), and thread
blocks are handed out whole.

Judged for Llama-8B's gate or up [14336 x 4096]:

{targets_table(found)}
A warp keeps the sums of 64 outputs and 32 inputs, and of these the whole numbers of 256 columns, so it has about 250 registers and an SM
holds 8 warps, two for each of its four schedulers: that is what *latency* is the price of. What the tensor cores do in a cycle doubles from the
RTX 4090 to the A100 and again to the H100, and what an SM issues, loads from shared memory and does with whole numbers beside them does not: the
column before the verdict is the most that these allow. Fewer instructions beside the multiplication would raise both: adding 256
columns' sums, decoding, and copying are most of what is executed.

Matrices of floats are multiplied in pieces of 16 bits, as exactly as by float32, and take so many products of such pieces for one of
theirs: {products}. Their *peak* is that of 16-bit floats with sums in 32 bits ({float_rates} products an SM and cycle) by that number. Of
*float32's rate*: such products a second against the multiply-adds of float32 that the GPU makes without tensor cores:

{floats_table(found)}
All launches. R1's experts are those of a pass of 4096 rows, each of which uses 8 of 256: an expert has 128 pairs on average, and its tile room
for 256: half of its warps have nothing to multiply and decode with the others. How long the
others take decides; what they do beside the loop that multiplies is counted as the mean of both, which is too little: their times are longer.

{shapes_table(found)}"""
