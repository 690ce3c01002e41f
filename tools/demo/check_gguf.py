#!/usr/bin/env python3
"""Run a GGUF of export_gguf.py with NumPy alone and compare the logits with PyTorch's.

  check_gguf.py --gguf tiny-tales.gguf --checkpoint RUN_DIR/last.pt --tokenizer tokenizer.json

The forward pass here is a second, plain one, driven by the file's metadata: one sequence, experts by a loop over the
tokens. Three things must hold: every tensor is the checkpoint's up to the rounding of Q8_0; the logits are those of the
PyTorch model with the same rounded weights; and rounding changes the predictions next to nothing.
"""
import argparse

import numpy as np

import gguf_file

TEXT = ("Once upon a time, there was a little girl named Lily. She had a red ball. One day, the ball rolled into the "
        "river.\n\n\"Oh no!\" said Lily. A frog heard her and")


def forward(metadata, weights, ids):
    """ids [T] -> logits [T, V]"""
    def field(key):
        return metadata["deepseek2." + key]

    H, R, C = field("attention.head_count"), field("rope.dimension_count"), field("attention.kv_lora_rank")
    nope, epsilon, T = field("attention.key_length") - R, field("attention.layer_norm_rms_epsilon"), len(ids)
    angle = np.arange(T)[:, None] * field("rope.freq_base") ** (-np.arange(0, R, 2) / R)
    cos, sin = np.cos(angle), np.sin(angle)

    def rms_norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weights[name + ".weight"]

    def rotate(x):
        turned = np.empty_like(x)
        turned[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
        turned[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
        return turned

    def silu(x):
        return x / (1 + np.exp(-x))

    def by_head(x):
        return x.reshape(T, H, -1).transpose(1, 0, 2)

    x = weights["token_embd.weight"][ids].astype(np.float64)
    for layer in range(field("block_count")):
        def norm(v, name):
            return rms_norm(v, f"blk.{layer}.{name}")

        def linear(v, name, expert=...):
            return v @ weights[f"blk.{layer}.{name}.weight"][expert].T

        h = norm(x, "attn_norm")
        q = by_head(linear(norm(linear(h, "attn_q_a"), "attn_q_a_norm"), "attn_q_b"))
        latent_and_key = linear(h, "attn_kv_a_mqa")
        kv = by_head(linear(norm(latent_and_key[:, :C], "attn_kv_a_norm"), "attn_kv_b"))
        score = q[..., :nope] @ kv[..., :nope].transpose(0, 2, 1) + rotate(q[..., nope:]) @ rotate(latent_and_key[:, C:]).T
        score = np.where(np.tri(T, dtype=bool), score / np.sqrt(nope + R), -np.inf)
        probability = np.exp(score - score.max(-1, keepdims=True))
        probability /= probability.sum(-1, keepdims=True)
        x = x + linear((probability @ kv[..., nope:]).transpose(1, 0, 2).reshape(T, -1), "attn_output")

        h = norm(x, "ffn_norm")
        if layer < field("leading_dense_block_count"):
            x = x + linear(silu(linear(h, "ffn_gate")) * linear(h, "ffn_up"), "ffn_down")
            continue
        y = linear(silu(linear(h, "ffn_gate_shexp")) * linear(h, "ffn_up_shexp"), "ffn_down_shexp")
        score = 1 / (1 + np.exp(-linear(h, "ffn_gate_inp")))
        biased = score + weights[f"blk.{layer}.exp_probs_b.bias"]
        for t in range(T):
            chosen = np.argsort(-biased[t])[:field("expert_used_count")]
            for expert in chosen:
                part = silu(linear(h[t], "ffn_gate_exps", expert)) * linear(h[t], "ffn_up_exps", expert)
                weight = score[t, expert] / score[t, chosen].sum() * field("expert_weights_scale")
                y[t] += weight * linear(part, "ffn_down_exps", expert)
        x = x + y
    return rms_norm(x, "output_norm") @ weights.get("output.weight", weights["token_embd.weight"]).T


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def check_tensors(weights, checkpoint):
    """Every value within half a step of Q8_0 (and the scale's own rounding to float16), or equal if stored as F32."""
    expected = {name: tensor.numpy() for name, tensor in checkpoint.items()}
    assert set(weights) - {"output.weight"} == set(expected), set(weights) ^ set(expected)
    if "output.weight" in weights:
        assert np.array_equal(weights["output.weight"], weights["token_embd.weight"])
    for name, original in expected.items():
        assert weights[name].shape == original.shape, name
        if original.ndim == 1 or "ffn_gate_inp" in name:
            assert np.array_equal(weights[name], original), name
        else:
            error = np.abs(weights[name] - original).reshape(-1, 32)
            largest = np.abs(original).reshape(-1, 32).max(-1, keepdims=True)
            assert (error <= largest * (0.5 / 127 + 2.0 ** -10) + 2.0 ** -24).all(), name


def main():
    import torch

    from load import model_of_gguf
    from model import Model
    from tokenizer import Tokenizer

    parser = argparse.ArgumentParser()
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--text", default=TEXT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    metadata, weights = gguf_file.read(arguments.gguf)
    tokenizer, original = Tokenizer.load(arguments.tokenizer), Model.from_checkpoint(arguments.checkpoint)
    assert metadata["tokenizer.ggml.tokens"] == tokenizer.tokens
    assert metadata["tokenizer.ggml.merges"] == tokenizer.merges
    check_tensors(weights, original.state_dict())

    ids = tokenizer.encode_story(arguments.text)
    here = forward(metadata, weights, ids)
    with torch.no_grad():
        rounded = model_of_gguf(metadata, weights)(torch.tensor([ids]))[0].numpy()
        exact = original(torch.tensor([ids]))[0].numpy()
    difference = np.abs(here - rounded).max()
    log_p, log_q = log_softmax(exact.astype(np.float64)), log_softmax(here)
    divergence = (np.exp(log_p) * (log_p - log_q)).sum(-1)
    print(f"{len(ids)} positions. NumPy against PyTorch, same rounded weights: largest difference of a logit "
          f"{difference:.2e}, same first choice at {(here.argmax(-1) == rounded.argmax(-1)).sum()}.")
    print(f"Q8_0 against float32 weights: mean KL divergence {divergence.mean():.2e}, largest {divergence.max():.2e}, "
          f"same first choice at {(here.argmax(-1) == exact.argmax(-1)).sum()}.")
    print("Next:", ", ".join(f"{tokenizer.decode([i])!r} {here[-1, i]:.3f}" for i in np.argsort(-here[-1])[:5]))
    assert difference < 1e-2, "the file does not compute what the checkpoint does"
    assert divergence.mean() < 1e-2, "rounding to Q8_0 changes the predictions"


if __name__ == "__main__":
    main()
