"""Holds every golden against the other oracles and prints a table; fails when one that should agree does not.

    python check_goldens.py [NAME ...]     (needs numpy, gguf, llama-cpp-python, transformers and torch)

The figure is max|a - golden| / max|golden| over the logits of all positions. "llama.cpp, F32" is a copy of the file with
every matrix as F32, which llama.cpp multiplies without rounding the activations; "llama.cpp" is the file itself.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np

from make_goldens import HERE, read_logits  # sets the path of the oracles
import llama_cpp_logits
import numpy_forward
import transformers_logits

EXACT = 2e-5  # f32 arithmetic in another order
ROUNDED = {"F32": EXACT, "F16": 1e-2, "quantised": 0.15}

# Where llama.cpp is known to differ, and why.
REFUSED = "refuses: it asks for q_lora_rank unless there are 26 or 27 layers"
KNOWN = {
    "deepseek2-v2-lite": REFUSED,
    "deepseek2-v2-lite-split": REFUSED,
    "deepseek2-v2-groups": "scores a group by its best two also without a bias, where V2 takes the best",
}


def difference(logits: np.ndarray, golden: np.ndarray) -> float:
    return float(np.abs(logits - golden).max() / np.abs(golden).max())


def matrix_kind(path: Path) -> str:
    kinds = {tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
    return "quantised" if kinds - {"F32", "F16"} else "F16" if "F16" in kinds else "F32"


def check(path: Path) -> tuple[list[str], bool]:
    tokens, golden = read_logits(path.with_suffix(".logits"))
    model = numpy_forward.Model(path)
    again, _ = numpy_forward.forward(model, tokens)
    passed = difference(again, golden) < 1e-7

    hf = difference(transformers_logits.logits(path, tokens), golden)
    passed &= hf < EXACT
    row = [path.stem, matrix_kind(path), f"{hf:.1e}"]
    if KNOWN.get(path.stem) == REFUSED:
        return row + ["refuses", "refuses"], passed
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        llama_cpp_logits.write_dequantised(path, copy)
        llama = llama_cpp_logits.logits(copy, tokens)
    exact = difference(llama, golden)
    rounded = difference(llama_cpp_logits.logits(path, tokens), golden)
    if path.stem in KNOWN:  # the difference must be the known one, and no other
        wrong = replace(model.hyper, mistakes=frozenset(["group score by the best two"]))
        passed &= difference(llama, numpy_forward.forward(model, tokens, wrong)[0]) < EXACT
    else:
        passed &= exact < EXACT and rounded < ROUNDED[matrix_kind(path)]
    return row + [f"{exact:.1e}", f"{rounded:.1e}"], passed


def main() -> None:
    names = sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.gguf"))
    print("| fixture | matrices | transformers | llama.cpp, F32 | llama.cpp |\n|---|---|---|---|---|")
    failed = []
    for name in names:
        row, passed = check(HERE / f"{name}.gguf")
        print("| " + " | ".join(row) + " |", flush=True)
        failed += [] if passed else [name]
    for name in KNOWN:
        print(f"\n{name}: llama.cpp {KNOWN[name]}")
    sys.exit(f"disagree: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
