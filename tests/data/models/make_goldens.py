"""Writes NAME.logits beside every NAME.gguf: a fixed prompt and the logits of each of its positions.

    python make_goldens.py [NAME ...]      (needs numpy and gguf)

The logits are those of tests/oracles/numpy_forward.py, in double precision and rounded once to f32, so that a golden
has no error of its own; check_goldens.py holds them against llama.cpp and transformers.

The file, little-endian: magic "SLLOGIT1", u32 n_tokens, u32 n_vocab, i32 token ids [n_tokens],
f32 logits [n_tokens, n_vocab].
"""

import struct
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "oracles"))
import numpy_forward  # noqa: E402

MAGIC = b"SLLOGIT1"
N_TOKENS = 24
N_PROMPTS = 120  # tried, where a router chooses


def write_logits(path: Path, tokens: list[int], logits: np.ndarray) -> None:
    header = MAGIC + struct.pack("<II", *logits.shape)
    path.write_bytes(header + np.asarray(tokens, "<i4").tobytes() + logits.astype("<f4").tobytes())


def read_logits(path: Path) -> tuple[list[int], np.ndarray]:
    data = path.read_bytes()
    assert data[:8] == MAGIC
    n_tokens, n_vocab = struct.unpack("<II", data[8:16])
    tokens = np.frombuffer(data, "<i4", n_tokens, 16)
    return tokens.tolist(), np.frombuffer(data, "<f4", n_tokens * n_vocab, 16 + 4 * n_tokens).reshape(n_tokens, n_vocab)


def prompt(model: numpy_forward.Model, seed: int) -> list[int]:
    bos = model.metadata["tokenizer.ggml.bos_token_id"]
    n_vocab = len(model.metadata["tokenizer.ggml.tokens"])
    return [bos, *np.random.default_rng(seed).integers(4, n_vocab, N_TOKENS - 1).tolist()]


def clearest_prompt(model: numpy_forward.Model) -> tuple[list[int], np.ndarray, float]:
    """The prompt at which no router's choice is a near tie: there, rounding must not change which experts run."""
    best = None
    for seed in range(N_PROMPTS if model.hyper.n_experts else 1):
        tokens = prompt(model, seed)
        logits, routings = numpy_forward.forward(model, tokens)
        margin = min((routing.margin.min() for routing in routings), default=np.inf)
        if best is None or margin > best[2]:
            best = tokens, logits, margin
    return best


def main() -> None:
    names = sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.gguf"))
    for name in names:
        tokens, logits, margin = clearest_prompt(numpy_forward.Model(HERE / f"{name}.gguf"))
        write_logits(HERE / f"{name}.logits", tokens, logits)
        print(f"{name}: standard deviation {logits.std():.2f}, router margin {margin:.4f}")


if __name__ == "__main__":
    main()
