"""Writes the model fixtures: tiny GGUF files with random weights, one for each way an architecture can be written down.

    python make_models.py [NAME ...]      (needs numpy and gguf)

The same seeds give the same files. Shapes are kept unequal to one another where the format allows it, so that a swapped
or transposed dimension shows; gains are chosen so that attention is neither flat nor one-hot, and so that the logits
have a standard deviation of one to three.
"""

import sys
import zlib
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants

import tiny_vocabulary

HERE = Path(__file__).parent
N_VOCAB = tiny_vocabulary.N_VOCAB

# Formats that `gguf` cannot write: their blocks are made of random bits, which are all valid; the fields at these
# byte offsets are the f16 scales. The second scale of Q4_K multiplies the minimum: 7.5 centres its 16 levels.
SCALE_FIELDS = {
    Type.Q4_K: [(0, 1.0), (2, 7.5)],
    Type.Q6_K: [(208, 1.0)],
    Type.IQ1_S: [(0, 1.0)],
    Type.IQ2_XXS: [(0, 1.0)],
}


class Model:
    """A GGUF file in the making: metadata, a tokenizer and random tensors."""

    def __init__(self, name: str, architecture: str):
        self.path = HERE / f"{name}.gguf"
        self.architecture = architecture
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.writer = gguf.GGUFWriter(self.path, architecture)
        self.writer.add_name(name)
        self.writer.add_quantization_version(2)

    def key(self, key: str, value) -> None:
        """Metadata under the architecture's prefix; the type follows from Python's: int u32, float f32, bool, str."""
        add = {int: self.writer.add_uint32, float: self.writer.add_float32}
        add |= {bool: self.writer.add_bool, str: self.writer.add_string}
        add[type(value)](f"{self.architecture}.{key}", value)

    def matrix(self, name: str, shape: tuple[int, ...], kind: Type, gain: float = 1.0) -> None:
        """A matrix [..., rows, columns] that keeps the size of its input's entries, times gain."""
        deviation = gain / np.sqrt(shape[-1])
        if kind in SCALE_FIELDS:
            data = self.random_blocks(shape, kind, deviation)
        else:
            data = quants.quantize(self.random.normal(0, deviation, shape).astype(np.float32), kind)
        self.writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)

    def random_blocks(self, shape: tuple[int, ...], kind: Type, deviation: float) -> np.ndarray:
        block_values, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        assert shape[-1] % block_values == 0
        n_blocks = int(np.prod(shape)) // block_values
        blocks = self.random.integers(0, 256, (n_blocks, block_bytes), dtype=np.uint8)

        def set_scales(scales: np.ndarray) -> None:
            for offset, factor in SCALE_FIELDS[kind]:
                field = (scales * factor).astype(np.float16).view(np.uint8).reshape(n_blocks, 2)
                blocks[:, offset : offset + 2] = field

        set_scales(np.ones(n_blocks))
        unit_deviation = quants.dequantize(blocks, kind).std()
        set_scales(self.random.uniform(0.6, 1.3, n_blocks) * deviation / unit_deviation)
        return blocks.reshape(*shape[:-1], shape[-1] // block_values * block_bytes)

    def vector(self, name: str, n: int, mean: float, deviation: float) -> None:
        self.writer.add_tensor(name, self.random.normal(mean, deviation, n).astype(np.float32))

    def norm(self, name: str, n: int) -> None:
        self.vector(f"{name}.weight", n, 1.0, 0.2)

    def feed_forward(self, block: str, suffix: str, n_embd: int, n_ff: int, kinds: dict, gain: float, lead=()) -> None:
        self.matrix(f"{block}.ffn_gate{suffix}", (*lead, n_ff, n_embd), kinds["gate_up" + suffix], 1.5)
        self.matrix(f"{block}.ffn_up{suffix}", (*lead, n_ff, n_embd), kinds["gate_up" + suffix], 1.5)
        self.matrix(f"{block}.ffn_down{suffix}", (*lead, n_embd, n_ff), kinds["down" + suffix], gain)

    def embeddings(self, n_embd: int, kinds: dict, tied: bool = False) -> None:
        if tied:  # one matrix gives inputs and logits: its size is the logits', and the first norm mends the inputs'
            self.matrix("token_embd", (N_VOCAB, n_embd), kinds["token_embd"], 2.0)
        else:
            self.matrix("token_embd", (N_VOCAB, n_embd), kinds["token_embd"], np.sqrt(n_embd))
            self.matrix("output", (N_VOCAB, n_embd), kinds["output"], 2.0)
        self.norm("output_norm", n_embd)

    def write(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()
        print(f"{self.path.name}: {self.path.stat().st_size} bytes")


class Kinds(dict):
    """The tensor format of each role; a role that is not named has the default."""

    def __init__(self, default: Type, **roles: Type):
        super().__init__(roles)
        self.default = default

    def __missing__(self, role: str) -> Type:
        return self.default


def add_rope_scaling(model: Model, scaling: dict) -> None:
    for key, value in scaling.items():
        model.key(f"rope.scaling.{key}", value)


def llama(
    name: str,
    kinds: Kinds,
    n_embd: int = 32,
    n_layers: int = 2,
    n_heads: int = 4,
    n_heads_kv: int = 2,
    head_length: int = 16,
    n_ff: int = 64,
    n_experts: int = 0,
    n_experts_used: int = 0,
    frequency_factors: bool = False,
    tied: bool = False,
    scaling: dict | None = None,
    spm: bool = False,
    context_length: int = 512,
) -> None:
    """Rows of attn_q and attn_k are in the order of GGUF llama files: the pair that turns together is adjacent."""
    model = Model(name, "llama")
    model.key("block_count", n_layers)
    model.key("context_length", context_length)
    model.key("embedding_length", n_embd)
    model.key("feed_forward_length", n_ff)
    model.key("vocab_size", N_VOCAB)
    model.key("attention.head_count", n_heads)
    model.key("attention.head_count_kv", n_heads_kv)
    model.key("attention.layer_norm_rms_epsilon", 1e-5)
    if head_length * n_heads != n_embd:
        model.key("attention.key_length", head_length)
        model.key("attention.value_length", head_length)
    model.key("rope.dimension_count", head_length)
    model.key("rope.freq_base", 10000.0)
    add_rope_scaling(model, scaling or {})
    if n_experts:
        model.key("expert_count", n_experts)
        model.key("expert_used_count", n_experts_used)
    if spm:
        tiny_vocabulary.add_spm(model.writer)
    else:
        tiny_vocabulary.add_gpt2(model.writer, "llama-bpe", "<|begin_of_text|>", "<|end_of_text|>")

    model.embeddings(n_embd, kinds, tied)
    if frequency_factors:  # as llama 3.1 has them: 1 for the fast pairs, 8 for the slow ones, a slope between
        factors = np.clip(np.linspace(-1, 10, head_length // 2), 1, 8)
        model.writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
    for i in range(n_layers):
        block = f"blk.{i}"
        model.norm(f"{block}.attn_norm", n_embd)
        model.matrix(f"{block}.attn_q", (n_heads * head_length, n_embd), kinds["attn_q"], 1.4)
        model.matrix(f"{block}.attn_k", (n_heads_kv * head_length, n_embd), kinds["attn_k"], 1.4)
        model.matrix(f"{block}.attn_v", (n_heads_kv * head_length, n_embd), kinds["attn_v"])
        model.matrix(f"{block}.attn_output", (n_embd, n_heads * head_length), kinds["attn_output"])
        model.norm(f"{block}.ffn_norm", n_embd)
        if n_experts:
            model.matrix(f"{block}.ffn_gate_inp", (n_experts, n_embd), Type.F32, 2.0)
            model.feed_forward(block, "_exps", n_embd, n_ff, kinds, 1.0, (n_experts,))
        else:
            model.feed_forward(block, "", n_embd, n_ff, kinds, 1.0)
    model.write()


def qwen3(
    name: str,
    kinds: Kinds,
    n_embd: int = 32,
    n_layers: int = 2,
    n_heads: int = 4,
    n_heads_kv: int = 2,
    head_length: int = 16,
    n_ff: int = 64,
    n_ff_expert: int = 24,
    n_experts: int = 0,
    n_experts_used: int = 0,
    tied: bool = False,
) -> None:
    """`qwen3`, or with experts `qwen3moe`, which has them in every layer and names n_ff without using it.

    Rows of attn_q and attn_k are as they were trained: the pair that turns together is half a head apart. As true files do,
    it leaves out rope.dimension_count, and puts no token before a text.
    """
    model = Model(name, "qwen3moe" if n_experts else "qwen3")
    model.key("block_count", n_layers)
    model.key("context_length", 512)
    model.key("embedding_length", n_embd)
    model.key("feed_forward_length", n_ff)
    model.key("attention.head_count", n_heads)
    model.key("attention.head_count_kv", n_heads_kv)
    model.key("attention.key_length", head_length)
    model.key("attention.value_length", head_length)
    model.key("attention.layer_norm_rms_epsilon", 1e-6)
    model.key("rope.freq_base", 1000000.0)
    if n_experts:
        model.key("expert_count", n_experts)
        model.key("expert_used_count", n_experts_used)
        model.key("expert_feed_forward_length", n_ff_expert)
    tiny_vocabulary.add_gpt2(model.writer, "qwen2", "<|endoftext|>", "<|im_end|>", add_bos=False)

    model.embeddings(n_embd, kinds, tied)
    for i in range(n_layers):
        block = f"blk.{i}"
        model.norm(f"{block}.attn_norm", n_embd)
        model.matrix(f"{block}.attn_q", (n_heads * head_length, n_embd), kinds["attn_q"])
        model.matrix(f"{block}.attn_k", (n_heads_kv * head_length, n_embd), kinds["attn_k"])
        model.matrix(f"{block}.attn_v", (n_heads_kv * head_length, n_embd), kinds["attn_v"])
        # These give the scores their size, and are unlike within a pair: a norm after the turn is another one.
        model.vector(f"{block}.attn_q_norm.weight", head_length, 1.3, 0.4)
        model.vector(f"{block}.attn_k_norm.weight", head_length, 1.3, 0.4)
        model.matrix(f"{block}.attn_output", (n_embd, n_heads * head_length), kinds["attn_output"])
        model.norm(f"{block}.ffn_norm", n_embd)
        if n_experts:
            model.matrix(f"{block}.ffn_gate_inp", (n_experts, n_embd), Type.F32, 2.0)
            model.feed_forward(block, "_exps", n_embd, n_ff_expert, kinds, 1.0, (n_experts,))
        else:
            model.feed_forward(block, "", n_embd, n_ff, kinds, 1.0)
    model.write()


SOFTMAX, SIGMOID = 1, 2


def deepseek2(
    name: str,
    kinds: Kinds,
    n_embd: int = 32,
    n_layers: int = 3,
    n_layers_dense: int = 1,
    n_heads: int = 4,
    q_lora: int = 24,
    kv_lora: int = 40,
    nope: int = 12,
    rope: int = 16,
    value: int = 20,
    n_ff: int = 48,
    n_ff_expert: int = 16,
    n_experts: int = 8,
    n_experts_used: int = 3,
    n_experts_shared: int = 1,
    gating: int | None = None,
    bias: bool = False,
    weights_norm: bool | None = None,
    weights_scale: float | None = None,
    groups: tuple[int, int] | None = None,
    split: bool = False,
    scaling: dict | None = None,
    freq_base: float = 10000.0,
    context_length: int = 512,
    expert_gain: float = 1.0,
    residual_gain: float = 1.0,
) -> None:
    """q_lora 0 is the lite form; split writes attn_k_b and attn_v_b in place of the fused attn_kv_b.

    A small residual_gain keeps a deep model from magnifying the rounding of its first layers.
    """
    model = Model(name, "deepseek2")
    model.key("block_count", n_layers)
    model.key("context_length", context_length)
    model.key("embedding_length", n_embd)
    model.key("feed_forward_length", n_ff)
    model.key("vocab_size", N_VOCAB)
    model.key("attention.head_count", n_heads)
    model.key("attention.head_count_kv", 1 if split else n_heads)
    model.key("attention.layer_norm_rms_epsilon", 1e-6)
    if q_lora:
        model.key("attention.q_lora_rank", q_lora)
    model.key("attention.kv_lora_rank", kv_lora)
    model.key("attention.key_length", kv_lora + rope if split else nope + rope)
    model.key("attention.value_length", kv_lora if split else value)
    if split:
        model.key("attention.key_length_mla", nope + rope)
        model.key("attention.value_length_mla", value)
    model.key("leading_dense_block_count", n_layers_dense)
    model.key("expert_count", n_experts)
    model.key("expert_used_count", n_experts_used)
    model.key("expert_shared_count", n_experts_shared)
    model.key("expert_feed_forward_length", n_ff_expert)
    if weights_scale is not None:
        model.key("expert_weights_scale", weights_scale)
    if weights_norm is not None:
        model.key("expert_weights_norm", weights_norm)
    if gating is not None:
        model.key("expert_gating_func", gating)
    if groups is not None:
        model.key("expert_group_count", groups[0])
        model.key("expert_group_used_count", groups[1])
    model.key("rope.dimension_count", rope)
    model.key("rope.freq_base", freq_base)
    add_rope_scaling(model, scaling or {})
    # Special tokens with the full-width bar and the low block, as in the true files.
    bos, eos = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
    tiny_vocabulary.add_gpt2(model.writer, "deepseek-v3", bos, eos)

    model.embeddings(n_embd, kinds)
    for i in range(n_layers):
        block = f"blk.{i}"
        model.norm(f"{block}.attn_norm", n_embd)
        if q_lora:
            model.matrix(f"{block}.attn_q_a", (q_lora, n_embd), kinds["attn_q_a"])
            model.norm(f"{block}.attn_q_a_norm", q_lora)
            model.matrix(f"{block}.attn_q_b", (n_heads * (nope + rope), q_lora), kinds["attn_q_b"], 1.2)
        else:
            model.matrix(f"{block}.attn_q", (n_heads * (nope + rope), n_embd), kinds["attn_q"], 1.2)
        model.matrix(f"{block}.attn_kv_a_mqa", (kv_lora + rope, n_embd), kinds["attn_kv_a_mqa"], 1.2)
        model.norm(f"{block}.attn_kv_a_norm", kv_lora)
        if split:
            # attn_k_b is the key half of the fused matrix, each head transposed: rows of it are `nope` long.
            model.matrix(f"{block}.attn_k_b", (n_heads, kv_lora, nope), kinds["attn_k_b"], 1.2 * np.sqrt(nope / kv_lora))
            model.matrix(f"{block}.attn_v_b", (n_heads, value, kv_lora), kinds["attn_v_b"])
        else:
            model.matrix(f"{block}.attn_kv_b", (n_heads * (nope + value), kv_lora), kinds["attn_kv_b"], 1.2)
        model.matrix(f"{block}.attn_output", (n_embd, n_heads * value), kinds["attn_output"], residual_gain)
        model.norm(f"{block}.ffn_norm", n_embd)
        if i < n_layers_dense:
            model.feed_forward(block, "", n_embd, n_ff, kinds, residual_gain)
            continue
        model.matrix(f"{block}.ffn_gate_inp", (n_experts, n_embd), Type.F32, 1.5)
        if bias:
            model.vector(f"{block}.exp_probs_b.bias", n_experts, 0.1, 0.1)
        model.feed_forward(block, "_exps", n_embd, n_ff_expert, kinds, expert_gain, (n_experts,))
        model.feed_forward(block, "_shexp", n_embd, n_ff_expert * n_experts_shared, kinds, 1.0)
    model.write()


def yarn(factor: float, log_multiplier: float | None = None, **more: float) -> dict:
    """Original context 256: with 8 pairs of frequencies, pairs 1 to 3 lie on the slope between kept and stretched."""
    scaling = {"type": "yarn", "factor": factor, "original_context_length": 256}
    if log_multiplier is not None:
        scaling["yarn_log_multiplier"] = log_multiplier
    return scaling | more


F16, F32, Q8_0, Q4_1 = Kinds(Type.F16), Kinds(Type.F32), Kinds(Type.Q8_0), Kinds(Type.Q4_1)

# The mixture of formats of the dynamic 1.58-bit files of R1.
R1_UD = Kinds(
    Type.Q4_K,
    output=Type.Q6_K,
    attn_kv_a_mqa=Type.Q6_K,
    attn_kv_b=Type.Q6_K,
    gate_up_exps=Type.IQ1_S,
    down_exps=Type.IQ2_XXS,
)

LITE = dict(q_lora=0, n_experts_shared=2, weights_scale=1.0, scaling=yarn(40.0, 0.0707), context_length=10240)
V2 = dict(n_experts_shared=2, weights_scale=16.0, expert_gain=0.15, scaling=yarn(40.0, 0.0707), context_length=10240)
V3 = dict(gating=SIGMOID, bias=True, weights_norm=True, weights_scale=2.5)
V3_YARN = V3 | dict(scaling=yarn(40.0, 0.1), context_length=10240)

FIXTURES = {
    "llama": lambda name: llama(name, F32, head_length=8, spm=True),
    "llama-factors-tied": lambda name: llama(name, F16, n_layers=3, frequency_factors=True, tied=True),
    "llama-linear": lambda name: llama(name, F16, scaling={"type": "linear", "factor": 4.0}),
    "llama-yarn": lambda name: llama(name, F16, scaling=yarn(4.0), context_length=1024),
    "llama-mixtral": lambda name: llama(name, F16, n_experts=4, n_experts_used=2, n_ff=48, spm=True),
    "llama-q8_0": lambda name: llama(name, Q8_0),
    "llama-q4_1": lambda name: llama(name, Q4_1, n_embd=64, n_ff=96, tied=True),
    "qwen3": lambda name: qwen3(name, Q8_0, tied=True),
    "qwen3moe": lambda name: qwen3(name, F16, n_experts=8, n_experts_used=3),
    # The lite form with the number of layers by which some readers know it, and with two, fused and split.
    "deepseek2-v2-lite-27": lambda name: deepseek2(
        name, F16, n_layers=27, n_layers_dense=24, n_heads=2, kv_lora=14, nope=6, rope=8, value=10, n_ff=8,
        residual_gain=0.4, **LITE,
    ),
    "deepseek2-v2-lite": lambda name: deepseek2(
        name, F16, n_layers=2, n_experts=6, gating=SOFTMAX, weights_norm=False, **LITE
    ),
    "deepseek2-v2-lite-split": lambda name: deepseek2(name, F16, n_layers=2, n_experts=6, split=True, **LITE),
    "deepseek2-v2": lambda name: deepseek2(name, F16, n_layers=2, n_experts=12, **V2),
    "deepseek2-v2-groups": lambda name: deepseek2(
        name, F16, n_layers=2, n_experts=16, groups=(4, 2), gating=SOFTMAX, weights_norm=False, **V2
    ),
    "deepseek2-v3": lambda name: deepseek2(name, F32, n_layers=2, **V3),
    "deepseek2-v3-split": lambda name: deepseek2(name, F16, split=True, **V3_YARN),
    "deepseek2-v3-groups": lambda name: deepseek2(
        name, F16, n_layers=2, n_experts=16, groups=(4, 2), split=True, **V3_YARN
    ),
    "deepseek2-kimi-k2": lambda name: deepseek2(
        name, F16, n_layers=2, n_experts=24, n_experts_used=8, n_experts_shared=2, groups=(1, 1), split=True,
        gating=SIGMOID, bias=True, weights_norm=True, weights_scale=2.827, freq_base=50000.0,
        scaling=yarn(32.0, 0.1, yarn_beta_fast=1.0, yarn_beta_slow=1.0), context_length=8192,
    ),
    "deepseek2-v3-q8_0": lambda name: deepseek2(
        name, Q8_0, n_layers=2, q_lora=64, kv_lora=96, nope=12, value=24, n_ff=64, n_ff_expert=32, n_experts=6,
        **V3_YARN,
    ),
    "deepseek2-v3-split-q8_0": lambda name: deepseek2(
        name, Q8_0, n_layers=2, q_lora=64, kv_lora=96, nope=32, value=24, n_ff=64, n_ff_expert=32, n_experts=6,
        split=True, **V3_YARN,
    ),
    "deepseek2-r1-ud": lambda name: deepseek2(
        name, R1_UD, n_embd=256, n_layers=1, n_layers_dense=0, n_heads=2, q_lora=256, kv_lora=256, nope=32, rope=32,
        value=128, n_ff=256, n_ff_expert=256, n_experts=5, n_experts_used=2, **V3_YARN,
    ),
}


def main() -> None:
    for name in sys.argv[1:] or FIXTURES:
        FIXTURES[name](name)


if __name__ == "__main__":
    main()
