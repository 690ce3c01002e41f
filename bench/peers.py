#!/usr/bin/env python3
"""Tokens a second of sluice beside llama.cpp's, on the same file and threads, in turn: A B A B.

    peers.py VENV MODEL [-p 128] [-n 32] [-r 5] [-t 2] [--program build/sluice]

VENV is a virtual environment; llama-cpp-python is installed into it when it is missing (it compiles, which takes minutes).
Prints a Markdown table of medians, and the ratio of sluice to llama.cpp pair by pair (median, least, most).
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

# Runs inside the virtual environment, one process a measurement, so that neither engine keeps threads or memory while the
# other is measured. Prints {"pp": tokens/s, "tg": tokens/s}.
LLAMA_CPP = """
import json, sys, time
import llama_cpp
model, n_prompt, n_gen, n_threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
llama = llama_cpp.Llama(model, n_ctx=max(n_prompt, n_gen) + 8, n_threads=n_threads, n_threads_batch=n_threads,
                        n_batch=512, verbose=False)
tokens = [100 + i * 37 % 1500 for i in range(max(n_prompt, n_gen))]
def prefill():
    llama.reset()
    llama.eval(tokens[:n_prompt])
def decode():
    llama.reset()
    for token in tokens[:n_gen]:
        llama.eval([token])
rates = {}
for name, work, n in (("pp", prefill, n_prompt), ("tg", decode, n_gen)):
    work()
    begin = time.perf_counter()
    work()
    rates[name] = n / (time.perf_counter() - begin)
print(json.dumps(rates))
"""


def measure_sluice(args):
    command = [args.program, "bench", args.model, "-p", str(args.p), "-n", str(args.n), "-r", "1", "-t", str(args.t)]
    out = subprocess.run(command + ["-o", "json", "-q"], check=True, capture_output=True, text=True).stdout
    rows = json.loads(out)
    return {"pp": rows[0]["avg_ts"], "tg": rows[1]["avg_ts"]}


def measure_llama_cpp(args, python):
    command = [python, "-c", LLAMA_CPP, args.model, str(args.p), str(args.n), str(args.t)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def environment(venv):
    python = str(Path(venv) / "bin" / "python")
    if not Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    if subprocess.run([python, "-c", "import llama_cpp"], capture_output=True).returncode != 0:
        print("installing llama-cpp-python", file=sys.stderr)
        subprocess.run([python, "-m", "pip", "install", "-q", "llama-cpp-python"], check=True)
    command = [python, "-c", "import llama_cpp; print(llama_cpp.__version__)"]
    return python, subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("venv")
    parser.add_argument("model")
    parser.add_argument("-p", type=int, default=128)
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("-r", type=int, default=5)
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("--program", default=str(Path(__file__).parents[1] / "build" / "sluice"))
    args = parser.parse_args()
    python, version = environment(args.venv)
    ours, theirs = [], []
    for _ in range(args.r):
        ours.append(measure_sluice(args))
        theirs.append(measure_llama_cpp(args, python))
    print(f"{Path(args.model).name}, {args.t} threads, {args.r} pairs, llama-cpp-python {version}\n")
    print("| test | sluice tok/s | llama.cpp tok/s | ratio (least to most) |")
    print("|---|---:|---:|---:|")
    for name, label in (("pp", f"pp {args.p}"), ("tg", f"tg {args.n}")):
        a, b = [row[name] for row in ours], [row[name] for row in theirs]
        ratios = [x / y for x, y in zip(a, b)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"| {label} | {statistics.median(a):.1f} | {statistics.median(b):.1f} | {statistics.median(ratios):.2f} ({spread}) |")


main()
