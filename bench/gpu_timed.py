#!/usr/bin/env python3
"""The CUDA kernels as bench/gpu/time_kernels.cc timed them, beside what counting predicts for that GPU, as Markdown.

    gpu_timed.py TIMES.json [--build FOLDER] [--counts FILE]     bench/gpu.sh runs this"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu_counts  # noqa: E402
import gpus  # noqa: E402

FLOAT_LANES = {75: 64, 80: 64}  # of an SM; 128 on all others
MEMORY_LATENCY_S = 600e-9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=Path)
    parser.add_argument("--build", type=Path, default=gpu_counts.ROOT / "build/test")
    parser.add_argument("--counts", type=Path, help="of bench/gpu/count_kernels, where they are there already")
    arguments = parser.parse_args()
    timed = json.loads(arguments.times.read_text())
    facts = timed["gpu"]
    gpu = gpus.Gpu(facts["name"], facts["architecture"], facts["n_sms"], facts["clock_hz"], facts["peak_bytes_s"],
                   facts["sm_shared_bytes"], FLOAT_LANES.get(facts["architecture"], 128), 2, MEMORY_LATENCY_S)
    gpus.GPUS[:] = [gpu]
    if arguments.counts is None:
        gpu_counts.run(["cmake", "--build", arguments.build, "--target", "count_kernels", "gpu_occupancy"])
        counted = gpu_counts.run([arguments.build / "bench/gpu/count_kernels"])
    else:
        counted = arguments.counts.read_text()
    folder = arguments.build / "gpu_counts"
    folder.mkdir(exist_ok=True)
    found = gpu_counts.predictions(json.loads(counted), gpu_counts.compile_cubins(folder), arguments.build / "bench/gpu/gpu_occupancy")

    print(f"{gpu.name}: {gpu.n_sms} SMs at up to {gpu.clock_hz / 1e9:.2f} GHz, {gpu.peak_bytes_s / 1e9:.0f} GB/s by its clocks; a copy within "
          f"its memory reads and writes {facts['copy_bytes_s'] / 1e9:.0f} GB/s together.\n")
    print("Medians of 15 launches, each after the second-level cache was filled with something else. *Share* is bytes that must be read "
          "or written once, over the time and the peak; the prediction counts the gap before a launch, too.\n")
    print("| model | matrix | format | measured us | predicted us | measured / predicted | share of peak, measured | predicted | bound |")
    print("|---|---|---|---:|---:|---:|---:|---:|---|")
    ratios = []
    for case in timed["cases"]:
        row = found[case["model"], case["place"], case["format"], gpu.name]
        predicted = row.prediction.seconds + gpus.LAUNCH_GAP_S
        ratio = case["seconds"] / predicted
        ratios.append(ratio)
        share = (case["weight_bytes"] + case["other_bytes"]) / case["seconds"] / gpu.peak_bytes_s
        print(f"| {case['model']} | {case['place']} | {case['format']} | {case['seconds'] * 1e6:.1f} | {predicted * 1e6:.1f} | {ratio:.2f} | "
              f"{share:.0%} | {row.prediction.fraction:.0%} | {row.prediction.bound} |")
    print(f"\nMeasured over predicted: {statistics.median(ratios):.2f} in the middle, {min(ratios):.2f} to {max(ratios):.2f}.")


if __name__ == "__main__":
    main()
