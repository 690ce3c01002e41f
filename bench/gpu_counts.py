#!/usr/bin/env python3
"""What the CUDA kernels can reach on three GPUs, by counting instead of timing. No GPU is needed.

    gpu_counts.py                  count, predict, and rewrite the section of docs/performance.md
    gpu_counts.py --check          the same, writing nothing; fails when a target that the document calls met is missed now
    gpu_counts.py --tiles          the same for products with many inputs, and their section; with --check and --json as well
    gpu_counts.py --json FILE      keep the counts (and read them from there with --reuse)
    gpu_counts.py --attention      rewrite the section about prefill attention alone
    gpu_counts.py --only WORDS     print what the launches of decode take whose places begin so ("attend", "join"), and write nothing
    gpu_counts.py --times FILE     write nothing but what launches of DeepSeek-R1 take on the RTX 4090, for bench/virtual_time

Counts come from three places: what launches do to memory from the emulation (bench/gpu/count_kernels.cc), instructions and registers
from the machine code of each architecture (nvcc -cubin; cuobjdump, which is in PyPI's nvidia-cuda-cuobjdump as well), thread blocks
an SM from cuda_occupancy.h. bench/gpu/gpus.py has all constants, bench/gpu/predict.py the model."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench/gpu"))

import attention  # noqa: E402
import gpus  # noqa: E402
import layers  # noqa: E402
import report  # noqa: E402
import tiles  # noqa: E402
from gpus import GPUS  # noqa: E402
from predict import predict  # noqa: E402
from sass import Kernel, functions_of  # noqa: E402
from walk import counted_work, gemv_work, loads_in_flight, split_attention_work, tile_work  # noqa: E402

NO_KERNELS = ("gemv_shape", "gemv_formats", "gemm_shape", "gemm_formats", "gemm_products")
FLAGS = ["-std=c++20", "-O3", "-fmad=false", "-lineinfo"]  # cmake/cuda.cmake, kernels/cuda/CMakeLists.txt
BEGIN, END = "<!-- gpu-counts -->", "<!-- end of gpu-counts -->"
TILES_BEGIN, TILES_END = "<!-- tile-counts -->", "<!-- end of tile-counts -->"
ATTENTION_BEGIN, ATTENTION_END = "<!-- attention-counts -->", "<!-- end of attention-counts -->"


def tool(name):
    places = [os.environ.get("SLUICE_" + name.upper()), shutil.which(name), f"/usr/local/cuda/bin/{name}"]
    found = next((place for place in places if place and Path(place).exists()), None)
    if found is None:
        package = "" if name == "nvcc" else f" (pip install nvidia-cuda-{name}, and name the program in SLUICE_{name.upper()})"
        raise SystemExit(f"gpu_counts.py: {name} is not found{package}.")
    return found


def run(command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise SystemExit(f"gpu_counts.py: {' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def compile_cubins(folder, only, of):
    """Of sources whose names begin so. Architecture: (registers and static shared bytes, code) of all kernels by their mangled names."""
    nvcc, cuobjdump = tool("nvcc"), tool("cuobjdump")
    sources = sorted(source for source in (ROOT / "kernels/cuda").glob("*.cu") if "__global__" in source.read_text() or
                     source.name.startswith(("gemv_", "gemm_", "attention_")) and source.stem not in NO_KERNELS)
    sources = [source for source in sources if source.name.startswith(only)]
    newest = max(file.stat().st_mtime for file in (ROOT / "kernels/cuda").rglob("*") if file.is_file())

    def one(job):
        source, architecture = job
        cubin = folder / f"{source.stem}_{architecture}.cubin"
        if not cubin.exists() or cubin.stat().st_mtime < newest:
            run([nvcc, *FLAGS, f"-arch=sm_{architecture}", f"-I{ROOT}", "-cubin", "-o", cubin, source])
        usage = re.findall(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", run([cuobjdump, "-res-usage", cubin]))
        functions = functions_of(run([cuobjdump, "-sass", cubin]))
        return architecture, {name: (int(registers), int(stack) + int(local), int(shared), functions.get(name))
                              for name, registers, stack, shared, local in usage}

    kernels = {gpu.architecture: {} for gpu in of}
    with ThreadPoolExecutor(2) as pool:
        for architecture, found in pool.map(one, [(source, gpu.architecture) for source in sources for gpu in of]):
            kernels[architecture].update(found)
    return kernels


def occupancies(program, questions):
    lines = "\n".join(" ".join(map(str, question)) for question in questions)
    return [int(answer) for answer in run([program], input=lines).split()]


def ptx_of(build, launch):
    """The text in which the emulated kernel is."""
    texts = (file.read_text() for file in sorted((build / "tests/cuda_device/sluice_emulated_kernels_80").glob("gemm_*.ptx")))
    return next(text for text in texts if f".entry {launch['kernel']}(" in text)


def predictions(launches, kernels, build, of):
    """For each launch and GPU what is known of its kernel, and the prediction."""
    parsed, questions, rows = {}, [], []
    for launch in launches:
        for gpu in of:
            registers, local, shared, code = kernels[gpu.architecture][launch["kernel"]]
            key = gpu.architecture, launch["kernel"]
            if key not in parsed:
                parsed[key] = Kernel(code)
            questions.append((gpu.architecture // 10, gpu.architecture % 10, gpu.n_sms, gpu.sm_shared_bytes, registers, shared,
                              launch["block"], launch["dynamic_shared_bytes"]))
            rows.append((launch, gpu, parsed[key], registers, local))
    found = {}
    for (launch, gpu, kernel, registers, local), blocks in zip(rows, occupancies(build / "bench/gpu/gpu_occupancy", questions)):
        if blocks == 0:
            raise SystemExit(f"gpu_counts.py: no thread block of {launch['kernel']} fits an SM of the {gpu.name}.")
        n_warps = launch["grid"][0] * launch["grid"][1] * launch["grid"][2] * -(-launch["block"] // 32)
        in_flight = loads_in_flight(kernel)
        if launch["name"].startswith("multiply tiles"):
            work, in_flight = tile_work(kernel, launch, n_warps, ptx_of(build, launch)), tiles.AT_ONCE
        elif "n_stages" in launch:
            work = split_attention_work(kernel, launch, n_warps)
        elif "shape" in launch:
            launch["n_columns"] = launch["shape"]["n_columns"]
            table = {"IQ1_S": 2048, "IQ2_XXS": 512}.get(launch["format"], 0)
            work = gemv_work(kernel, launch, table)
        else:
            work = counted_work(kernel, launch, n_warps)
        prediction = predict(gpu, launch, work, blocks, in_flight)
        found[launch["model"], launch["place"], launch["format"], gpu.name] = report.Row(launch, gpu, registers, local, work, prediction)
    return found


def times(found):
    """Microseconds of R1's launches, and of the stand-ins of bench/gpu/layers.py, on the first GPU."""
    gpu = GPUS[0]
    stand_ins = {(model, place) for model, place, *_ in [*layers.R1_LAYER, *layers.R1_STAND_INS] if model != layers.R1}
    rows = [{"model": model, "place": place, "format": name, "us": round(row.prediction.seconds * 1e6, 3), "bound": row.prediction.bound}
            for (model, place, name, of), row in found.items() if of == gpu.name and (model == layers.R1 or (model, place) in stand_ins)]
    head = {"gpu": gpu.name, "source": "bench/gpu_counts.py --times: predicted by counting, not measured",
            "launch_gap_us": gpus.LAUNCH_GAP_S * 1e6, "launch_start_us": round((gpus.BLOCK_START_S + gpu.memory_latency_s) * 1e6, 3)}
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    return "\n".join(["{", *lines, ' "launches": [', ",\n".join("  " + json.dumps(row) for row in rows), " ]", "}", ""])


def replaced(text, begin, section, end):
    """The text with another section between the marks, at the end where there was none."""
    before, _, rest = text.partition(begin)
    before, after = (before, rest.partition(end)[2]) if rest else (text.rstrip("\n") + "\n\n", "\n")
    return before + begin + "\n" + section + end + after


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/test", help="a configured build folder with the tests")
    parser.add_argument("--json", type=Path, help="where to keep the counts")
    parser.add_argument("--reuse", action="store_true", help="read the counts from --json, where nothing has changed")
    parser.add_argument("--times", type=Path, metavar="FILE", help="write R1's launches on the RTX 4090 there, and nothing else")
    parser.add_argument("--attention", action="store_true", help="attention of many rows, and its section")
    parser.add_argument("--tiles", action="store_true", help="products with many inputs, and their section")
    parser.add_argument("--only", metavar="WORDS", help="launches of decode whose places begin so; write nothing")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()

    if not (arguments.reuse and arguments.json and arguments.json.exists()):
        run(["cmake", "--build", arguments.build, "-j2", "--target", "count_kernels", "gpu_occupancy"])
        mode = ["--attention"] if arguments.attention else ["--tiles"] if arguments.tiles else ["--only", arguments.only] if arguments.only else []
        counted = run([arguments.build / "bench/gpu/count_kernels", *mode])
        if arguments.json:
            arguments.json.write_text(counted)
    else:
        counted = arguments.json.read_text()
    folder = arguments.build / "gpu_counts"
    folder.mkdir(exist_ok=True)
    path, launches, of = ROOT / "docs/performance.md", json.loads(counted), GPUS[:1] if arguments.times else GPUS
    only = "attention" if (arguments.only or "").startswith(("attend", "join")) else ""
    kernels = compile_cubins(folder, "attention_prefill" if arguments.attention else "gemm_" if arguments.tiles else only, of)
    if arguments.attention:
        section = attention.section(launches, kernels, lambda questions: occupancies(arguments.build / "bench/gpu/gpu_occupancy", questions))
        path.write_text(replaced(path.read_text(), ATTENTION_BEGIN, section, ATTENTION_END))
        return
    found = predictions(launches, kernels, arguments.build, of)

    if arguments.only:
        print(report.others_table(found))
        return
    if arguments.times:
        arguments.times.write_text(times(found))
        return
    text = path.read_text()
    begin, end = (TILES_BEGIN, TILES_END) if arguments.tiles else (BEGIN, END)
    old = text.partition(begin)[2].partition(end)[0]
    section = tiles.section(found) if arguments.tiles else report.section(found)
    if arguments.check:
        lost = report.met_targets(old) - report.met_targets(section)
        for target in sorted(lost):
            print(f"gpu_counts.py: missed, and met before: {target}", file=sys.stderr)
        raise SystemExit(1 if lost else 0)
    path.write_text(replaced(text, begin, section, end))


if __name__ == "__main__":
    main()
