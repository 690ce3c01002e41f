#!/usr/bin/env python3
"""Tokens a second of sluice beside ik_llama.cpp's and llama.cpp's, on the same files and threads, in turn: A B C A B C.

    peers.py                        the standard table: models of random weights, written by `sluice synth` where absent
    peers.py --rows llama-1b-q4_k   one row of it
    peers.py MODEL.gguf ...         the files that are named, instead
    peers.py --types [TYPE ...]     a short llama of each type of weights (all types when none is named)

Prints a Markdown table of medians over the rounds; a ratio is ours divided by theirs, round by round: median (least to most).
The rivals' Python packages are installed into a virtual environment (--venv) when they are missing; llama-cpp-python compiles,
which takes minutes. Every measurement is a process of its own, so that no engine keeps threads or memory while another is
measured; each warms up with the test itself and is then timed once. All engines evaluate the same tokens.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What `sluice synth` is told for each row of the standard table.
STANDARD = {
    "llama-1b-q4_k": "--preset llama-1b",
    "llama-1b-iq1_s": "--preset llama-1b --type all=IQ1_S --type embd=Q4_K --type output=Q6_K",
    "r1-slice-iq1_s": "--preset r1-slice",
    "r1-slice-q4_k": "--preset r1-slice --layers 4 --experts 32 --type all=Q4_K",
}
TYPES = """F16 BF16 Q8_0 Q6_K Q5_K Q4_K Q3_K Q2_K Q5_1 Q5_0 Q4_1 Q4_0 IQ4_XS IQ4_NL IQ3_S IQ3_XXS IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S
TQ2_0 TQ1_0 MXFP4 NVFP4 Q1_0 F32""".split()
TYPE_SHAPE = "--preset llama-1b --layers 4 --type embd=Q4_K"

# Run inside the virtual environment: MODEL PROMPT GENERATED THREADS OPTIONS. Print {"pp": tokens/s, "tg": tokens/s}. Both use
# the C interface through ctypes, as the rival's own bench program does, so that no time goes to Python's conveniences.
COMMON = """
import json, os, sys, time
import numpy as np
model, options = sys.argv[1].encode(), json.loads(sys.argv[5])
n_prompt, n_gen, n_threads = map(int, sys.argv[2:5])

def start(C, options):
    C.llama_backend_init()
    params = C.llama_model_default_params()
    for name, value in options.get("model", {}).items():
        setattr(params, name, value)
    loaded = C.llama_model_load_from_file(model, params)
    params = C.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = max(n_prompt, n_gen, 1) + 8, max(n_prompt, 512), 512
    params.n_threads = params.n_threads_batch = n_threads
    for name, value in options.get("context", {}).items():
        setattr(params, name, value)
    context = C.llama_init_from_model(loaded, params)
    assert context, "no context"
    vocabulary = C.llama_model_get_vocab(loaded)
    # The same numbers as std::mt19937(1), from which `sluice bench` takes its tokens.
    numbers = np.frombuffer(np.random.RandomState(1).bytes(4 * max(n_prompt, n_gen)), "<u4")
    return context, [int(x) for x in numbers % C.llama_vocab_n_tokens(vocabulary)]

def evaluate(C, context, tokens, position):
    batch = C.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position + i, 1, i + 1 == len(tokens)
        batch.seq_id[i][0] = 0
    assert C.llama_decode(context, batch) == 0, "decoding failed"
    C.llama_get_logits_ith(context, -1)[0]    # waits for the result
    C.llama_batch_free(batch)

def measure(C, context, tokens, clear):
    def prefill():
        evaluate(C, context, tokens[:n_prompt], 0)
    def decode():
        for i in range(n_gen):
            evaluate(C, context, tokens[i:i + 1], i)
    rates = {}
    for name, work, n in (("pp", prefill, n_prompt), ("tg", decode, n_gen)):
        if n == 0:
            continue
        for _ in range(2):
            clear()
            begin = time.perf_counter()
            work()
            rates[name] = n / (time.perf_counter() - begin)
    print(json.dumps(rates), flush=True)
    os._exit(0)    # tearing down is not our business
"""
LLAMA_CPP = COMMON + """
import llama_cpp as C
context, tokens = start(C, options)
measure(C, context, tokens, lambda: C.llama_memory_clear(C.llama_get_memory(context), True))
"""
IK_LLAMA_CPP = COMMON + """
from ik_llama_cpp import _ctypes_api as C
context, tokens = start(C, options)
measure(C, context, tokens, lambda: C.llama_kv_cache_clear(context))
"""

# Flash attention, fused up and gate (dense and experts), fused multiply-add and graph reuse are on by default in
# ik_llama.cpp; mla 3 is its latent attention for speed. Repacking at load helps some types and hurts others: both are measured.
IK_MODEL, IK_CONTEXT = {"mla": 3, "flash_attn": True}, {"mla_attn": 3, "flash_attn": True}
RIVALS = {
    "ik_llama.cpp": ("ik-llama-cpp-python", "ik_llama_cpp", IK_LLAMA_CPP, {"model": IK_MODEL, "context": IK_CONTEXT}),
    "ik_llama.cpp, repacked": (
        "ik-llama-cpp-python", "ik_llama_cpp", IK_LLAMA_CPP,
        {"model": IK_MODEL | {"use_mmap": False, "repack_tensors": True}, "context": IK_CONTEXT},
    ),
    # Its defaults: repacking where it has a kernel for it, flash attention where it can (-1: automatic).
    "llama.cpp": ("llama-cpp-python", "llama_cpp", LLAMA_CPP, {"context": {"flash_attn_type": -1}}),
}
SHORT_NAMES = {"ik": "ik_llama.cpp", "ik-repacked": "ik_llama.cpp, repacked", "llama.cpp": "llama.cpp"}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Rival:
    def __init__(self, name, venv):
        self.name = name
        self.package, module, self.script, self.options = RIVALS[name]
        self.python = str(Path(venv) / "bin" / "python")
        if not Path(self.python).exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        if subprocess.run([self.python, "-c", f"import {module}, numpy"], capture_output=True).returncode != 0:
            say(f"installing {self.package} into {venv}")
            subprocess.run([self.python, "-m", "pip", "install", "-q", self.package, "numpy"], check=True)
        version = f"from importlib.metadata import version; print(version('{self.package}'))"
        self.version = subprocess.run([self.python, "-c", version], check=True, capture_output=True, text=True).stdout.strip()

    def measure(self, model, args):
        options = json.dumps(self.options)
        command = [self.python, "-c", self.script, model, str(args.p), str(args.n), str(args.t), options]
        return run(self.name, command, lambda out: json.loads(out.splitlines()[-1]))


class Sluice:
    name = "sluice"

    def measure(self, model, args):
        command = [args.program, "bench", model, "-p", str(args.p), "-n", str(args.n), "-r", "1", "-t", str(args.t)]
        command += ["-o", "json", "-q"] + args.sluice_flags.split()

        def rates(out):
            return {"pp" if row["n_prompt"] else "tg": row["avg_ts"] for row in json.loads(out)}

        return run(self.name, command, rates)


def run(name, command, read):
    """The rates, or none when the engine does not run the model."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return read(done.stdout)
    lines = done.stderr.strip().splitlines()
    causes = [line for line in lines if "error" in line.lower() or "assert" in line.lower()] or lines or ["no message"]
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
    say(f"{name} failed ({how}): {causes[-1]}")
    return {}


def measure_all(engines, label, model, args):
    """rounds[i][engine name] = {"pp": ..., "tg": ...}"""
    rounds = []
    failed = set()
    for i in range(args.r):
        rates = {}
        for engine in engines:
            if engine.name not in failed:
                rates[engine.name] = engine.measure(model, args)
                if not rates[engine.name]:
                    failed.add(engine.name)
        rounds.append(rates)
        shown = {name: {test: round(rate, 2) for test, rate in r.items()} for name, r in rates.items()}
        say(f"{label}, round {i + 1} of {args.r}: {shown}")
    return rounds


def rates_of(rounds, engine, test):
    return [r[engine][test] for r in rounds if test in r.get(engine, {})]


def ratio_text(rounds, rivals, test):
    """Ours to the fastest of the rivals by median."""
    rivals = [name for name in rivals if rates_of(rounds, name, test)]
    if not rivals or not rates_of(rounds, "sluice", test):
        return "-"
    best = max(rivals, key=lambda name: statistics.median(rates_of(rounds, name, test)))
    ratios = [r["sluice"][test] / r[best][test] for r in rounds if test in r.get("sluice", {}) and test in r.get(best, {})]
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def print_header(engines):
    families = {name.split(",")[0] for name in engines[1:]}
    columns = ["model", "test"] + engines + [f"÷ {name}" for name in sorted(families)]
    print("| " + " | ".join(columns) + " |")
    print("|---|---|" + "---:|" * (len(columns) - 2), flush=True)


def print_rows(label, rounds, engines, args):
    families = sorted({name.split(",")[0] for name in engines[1:]})
    for test, n in (("pp", args.p), ("tg", args.n)):
        if n == 0:
            continue
        cells = [label, f"{test} {n}"]
        for name in engines:
            rates = rates_of(rounds, name, test)
            cells.append(f"{statistics.median(rates):.2f}" if rates else "-")
        cells += [ratio_text(rounds, [e for e in engines[1:] if e.split(",")[0] == family], test) for family in families]
        print("| " + " | ".join(cells) + " |", flush=True)


def synthesise(args, path, flags):
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([args.program, "synth", str(path)] + flags.split(), check=True)


def chosen_models(args):
    """(label, path, whether it is ours to delete), each synthesised when it is asked for."""
    if args.models_named:
        for path in args.models_named:
            yield Path(path).stem, Path(path), False
    elif args.types is not None:
        for kind in args.types or TYPES:
            path = Path(args.models) / f"llama-4-layers-{kind.lower()}.gguf"
            is_new = not path.exists()
            # embd is looked up, not multiplied by: it keeps its type.
            synthesise(args, path, f"{TYPE_SHAPE.replace(' --type embd', f' --type all={kind} --type embd')}")
            yield kind, path, is_new
    else:
        for name in args.rows or STANDARD:
            path = Path(args.models) / f"{name}.gguf"
            synthesise(args, path, STANDARD[name])
            yield name, path, False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models_named", metavar="MODEL", nargs="*")
    parser.add_argument("--venv", default=str(ROOT / "build" / "peers" / "venv"), help="virtual environment of the rivals")
    parser.add_argument("--ik-venv", help="another one for ik_llama.cpp")
    parser.add_argument("--models", default=str(ROOT / "build" / "peers" / "models"), help="folder of synthesised models")
    parser.add_argument("--rows", nargs="+", choices=STANDARD, metavar="NAME", help="rows of the standard table: " + ", ".join(STANDARD))
    parser.add_argument("--types", nargs="*", type=str.upper, choices=TYPES, metavar="TYPE")
    parser.add_argument("--rivals", nargs="+", choices=SHORT_NAMES, default=list(SHORT_NAMES), metavar="NAME",
                        help="of " + ", ".join(SHORT_NAMES) + " (all)")
    parser.add_argument("-p", type=int, default=128, help="tokens of the prompt (128; 0: none)")
    parser.add_argument("-n", type=int, default=32, help="tokens decoded (32; 0: none)")
    parser.add_argument("-r", type=int, default=3, help="rounds (3)")
    parser.add_argument("-t", type=int, default=2, help="threads (2)")
    parser.add_argument("--program", default=str(ROOT / "build" / "sluice"))
    parser.add_argument("--sluice-flags", default="", help="more flags for `sluice bench`, in one word")
    parser.add_argument("--json", help="file that every single measurement is written to")
    args = parser.parse_args()
    if args.r < 1 or args.p < 0 or args.n < 0 or args.p + args.n == 0:
        parser.error("-r must be 1 or more, and -p or -n too")

    rivals = [Rival(SHORT_NAMES[name], args.ik_venv if args.ik_venv and name.startswith("ik") else args.venv) for name in args.rivals]
    engines = [Sluice()] + rivals
    names = [engine.name for engine in engines]
    versions = sorted({f"{rival.package} {rival.version}" for rival in rivals})
    print(f"tokens/s, {args.t} threads, medians of {args.r} rounds in turn; {', '.join(versions)}\n")
    print_header(names)
    record = {}
    for label, path, is_ours in chosen_models(args):
        record[label] = measure_all(engines, label, str(path), args)
        print_rows(label, record[label], names, args)
        if is_ours:
            path.unlink()
        if args.json:
            Path(args.json).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
