#!/usr/bin/env python3
"""Prints how many weights a cycle the inner loops of the kernels can take, as llvm-mca models processors.

    python3 bench/mca/mca.py BUILD_DIRECTORY [PATTERN]

BUILD_DIRECTORY is one that cmake has configured (its compile_commands.json says how files are built); PATTERN picks rows of
the table below by name. The kernels carry no marks for this: each file is compiled to assembly as the build would, and the
loops are found there by their backward jumps.

The model takes every load for a hit in the first-level cache, and its ports and latencies are what LLVM's authors
believe: compare variants with it, and do not predict tokens a second. docs/performance.md says where it is known to be wrong.
"""
import argparse
import dataclasses
import functools
import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
WITH_AVX512 = ("znver4", "icelake-server", "sapphirerapids")
WITH_AVX2 = ("znver3",)


@dataclasses.dataclass
class Kernel:
    name: str
    function: str  # pattern of the demangled name, without namespaces
    avx2: str  # file under kernels/cpu
    avx512: str
    weights: int  # multiplied in one turn of the innermost loop
    turns: int = 0  # of it in one turn of the loop around it, if that one's own instructions count as well
    avx2_unrolled: float = 1  # the loop of AVX2 does so many turns in one


def form(name, index, is_per32=False):
    return Kernel(f"{name} form", rf"multiply(_group<{index}ul>|<{index}ul, 1>)", "avx2/side_by_side.cc", "avx512/side_by_side_vnni.cc", 256,
                  0 if is_per32 else 8)


# The numbers are places in side_by_side::kForms.
FORMS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4", "IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "IQ1_M", "IQ2_XXS", "IQ2_XS",
         "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS", "TQ1_0", "TQ2_0"]
KERNELS = [Kernel("IQ1_S form", r"multiply_resident_iq1_s", "avx2/resident_iq1_s.cc", "avx512/resident_iq1_s_vnni.cc", 256, 8, 2)]
KERNELS += [form(name, index, index < 6) for index, name in enumerate(FORMS)]


def rows(name, file):
    """Products of rows as they lie in the file: a turn is a block of one row, or of eight rows where blocks are of 32."""
    return Kernel(f"{name} rows", f"multiply_{name.lower()}", f"avx2/{file}.cc", "", 256)


KERNELS += [dataclasses.replace(rows("IQ1_S", "iq1"), avx512="avx512/iq1_s_vnni.cc", weights=2048, avx2_unrolled=1 / 8), rows("IQ1_M", "iq1"), rows("IQ2_XXS", "iq2"), rows("Q4_K", "q4_k_q5_k"),
            rows("Q5_K", "q4_k_q5_k"), rows("Q6_K", "q6_k"),
            dataclasses.replace(rows("Q8_0", "q8_0"), avx512="avx512/q8_0_vnni.cc")]


@functools.cache
def assembly(build, file):
    """The functions of a file: demangled name -> lines of assembly."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if entry["file"] == str(ROOT / "kernels/cpu" / file):
            command = re.sub(r" -o \S+ -c ", " -S -o - ", entry["command"]) + " -fno-asynchronous-unwind-tables"
            text = subprocess.run(command, shell=True, cwd=entry["directory"], check=True, capture_output=True,
                                  text=True).stdout
            text = subprocess.run(["c++filt"], input=text, check=True, capture_output=True, text=True).stdout
            break
    else:
        return {}
    functions, lines = {}, None
    for line in text.splitlines():
        if start := re.match(r"(\S.*\)):$", line):
            lines = functions.setdefault(start.group(1), [])
        elif lines is not None:
            lines.append(line.strip())
    return functions


def loops(lines):
    """(first line, last line) of each backward jump and its target."""
    at = {line[:-1]: i for i, line in enumerate(lines) if line.startswith(".L") and line.endswith(":")}
    found = []
    for i, line in enumerate(lines):
        jump = re.match(r"j\w+\s+(\.L\w+)$", line)
        if jump and at.get(jump.group(1), i) < i:
            found.append((at[jump.group(1)], i))
    return found


def instructions(lines):
    return [line for line in lines if line and not line.startswith((".", "#")) and not line.endswith(":")]


def innermost(lines):
    """Instructions of the innermost loops that multiply, shortest first, each with those of the loop around it (without its own)."""
    every = loops(lines)
    inside = lambda a, b: b[0] <= a[0] and a[1] <= b[1] and a != b
    result = []
    for loop in every:
        own = instructions(lines[loop[0]:loop[1] + 1])
        multiplies = any(line.startswith(("vpdp", "vpmadd", "vfmadd")) for line in own)
        calls = any(line.startswith("call") for line in own)
        if calls or not multiplies or any(inside(other, loop) for other in every):
            continue
        around = min((other for other in every if inside(loop, other)), key=lambda o: o[1] - o[0], default=None)
        rest = lines[around[0]:loop[0]] + lines[loop[1] + 1:around[1] + 1] if around else []
        result.append((own, instructions(rest)))
    return sorted(result, key=lambda pair: len(pair[0]))


def for_model(code, cpu):
    """Works around faults of LLVM's models with sums that VNNI adds to. For Intel's processors the old sum of an instruction
    that reads memory would wait for the load, so that the load is written apart here (one more instruction to decode, where
    the machine has one). For Zen 4 the model takes the form without a load for four times as slow as the one with it, which
    is what we have."""
    if cpu == "znver4":
        return code
    apart = []
    # One of the lower registers: the model takes a broadcast to an upper one for two instructions.
    free = next((str(n) for n in range(15, 0, -1) if not re.search(rf"mm{n}\b", " ".join(code))), "31")
    for line in code:
        if found := re.match(r"(vpdp\w+)\s+(\S*\(.*\))\{1to(8|16)\}, (.*)$", line):
            name, memory, lanes, others = found.groups()
            register = ("%ymm" if lanes == "8" else "%zmm") + free
            apart += [f"vpbroadcastd {memory}, {register}", f"{name} {register}, {others}"]
        else:
            apart.append(line)
    return apart


def run_mca(mca, cpu, code):
    """Cycles of one turn, and the port that is most taken, with its cycles."""
    if not code:
        return 0, ("-", 0)
    code = for_model(code, cpu)
    iterations = 200
    run = subprocess.run([mca, f"-mcpu={cpu}", f"-iterations={iterations}", "-json"], input="\n".join(code) + "\n",
                         capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{mca} refuses a loop: {run.stderr}")
    report = json.loads(run.stdout)
    region = report["CodeRegions"][0]
    names = report["TargetInfo"]["Resources"]
    pressure = {}
    n_instructions = len(region["Instructions"])
    for use in region["ResourcePressureView"]["ResourcePressureInfo"]:
        if use["InstructionIndex"] == n_instructions:  # of all together
            pressure[names[use["ResourceIndex"]]] = use["ResourceUsage"]
    busiest = max(pressure.items(), key=lambda item: item[1])
    return region["SummaryView"]["TotalCycles"] / iterations, busiest


def rate(mca, build, kernel, file, cpu):
    for name, lines in assembly(build, file).items():
        if not re.search(rf"\b{kernel.function}\(", name):
            continue
        found = innermost(lines)
        if not found:
            continue
        code, rest = found[0]  # there are such for 1, 2, 3 inputs, of growing length
        unrolled = kernel.avx2_unrolled if file == kernel.avx2 else 1
        cycles, (port, taken) = run_mca(mca, cpu, code)
        port = f"{re.sub('^(ICX|SPR|Zn[34]|Zn)', '', port)} {taken / cycles:.0%}, {len(code)} instr."
        if kernel.turns:
            cycles += run_mca(mca, cpu, rest)[0] * unrolled / kernel.turns
        return f"{kernel.weights * unrolled / cycles:.1f}", port
    return "", ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("pattern", nargs="?", default="")
    parser.add_argument("--avx2-everywhere", action="store_true", help="AVX2 on the processors with AVX-512 as well")
    parser.add_argument("--ports", action="store_true", help="also the busiest port and the length of the loop")
    arguments = parser.parse_args()
    mca = next((found for version in ("-19", "-18", "-17", "") if (found := shutil.which("llvm-mca" + version))), None)
    if mca is None:
        sys.exit("llvm-mca is not installed; install llvm-19 or another version that knows znver4.")
    build = arguments.build.resolve()
    columns = [("avx2", cpu) for cpu in WITH_AVX2 + (WITH_AVX512 if arguments.avx2_everywhere else ())]
    columns += [("avx512", cpu) for cpu in WITH_AVX512]
    print("| weights/cycle | " + " | ".join(f"{'AVX2' if isa == 'avx2' else 'AVX-512'} {cpu}" for isa, cpu in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for kernel in KERNELS:
        if not re.search(arguments.pattern, kernel.name):
            continue
        cells = []
        for isa, cpu in columns:
            file = kernel.avx2 if isa == "avx2" else kernel.avx512
            weights, port = rate(mca, build, kernel, file, cpu) if file else ("", "")
            cells.append(f"{weights} ({port})" if arguments.ports and port else weights)
        print(f"| {kernel.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
