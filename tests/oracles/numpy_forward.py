"""The forward pass of `llama`, `qwen3`, `qwen3moe` and `deepseek2` GGUF files in plain numpy and double precision: the slow, readable truth.

    python numpy_forward.py MODEL.gguf TOKEN_ID ...      prints the five largest logits of each position

It reads nothing but the GGUF, works on a whole prompt at once without a cache, and keeps every weight as the f64 value
that the file's blocks stand for. It shares no code with the engine or with the other oracles.

Shapes are [rows, columns]; a matrix W [n_out, n_in] is applied to rows x [n_tokens, n_in] as x @ W.T.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import gguf
import numpy as np

SOFTMAX, SIGMOID = 1, 2


@dataclass(frozen=True)
class Hyper:
    """What the metadata says, under the names of the formulas."""

    architecture: str
    n_layers: int
    n_embd: int
    n_heads: int
    n_heads_kv: int
    epsilon: float
    # Length of a head's query and key (for deepseek2: of the expanded form, in either form of the file), and of its value.
    key_length: int
    value_length: int
    n_rope: int
    rope_halves: bool  # the pair that turns together: entries i and i + n_rope / 2, or 2i and 2i + 1
    freq_base: float
    # Rotary scaling: "none", "linear" or "yarn".
    scaling: str
    factor: float
    original_context: int
    yarn_log_multiplier: float | None
    yarn_beta_fast: float
    yarn_beta_slow: float
    # Latent attention. q_lora 0 means one direct matrix for the queries.
    q_lora: int = 0
    kv_lora: int = 0
    # Experts.
    n_layers_dense: int = 0
    n_experts: int = 0
    n_experts_used: int = 0
    gating: int = SOFTMAX
    weights_norm: bool = False
    weights_scale: float = 1.0
    n_groups: int = 0
    n_groups_used: int = 0
    # Switches that the metadata do not have: they turn one right step into a known wrong one, to show that it matters.
    mistakes: frozenset = field(default_factory=frozenset)


class Model:
    def __init__(self, path: str | Path):
        reader = gguf.GGUFReader(path)
        self.metadata = {name: item.contents() for name, item in reader.fields.items()}
        self.tensors = {
            tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
            for tensor in reader.tensors
        }
        self.hyper = read_hyper(self.metadata, self.tensors)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name]


def read_hyper(metadata: dict, tensors: dict) -> Hyper:
    architecture = metadata["general.architecture"]

    def get(key: str, default=None):
        value = metadata.get(f"{architecture}.{key}", default)
        if value is None:
            raise KeyError(f"{architecture}.{key} is missing")
        return value

    n_heads, n_embd = get("attention.head_count"), get("embedding_length")
    key_length = get("attention.key_length", n_embd // n_heads)
    value_length = get("attention.value_length", n_embd // n_heads)
    hyper = Hyper(
        architecture=architecture,
        n_layers=get("block_count"),
        n_embd=n_embd,
        n_heads=n_heads,
        n_heads_kv=get("attention.head_count_kv", n_heads),
        epsilon=get("attention.layer_norm_rms_epsilon"),
        key_length=get("attention.key_length_mla", key_length),
        value_length=get("attention.value_length_mla", value_length),
        n_rope=get("rope.dimension_count", key_length),
        rope_halves=architecture in ("qwen3", "qwen3moe"),
        freq_base=get("rope.freq_base", 10000.0),
        scaling=get("rope.scaling.type", "none"),
        factor=get("rope.scaling.factor", 1.0),
        original_context=get("rope.scaling.original_context_length", get("context_length")),
        yarn_log_multiplier=metadata.get(f"{architecture}.rope.scaling.yarn_log_multiplier"),
        yarn_beta_fast=get("rope.scaling.yarn_beta_fast", 32.0),
        yarn_beta_slow=get("rope.scaling.yarn_beta_slow", 1.0),
        n_experts=get("expert_count", 0),
        n_experts_used=get("expert_used_count", 0),
    )
    if architecture == "llama":
        # Mixtral's weights are the softmax over the chosen experts, which is the same as renormalising them.
        return replace(hyper, weights_norm=True)
    if architecture in ("qwen3", "qwen3moe"):
        return replace(hyper, weights_norm=True)  # no key says so; the published models all do
    if architecture == "deepseek2":
        return replace(
            hyper,
            q_lora=get("attention.q_lora_rank", 0) if "blk.0.attn_q_a.weight" in tensors else 0,
            kv_lora=get("attention.kv_lora_rank"),
            n_layers_dense=get("leading_dense_block_count"),
            gating=get("expert_gating_func", SOFTMAX),
            weights_norm=get("expert_weights_norm", False),
            weights_scale=get("expert_weights_scale", 1.0),
            n_groups=get("expert_group_count", 0),
            n_groups_used=get("expert_group_used_count", 0),
        )
    raise ValueError(f"architecture {architecture} is not known here")


# --- Parts -----------------------------------------------------------------------------------------------------------


def rms_norm(x: np.ndarray, weight: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def rope_frequencies(hyper: Hyper, factors: np.ndarray | None) -> tuple[np.ndarray, float]:
    """The angle a position adds to each pair, [n_rope / 2], and the size of cos and sin (1 but for plain YaRN)."""
    n_pairs = hyper.n_rope // 2
    frequencies = hyper.freq_base ** (-np.arange(n_pairs) / n_pairs)
    if factors is not None and "frequency factors left out" not in hyper.mistakes:
        frequencies = frequencies / factors
    if hyper.scaling == "none":
        return frequencies, 1.0
    if hyper.scaling == "linear":
        return frequencies / hyper.factor, 1.0
    assert hyper.scaling == "yarn"

    def pair_that_turns(times: float) -> float:
        """The (fractional) pair that makes so many turns over the original context."""
        turns = np.log(hyper.original_context / (2 * np.pi * times))
        return hyper.n_rope * turns / (2 * np.log(hyper.freq_base))

    low = max(np.floor(pair_that_turns(hyper.yarn_beta_fast)), 0)
    high = min(np.ceil(pair_that_turns(hyper.yarn_beta_slow)), hyper.n_rope - 1)
    slope = np.clip((np.arange(n_pairs) - low) / max(high - low, 0.001), 0, 1)
    stretched = frequencies / hyper.factor * slope + frequencies * (1 - slope)
    if hyper.architecture == "deepseek2" and hyper.yarn_log_multiplier is not None:
        return stretched, 1.0  # the model's two mscale terms are equal and cancel; see attention_scale
    return stretched, 1 + 0.1 * np.log(hyper.factor)


def rope(x: np.ndarray, hyper: Hyper, factors: np.ndarray | None = None) -> np.ndarray:
    """x [n_tokens, n_heads, n_rope]: pair i turns by position * frequency i."""
    frequencies, size = rope_frequencies(hyper, factors)
    angles = np.arange(x.shape[0])[:, None, None] * frequencies
    cos, sin = size * np.cos(angles), size * np.sin(angles)
    if hyper.rope_halves:
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
    turned = np.empty_like(x)
    a, b = x[..., 0::2], x[..., 1::2]
    turned[..., 0::2] = a * cos - b * sin
    turned[..., 1::2] = a * sin + b * cos
    return turned


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
    """Causal attention: q, k [n_tokens, n_heads, key], v [n_tokens, n_heads, value] -> [n_tokens, n_heads * value]."""
    n_tokens = q.shape[0]
    scores = np.einsum("ihd,jhd->hij", q, k) * scale
    scores = np.where(np.tril(np.ones((n_tokens, n_tokens), bool)), scores, -np.inf)
    return np.einsum("hij,jhd->ihd", softmax(scores), v).reshape(n_tokens, -1)


def attention_scale(hyper: Hyper) -> float:
    scale = 1 / np.sqrt(hyper.key_length)
    if "scale by the latent key's length" in hyper.mistakes:
        scale = 1 / np.sqrt(hyper.kv_lora + hyper.n_rope)
    if hyper.architecture == "deepseek2" and hyper.scaling == "yarn" and hyper.yarn_log_multiplier is not None:
        mscale = 1 + hyper.yarn_log_multiplier * np.log(hyper.factor)
        scale *= mscale * mscale
    return scale


# --- Attention -------------------------------------------------------------------------------------------------------


def norm_heads(
    model: Model, hyper: Hyper, block: str, q: np.ndarray, k: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Queries and keys [n_tokens, heads, key], each head normed by itself with a weight that all heads share (qwen3)."""
    if f"{block}.attn_q_norm.weight" not in model.tensors or "head norms left out" in hyper.mistakes:
        return q, k
    q_weight, k_weight = model[f"{block}.attn_q_norm.weight"], model[f"{block}.attn_k_norm.weight"]
    if "head norms of queries and keys swapped" in hyper.mistakes:
        q_weight, k_weight = k_weight, q_weight
    if "one norm over all heads" in hyper.mistakes:
        def norm_all(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
            return x / np.sqrt(np.mean(x * x, axis=(1, 2), keepdims=True) + hyper.epsilon) * weight

        return norm_all(q, q_weight), norm_all(k, k_weight)
    return rms_norm(q, q_weight, hyper.epsilon), rms_norm(k, k_weight, hyper.epsilon)


def grouped_query_attention(model: Model, hyper: Hyper, block: str, h: np.ndarray) -> np.ndarray:
    n_tokens = h.shape[0]
    factors = model.tensors.get("rope_freqs.weight")
    q = (h @ model[f"{block}.attn_q.weight"].T).reshape(n_tokens, hyper.n_heads, hyper.key_length)
    k = (h @ model[f"{block}.attn_k.weight"].T).reshape(n_tokens, hyper.n_heads_kv, hyper.key_length)
    v = (h @ model[f"{block}.attn_v.weight"].T).reshape(n_tokens, hyper.n_heads_kv, hyper.value_length)
    if "head norms after rope" in hyper.mistakes:
        q, k = rope(q, hyper, factors), rope(k, hyper, factors)
        q, k = norm_heads(model, hyper, block, q, k)
    else:
        q, k = norm_heads(model, hyper, block, q, k)
        q, k = rope(q, hyper, factors), rope(k, hyper, factors)
    group = hyper.n_heads // hyper.n_heads_kv  # consecutive query heads share a key head
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    return attend(q, k, v, attention_scale(hyper)) @ model[f"{block}.attn_output.weight"].T


def latent_attention(model: Model, hyper: Hyper, block: str, h: np.ndarray) -> np.ndarray:
    """The expanded form: each head's keys and values are made from the latent, then attention is the ordinary one."""
    n_tokens, n_heads, n_rope = h.shape[0], hyper.n_heads, hyper.n_rope
    nope = hyper.key_length - n_rope

    if hyper.q_lora:
        q = rms_norm(h @ model[f"{block}.attn_q_a.weight"].T, model[f"{block}.attn_q_a_norm.weight"], hyper.epsilon)
        q = q @ model[f"{block}.attn_q_b.weight"].T
    else:
        q = h @ model[f"{block}.attn_q.weight"].T
    q = q.reshape(n_tokens, n_heads, nope + n_rope)
    q = np.concatenate([q[..., :nope], rope(q[..., nope:], hyper)], axis=-1)

    latent, k_rope = np.split(h @ model[f"{block}.attn_kv_a_mqa.weight"].T, [hyper.kv_lora], axis=-1)
    latent = rms_norm(latent, model[f"{block}.attn_kv_a_norm.weight"], hyper.epsilon)
    k_rope = rope(k_rope[:, None, :], hyper)  # one for all heads

    if f"{block}.attn_kv_b.weight" in model.tensors:
        kv = model[f"{block}.attn_kv_b.weight"].reshape(n_heads, nope + hyper.value_length, hyper.kv_lora)
        k_b, v_b = kv[:, :nope], kv[:, nope:]
    else:
        k_b = model[f"{block}.attn_k_b.weight"].transpose(0, 2, 1)  # stored [n_heads, kv_lora, nope]
        v_b = model[f"{block}.attn_v_b.weight"]
    k_nope = np.einsum("hdc,tc->thd", k_b, latent)
    v = np.einsum("hdc,tc->thd", v_b, latent)
    k = np.concatenate([k_nope, np.broadcast_to(k_rope, (n_tokens, n_heads, n_rope))], axis=-1)
    return attend(q, k, v, attention_scale(hyper)) @ model[f"{block}.attn_output.weight"].T


# --- Feed-forward ----------------------------------------------------------------------------------------------------


def feed_forward(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


@dataclass
class Routing:
    """One layer's choices: expert ids and weights [n_tokens, n_experts_used], and how near each token came to another.

    `margin` is the gap between the score of the last chosen expert (or group) and the first one left out.
    """

    layer: int
    experts: np.ndarray
    weights: np.ndarray
    margin: np.ndarray


def route(model: Model, hyper: Hyper, layer: int, h: np.ndarray) -> Routing:
    logits = h @ model[f"blk.{layer}.ffn_gate_inp.weight"].T
    if hyper.gating == SIGMOID:
        probabilities = 1 / (1 + np.exp(-logits))
    else:
        probabilities = softmax(logits)  # over all experts, before the choice
    bias = model.tensors.get(f"blk.{layer}.exp_probs_b.bias")
    if "bias left out" in hyper.mistakes:
        bias = None
    scores = probabilities if bias is None else probabilities + bias
    margin = np.full(len(h), np.inf)

    if hyper.n_groups > 1:
        groups = scores.reshape(len(h), hyper.n_groups, -1)
        if bias is not None or "group score by the best two" in hyper.mistakes:
            group_scores = np.sort(groups, axis=-1)[..., -2:].sum(axis=-1)  # V3: the best two
        else:
            group_scores = groups.max(axis=-1)  # V2: the best
        ranked = np.sort(group_scores, axis=-1)[:, ::-1]
        margin = ranked[:, hyper.n_groups_used - 1] - ranked[:, hyper.n_groups_used]
        kept = group_scores >= ranked[:, [hyper.n_groups_used - 1]]
        scores = np.where(kept[..., None], groups, -np.inf).reshape(scores.shape)

    order = np.argsort(-scores, axis=-1, kind="stable")
    experts = order[:, : hyper.n_experts_used]
    ranked = np.take_along_axis(scores, order, axis=-1)
    margin = np.minimum(margin, ranked[:, hyper.n_experts_used - 1] - ranked[:, hyper.n_experts_used])

    source = scores if "weights from biased scores" in hyper.mistakes else probabilities
    weights = np.take_along_axis(source, experts, axis=-1)  # the bias chooses, it does not weigh
    if hyper.weights_norm:
        weights = weights / weights.sum(axis=-1, keepdims=True)
    return Routing(layer, experts, weights * hyper.weights_scale, margin)


def mixture_of_experts(model: Model, block: str, h: np.ndarray, routing: Routing) -> np.ndarray:
    gate, up, down = (model[f"{block}.ffn_{part}_exps.weight"] for part in ("gate", "up", "down"))
    y = np.zeros_like(h)
    for t in range(len(h)):
        for e, weight in zip(routing.experts[t], routing.weights[t]):
            y[t] += weight * feed_forward(h[t], gate[e], up[e], down[e])
    if f"{block}.ffn_gate_shexp.weight" in model.tensors:
        y += feed_forward(h, *(model[f"{block}.ffn_{part}_shexp.weight"] for part in ("gate", "up", "down")))
    return y


# --- The walk over the layers ----------------------------------------------------------------------------------------


def forward(model: Model, tokens: list[int], hyper: Hyper | None = None) -> tuple[np.ndarray, list[Routing]]:
    """Logits [n_tokens, n_vocab] of every position, and the routers' choices. `hyper` overrides the file's own."""
    hyper = hyper or model.hyper
    attention = latent_attention if hyper.architecture == "deepseek2" else grouped_query_attention
    x = model["token_embd.weight"][tokens]
    routings = []
    for layer in range(hyper.n_layers):
        block = f"blk.{layer}"
        x = x + attention(model, hyper, block, rms_norm(x, model[f"{block}.attn_norm.weight"], hyper.epsilon))
        h = rms_norm(x, model[f"{block}.ffn_norm.weight"], hyper.epsilon)
        if hyper.n_experts and layer >= hyper.n_layers_dense:
            routings.append(route(model, hyper, layer, h))
            x = x + mixture_of_experts(model, block, h, routings[-1])
        else:
            x = x + feed_forward(h, *(model[f"{block}.ffn_{part}.weight"] for part in ("gate", "up", "down")))
    x = rms_norm(x, model["output_norm.weight"], hyper.epsilon)
    output = model.tensors.get("output.weight", model["token_embd.weight"])  # tied when absent
    return x @ output.T, routings


def main() -> None:
    logits, routings = forward(Model(sys.argv[1]), [int(token) for token in sys.argv[2:]])
    for position, row in enumerate(logits):
        best = np.argsort(-row)[:5]
        print(position, "  ".join(f"{token}: {row[token]:.5f}" for token in best))
    for routing in routings:
        print(f"layer {routing.layer}: least margin of the router {routing.margin.min():.5f}")


if __name__ == "__main__":
    main()
