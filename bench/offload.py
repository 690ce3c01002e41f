#!/usr/bin/env python3
"""Tokens a second against a limit of RAM, for models larger than it: sluice beside ik_llama.cpp and llama.cpp. Needs root.

    sudo offload.py                             the slice of R1 (`sluice synth` writes it) at the standard limits
    sudo offload.py MODEL --limits 2G 60% none  another file; a percentage is of its size
    sudo offload.py -r 1 --rivals --limits 2G   sluice alone, once

Every run is a process of its own in a memory control group of its own (version 1 or 2), and begins with nothing of the file in
the page cache: page cache is charged to who reads it first, so what is there already would not count. Prefill and decode are
runs apart; each warms up with the test itself and is then timed once, as in peers.py. The disk is measured by `sluice doctor`
with direct reads before and after each round. Prints a Markdown table of medians and writes a plot (SVG).
"""

import argparse
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import peers
from peers import ROOT, say

VERSION_1, VERSION_2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
PAGE = os.sysconf("SC_PAGESIZE")
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def shards(model):
    """All files of a model that is named by any of its shards."""
    name = re.fullmatch(r"(.*)-\d{5}-of-(\d{5})\.gguf", model.name)
    return sorted(model.parent.glob(f"{name[1]}-?????-of-{name[2]}.gguf")) if name else [model]


def read_limit(text, file_bytes):
    """Bytes; None for no limit."""
    if text == "none":
        return None
    if text.endswith("%"):
        return int(float(text[:-1]) / 100 * file_bytes)
    number = re.fullmatch(r"([0-9.]+) ?([KMGT]?)(i?B)?", text)
    if not number:
        raise SystemExit(f"offload.py: --limits cannot be '{text}'; give bytes, 2G, 512M, 60% or none")
    return int(float(number[1]) * UNITS[number[2]])


def cached_bytes(path):
    """How much of a file the page cache holds (mincore)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    libc.mincore.argtypes, libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_size_t]
    size = path.stat().st_size
    with open(path, "rb") as file:
        at = libc.mmap(None, size, 1, 1, file.fileno(), 0)    # PROT_READ, MAP_SHARED
        if at == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap")
        pages = ctypes.create_string_buffer(-(-size // PAGE))
        failed = libc.mincore(at, size, pages)
        libc.munmap(at, size)
        if failed:
            raise OSError(ctypes.get_errno(), "mincore")
    return PAGE * sum(byte & 1 for byte in pages.raw)


def evict(model):
    for path in shards(model):
        for attempt in range(5):
            with open(path, "rb") as file:
                os.fsync(file.fileno())    # dirty pages stay
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            left = cached_bytes(path)
            if left <= path.stat().st_size / 1000:
                break
            time.sleep(0.2)
        else:
            raise SystemExit(f"offload.py: {left} bytes of {path} stay in the page cache; is another process using the file?")


class Group:
    """A memory control group for one run."""

    def __init__(self, limit):
        self.version_1 = (VERSION_1 / "cgroup.procs").exists()
        parent = VERSION_1 if self.version_1 else VERSION_2
        if not self.version_1 and "memory" not in (parent / "cgroup.subtree_control").read_text().split():
            (parent / "cgroup.subtree_control").write_text("+memory")
        self.folder = parent / f"sluice-offload-{os.getpid()}"
        self.folder.mkdir()
        if limit is not None:
            self.set("memory.limit_in_bytes" if self.version_1 else "memory.max", limit)
            # Without this, swap would lift the limit.
            swap = "memory.memsw.limit_in_bytes" if self.version_1 else "memory.swap.max"
            if (self.folder / swap).exists():
                self.set(swap, limit if self.version_1 else 0)

    def set(self, name, value):
        (self.folder / name).write_text(str(value))

    def enter(self):
        self.set("cgroup.procs", os.getpid())

    def peak_bytes(self):
        peak = self.folder / ("memory.max_usage_in_bytes" if self.version_1 else "memory.peak")
        return int(peak.read_text()) if peak.exists() else None

    def remove(self):
        for _ in range(50):
            try:
                return self.folder.rmdir()
            except OSError:    # a process that was killed is still leaving
                time.sleep(0.1)
        say(f"{self.folder} could not be removed")


class Sluice:
    name = "sluice"

    def __init__(self, args):
        self.args = args
        told = subprocess.run([args.program, "bench", "--help"], capture_output=True, text=True, check=True).stdout
        self.has_ram_flag = "--ram" in told
        if not self.has_ram_flag:
            say("this sluice has no --ram: it maps the file")

    def command(self, model, n_prompt, n_gen, limit):
        command = [self.args.program, "bench", str(model), "-p", str(n_prompt), "-n", str(n_gen), "-r", "1", "-t", str(self.args.t)]
        if self.has_ram_flag and limit is not None:
            command += ["--ram", str(int(limit * self.args.ram_share))]
        return command + ["-o", "json", "-q"] + self.args.sluice_flags.split()

    def rate(self, out):
        return json.loads(out)[0]["avg_ts"]


class Rival(peers.Rival):
    def __init__(self, name, args):
        super().__init__(name, args.venv)
        self.n_threads = args.t

    def command(self, model, n_prompt, n_gen, limit):
        options = json.dumps(self.options)
        return [self.python, "-c", self.script, str(model), str(n_prompt), str(n_gen), str(self.n_threads), options]

    def rate(self, out):
        return next(iter(json.loads(out.splitlines()[-1]).values()))


def measure(engine, model, n_prompt, n_gen, limit, seconds):
    """One run: {"rate": tokens/s, or None with the "failure"; "peak_bytes": of its group}."""
    evict(model)
    group = Group(limit)
    try:
        done = subprocess.run(engine.command(model, n_prompt, n_gen, limit), capture_output=True, text=True, timeout=seconds,
                              preexec_fn=group.enter)
        result = {"peak_bytes": group.peak_bytes()}
    except subprocess.TimeoutExpired:
        return {"rate": None, "failure": f"not done in {seconds} s", "peak_bytes": group.peak_bytes()}
    finally:
        group.remove()
    if done.returncode == 0:
        return result | {"rate": engine.rate(done.stdout)}
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return result | {"rate": None, "failure": f"exit status {done.returncode}: {last}"}


def disk_rate(args, model):
    out = subprocess.run([args.program, "doctor", str(model), "--json"], capture_output=True, text=True, check=True).stdout
    disk = json.loads(out)["disk"]
    if not disk.get("is_direct"):
        say(f"the disk was not measured with direct reads: {disk.get('failure', 'they are refused')}")
    return disk.get("bytes_per_second")


def rates_of(runs, limit, test, name):
    """By round, None where a run failed."""
    return [run["rate"] for run in runs if (run["limit"], run["test"], run["engine"]) == (limit, test, name)]


def median(rates):
    rates = [rate for rate in rates if rate is not None]
    return statistics.median(rates) if rates else None


def number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def limit_name(limit):
    return "no limit" if limit is None else f"{limit / (1 << 30):.2f} GiB"


def ratio(ours, theirs):
    """Round by round: median (least to most)."""
    ratios = [a / b for a, b in zip(ours, theirs) if a and b]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "-"


def table(runs, limits, tests, names):
    columns = ["RAM", "test"] + names + [f"÷ {name}" for name in names[1:]]
    lines = ["| " + " | ".join(columns) + " |", "|---|---|" + "---:|" * (len(columns) - 2)]
    for limit in limits:
        for test in tests:
            rates = {name: rates_of(runs, limit, test, name) for name in names}
            cells = [limit_name(limit), test] + [number(median(rates[name]), 2) for name in names]
            cells += [ratio(rates["sluice"], rates[name]) for name in names[1:]]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


COLOURS = ["#0b6e99", "#c4552d", "#7a5ea8", "#4f8a3c"]


def ticks(most):
    """Round numbers from 0 that go past `most`, at most seven."""
    step = next(digit * 10.0**power for power in range(-6, 9) for digit in (1, 2, 5) if most / (digit * 10.0**power) < 6)
    return [i * step for i in range(int(most / step) + 2)]


def panel(runs, limits, test, names, left, file_bytes):
    """One diagram of 340 x 240 at `left`: limits along, tokens a second up."""
    width, height, top = 300, 220, 50
    medians = {name: [(limit, median(rates_of(runs, limit, test, name))) for limit in limits] for name in names}
    most = max((rate for points in medians.values() for _, rate in points if rate), default=1)
    rows = ticks(most)
    sizes = [limit or file_bytes * 1.25 for limit in limits]    # no limit: past the file's size
    widest = max(sizes + [file_bytes]) * 1.05
    x = lambda size: left + width * size / widest
    y = lambda rate: top + height * (1 - rate / rows[-1])
    out = [f'<text x="{left}" y="{top - 12}" font-weight="bold">{test}, tokens/s</text>']
    for row in rows:
        out.append(f'<path d="M{left} {y(row):.1f}h{width}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 6}" y="{y(row) + 4:.1f}" text-anchor="end">{row:g}</text>')
    for limit, size in zip(limits, sizes):
        label = "none" if limit is None else f"{limit / (1 << 30):.3g}"
        out.append(f'<text x="{x(size):.1f}" y="{top + height + 18}" text-anchor="middle">{label}</text>')
    out.append(f'<path d="M{x(file_bytes):.1f} {top}v{height}" stroke="#999" stroke-dasharray="4 3"/>')
    out.append(f'<text x="{x(file_bytes) - 4:.1f}" y="{top + 12}" text-anchor="end" fill="#666">the file</text>')
    out.append(f'<text x="{left + width / 2}" y="{top + height + 38}" text-anchor="middle">limit of RAM, GiB</text>')
    for colour, name in zip(COLOURS, names):
        points = sorted((x(limit or file_bytes * 1.25), y(rate)) for limit, rate in medians[name] if rate is not None)
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"/>' for px, py in points]
    return out


def plot(runs, limits, tests, names, file_bytes, title):
    lefts = [50 + 370 * i for i in range(len(tests))]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{lefts[-1] + 330}" height="345" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>', f'<text x="50" y="18" fill="#444">{title}</text>']
    for left, test in zip(lefts, tests):
        out += panel(runs, limits, test, names, left, file_bytes)
    for i, (colour, name) in enumerate(zip(COLOURS, names)):
        out.append(f'<circle cx="{56 + 110 * i}" cy="330" r="4" fill="{colour}"/><text x="{65 + 110 * i}" y="334">{name}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", nargs="?", type=Path)
    parser.add_argument("--limits", nargs="+", default=["2G", "3G", "none"], help="RAM for a run: 2G, 60%% of the file, none (2G 3G none)")
    parser.add_argument("--rivals", nargs="*", choices=["ik", "llama.cpp"], default=["ik", "llama.cpp"], help="(ik llama.cpp)")
    parser.add_argument("--venv", default=str(ROOT / "build" / "peers" / "venv"), help="virtual environment of the rivals")
    parser.add_argument("-p", type=int, default=256, help="tokens of the prompt (256; 0: none)")
    parser.add_argument("-n", type=int, default=16, help="tokens decoded (16; 0: none)")
    parser.add_argument("-r", type=int, default=3, help="rounds (3)")
    parser.add_argument("-t", type=int, default=2, help="threads (2)")
    parser.add_argument("--seconds", type=int, default=300, help="for one run, which counts as failed when it takes longer (300)")
    parser.add_argument("--ram-share", type=float, default=0.95, help="of the limit, that sluice is told with --ram (0.95)")
    parser.add_argument("--program", default=str(ROOT / "build" / "sluice"))
    parser.add_argument("--sluice-flags", default="", help="more flags for `sluice bench`, in one word")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "plots" / "offload.svg")
    parser.add_argument("--json", type=Path, help="file that every single run is written to")
    args = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("setting a limit of memory needs root; run it with sudo")
    if args.r < 1 or args.p < 0 or args.n < 0 or args.p + args.n == 0:
        parser.error("-r must be 1 or more, and -p or -n too")
    model = args.model
    if model is None:
        model = ROOT / "build" / "peers" / "models" / "r1-slice-iq1_s.gguf"
        peers.synthesise(args, model, peers.STANDARD["r1-slice-iq1_s"])
    file_bytes = sum(path.stat().st_size for path in shards(model))
    limits = [read_limit(text, file_bytes) for text in args.limits]
    engines = [Sluice(args)] + [Rival(peers.SHORT_NAMES[name], args) for name in args.rivals]
    names = [engine.name for engine in engines]
    tests = {name: counts for name, counts in ((f"prefill {args.p}", (args.p, 0)), (f"decode {args.n}", (0, args.n))) if sum(counts)}
    runs, disk, load = [], [], os.getloadavg()[0]
    if load > 0.5:
        say(f"warning: the load average is {load:.1f} before the first run; beside other work no rate is right, and engines whose "
            "threads spin while they wait lose most")
    for i in range(args.r):
        disk.append(disk_rate(args, model))
        for limit in limits:
            for test, (n_prompt, n_gen) in tests.items():
                for engine in engines:
                    result = measure(engine, model, n_prompt, n_gen, limit, args.seconds)
                    runs.append({"round": i, "limit": limit, "test": test, "engine": engine.name} | result)
                    told = f"{result['rate']:.2f} tokens/s" if result["rate"] is not None else result["failure"]
                    peak = limit_name(result["peak_bytes"]) if result["peak_bytes"] else "unknown"
                    say(f"round {i + 1} of {args.r}, {limit_name(limit)}, {test}, {engine.name}: {told}, peak {peak}")
                    if args.json:
                        args.json.write_text(json.dumps({"load": load, "disk": disk, "runs": runs}, indent=1) + "\n")
        disk.append(disk_rate(args, model))
    disk = [rate for rate in disk if rate]
    told_disk = f"{min(disk) / 1e9:.2f} to {max(disk) / 1e9:.2f} GB/s" if disk else "not measured"
    versions = ", ".join(f"{rival.package} {rival.version}" for rival in engines[1:])
    told = f"{model.name} ({limit_name(file_bytes)}), {args.t} threads, medians of {args.r} rounds in turn; disk {told_disk}"
    print(f"tokens/s, {told}" + (f"; {versions}" if versions else "") + "\n\n" + table(runs, limits, tests, names))
    args.plot.parent.mkdir(parents=True, exist_ok=True)
    args.plot.write_text(plot(runs, limits, list(tests), names, file_bytes, told))
    say(f"wrote {args.plot}")


if __name__ == "__main__":
    main()
