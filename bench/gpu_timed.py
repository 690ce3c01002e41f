#!/usr/bin/env python3
"""The CUDA kernels as bench/gpu/time_kernels.cc timed them, beside what counting predicts for that GPU, as Markdown.

    gpu_timed.py TIMES.json [--build FOLDER]     bench/gpu.sh runs this"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent / "gpu")]

import attention  # noqa: E402
import gpu_counts  # noqa: E402
import gpus  # noqa: E402
import tiles  # noqa: E402

FLOAT_LANES = {75: 64, 80: 64}  # of an SM; 128 on all others
MEMORY_LATENCY_S = 600e-9


def described(facts):
    """The GPU that was timed, as predictions have it. Of an architecture that is not known, what the nearest older one has."""
    architecture = facts["architecture"]
    known = max((one for one in gpus.TENSOR_PRODUCTS if one <= architecture), default=75)
    return gpus.Gpu(facts["name"], architecture, facts["n_sms"], facts["clock_hz"], facts["peak_bytes_s"], facts["sm_shared_bytes"],
                    FLOAT_LANES.get(architecture, 128), 2, MEMORY_LATENCY_S, gpus.TENSOR_PRODUCTS[known], gpus.FLOAT_TENSOR_PRODUCTS[known],
                    0.63 if 90 <= architecture < 120 else 1.0)  # what mma.sync gets of wgmma's rate and of tcgen05's


def predicted_seconds(build, gpu):
    """Of every case that is timed, by its model, place and format: seconds, what bounds them, and how long tensor cores at their peak would take
    for the products that must be made (None in decode, which does not use them)."""
    folder = build / "gpu_counts"
    folder.mkdir(exist_ok=True)
    occupancy = build / "bench/gpu/gpu_occupancy"
    kernels = gpu_counts.compile_cubins(folder, "", [gpu])
    found = {}
    for mode in ([], ["--tiles"], ["--attention"]):
        launches = json.loads(gpu_counts.run([build / "bench/gpu/count_kernels", *mode]))
        if mode != ["--attention"]:
            for (model, place, name, _), row in gpu_counts.predictions(launches, kernels, build, [gpu]).items():
                at_peak = tiles.of_peak(row) * row.prediction.seconds if mode else None
                found[model, place, name] = row.prediction.seconds, row.prediction.bound, at_peak
            continue
        for launch in launches:
            registers, _, shared, _ = kernels[gpu.architecture][launch["kernel"]]
            blocks = gpu_counts.occupancies(occupancy, [(gpu.architecture // 10, gpu.architecture % 10, gpu.n_sms, gpu.sm_shared_bytes, registers,
                                                         shared, launch["block"], launch["dynamic_shared_bytes"])])[0]
            one = attention.predict_counted(gpu, launch, blocks)
            found[launch["model"], launch["place"], launch["format"]] = one.seconds, one.bound, one.peak * one.seconds
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=Path)
    parser.add_argument("--build", type=Path, default=gpu_counts.ROOT / "build/test")
    arguments = parser.parse_args()
    timed = json.loads(arguments.times.read_text())
    facts, gpu = timed["gpu"], described(timed["gpu"])
    gpus.GPUS[:] = [gpu]
    gpu_counts.run(["cmake", "--build", arguments.build, "--target", "count_kernels", "gpu_occupancy"])
    found = predicted_seconds(arguments.build, gpu)

    print(f"{gpu.name}: {gpu.n_sms} SMs at up to {gpu.clock_hz / 1e9:.2f} GHz, {gpu.peak_bytes_s / 1e9:.0f} GB/s by its clocks; a copy within "
          f"its memory reads and writes {facts['copy_bytes_s'] / 1e9:.0f} GB/s together.\n")
    print("Medians of 15 launches, each after the second-level cache was filled with something else. *Of memory* is bytes that must be read "
          "or written once, over the time and the peak; *of tensor cores* multiply-adds that must be made, over the time and their rate for 8-bit "
          "numbers (of attention: 16-bit floats). The prediction counts the gap before a launch, too.\n")
    print("| model | launch | format | measured us | predicted us | measured / predicted | of memory | of tensor cores | predicted bound |")
    print("|---|---|---|---:|---:|---:|---:|---:|---|")
    ratios = []
    for case in timed["cases"]:
        seconds, bound, at_peak = found[case["model"], case["place"], case["format"]]
        of_memory = (case["weight_bytes"] + case["other_bytes"]) / case["seconds"] / gpu.peak_bytes_s
        of_tensor_cores = "-" if at_peak is None else f"{at_peak / case['seconds']:.0%}"
        predicted = seconds + gpus.LAUNCH_GAP_S
        ratio = case["seconds"] / predicted
        ratios.append(ratio)
        print(f"| {case['model']} | {case['place']} | {case['format']} | {case['seconds'] * 1e6:.1f} | {predicted * 1e6:.1f} | {ratio:.2f} | "
              f"{of_memory:.0%} | {of_tensor_cores} | {bound} |")
    print(f"\nMeasured over predicted: {statistics.median(ratios):.2f} in the middle, {min(ratios):.2f} to {max(ratios):.2f}.")


if __name__ == "__main__":
    main()
