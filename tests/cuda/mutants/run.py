"""Plants one mistake after another in a copy of the CUDA kernels and runs the tests that must find it.

    python3 tests/cuda/mutants/run.py BUILD [--quick] [--only WORDS] [-j N]

BUILD is a build folder in which test_cuda is built (ninja). Of each mutant one file is compiled again, as the build compiles it: for
the host, to PTX of sm_80, and that to C++; all else is linked as it is. Ends with 1 if a mutant survives or cannot be planted."""

import argparse
import concurrent.futures
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

from mutants import MUTANTS

ROOT = pathlib.Path(__file__).resolve().parents[3]
KERNELS = pathlib.Path("kernels/cuda")


def commands_of(build):
    text = subprocess.run(["ninja", "-C", build, "-t", "commands", "test_cuda"], check=True, capture_output=True, text=True)
    return [line for line in text.stdout.splitlines() if line]


def only(commands, *words):
    found = [command for command in commands if all(word in command for word in words)]
    if not found:
        raise SystemExit(f"No command of the build has {words}; is {words[0]} part of test_cuda?")
    return found[-1]


def plant(mutant, folder):
    """The kernels with the mistake under folder/kernels/cuda, with the same names."""
    shutil.copytree(ROOT / KERNELS, folder / KERNELS)
    path = folder / KERNELS / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise SystemExit(f"'{mutant.what}': what it changes stands {text.count(mutant.old)} times in {mutant.file}.")
    path.write_text(text.replace(mutant.old, mutant.new))


def run_mutant(mutant, commands, build):
    """None when the tests find the mistake, else what went wrong."""
    with tempfile.TemporaryDirectory(prefix="sluice-mutant-") as name:
        folder = pathlib.Path(name)
        plant(mutant, folder)
        source = str(ROOT / KERNELS / mutant.unit) + ".cu"
        planted = str(folder / KERNELS / mutant.unit) + ".cu"
        places = {source: planted}

        def run(command, more=""):
            for old, new in places.items():
                command = command.replace(old, new)
            command = command.replace(f"-I{ROOT} ", f"-I{folder} -I{ROOT} ")
            done = subprocess.run(command + more, shell=True, cwd=build, capture_output=True, text=True)
            if done.returncode != 0:
                raise SystemExit(f"'{mutant.what}' does not build:\n{command}\n{done.stdout}{done.stderr}")

        host = only(commands, "sluice_cuda_kernels.dir/", f"/{mutant.unit}.cu.o", " -c ")
        host_object = [word for word in shlex.split(host) if word.endswith(f"/{mutant.unit}.cu.o")][-1]
        # What ptxas says is not asked for here.
        places[host_object] = str(folder / "host.o")
        run(host.replace("-Xptxas=-warn-spills,-warn-lmem-usage,-Werror", ""))
        for suffix, words in ((".ptx", ["-ptx"]), (".cc", ["ptx_to_cpp"]), (".cc.o", [" -c "])):
            command = only(commands, f"kernels_80/{mutant.unit}{suffix}", *words)
            for word in shlex.split(command):
                for end in (".ptx", ".cc", ".cc.o", ".d", ".cc.o.d"):
                    if word.endswith(f"kernels_80/{mutant.unit}{end}"):
                        places[word] = str(folder / (mutant.unit + end))
            run(command)
        link = only(commands, "-o tests/cuda/test_cuda")
        objects = [word for word in shlex.split(link) if word.endswith(f"kernels_80/{mutant.unit}.cc.o")]
        program = str(folder / "test_cuda")
        link = link.replace(objects[0], f"{folder}/{mutant.unit}.cc.o {folder}/host.o")
        places.clear()
        run(link.replace("-o tests/cuda/test_cuda", f"-o {program}"))
        environment = dict(os.environ, SIMT_ARCHITECTURE="80")
        try:
            tested = subprocess.run([program, f"--test-case={mutant.tests}"], env=environment, capture_output=True, timeout=300)
        except subprocess.TimeoutExpired:
            return None
        return None if tested.returncode != 0 else "the tests passed"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("-j", type=int, default=2)
    arguments = parser.parse_args()
    chosen = [m for m in MUTANTS if (m.quick or not arguments.quick) and arguments.only in m.what]
    commands = commands_of(arguments.build)
    survivors = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.j) as pool:
        runs = [(mutant, pool.submit(run_mutant, mutant, commands, arguments.build)) for mutant in chosen]
        for mutant, result in runs:
            wrong = result.result()
            survivors += wrong is not None
            print(f"{'found   ' if wrong is None else 'SURVIVED'}  {mutant.what}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mistakes found")
    sys.exit(1 if survivors else 0)


main()
