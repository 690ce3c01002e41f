#!/usr/bin/env python3
"""Decode against the length of the context: plans of a model for a machine, at each length with a context that is full, as a Markdown table.

    context_table.py                             the table of docs/placement.md: R1 in 1.58 bits, two machines
    context_table.py --preset qwen3-30b -m FILE  another model (of `sluice synth --sparse`) or machine

Every number is predicted. A plan keeps room for its whole context and is asked how fast the last token of it comes.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LENGTHS = [0, 4096, 16384, 32768, 65536, 131072]
# A machine, and what is said of it besides.
SETTINGS = [
    ("rtx4090-24g-64g", [], "24 GB of VRAM, 64 GB of RAM"),
    ("rtx4090-48g-124g", ["--vram", "24G"], "24 GB of VRAM, 124 GB of RAM"),
    ("rtx4090-48g-124g", [], "48 GB of VRAM, 124 GB of RAM"),
]


def plan(program, model, machine, more, cache, context):
    command = [program, "plan", model, "--json", "-m", machine, "--cache-type", cache, "-c", str(context), *more]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"context_table.py: {' '.join(map(str, command))}: {run.stderr}")
    return json.loads(run.stdout)


def row(program, model, machine, more, cache):
    """At each length: tokens a second behind so many tokens, with a context of as many, and what binds it."""
    cells = []
    for length in LENGTHS:
        # A plan predicts at half of its context.
        found = plan(program, model, machine, more, cache, max(1, length))
        cells.append(f"{found['decode_full']['tok_s']:.3g}, {found['decode_full']['bound']}")
    share = next(g for g in found["groups"] if g["role"] == "routed experts")
    experts = share["vram_bytes"] / (share["vram_bytes"] + share["ram_bytes"] + share["disk_bytes"])
    return cells, found["vram"]["state_bytes"], found["vram"]["workspace_bytes"], experts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build/sluice")
    parser.add_argument("--preset", default="r1-ud-iq1s")
    parser.add_argument("-m", "--machine", metavar="FILE")
    arguments = parser.parse_args()
    settings = [(ROOT / f"bench/machines/{name}.json", more, text) for name, more, text in SETTINGS]
    if arguments.machine:
        settings = [(arguments.machine, [], Path(arguments.machine).stem)]
    print("| machine | cache | " + " | ".join(f"{n // 1024}K" if n else "0" for n in LENGTHS) + " | at 128K: caches, passes, experts in VRAM |")
    print("|---|---|" + "---:|" * len(LENGTHS) + "---|")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.gguf"
        subprocess.run([arguments.program, "synth", model, "--preset", arguments.preset, "--sparse", "-q"], check=True)
        for machine, more, text in settings:
            for cache in ["f16", "q8_0"]:
                cells, state, passes, experts = row(arguments.program, model, machine, more, cache)
                print(f"| {text} | {cache} | " + " | ".join(cells) +
                      f" | {state / 1e9:.2f} GB, {passes / 1e9:.2f} GB, {100 * experts:.1f}% |")


if __name__ == "__main__":
    main()
