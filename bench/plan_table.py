#!/usr/bin/env python3
"""Which model sizes are practical on which machine: plans of published models for the machines in bench/machines/, as a Markdown table.

    plan_table.py                      the table of docs/placement.md
    plan_table.py --golden FILE        the numbers that tests/tools/plan_test.cc expects, as JSON
    plan_table.py -c 32768             at another context

The models are sparse files with the directories of the real ones (`sluice synth --sparse`). Every number is predicted.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODELS = ["qwen3-30b", "llama-70b-q4km", "qwen3-235b", "llama-405b", "r1-ud-iq1s", "kimi-k2"]
# Of some models only: the tests plan them all.
MORE_MACHINES = ["two-rtx3090-128g", "rtx4090-rtx3060-64g"]
MODELS_ON_MORE = ["llama-70b-q4km", "qwen3-235b", "r1-ud-iq1s"]
# And with options: experts in a mapped file, which the GPU does not read; a long context.
LONG = "-c 131072"
R1_SETTINGS = [
    "rtx4090-48g-124g --store mapped",
    f"rtx4090-24g-64g {LONG}",
    f"rtx4090-24g-64g {LONG} --cache-type q8_0",
    f"rtx4090-48g-124g --vram 24G {LONG}",
    f"rtx4090-48g-124g --vram 24G {LONG} --cache-type q8_0",
]
MACHINES = ["laptop-32g", "rtx4060-8g-64g", "rtx4090-24g-64g", "rtx4090-48g-124g", "server-8ch-512g"]


def plan(program, model, setting, context):
    """setting: a machine, and options behind it."""
    machine, *options = setting.split()
    if "-c" not in options:
        options += ["-c", str(context)]
    command = [program, "plan", model, "--json", "-m", ROOT / f"bench/machines/{machine}.json", *options]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode not in (0, 4):  # 4: it does not fit, which is an answer
        raise SystemExit(f"plan_table.py: {' '.join(map(str, command))}: {run.stderr}")
    return json.loads(run.stdout)


def cell(found):
    if not found["fits"]:
        return "does not fit"
    disk = found["disk_bytes_per_token"]
    text = f"{found['decode_tok_s']:.3g} / {found['prefill_tok_s']:.3g}"
    return text + (f", reads {disk / 1e9:.2g} GB a token" if disk > 1e6 else "")


def golden(found):
    keys = ["fits", "vram_used_bytes", "ram_used_bytes", "disk_weight_bytes", "bound"]
    return {key: found[key] for key in keys} | {
        key: float(f"{found[key]:.4g}") for key in ["decode_tok_s", "prefill_tok_s", "disk_bytes_per_token"]
    } | {"first_token_s": [float(f"{prompt['seconds']:.4g}") for prompt in found["prompts"]]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build/sluice")
    parser.add_argument("-c", "--context", type=int, default=4096)
    parser.add_argument("--golden", metavar="FILE")
    arguments = parser.parse_args()
    plans = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            path = Path(folder) / f"{model}.gguf"
            subprocess.run([arguments.program, "synth", path, "--preset", model, "--sparse", "-q"], check=True)
            settings = MACHINES + (MORE_MACHINES if model in MODELS_ON_MORE else [])
            settings += R1_SETTINGS if model == "r1-ud-iq1s" else []
            plans[model] = {setting: plan(arguments.program, path, setting, arguments.context) for setting in settings}
            path.unlink()
    if arguments.golden:
        table = {model: {machine: golden(found) for machine, found in row.items()} for model, row in plans.items()}
        Path(arguments.golden).write_text(json.dumps(table, indent=1) + "\n")
        return
    for machines in [MACHINES, MORE_MACHINES, R1_SETTINGS]:
        print("| model | weights | " + " | ".join(machines) + " |")
        print("|---|---:|" + "---:|" * len(machines))
        for model, row in plans.items():
            if machines[0] not in row:
                continue
            size = row[machines[0]]["model"]["weight_bytes"] / (1 << 30)
            print(f"| {model} | {size:.4g} GiB | " + " | ".join(cell(row[machine]) for machine in machines) + " |")
        print()


if __name__ == "__main__":
    main()
