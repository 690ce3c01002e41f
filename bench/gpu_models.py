#!/usr/bin/env python3
"""Models end to end on the GPUs of this machine, as tables for the report of bench/gpu.sh.

    gpu_models.py SLUICE MODEL.gguf ...                    each against the CPU, shared with it, over several GPUs, at rising contexts
    gpu_models.py SLUICE --only shared MODEL.gguf ...      one of them (models, shared, gpus, contexts, needles)
    gpu_models.py SLUICE --needle PROGRAM MODEL.gguf ...   and needles: what the model finds again in long texts (bench/needle.cc)

SLUICE may be the program with an emulated GPU inside, which tries this script where there is no GPU:
    SIMT_CHECK=0 SIMT_DEVICES=2 gpu_models.py build/test/tests/cuda_device/sluice_emulated --tokens 4 tests/data/models/qwen3moe.gguf
A row that fails says why, and the exit status is 1."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROMPT = "Once upon a time there was a miller who had three keys."


class Failed(Exception):
    pass


def call(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise Failed(lines[0].replace("|", "/"))
    return done.stdout


class Program:
    def __init__(self, path, n_tokens, folder):
        self.path, self.n_tokens, self.folder = path, n_tokens, folder
        self.cpu_logits = {}

    def run(self, model, *flags):
        return json.loads(call([self.path, "run", model, "--temp", 0, "--ignore-eos", "-n", self.n_tokens, "-p", PROMPT, "--json", "-q", *flags]))

    # Against the CPU's logits, token by token; those are made once a model.
    def divergence(self, model, *flags):
        logits = self.cpu_logits.get(model)
        if logits is None:
            logits = Path(self.folder) / f"{len(self.cpu_logits)}.logits"
            call([self.path, "logits", model, "--device", "cpu", "-b", 1, "-p", PROMPT, "-o", logits, "-q"])
            self.cpu_logits[model] = logits
        return json.loads(call([self.path, "logits", model, "--device", "cuda", *flags, "-b", 1, "-p", PROMPT, "--against", logits, "--json", "-q"]))

    def deferral(self, model, *flags):
        return json.loads(call([self.path, "logits", model, "--device", "cuda", *flags, "-p", PROMPT, "--compare-deferral", "--json", "-q"]))

    def bench(self, model, *flags):
        return json.loads(call([self.path, "bench", model, "-r", 2, "-o", "json", "-q", *flags]))

    # That the model was trained with.
    def context(self, model):
        metadata = json.loads(call([self.path, "inspect", model, "--json", "--metadata"]))["metadata"]
        return next((int(value) for name, value in metadata.items() if name.endswith(".context_length")), 4096)


def rate(value):
    return "-" if value is None else f"{value:.1f}"


def percent(value):
    return "-" if value is None else f"{100 * value:.0f}%"


def model_bytes(model):
    folder, name = model.parent, model.name
    shards = sorted(folder.glob(name.replace("-00001-of-", "-*-of-"))) if "-00001-of-" in name else [model]
    return sum(shard.stat().st_size for shard in shards)


# Each function gives the rows of one model; a head beside it names the columns.
MODELS_HEAD = ["model", "KL to the CPU, mean", "largest", "same likeliest token", "same greedy text", "CPU tokens/s", "GPU tokens/s", "GPU prompt tokens/s"]


def models_rows(program, model, _):
    divergence = program.divergence(model)
    cpu, gpu = program.run(model, "--device", "cpu"), program.run(model, "--device", "cuda")
    same = len(os.path.commonprefix([cpu["text"], gpu["text"]]))
    text = "all" if cpu["text"] == gpu["text"] else f"{same} of {len(cpu['text'])} characters"
    yield [f"{divergence['mean_kl']:.2g}", f"{divergence['largest_kl']:.2g}", f"{divergence['same_choice']} of {divergence['positions']}", text,
           rate(cpu["decode_tok_s"]), rate(gpu["decode_tok_s"]), rate(gpu["prefill_tok_s"])]


SHARED_HEAD = ["model", "--vram", "KL to the CPU, mean", "tokens/s", "predicted", "hits", "experts read over PCIe", "promotions", "GPU busy", "GPU waited for the CPU",
               "with --defer-experts", "its KL, mean"]


def shared_rows(program, model, _):
    for share in (0.3, 0.6):
        vram = max(1, int(model_bytes(model) * share))
        flags = ["--vram", vram]
        divergence, run = program.divergence(model, *flags), program.run(model, "--device", "cuda", *flags)
        decode, gpu = run["decode"], run["decode"].get("gpu") or {}
        experts = decode.get("vram_experts") or {}
        has_experts = experts.get("experts", 0) > 0
        deferred = program.run(model, "--device", "cuda", *flags, "--defer-experts") if has_experts else None
        predicted = decode.get("predicted") or {}
        yield [f"{share:.0%} of the file", f"{divergence['mean_kl']:.2g}", rate(run["decode_tok_s"]), rate(predicted.get("tok_s")),
               percent(experts.get("hit_rate")) if has_experts else "-", experts.get("read_from_ram", "-"), experts.get("promotions", "-"),
               percent(gpu.get("busy")), percent(gpu.get("waited")), rate(deferred["decode_tok_s"]) if deferred else "-",
               f"{program.deferral(model, *flags)['mean_kl']:.2g}" if deferred else "-"]


GPUS_HEAD = ["model", "GPUs", "layers", "KL to the CPU, mean", "tokens/s", "prompt tokens/s"]


def gpus_rows(program, model, arguments):
    # Each alone, then together: a GPU that may have little takes few layers, so all of them get some.
    some = max(1, int(model_bytes(model) * 0.7))
    for gpus, vram in [(str(i), None) for i in range(arguments.n_gpus)] + [(",".join(map(str, range(arguments.n_gpus))), some)]:
        flags = ["--gpus", gpus, *([] if vram is None else ["--vram", vram])]
        divergence, run = program.divergence(model, *flags), program.run(model, "--device", "cuda", *flags)
        layers = ", ".join(f"{gpu['name']}: {gpu['n_layers']}" for gpu in run.get("gpus", []))
        yield [gpus + ("" if vram is None else ", 70% of the file each"), layers, f"{divergence['mean_kl']:.2g}", rate(run["decode_tok_s"]), rate(run["prefill_tok_s"])]


CONTEXTS_HEAD = ["model", "test", "cache", "tokens/s", "limit"]


def contexts_rows(program, model, _):
    trained = program.context(model)
    fitting = lambda lengths, n: [length for length in lengths if length + n <= trained]
    generated = min(program.n_tokens, 32)
    for n_prompt in fitting((128, 1024, 8192, 32768), 1):
        for row in program.bench(model, "--device", "cuda", "-p", n_prompt, "-n", 0, "-c", n_prompt + 1):
            yield [f"prompt of {n_prompt}, {row['avg_s']:.2f} s to the first token", "f16", rate(row["avg_ts"]), row["usage"].get("limit") or "-"]
    depths = fitting((0, 128, 4096, 32768, 131072), generated)
    for cache in ("f16", "q8_0"):
        for row in program.bench(model, "--device", "cuda", "-p", 0, "-n", generated, "-d", ",".join(map(str, depths)), "--cache-type", cache):
            yield [f"a token behind {row['depth']}", cache, rate(row["avg_ts"]), row["usage"].get("limit") or "-"]


NEEDLES_HEAD = ["model", "cache", "tokens", "names found again at the end of a text (tests/engine/needle.h)", "gain, nats"]


def needles_rows(program, model, arguments):
    trained = program.context(model)
    lengths = [length for length in (128, 500, 2000, 8000, 32000, 128000) if length <= trained]
    for cache in ("f16", "q8_0"):
        for line in call([arguments.needle, model, ",".join(map(str, lengths)), cache]).splitlines():
            one = json.loads(line)
            yield [cache, one["tokens"], f"{one['found']} of {one['of']}", f"{one['gain_nats']:.2f}"]


SECTIONS = {
    "models": ("Models", MODELS_HEAD, models_rows),
    "shared": ("Shared between GPU and CPU", SHARED_HEAD, shared_rows),
    "gpus": ("Several GPUs", GPUS_HEAD, gpus_rows),
    "contexts": ("Prompts and contexts", CONTEXTS_HEAD, contexts_rows),
    "needles": ("Needles", NEEDLES_HEAD, needles_rows),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sluice", type=Path)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--only", choices=SECTIONS, action="append")
    parser.add_argument("--tokens", type=int, default=64, help="of a run")
    parser.add_argument("--needle", type=Path)
    parser.add_argument("--n-gpus", type=int, help="for the section of several GPUs; else as nvidia-smi has them, or SIMT_DEVICES")
    arguments = parser.parse_args()
    if arguments.n_gpus is None:
        try:
            arguments.n_gpus = len([line for line in call(["nvidia-smi", "-L"]).splitlines() if line.startswith("GPU ")])
        except (OSError, Failed):
            arguments.n_gpus = int(os.environ.get("SIMT_DEVICES", "1"))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        program = Program(arguments.sluice, arguments.tokens, folder)
        for name in arguments.only or SECTIONS:
            title, head, rows_of = SECTIONS[name]
            if name == "gpus" and arguments.n_gpus < 2 or name == "needles" and not arguments.needle:
                continue
            print(f"\n## {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
            for model in arguments.models:
                print(f"{title}: {model.stem}", file=sys.stderr, flush=True)
                try:
                    for row in rows_of(program, model, arguments):
                        print("| " + " | ".join(map(str, [model.stem, *row])) + " |", flush=True)
                except Failed as error:
                    failed = True
                    print("| " + " | ".join([model.stem, f"**failed**: {error}", *[""] * (len(head) - 2)]) + " |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
