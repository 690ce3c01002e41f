#!/usr/bin/env python3
"""What decode keeps of its speed when every core has another busy process: `sluice bench` alone, beside them, alone ...

    neighbours.py MODEL [-n 64] [-r 5] [-t 0] [--busy N] [--pin] [--program build/sluice]

A neighbour is a process that counts for ever; neighbour i is bound to core i. The fair share beside one of equal weight is
50%. That holds only where the scheduler weighs all processes alike, so they are started in the session of this script (an
autogroup of its own would give a neighbour the weight of all threads of the engine together), with the same nice value, and
in the same cgroup; the script says what it found and stops when it differs. Prints a Markdown table.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path


def weight(pid="self"):
    """What the scheduler weighs a process by: its nice value, its autogroup, and its cgroups of the cpu controller."""
    process = Path("/proc") / str(pid)
    nice = int((process / "stat").read_text().rpartition(")")[2].split()[16])
    autogroup = process / "autogroup"
    lines = (line.split(":", 2) for line in (process / "cgroup").read_text().splitlines())
    groups = [path for _, controllers, path in lines if controllers == "" or "cpu" in controllers.split(",")]
    return nice, autogroup.read_text().strip() if autogroup.exists() else "none", groups


def start_neighbour(core):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.sched_setaffinity(0, {core})
        while True:
            pass
    return pid


def decode_rate(args):
    command = [args.program, "bench", args.model, "-p", "0", "-n", str(args.n), "-r", "1", "-t", str(args.t)]
    command += ["-o", "json", "-q"] + (["--pin"] if args.pin else [])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        engine_weight = weight(process.pid)
        out = process.stdout.read()
    if process.returncode != 0:
        sys.exit(f"error: {' '.join(command)} failed with status {process.returncode}")
    row = json.loads(out)[0]
    return row["avg_ts"], row["n_threads"], engine_weight


def rate_beside_neighbours(args, cores):
    neighbours = [start_neighbour(core) for core in cores]
    try:
        time.sleep(0.2)
        rate, _, engine_weight = decode_rate(args)
        if any(weight(pid) != engine_weight for pid in neighbours):
            sys.exit(f"error: a neighbour is weighed otherwise than the engine: {engine_weight}; no share is fair")
        return rate, engine_weight
    finally:
        for pid in neighbours:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def machine_busy(seconds=0.5):
    """The part of the machine's time that others take."""

    def times():
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    all_before, idle_before = times()
    time.sleep(seconds)
    all_after, idle_after = times()
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("-n", type=int, default=64, help="tokens of a run")
    parser.add_argument("-r", type=int, default=5, help="pairs of runs")
    parser.add_argument("-t", type=int, default=0, help="threads of the engine; 0: its own choice")
    parser.add_argument("--busy", type=int, help="neighbours; as many as cores when left out")
    parser.add_argument("--pin", action="store_true", help="bind the engine's threads to cores")
    parser.add_argument("--program", default=str(Path(__file__).parents[1] / "build" / "sluice"))
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: args.busy]

    print(f"{Path(args.model).name}, {len(cores)} neighbours, {args.r} pairs", flush=True)
    rows = []
    for _ in range(args.r):
        busy = machine_busy()
        alone, n_threads, _ = decode_rate(args)
        beside, engine_weight = rate_beside_neighbours(args, cores)
        rows.append((busy, alone, beside, beside / alone))
    nice, autogroup, groups = engine_weight
    print(f"{n_threads} threads; of engine and neighbours alike: nice {nice}, autogroup {autogroup}, cgroup {' '.join(groups)}\n")
    print("| others' load before | alone tok/s | beside tok/s | kept |")
    print("|---:|---:|---:|---:|")
    for busy, alone, beside, kept in rows:
        print(f"| {busy:.0%} | {alone:.1f} | {beside:.1f} | {kept:.1%} |")
    medians = [statistics.median(column) for column in zip(*rows)]
    print(f"| **median {medians[0]:.0%}** | **{medians[1]:.1f}** | **{medians[2]:.1f}** | **{medians[3]:.1%}** |")


main()
