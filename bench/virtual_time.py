#!/usr/bin/env python3
"""DeepSeek-R1 UD-IQ1_S on a machine with an RTX 4090 of 48 GB, predicted: the engine's own code decodes over virtual time. No GPU is needed.

    virtual_time.py                        build, run all settings (some 20 minutes of a core), rewrite the section of docs/performance.md
    virtual_time.py --only '{"slots": 0.29, "skew": 0.5}'   run this and print what came out
    virtual_time.py --only '{"prefill": 4096}'     a prompt of so many tokens (bench/virtual_time/prefill.h)
    virtual_time.py --set cpu_scale=2      the same for all settings (bench/virtual_time/run.h has what can be set); with --print, or --json
    virtual_time.py --json FILE            keep the outcomes; --reuse: write the section from them

Times of launches are those of bench/virtual_time/r1_rtx4090.json, which bench/gpu_counts.py --times writes: run that first where kernels
changed."""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench/virtual_time"))

import section  # noqa: E402

BEGIN, END = "<!-- virtual-time -->", "<!-- end of virtual-time -->"


def run(arguments, settings):
    """Outcomes in the order of the settings; a process each for every second one."""
    program = arguments.build / "bench/virtual_time/virtual_time"
    environment = {**os.environ, "SIMT_ARCHITECTURE": os.environ.get("SIMT_ARCHITECTURE", "80")}

    def some(mine):
        if not mine:
            return []
        done = subprocess.run([program, "--machine", arguments.machine, "--launches", arguments.launches, json.dumps(mine)],
                              stdout=subprocess.PIPE, text=True, env=environment)
        if done.returncode != 0:
            raise SystemExit("virtual_time.py: the program failed; what it said stands above.")
        return [json.loads(line) for line in done.stdout.splitlines()]

    with ThreadPoolExecutor(arguments.processes) as pool:
        parts = list(pool.map(some, [settings[i::arguments.processes] for i in range(arguments.processes)]))
    return [parts[i % arguments.processes][i // arguments.processes] for i in range(len(settings))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/test", help="a configured build folder with the tests")
    parser.add_argument("--machine", type=Path, default=ROOT / "bench/machines/rtx4090-48g-124g.json")
    parser.add_argument("--launches", type=Path, default=ROOT / "bench/virtual_time/r1_rtx4090.json")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=json.loads, metavar="SETTING")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--print", action="store_true", help="print the section, and leave the document alone")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--reuse", action="store_true")
    arguments = parser.parse_args()
    more = {name: json.loads(value) for name, value in (one.split("=", 1) for one in arguments.set)}
    if not arguments.reuse:
        done = subprocess.run(["cmake", "--build", arguments.build, "-j2", "--target", "virtual_time"], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"virtual_time.py: {done.stdout[-3000:]}{done.stderr[-1000:]}")
    if arguments.only is not None:
        for outcome in run(arguments, [{**arguments.only, **more}]):
            print(json.dumps(outcome, indent=1))
        return
    if arguments.reuse:
        outcomes = json.loads(arguments.json.read_text())
    else:
        outcomes = run(arguments, [{**setting, **more} for _, _, setting in section.SETTINGS])
        if arguments.json:
            arguments.json.write_text(json.dumps(outcomes, indent=1))
    text = section.section(outcomes, json.loads(arguments.machine.read_text()), json.loads(arguments.launches.read_text()), more)
    if arguments.print or (more and not arguments.reuse):
        print(text)
        return
    path = ROOT / "docs/performance.md"
    whole = path.read_text()
    before, _, rest = whole.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest:
        before, after = whole.rstrip("\n") + "\n\n", "\n"
    path.write_text(before + BEGIN + "\n" + text + END + after)


if __name__ == "__main__":
    main()
