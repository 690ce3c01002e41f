#!/usr/bin/env python3
"""What the simulator says, and whether it is right.

    simulate.py sweep             DeepSeek-R1 in 1.58 bits on the workstation with 48 GB of VRAM, from uniform routing to favourites:
                                  a table of policies, and docs/plots/r1-decode.svg
    simulate.py check MODEL       runs MODEL larger than memory here, simulates the same runs from their own traces, and prints both

check measures the machine (`sluice doctor`) and runs in turn. The disk's rate is taken from each run itself, because what the host
of a virtual machine has cached changes from run to run. A run that did not have the cores (CPU busy and waiting below 75% together)
says nothing of the simulator; it is printed and left out of the error.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POLICIES = ["lru", "lfu", "static", "hybrid"]
COLOURS = {"lru": "#d62728", "lfu": "#ff7f0e", "static": "#7f7f7f", "hybrid": "#1f77b4", "hit rate": "#2ca02c"}
# (name, skew, locality, drift); locality is the chance that a token keeps an expert of the one before.
ROUTINGS = [("uniform", 0, 0, 0), ("uniform, local", 0, 0.3, 0), ("0.25", 0.25, 0.3, 0.5), ("0.5", 0.5, 0.3, 0.5),
            ("0.75", 0.75, 0.3, 0.5), ("1.0", 1.0, 0.3, 0.5), ("1.5", 1.5, 0.3, 0.5), ("1.0, one subject", 1.0, 0, 0)]


def call(program, *arguments):
    run = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"simulate.py: {program} {' '.join(map(str, arguments))}: {run.stderr}")
    return run.stdout


def chart(path, title, x_label, series, x_names):
    """Lines over named places, with their values at zero and above: an SVG without a library."""
    left, top, width, height = 60, 40, 520, 300
    most = max(max(values) for _, values in series) * 1.05
    x = lambda i, n: left + width * (i / max(1, n - 1))
    y = lambda value: top + height * (1 - value / most)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="760" height="410" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>', f'<text x="{left}" y="22" fill="#444">{title}</text>']
    step = next(s for s in (1, 2, 5, 10, 20, 50) if most / s <= 8)
    for tick in range(0, int(most) + 1, step):
        out.append(f'<line x1="{left}" x2="{left + width}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>'
                   f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick}</text>')
    for i, name in enumerate(x_names):
        out.append(f'<text x="{x(i, len(x_names)):.1f}" y="{top + height + 18}" text-anchor="middle" font-size="10">{name}</text>')
    out.append(f'<text x="{left + width / 2}" y="{top + height + 42}" text-anchor="middle" fill="#444">{x_label}</text>')
    for i, (name, values) in enumerate(series):
        points = " ".join(f"{x(j, len(values)):.1f},{y(value):.1f}" for j, value in enumerate(values))
        out.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>'
                   f'<circle cx="{left + width + 30}" cy="{top + 20 * i}" r="4" fill="{COLOURS[name]}"/>'
                   f'<text x="{left + width + 40}" y="{top + 20 * i + 4}">{name}</text>')
    path.write_text("\n".join(out + ["</svg>"]) + "\n")


def sweep(arguments, folder):
    model, machine = folder / "r1.gguf", ROOT / "bench/machines/rtx4090-48g-124g.json"
    call(arguments.program, "synth", model, "--preset", "r1-ud-iq1s", "--sparse", "-q")
    runs = {}
    for name, skew, locality, drift in ROUTINGS:
        shape = ["--make", "--skew", skew, "--locality", locality, "--drift", drift, "--tokens", arguments.tokens]
        call(arguments.program, "trace", folder / "heat.trace", *shape, "--seed", 2)
        call(arguments.program, "trace", folder / "t.trace", *shape, "--seed", 2 if drift == 0 and skew > 0 else 1)
        report = call(arguments.program, "simulate", model, "-m", machine, "--trace", folder / "t.trace",
                      "--heat", folder / "heat.trace", "--promotions", arguments.promotions, "--store", arguments.store, "--json")
        runs[name] = {run["policy"]: run for run in json.loads(report)["runs"]}
    print("| routing (skew) | " + " | ".join(f"{policy}: hits, tokens/s" for policy in POLICIES) + " | best hits |")
    print("|---|" + "---:|" * (len(POLICIES) + 1))
    for name, of in runs.items():
        cells = [f"{100 * of[policy]['in_vram']:.0f}%, {of[policy]['tok_s']:.1f}" for policy in POLICIES]
        print(f"| {name} | " + " | ".join(cells) + f" | {100 * of['lru']['best']:.0f}% |")
    path = of["hybrid"]["critical_path_seconds"]
    print("\nCritical path of a token in the last row, hybrid: " + ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in path.items()))
    plan = json.loads(call(arguments.program, "plan", model, "-m", machine, "--store", arguments.store, "--json"))
    print("\n| hits in VRAM | " + " | ".join(f"{100 * row['share']:.0f}%" for row in plan["by_hit_rate"]) + " |")
    print("|---|" + "---:|" * len(plan["by_hit_rate"]))
    print("| tokens/s | " + " | ".join(f"{row['decode_tok_s']:.1f}" for row in plan["by_hit_rate"]) + " |")
    names = [name for name, *_ in ROUTINGS[:7]]
    chart(ROOT / "docs/plots/r1-decode.svg", "R1 1.58-bit on 48 GB VRAM + 124 GB RAM, decode, predicted (tokens/s)", "skew of the routing",
          [(policy, [runs[name][policy]["tok_s"] for name in names]) for policy in POLICIES], names)


def check(arguments, folder):
    rows = []
    for _ in range(arguments.runs):
        for limit in arguments.limits:
            call(arguments.program, "doctor", arguments.model, "--machine", folder / "machine.json")
            machine = json.loads((folder / "machine.json").read_text())
            trace = folder / "run.trace"
            report = json.loads(call(arguments.program, "run", arguments.model, "--ram", limit, "-n", arguments.tokens, "-c", 512, "-p",
                                     "Once upon a time there was", "--ignore-eos", "--no-heat", "--json", "--trace", trace))
            decode = report["decode"]
            machine["disk_bytes_per_second"] = decode["disk"]["gb_s"] * 1e9
            (folder / "machine.json").write_text(json.dumps(machine))
            simulated = json.loads(call(arguments.program, "simulate", arguments.model, "--trace", trace, "--ram", limit, "-c", 512, "--policy",
                                        "hybrid", "--warm", 0, "-m", folder / "machine.json", "--json"))["runs"][0]
            experts = decode["experts"]
            asked = experts["hits"] + experts["guessed"] + experts["misses"]
            waiting = sum(decode["waiting"].values())
            rows.append({"limit": limit, "counts": decode["cpu_busy"] + waiting >= 0.75,
                         "measured": (report["decode_tok_s"], experts["hits"] / asked, decode["disk"]["bytes"] / (report["generated_tokens"] - 1)),
                         "simulated": (simulated["tok_s"], simulated["in_ram"], simulated["disk_bytes_per_token"]),
                         "cpu": decode["cpu_busy"]})
    print("| RAM | CPU busy | tokens/s: measured, simulated | error | in memory: measured, simulated | read a token: measured, simulated |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in rows:
        (rate, hits, read), (s_rate, s_hits, s_read) = row["measured"], row["simulated"]
        print(f"| {row['limit']} | {100 * row['cpu']:.0f}% | {rate:.2f}, {s_rate:.2f} | {100 * (s_rate / rate - 1):+.0f}%{'' if row['counts'] else ' (left out)'} | "
              f"{100 * hits:.0f}%, {100 * s_hits:.0f}% | {read / 1e6:.0f} MB, {s_read / 1e6:.0f} MB |")
    errors = [abs(row["simulated"][0] / row["measured"][0] - 1) for row in rows if row["counts"]]
    if errors:
        print(f"\nError of tokens/s: median {100 * statistics.median(errors):.0f}%, largest {100 * max(errors):.0f}%, of {len(errors)} runs.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build/sluice")
    verbs = parser.add_subparsers(dest="verb", required=True)
    of_sweep = verbs.add_parser("sweep")
    of_sweep.add_argument("--tokens", type=int, default=2048)
    of_sweep.add_argument("--promotions", type=int, default=4)
    of_sweep.add_argument("--store", choices=["auto", "mapped"], default="auto", help="mapped: the GPU does not read experts in RAM")
    of_check = verbs.add_parser("check")
    of_check.add_argument("model")
    of_check.add_argument("--limits", nargs="+", default=["2G", "2500M", "3G"])
    of_check.add_argument("--tokens", type=int, default=64)
    of_check.add_argument("-r", "--runs", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (sweep if arguments.verb == "sweep" else check)(arguments, Path(folder))


if __name__ == "__main__":
    main()
