"""python3 ptx_to_cpp KERNELS.ptx KERNELS.cc --architecture 80

Writes the C++ that does what nvcc's PTX says, for the runtime of tests/simt/runtime. What it does not know it refuses, naming the line."""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from emit import translate_module       # noqa: E402
from model import TranslationError      # noqa: E402
from parse import parse_module          # noqa: E402


def main():
    arguments = argparse.ArgumentParser(description="Translates PTX to C++ for the emulator of CUDA kernels.")
    arguments.add_argument("ptx")
    arguments.add_argument("cpp")
    arguments.add_argument("--architecture", type=int, required=True)
    options = arguments.parse_args()
    with open(options.ptx, encoding="utf-8") as file:
        text = file.read()
    try:
        translation = translate_module(parse_module(text, options.ptx), options.architecture)
    except TranslationError as error:
        print(error, file=sys.stderr)
        return 1
    with open(options.cpp, "w", encoding="utf-8") as file:
        file.write(translation)
    return 0


if __name__ == "__main__":
    sys.exit(main())
