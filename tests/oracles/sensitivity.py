"""Shows that the fixtures can fail: makes each known mistake in the numpy forward pass and says how far the logits move.

    python sensitivity.py      (needs numpy and gguf)

A mistake that moves no fixture's logits is one that the goldens would not catch; then this exits with an error.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from numpy_forward import SIGMOID, SOFTMAX, Hyper, Model, forward

MODELS = Path(__file__).parents[1] / "data" / "models"
sys.path.insert(0, str(MODELS))
from make_goldens import read_logits  # noqa: E402

CLEAR = 0.02  # of the largest logit: well above the rounding of f16 products


def mistaken(name: str):
    return lambda hyper: replace(hyper, mistakes=frozenset([name]))


def changes_of(hyper: Hyper) -> dict:
    """The mistakes that could be made with such a model."""
    wrong_pairs = "rope pairs adjacent" if hyper.rope_halves else "rope pairs half a head apart"
    changes = {wrong_pairs: lambda h: replace(h, rope_halves=not h.rope_halves)}
    if hyper.architecture == "llama":
        changes["frequency factors left out"] = mistaken("frequency factors left out")
    if hyper.architecture in ("qwen3", "qwen3moe"):
        norms = ("left out", "after rope", "of queries and keys swapped")
        for mistake in [*(f"head norms {which}" for which in norms), "one norm over all heads"]:
            changes[mistake] = mistaken(mistake)
    if hyper.scaling != "none":
        changes["no rope scaling"] = lambda h: replace(h, scaling="none")
    if hyper.scaling == "yarn":
        changes["linear in place of yarn"] = lambda h: replace(h, scaling="linear")
    if hyper.yarn_log_multiplier is not None:
        changes["yarn scales cos and sin"] = lambda h: replace(h, yarn_log_multiplier=None)
        changes["yarn's mscale once, not squared"] = lambda h: replace(
            h, yarn_log_multiplier=(np.sqrt(1 + h.yarn_log_multiplier * np.log(h.factor)) - 1) / np.log(h.factor)
        )
    if hyper.yarn_beta_fast != 32.0:
        changes["yarn's betas left out"] = lambda h: replace(h, yarn_beta_fast=32.0)
    if hyper.kv_lora:
        changes["scale by the latent key's length"] = mistaken("scale by the latent key's length")
    if hyper.n_experts:
        changes["weights normalised or not"] = lambda h: replace(h, weights_norm=not h.weights_norm)
        changes["softmax for sigmoid or the reverse"] = lambda h: replace(
            h, gating=SOFTMAX if h.gating == SIGMOID else SIGMOID
        )
        changes["one expert fewer"] = lambda h: replace(h, n_experts_used=h.n_experts_used - 1)
    if hyper.weights_scale != 1.0:
        changes["weights not scaled"] = lambda h: replace(h, weights_scale=1.0)
    if hyper.gating == SIGMOID:
        changes["bias left out"] = mistaken("bias left out")
        changes["weights from biased scores"] = mistaken("weights from biased scores")
    if hyper.n_groups > 1:
        changes["groups left out"] = lambda h: replace(h, n_groups=0)
        if hyper.gating == SOFTMAX:
            changes["group score by the best two"] = mistaken("group score by the best two")
    return changes


def main() -> None:
    caught: dict[str, float] = {}
    for path in sorted(MODELS.glob("*.gguf")):
        tokens, golden = read_logits(path.with_suffix(".logits"))
        model = Model(path)
        print(path.stem)
        for name, change in changes_of(model.hyper).items():
            logits, _ = forward(model, tokens, change(model.hyper))
            moved = np.abs(logits - golden).max() / np.abs(golden).max()
            caught[name] = max(caught.get(name, 0.0), moved)
            print(f"  {name}: {moved:.3f}" + ("" if moved > CLEAR else "   not seen here"))
    missed = [name for name, moved in caught.items() if moved <= CLEAR]
    sys.exit(f"no fixture would catch: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
