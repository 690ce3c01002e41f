"""The settings of bench/virtual_time.py, and the section of docs/performance.md that it makes of their outcomes."""

LONG = {"n_warm_tokens": 16, "n_tokens": 32}
MEDIUM = {"n_warm_tokens": 8, "n_tokens": 16}
SHORT = {"n_warm_tokens": 4, "n_tokens": 8}
# Group, what differs, the setting. In an order that makes two processes end at about the same time.
READS = {"reads_host": True}
SETTINGS = [
    ("slots", "", {"slots": 0.29, "knows_heat": True, **READS, **LONG}),
    ("slots", "", {"slots": 0.5, "knows_heat": True, **READS, **LONG}),
    ("slots", "", {"slots": 0.7, "knows_heat": True, **READS, **LONG}),
    ("skew", "", {"slots": 0.29, "skew": 0.5, "knows_heat": True, **READS, **MEDIUM}),
    ("overhead", "", {"slots": 0.29, "only_overhead": True, "promotes": False, "n_warm_tokens": 2, "n_tokens": 4}),
    ("skew", "", {"slots": 0.29, "skew": 1.0, "knows_heat": True, **READS, **MEDIUM}),
    ("else", "all experts in VRAM", {"slots": 1, "n_warm_tokens": 2, "n_tokens": 4}),
    ("promotions", "heat known, no promotions", {"slots": 0.29, "skew": 1.0, "knows_heat": True, "promotes": False, **READS, **MEDIUM}),
    ("deferral", "", {"slots": 0.29, "defers": True, "knows_heat": True, **READS, **MEDIUM}),
    ("promotions", "nothing known, promotions", {"slots": 0.29, "skew": 1.0, **READS, **MEDIUM}),
    ("deferral", "", {"slots": 0.5, "defers": True, "knows_heat": True, **READS, **MEDIUM}),
    ("else", "29% of slots, no reads", {"slots": 0.29, "knows_heat": True, **SHORT}),
    ("else", "50% of slots, no reads", {"slots": 0.5, "knows_heat": True, **SHORT}),
    ("else", "29% of slots, resident forms on the CPU", {"slots": 0.29, "uses_forms": True, "knows_heat": True, **READS, **SHORT}),
    ("else", "29% of slots, a CPU of twice the rate", {"slots": 0.29, "cpu_scale": 2, "knows_heat": True, **READS, **SHORT}),
    # The slots that are left beside the latent rows of such a context in F16.
    ("context", "", {"slots": 0.29, "n_positions": 4096, "knows_heat": True, **READS, **SHORT}),
    ("context", "", {"slots": 0.274, "n_positions": 32768, "knows_heat": True, **READS, **SHORT}),
    ("context", "", {"slots": 0.256, "n_positions": 65536, "knows_heat": True, **READS, **SHORT}),
    ("context", "", {"slots": 0.221, "n_positions": 131072, "knows_heat": True, **READS, **SHORT}),
    *[("prompt", "", {"prefill": n_tokens}) for n_tokens in (1024, 4096, 8192, 32768, 131072)],
    ("other prompt", "attention reaches 20% of the tensor cores' rate for 16-bit floats", {"prefill": 4096, "attention": 0.2}),
    ("other prompt", "tiles reach 20% of the 8-bit peak", {"prefill": 4096, "tiles": 0.2}),
    ("other prompt", "both", {"prefill": 4096, "tiles": 0.2, "attention": 0.2}),
    ("other prompt", "passes of 1024 rows", {"prefill": 4096, "most_rows": 1024}),
]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def percent(x):
    return f"{100 * x:.0f}%"


def ms(seconds):
    return f"{1e3 * seconds:.1f}"


def bound(outcome):
    if outcome["gpu_waiting"] < outcome["gpu_computing"]:
        return "GPU kernels" if outcome["gpu_waiting"] < 0.1 * outcome["gpu_computing"] else "GPU kernels, then the CPU"
    return "DRAM" if outcome["cpu_memory_bound"] > outcome["cpu_computing"] / 2 else "CPU arithmetic"


def speed_row(outcome):
    return [f"{outcome['n_promotions']:.1f}", f"**{outcome['tokens_per_second']:.1f}**", ms(outcome["seconds"]), ms(outcome["gpu_computing"]),
            ms(outcome["gaps"]), ms(outcome["gpu_waiting"]), ms(outcome["before"] + outcome["between"] + outcome["after"]),
            ms(outcome["cpu_computing"]), ms(outcome["cpu_between"]), ms(outcome["cpu_waiting"]), bound(outcome)]


SPEED_HEAD = ["promotions a token", "tokens/s", "ms a token", "GPU computes", "gaps between kernels", "GPU waits for the CPU", "before and after",
              "CPU multiplies", "CPU between products", "CPU waits for the choice", "bound"]


def outcomes_of(group, outcomes):
    return [(what, outcome) for (of, what, _), outcome in zip(SETTINGS, outcomes) if of == group]


def targets(outcomes, overhead_us):
    slots = {round(outcome["setting"]["slots"], 2): outcome for _, outcome in outcomes_of("slots", outcomes)}
    skewed = {outcome["setting"]["skew"]: outcome for _, outcome in outcomes_of("skew", outcomes)}

    def verdict(met):
        return "met" if met else "**missed**"

    rows = []
    for share, least in ((0.29, 17), (0.5, 20)):
        got = slots[share]
        rows.append([f"at least {least} tokens/s with slots for {percent(share)} of the experts, all equally popular",
                     f"{got['tokens_per_second']:.1f} ({percent(got['hit_rate'])} hits)", verdict(got["tokens_per_second"] >= least)])
    deferred = {round(outcome["setting"]["slots"], 2): outcome for _, outcome in outcomes_of("deferral", outcomes)}
    for share, least in ((0.29, 17), (0.5, 20)):
        got = deferred[share]
        rows.append([f"the same with `--defer-experts`, slots for {percent(share)}", f"{got['tokens_per_second']:.1f} ({percent(got['hit_rate'])} hits)",
                     verdict(got["tokens_per_second"] >= least)])
    rows += [[f"at least 17 tokens/s with slots for 29% of the experts, skew {skew} (below)", f"{got['tokens_per_second']:.1f} ({percent(got['hit_rate'])} hits)",
              verdict(got["tokens_per_second"] >= 17)] for skew, got in skewed.items()]
    rows.append(["at most 25 us of overhead a layer", f"{overhead_us:.0f} us", verdict(overhead_us <= 25)])
    return table(["target", "predicted", ""], rows)


def prompt_row(outcome):
    return [f"{outcome['n_passes']} of {outcome['most_rows']} rows", f"**{outcome['tokens_per_second']:.0f}**", f"{outcome['seconds_to_first_token']:.1f} s",
            f"{outcome['link_seconds']:.1f} s", f"{outcome['gpu_computing']:.1f} s", f"{outcome['gpu_attention']:.1f} s", f"{outcome['gpu_experts']:.1f} s",
            outcome["bound"]]


def prompts_section(outcomes, gpu):
    prompts = [outcome for _, outcome in outcomes_of("prompt", outcomes)]
    at_4096 = next(outcome for outcome in prompts if outcome["setting"]["prefill"] == 4096)
    shares = f"tiles {percent(at_4096['tiles'])} of the 8-bit peak (an expert's tile has room for 256 pairs and takes as long as a full one, though it has 128), " \
             f"attention {percent(at_4096['attention'])} of the tensor cores' rate for 16-bit floats"
    rows = [[outcome["setting"]["prefill"], *prompt_row(outcome)] for outcome in prompts]
    others = [[what, *prompt_row(outcome)] for what, outcome in outcomes_of("other prompt", outcomes)]
    head = ["passes", "tokens/s", "to the first token", "link busy", "GPU computes", "of that attention", "of that experts", "bound"]
    return f"""### Long prompts whose experts come over PCIe

The engine's own passes, streams, ring, tier and budget run with a file of holes that has R1's full size, over a GPU that only keeps time
(`bench/virtual_time/timed_gpu.h`): what such a pass does depends on nothing that it computes. The first prompt after the start, with nothing in VRAM but
what opening put there.

{table(["tokens", *head], rows)}
The target of 500 tokens/s at 4096 tokens is {"met" if at_4096["tokens_per_second"] >= 500 else "**missed**"}. Each pass moves the experts that VRAM does not hold, once ({at_4096["copied_bytes"] / 1e9:.0f} GB
in {at_4096["n_copied"]} copies). Beside the ring, of {at_4096["ring_bytes"] / 1e9:.1f} GB, and a pass of 4096 rows there are slots for {percent(at_4096["slots"])} of the experts. Assumed: {shares},
matrices of floats {percent(at_4096["floats"])} of the same, in pieces of 16 bits (6 products of such for one of F32; the least that is counted below); that every missed expert lies in pinned RAM; {gpu["pcie_bytes_per_second"] / 1e9:.0f} GB/s without a break; 2.5 us of the host a launch. At 4096 tokens, were it otherwise:

{table(["what", *head], others)}
"""


def section(outcomes, machine, launches, more):
    gpu, n_layers, n_expert_layers = machine["gpus"][0], 61, 58
    overhead = outcomes_of("overhead", outcomes)[0][1]
    overhead_us = overhead["seconds"] / n_layers * 1e6
    slots = [[percent(o["slots"]), percent(o["hit_rate"]), *speed_row(o)] for _, o in outcomes_of("slots", outcomes)]
    skews = [[o["setting"]["skew"], percent(o["popular_share"]), percent(o["hit_rate"]), *speed_row(o)] for _, o in outcomes_of("skew", outcomes)]
    ways = [(("heat known, promotions"), o) for _, o in outcomes_of("skew", outcomes) if o["setting"]["skew"] == 1.0]
    ways = [[what, percent(o["hit_rate"]), *speed_row(o)] for what, o in [*ways, *outcomes_of("promotions", outcomes)]]
    others = [[what, percent(o["hit_rate"]), *speed_row(o)] for what, o in outcomes_of("else", outcomes)]
    deferrals = [[percent(o["slots"]), percent(o["hit_rate"]), *speed_row(o)] for _, o in outcomes_of("deferral", outcomes)]
    contexts = [[o["setting"]["n_positions"], percent(o["slots"]), percent(o["hit_rate"]), *speed_row(o)] for _, o in outcomes_of("context", outcomes)]
    kernels = machine["kernels"]
    changed = f"\nChanged for this run: `{more}`.\n" if more else ""
    meeting = overhead["gpu_computing"] / n_expert_layers * 1e6
    gaps, starts = overhead["gaps"] / n_layers * 1e6, (overhead["before"] + overhead["after"]) / n_layers * 1e6
    return f"""## DeepSeek-R1 on an RTX 4090 with 48 GB, over virtual time

**Predicted, not measured**: no such machine was there. `bench/virtual_time.py` writes this section: run it again when the engine changes, and
`bench/gpu_counts.py --times bench/virtual_time/r1_rtx4090.json` before it when kernels do.
{changed}
The engine's own code decodes: forward pass, CUDA device with its graphs and meetings, host side, VRAM tier with its promotions. The model is a
skeleton of R1 UD-IQ1_S (61 layers, 3 of them dense, 256 experts of which 8 are chosen, in groups as the original model does, a shared one,
latent attention; the types of that file, but tiny matrices), the GPU the emulated one. Everything is computed; only the times are R1's, on `{machine["name"]}`.

### Targets

{targets(outcomes, overhead_us)}
No disk is read: the file's 140 GB are some 11 that are dense and 129 of experts; the GPU has the first and 29% of the second, and the 92 GB of the others
lie in RAM. That is arithmetic; the skeleton has no disk beneath it.

### Slots, with experts equally popular

Milliseconds of a token. What the GPU does one after the other adds up to the token: it computes, has gaps between kernels, waits for the CPU, and there is
something before the first kernel and after the last. The CPU's part lies beside it: it multiplies, has steps between products, waits for the GPU's choice.

{table(["slots", "hits", *SPEED_HEAD], slots)}
The GPU reads some of the missed experts in pinned RAM over PCIe, as many as make both sides end together: "GPU computes" has that in it. Hits are more than slots where
random routers favour some experts and promotions have found them. Without promotions {percent(overhead["hit_rate"])} of the choices are hits with slots for {percent(overhead["slots"])}.

With `--defer-experts`, which adds the CPU's sums one layer later and so changes the results:

{table(["slots", "hits", *SPEED_HEAD], deferrals)}
### Long contexts

The latent rows of a context, 70,272 bytes a position in F16, take their room from experts, and attention reads them all for a token.

{table(["positions", "slots", "hits", *SPEED_HEAD], contexts)}

### Slots for 29%, with experts that differ in popularity

"Popular": of a token's choices, how many fall on the 29% of experts that the routers' biases favour most. Those fill the slots at first.

{table(["skew", "popular", "hits", *SPEED_HEAD], skews)}
What promotions and known heat are worth at skew 1 (a run of 24 tokens, in which a tenth of the slots can change):

{table(["way", "hits", *SPEED_HEAD], ways)}
{prompts_section(outcomes, gpu)}### Others, with experts equally popular

{table(["what", "hits", *SPEED_HEAD], others)}
### Overhead

With kernels and products that take no time, a token takes {ms(overhead["seconds"])} ms: **{overhead_us:.0f} us a layer**. {gaps:.0f} us of it are the gaps before
{overhead["n_launches"] / n_layers:.0f} launches of {launches["launch_gap_us"]} us each, {starts:.0f} us the start of the graph, and in a layer with experts {meeting:.1f} us the meeting: the choice
with its inputs is written over PCIe, the answer read, and the wait is a node of the graph. The host's part costs nothing more: while it is told and
answers, the GPU has launches of its own.

### What is assumed

- *Launches* take what was counted for R1's ("CUDA kernels, counted", with all that is said there), each named by its kernel and its matrices; one that cannot
  be named ends the run. Matrices of one launch take their times one after the other, and what its last warps do behind it (8-bit forms, the router's choice) what
  a launch of its own would, without the gap. Stand-ins: value parts of kv_b as its key parts; copies of rows as a launch of about their size; until
  the launches that finish heads and that join and quantise are counted, the sum of what they replace; SwiGLU of dense layers
  as Llama's. The norm that adds the host's answer reads it over PCIe at the link's full rate, from one SM.
- *From a kernel to the next* {launches["launch_gap_us"]} us, added to each launch: the emulation itself has none. A wait for the host is one more. The graph of a pass costs the host 5 us
  and 0.1 us a launch before the first kernel begins.
- *Experts on the GPU*: a launch of h hits takes its start, {launches["launch_start_us"]} us, and h eighths of the rest of what all eight take.
- *Attention* sees {SETTINGS[0][2].get("n_positions", 2048)} positions: the straight line through what was counted at 4096 and 32768.
- *PCIe*: {gpu["pcie_bytes_per_second"] / 1e9:.0f} GB/s, and 1 us each: until the host sees the choice, until the GPU sees that the gate is open, for kernels to write and to read mapped memory.
- *Products on the CPU*: the longer of arithmetic ({machine["cores"]} cores of {kernels["IQ1_S"]["weights_per_second"] / 1e9:.1f} G weights/s of IQ1_S, as measured on one core of Zen 3, without
  loss between them) and memory ({machine["ram_bytes_per_second"] / 1e9:.0f} GB/s for the file's blocks; while a copy to the GPU is under way its {gpu["pcie_bytes_per_second"] / 1e9:.0f} GB/s less), a call of the engine at a
  time: gate and up of all missed experts, then down. 3 us for each of five steps of a layer (a guess: inputs, two products, SwiGLU, sum).
- *Promotions* come by one thread that stages 12 GB/s into pinned memory and has a core to itself; they take 15% of what it
  could bring.
- *Popularity* is Zipf's law with the skew as exponent, by the routers' biases, cut off where an expert would be chosen by nearly every token. Tokens are random.

Each setting: {LONG["n_tokens"]} tokens after {LONG["n_warm_tokens"]} (slots), {MEDIUM["n_tokens"]} after {MEDIUM["n_warm_tokens"]} (skew), fewer in the others.
"""
