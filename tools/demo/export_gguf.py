#!/usr/bin/env python3
"""Write a checkpoint as a GGUF file of the architecture deepseek2.

  export_gguf.py --checkpoint RUN_DIR/last.pt --tokenizer tokenizer.json --out tiny-tales.gguf

Matrices become Q8_0; norms, the router and its bias stay F32. Key and value come from the latent by one fused matrix,
attn_kv_b. The output head is the embedding; it is written a second time as output.weight with --output-copy, for
loaders that want one.
"""
import argparse

import numpy as np
import torch

from gguf_file import BOOL, F32, I32, STRING, U32, quantize_q8_0, write
from model import NORM_EPSILON, ROPE_BASE, Shape
from tokenizer import END_OF_TEXT_ID, Tokenizer

LARGEST_BYTES = 12_000_000
FILE_TYPE_MOSTLY_Q8_0 = 7
TOKEN_NORMAL, TOKEN_CONTROL = 1, 3
GATING_SIGMOID = 2

DESCRIPTION = ("A small mixture of experts of the deepseek2 architecture that writes little stories. Trained from random "
               "weights, on two CPU cores in two hours, by the recipe in sluice's tools/demo: on 4,515 stories of "
               "TinyStories (Eldan and Li 2023, CDLA-Sharing-1.0) and, in the first half of the run, on some "
               "public-domain fairy tales and children's books. It is there to try an engine with, not to be relied on.")


def metadata_of(shape, tokenizer, step, context_length):
    def key(name):
        return "deepseek2." + name

    n_tokens = len(tokenizer.tokens)
    return [
        ("general.architecture", STRING, "deepseek2"),
        ("general.type", STRING, "model"),
        ("general.name", STRING, "Tiny Tales"),
        ("general.description", STRING, f"{DESCRIPTION} ({step} steps.)"),
        ("general.size_label", STRING, "9.9M-A5.2M"),
        ("general.license", STRING, "mit"),
        ("general.languages", STRING, ["en"]),
        ("general.file_type", U32, FILE_TYPE_MOSTLY_Q8_0),
        ("general.quantization_version", U32, 2),
        (key("vocab_size"), U32, n_tokens),
        (key("context_length"), U32, context_length),
        (key("embedding_length"), U32, shape.dim),
        (key("block_count"), U32, shape.layers),
        (key("leading_dense_block_count"), U32, shape.dense),
        (key("feed_forward_length"), U32, shape.ff),
        (key("attention.head_count"), U32, shape.heads),
        (key("attention.head_count_kv"), U32, shape.heads),
        (key("attention.q_lora_rank"), U32, shape.q_lora),
        (key("attention.kv_lora_rank"), U32, shape.kv_lora),
        (key("attention.key_length"), U32, shape.nope + shape.rope),
        (key("attention.value_length"), U32, shape.value),
        (key("attention.layer_norm_rms_epsilon"), F32, NORM_EPSILON),
        (key("rope.dimension_count"), U32, shape.rope),
        (key("rope.freq_base"), F32, ROPE_BASE),
        (key("expert_count"), U32, shape.experts),
        (key("expert_used_count"), U32, shape.top),
        (key("expert_shared_count"), U32, 1),
        (key("expert_feed_forward_length"), U32, shape.expert_ff),
        (key("expert_gating_func"), U32, GATING_SIGMOID),
        (key("expert_weights_norm"), BOOL, True),
        (key("expert_weights_scale"), F32, shape.route_scale),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "gpt-2"),
        ("tokenizer.ggml.tokens", STRING, tokenizer.tokens),
        ("tokenizer.ggml.token_type", I32, [TOKEN_CONTROL] + [TOKEN_NORMAL] * (n_tokens - 1)),
        ("tokenizer.ggml.merges", STRING, tokenizer.merges),
        ("tokenizer.ggml.bos_token_id", U32, END_OF_TEXT_ID),
        ("tokenizer.ggml.eos_token_id", U32, END_OF_TEXT_ID),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
    ]


def stored(name, weights):
    """The tensor as the file has it."""
    weights = np.ascontiguousarray(weights.float().numpy())
    if weights.ndim == 1:
        return weights
    assert weights.shape[-1] % 256 == 0, f"{name}: rows of {weights.shape[-1]}, which is no multiple of 256"
    return weights if "ffn_gate_inp" in name else quantize_q8_0(weights)


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--context", type=int, default=512, help="the longest windows that the run was trained on")
    parser.add_argument("--output-copy", action="store_true")
    arguments = parser.parse_args()

    checkpoint = torch.load(arguments.checkpoint, map_location="cpu")
    shape = Shape.from_settings(checkpoint["config"])
    tokenizer = Tokenizer.load(arguments.tokenizer)
    assert len(tokenizer.tokens) == shape.vocab, "this is not the run's tokenizer"
    tensors = {name: stored(name, weights) for name, weights in checkpoint["model"].items()}
    if arguments.output_copy:
        tensors["output.weight"] = tensors["token_embd.weight"]
    metadata = metadata_of(shape, tokenizer, checkpoint["step"], arguments.context)
    n_bytes = write(arguments.out, metadata, tensors)
    assert n_bytes <= LARGEST_BYTES, f"{n_bytes} bytes, more than {LARGEST_BYTES}"
    print(f"{arguments.out}: step {checkpoint['step']}, {len(tensors)} tensors, {n_bytes} bytes")


if __name__ == "__main__":
    main()
