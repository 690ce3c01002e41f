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
WITHOUT_VNNI = ("skylake-avx512",)


@dataclasses.dataclass
class Kernel:
    name: str
    function: str  # pattern of the demangled name, without namespaces
    avx2: str  # file under kernels/cpu
    avx512: str
    weights: int  # multiplied in one turn of the innermost loop
    turns: int = 0  # of it in one turn of the loop around it, if that one's own instructions count as well
    avx2_unrolled: float = 1  # the loop of AVX2 does so many turns in one

    def file(self, level):
        return {"avx2": self.avx2, "vnni": self.avx512, "avx512": "avx512/rows.cc"}[level]


def form(name, index, is_per32=False):
    return Kernel(f"{name} form", rf"multiply(_group<{index}ul>|<{index}ul, 1>)", "avx2/side_by_side.cc", "avx512/side_by_side_vnni.cc", 256,
                  0 if is_per32 else 8)


# The numbers are places in side_by_side::kForms.
FORMS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4", "IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "IQ1_M", "IQ2_XXS", "IQ2_XS",
         "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS", "TQ1_0", "TQ2_0"]
KERNELS = [Kernel("IQ1_S form", r"multiply_resident_iq1_s", "avx2/resident_iq1_s.cc", "avx512/resident_iq1_s_vnni.cc", 256, 8, 2)]
KERNELS += [form(name, index, index < 6) for index, name in enumerate(FORMS)]


def rows(name, file, avx512="avx512/rows_vnni.cc", **changes):
    """Products of rows as they lie in the file: a turn is a block of one row, or of eight rows where blocks are of 32 and for AVX-512."""
    return dataclasses.replace(Kernel(f"{name} rows", f"multiply_{name.lower()}", f"avx2/{file}.cc", avx512, 2048, 0, 1 / 8), **changes)


OF_32 = {"weights": 1024, "avx2_unrolled": 1 / 4}  # four blocks of eight rows; one with AVX2
ONE_OF_32 = {"weights": 1024, "avx2_unrolled": 1 / 32}  # one group of one row with AVX2
KERNELS += [rows("IQ1_S", "iq1"), rows("IQ1_M", "iq1"), rows("IQ2_XXS", "iq2"), rows("IQ2_XS", "iq2"), rows("IQ2_S", "iq2"), rows("IQ3_XXS", "iq3", avx2_unrolled=1 / 64), rows("IQ3_S", "iq3", avx2_unrolled=1 / 64),
            rows("IQ4_XS", "iq4"), rows("Q2_K", "q2_k_q3_k"), rows("Q3_K", "q2_k_q3_k"), rows("Q4_K", "q4_k_q5_k"),
            rows("Q5_K", "q4_k_q5_k"), rows("Q6_K", "q6_k"),
            rows("Q4_0", "q4_q5", **OF_32), rows("Q4_1", "q4_q5", **OF_32), rows("Q5_0", "q4_q5", **OF_32), rows("Q5_1", "q4_q5", **OF_32),
            rows("IQ4_NL", "iq4", **OF_32), rows("MXFP4", "mxfp4", **OF_32), rows("Q8_0", "q8_0", **OF_32),
            rows("TQ1_0", "tq1_0_tq2_0"), rows("TQ2_0", "tq1_0_tq2_0"), rows("Q8_K", "q8_k_q1_0"), rows("Q1_0", "q8_k_q1_0", **ONE_OF_32)]


@dataclasses.dataclass
class Tile:
    """A tile of rows times the largest group of inputs there is, once filled: whole functions, each over 256 columns."""
    name: str
    avx2: str  # pattern of the demangled name
    avx512: str
    vnni: str
    kind: str = "narrow"

    def file(self, level):
        return f"avx2/tile_{self.kind}.cc" if level == "avx2" else "avx512/tiles_vnni.cc" if level == "vnni" else "avx512/tiles.cc"


def narrow(name, steps, group, mins):
    """steps: as kernels/cpu/avx2/tile_narrow.cc has them; mins: 1 whole, 2 float (Coding::Mins)."""
    of = r"multiply_per256<3, {}, {}, \(.*Mins\){}>"
    without_vnni = of.format(min(steps, 4) if group == 16 else steps, group, mins)
    return Tile(name, without_vnni, without_vnni, of.format(8 if steps == 8 else 1, group, mins))


def narrow32(name, steps, mins):
    of = r"multiply_per32<3, {}, \(.*Mins\){}>"
    return Tile(name, of.format(steps, mins), of.format(steps, mins), of.format(8, mins))


TILES = [narrow("Q4_K", 8, 32, 2), narrow("Q5_K", 4, 32, 2), narrow("IQ1_S, TQ1_0, TQ2_0", 8, 32, 1), narrow("IQ3_S", 4, 32, 1),
         narrow("IQ2_XXS, IQ3_XXS", 1, 32, 1), narrow("Q2_K", 8, 16, 2), narrow("Q3_K", 8, 16, 1), narrow("IQ1_M", 4, 16, 1), narrow("Q6_K", 2, 16, 1),
         narrow("IQ2_XS, IQ2_S", 1, 16, 1), narrow32("Q4_0, Q1_0", 8, 1), narrow32("Q4_1", 8, 2), narrow32("Q5_0, MXFP4", 4, 1),
         narrow32("Q5_1", 4, 2), Tile("Q8_0, Q8_1, IQ4_NL", "multiply_panel<4, true>", "multiply_wide<4, true>", "multiply_wide<4, true>", "wide"),
         Tile("IQ4_XS, Q8_K", "multiply_panel<4, false>", "multiply_wide<4, false>", "multiply_wide<4, false>", "wide"),
         Tile("F32, F16, BF16", "multiply_panel<3>|multiply_float<3>|multiply_tile_float", "multiply_float<3>", "multiply_float<3>", "float")]
# Multiply-adds of 8 bits that the multiplier can start in a cycle (of floats for the float tiles): the instruction that it is
# measured by, and how many of them it holds.
PEAK_BY = {"avx2": ("vpmaddubsw %ymm1, %ymm2, %ymm{}", 32), "avx512": ("vpmaddubsw %zmm1, %zmm2, %zmm{}", 64),
           "vnni": ("vpdpbusd %zmm1, %zmm2, %zmm{}", 64)}
FLOAT_PEAK_BY = {"avx2": ("vmulps %ymm1, %ymm2, %ymm{}", 8), "avx512": ("vmulps %zmm1, %zmm2, %zmm{}", 16),
                 "vnni": ("vmulps %zmm1, %zmm2, %zmm{}", 16)}


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
        if start := re.match(r"(\S.*\))(?: \[clone .*\])*:$", line):
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
    the machine has one). For Zen 4 the model takes the form without a load for twice as slow as other products, and the
    one with it for as slow as these, so all read memory here."""
    if cpu == "znver4":
        return [re.sub(r"^(vpdp\w+)\s+%[xyz]mm\d+, ", r"\1 -64(%rsp), ", line) for line in code]
    if cpu == "icelake-server":  # takes a port for arithmetic for every load into 512 bits, or into an upper register
        loads = r"(?:vmovdq[au]\d*|vmov[au]ps|vpbroadcastd|vbroadcasti\d+x\d)\s+(\S*\(.*\)), %[yz]mm(\d|1[0-5])$"
        code = [re.sub(loads, r"vmovdqu \1, %ymm\2", line) for line in code]
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


def short(port):
    return re.match(r"(?:SKX|ICX|SPR|Zn[34]|Zn)?(\w*)", port).group(1)


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
        port = f"{short(port)} {taken / cycles:.0%}"
        if kernel.turns:
            cycles += run_mca(mca, cpu, rest)[0] * unrolled / kernel.turns
        return kernel.weights * unrolled / cycles, port
    return 0, ""


@functools.cache
def peak(mca, cpu, level, kind):
    instruction, multiply_adds = (FLOAT_PEAK_BY if kind == "float" else PEAK_BY)[level]
    code = [instruction.format(n) for n in range(3, 15)]
    if level == "vnni" and kind != "float":
        code = [line for n in range(3, 15) for line in (f"vpxor %xmm{n}, %xmm{n}, %xmm{n}", instruction.format(n))]
    return 12 * multiply_adds / run_mca(mca, cpu, code)[0]


# Multiply-adds of an instruction, by kind of tile.
def multiply_adds(line, kind):
    name, bytes_ = line.split()[0], 64 if "zmm" in line else 32
    if kind == "narrow":
        return bytes_ if name in ("vpmaddubsw", "vpdpbusd") else 0
    if kind == "wide":
        return bytes_ // 2 if name in ("vpmaddwd", "vpdpwssd") else 0
    return bytes_ // 4 if name.startswith("vfmadd") else 0


def rate_tile(mca, build, tile, level, cpu):
    for name, lines in assembly(build, tile.file(level)).items():
        if not re.search(rf"\b({getattr(tile, level)})\(", name):
            continue
        # The loops that multiply; all else runs once.
        n_inputs = int(re.search(r"<(\d)", name).group(1))
        n_rows = 16 if level == "avx2" or tile.kind == "float" else 32
        whole = n_rows * 256 * n_inputs
        every = loops(lines)
        inner = [l for l in every if not any(o != l and l[0] <= o[0] and o[1] <= l[1] for o in every)]
        inner = [l for l in inner if sum(multiply_adds(i, tile.kind) for i in instructions(lines[l[0]:l[1] + 1])) > 0]
        if not inner:
            return ""
        # Where there are several they have equal parts of it.
        total, port = 0, ""
        for first, last in inner:
            code = instructions(lines[first:last + 1])
            cycles, (name, taken) = run_mca(mca, cpu, code)
            total += cycles * whole / len(inner) / sum(multiply_adds(i, tile.kind) for i in code)
            port = f"{short(name)} {taken / cycles:.0%}"
        others = [line for i, line in enumerate(lines) if not any(first <= i <= last for first, last in inner)]
        once = [line for line in instructions(others) if not re.match(r"(call|ret|j|push|pop)", line)]
        # Where there is a loop around, nearly all of the rest is in it: floats are twice eight rows, the others eight groups of 32.
        encloses = any(o[0] <= inner[0][0] and inner[0][1] <= o[1] and o not in inner for o in every)
        total += (1 if not encloses else 2 if tile.kind == "float" else 8) * run_mca(mca, cpu, once)[0]
        return f"{whole / total:.0f} ({whole / total / peak(mca, cpu, level, tile.kind):.0%}, {port})"
    return ""


def print_tiles(mca, build, pattern):
    columns = [("avx2", cpu) for cpu in WITH_AVX2] + [("avx512", cpu) for cpu in WITHOUT_VNNI + WITH_AVX512]
    columns += [("vnni", cpu) for cpu in WITH_AVX512]
    print("| multiply-adds/cycle | " + " | ".join(f"{level} {cpu}" for level, cpu in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    print("| *peak of 8 bits* | " + " | ".join(f"{peak(mca, cpu, level, 'narrow'):.0f}" for level, cpu in columns) + " |")
    for tile in TILES:
        if re.search(pattern, tile.name):
            cells = [rate_tile(mca, build, tile, level, cpu) for level, cpu in columns]
            print(f"| {tile.name} | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("pattern", nargs="?", default="")
    parser.add_argument("--avx2-everywhere", action="store_true", help="first what AVX2 does on the processor, where it has AVX-512")
    parser.add_argument("--tiles", action="store_true", help="the tiles for many inputs, with what part of the peak they reach")
    parser.add_argument("--ports", action="store_true", help="also what part of the multiplier's peak that is, and the busiest port of the loop")
    arguments = parser.parse_args()
    mca = next((found for version in ("-19", "-18", "-17", "") if (found := shutil.which("llvm-mca" + version))), None)
    if mca is None:
        sys.exit("llvm-mca is not installed; install llvm-19 or another version that knows znver4.")
    build = arguments.build.resolve()
    if arguments.tiles:
        return print_tiles(mca, build, arguments.pattern)
    columns = [("avx2", cpu) for cpu in WITH_AVX2] + [("avx512", cpu) for cpu in WITHOUT_VNNI] + [("vnni", cpu) for cpu in WITH_AVX512]
    print("| weights/cycle | " + " | ".join(f"{level} {cpu}" for level, cpu in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for kernel in KERNELS:
        if not re.search(arguments.pattern, kernel.name):
            continue
        cells = []
        for level, cpu in columns:
            weights, port = rate(mca, build, kernel, kernel.file(level), cpu)
            bound = f" ({weights / peak(mca, cpu, level, 'narrow'):.0%}, {port})" if arguments.ports and port else ""
            cell = f"{weights:.1f}{bound}" if port else ""
            if level != "avx2" and arguments.avx2_everywhere:
                with_avx2, found = rate(mca, build, kernel, kernel.avx2, cpu)
                cell = f"{with_avx2:.1f} / {cell}" if found else cell
            cells.append(cell)
        print(f"| {kernel.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
