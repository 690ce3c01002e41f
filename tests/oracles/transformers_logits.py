"""Logits of a GGUF by the models of `transformers`: the same weights under their names, in f32.

Only the reading of the file is shared with numpy_forward.py; the forward pass is transformers' own.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import transformers

from numpy_forward import SIGMOID, Hyper, Model


def logits(path: str | Path, tokens: list[int]) -> np.ndarray:
    """[n_tokens, n_vocab]."""
    source = Model(path)
    build = {"llama": build_mixtral if source.hyper.n_experts else build_llama, "deepseek2": build_deepseek}
    build |= {"qwen3": build_qwen3, "qwen3moe": build_qwen3}
    model, names = build[source.hyper.architecture](source)
    weights = {name: torch.tensor(values, dtype=torch.float32) for name, values in names.items()}
    model.load_state_dict(weights, strict=True)
    model.eval()
    if "rope_freqs.weight" in source.tensors:  # the factors lie in the file; transformers would compute them
        model.model.rotary_emb.inv_freq /= torch.tensor(source["rope_freqs.weight"], dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0].numpy()


def rope_parameters(hyper: Hyper) -> dict:
    parameters = {"rope_theta": hyper.freq_base, "rope_type": "default"}
    if hyper.scaling == "linear":
        parameters |= {"rope_type": "linear", "factor": hyper.factor}
    if hyper.scaling == "yarn":
        parameters |= {"rope_type": "yarn", "factor": hyper.factor}
        parameters |= {"original_max_position_embeddings": hyper.original_context}
        parameters |= {"beta_fast": hyper.yarn_beta_fast, "beta_slow": hyper.yarn_beta_slow}
        if hyper.yarn_log_multiplier is not None:
            mscale = round(hyper.yarn_log_multiplier / 0.1, 6)
            parameters |= {"mscale": mscale, "mscale_all_dim": mscale}
    return parameters


def common_settings(source: Model) -> dict:
    hyper = source.hyper
    return dict(
        vocab_size=len(source["token_embd.weight"]),
        hidden_size=hyper.n_embd,
        num_hidden_layers=hyper.n_layers,
        num_attention_heads=hyper.n_heads,
        num_key_value_heads=hyper.n_heads_kv,
        max_position_embeddings=source.metadata[f"{hyper.architecture}.context_length"],
        intermediate_size=source.metadata[f"{hyper.architecture}.feed_forward_length"],
        rms_norm_eps=hyper.epsilon,
        rope_parameters=rope_parameters(hyper),
        tie_word_embeddings=False,
        attn_implementation="eager",
    )


def outer_names(source: Model) -> dict:
    return {
        "model.embed_tokens.weight": source["token_embd.weight"],
        "model.norm.weight": source["output_norm.weight"],
        "lm_head.weight": source.tensors.get("output.weight", source["token_embd.weight"]),
    }


def halves_apart(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """From the order of GGUF llama files (pairs adjacent) to transformers' (pairs half a head apart)."""
    n_rows, n_columns = rows.shape
    return rows.reshape(n_heads, -1, 2, n_columns).swapaxes(1, 2).reshape(n_rows, n_columns)


def grouped_query_names(source: Model, layer: int) -> dict:
    hyper, block, to = source.hyper, f"blk.{layer}", f"model.layers.{layer}"
    in_order = halves_apart if hyper.architecture == "llama" else lambda rows, n_heads: rows
    return {
        f"{to}.input_layernorm.weight": source[f"{block}.attn_norm.weight"],
        f"{to}.post_attention_layernorm.weight": source[f"{block}.ffn_norm.weight"],
        f"{to}.self_attn.q_proj.weight": in_order(source[f"{block}.attn_q.weight"], hyper.n_heads),
        f"{to}.self_attn.k_proj.weight": in_order(source[f"{block}.attn_k.weight"], hyper.n_heads_kv),
        f"{to}.self_attn.v_proj.weight": source[f"{block}.attn_v.weight"],
        f"{to}.self_attn.o_proj.weight": source[f"{block}.attn_output.weight"],
    }


def feed_forward_names(source: Model, block: str, suffix: str, to: str) -> dict:
    parts = ("gate", "up", "down")
    return {f"{to}.{part}_proj.weight": source[f"{block}.ffn_{part}{suffix}.weight"] for part in parts}


def expert_names(source: Model, block: str, to: str) -> dict:
    gate, up = source[f"{block}.ffn_gate_exps.weight"], source[f"{block}.ffn_up_exps.weight"]
    return {
        f"{to}.gate.weight": source[f"{block}.ffn_gate_inp.weight"],
        f"{to}.experts.gate_up_proj": np.concatenate([gate, up], axis=1),
        f"{to}.experts.down_proj": source[f"{block}.ffn_down_exps.weight"],
    }


def build_llama(source: Model):
    settings = common_settings(source) | dict(head_dim=source.hyper.key_length)
    names = outer_names(source)
    for layer in range(source.hyper.n_layers):
        names |= grouped_query_names(source, layer)
        names |= feed_forward_names(source, f"blk.{layer}", "", f"model.layers.{layer}.mlp")
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)), names


def build_mixtral(source: Model):
    hyper = source.hyper
    settings = common_settings(source) | dict(
        head_dim=hyper.key_length,
        num_local_experts=hyper.n_experts,
        num_experts_per_tok=hyper.n_experts_used,
        sliding_window=None,
    )
    names = outer_names(source)
    for layer in range(hyper.n_layers):
        names |= grouped_query_names(source, layer)
        names |= expert_names(source, f"blk.{layer}", f"model.layers.{layer}.mlp")
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**settings)), names


def build_qwen3(source: Model):
    """Rows of queries and keys are in the order of the training, in the file as in transformers."""
    hyper = source.hyper
    settings = common_settings(source) | dict(head_dim=hyper.key_length, attention_bias=False)
    if hyper.n_experts:
        settings |= dict(
            num_experts=hyper.n_experts,
            num_experts_per_tok=hyper.n_experts_used,
            moe_intermediate_size=source.metadata["qwen3moe.expert_feed_forward_length"],
            norm_topk_prob=True,
            decoder_sparse_step=1,
            mlp_only_layers=[],
        )
        model = transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**settings))
    else:
        model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**settings))
    names = outer_names(source)
    for layer in range(hyper.n_layers):
        block, to = f"blk.{layer}", f"model.layers.{layer}"
        names |= grouped_query_names(source, layer)
        names[f"{to}.self_attn.q_norm.weight"] = source[f"{block}.attn_q_norm.weight"]
        names[f"{to}.self_attn.k_norm.weight"] = source[f"{block}.attn_k_norm.weight"]
        if hyper.n_experts:
            names |= expert_names(source, block, f"{to}.mlp")
        else:
            names |= feed_forward_names(source, block, "", f"{to}.mlp")
    return model, names


def build_deepseek(source: Model):
    """A sigmoid router makes it a V3, a softmax router a V2."""
    hyper = source.hyper
    is_v3 = hyper.gating == SIGMOID
    metadata = source.metadata
    settings = common_settings(source) | dict(
        num_key_value_heads=hyper.n_heads,
        q_lora_rank=hyper.q_lora or None,
        kv_lora_rank=hyper.kv_lora,
        qk_rope_head_dim=hyper.n_rope,
        qk_nope_head_dim=hyper.key_length - hyper.n_rope,
        v_head_dim=hyper.value_length,
        first_k_dense_replace=hyper.n_layers_dense,
        n_routed_experts=hyper.n_experts,
        num_experts_per_tok=hyper.n_experts_used,
        n_shared_experts=metadata["deepseek2.expert_shared_count"],
        moe_intermediate_size=metadata["deepseek2.expert_feed_forward_length"],
        norm_topk_prob=hyper.weights_norm,
        routed_scaling_factor=hyper.weights_scale,
    )
    if is_v3:
        settings |= dict(n_group=max(hyper.n_groups, 1), topk_group=max(hyper.n_groups_used, 1), num_mtp_layers=0)
        model = transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config(**settings))
    else:
        assert not hyper.weights_norm, "transformers' V2 never renormalises"
        method = "group_limited_greedy" if hyper.n_groups > 1 else "greedy"
        settings |= dict(n_group=hyper.n_groups, topk_group=hyper.n_groups_used, topk_method=method)
        model = transformers.DeepseekV2ForCausalLM(transformers.DeepseekV2Config(**settings))

    names = outer_names(source)
    for layer in range(hyper.n_layers):
        block, to = f"blk.{layer}", f"model.layers.{layer}"
        names |= latent_attention_names(source, block, to)
        if layer < hyper.n_layers_dense:
            names |= feed_forward_names(source, block, "", f"{to}.mlp")
            continue
        names |= expert_names(source, block, f"{to}.mlp")
        names |= feed_forward_names(source, block, "_shexp", f"{to}.mlp.shared_experts")
        if f"{block}.exp_probs_b.bias" in source.tensors:
            names[f"{to}.mlp.gate.e_score_correction_bias"] = source[f"{block}.exp_probs_b.bias"]
    return model, names


def latent_attention_names(source: Model, block: str, to: str) -> dict:
    names = {
        f"{to}.input_layernorm.weight": source[f"{block}.attn_norm.weight"],
        f"{to}.post_attention_layernorm.weight": source[f"{block}.ffn_norm.weight"],
        f"{to}.self_attn.kv_a_proj_with_mqa.weight": source[f"{block}.attn_kv_a_mqa.weight"],
        f"{to}.self_attn.kv_a_layernorm.weight": source[f"{block}.attn_kv_a_norm.weight"],
        f"{to}.self_attn.kv_b_proj.weight": fused_kv_b(source, block),
        f"{to}.self_attn.o_proj.weight": source[f"{block}.attn_output.weight"],
    }
    if source.hyper.q_lora:
        names[f"{to}.self_attn.q_a_proj.weight"] = source[f"{block}.attn_q_a.weight"]
        names[f"{to}.self_attn.q_a_layernorm.weight"] = source[f"{block}.attn_q_a_norm.weight"]
        names[f"{to}.self_attn.q_b_proj.weight"] = source[f"{block}.attn_q_b.weight"]
    else:
        names[f"{to}.self_attn.q_proj.weight"] = source[f"{block}.attn_q.weight"]
    return names


def fused_kv_b(source: Model, block: str) -> np.ndarray:
    if f"{block}.attn_kv_b.weight" in source.tensors:
        return source[f"{block}.attn_kv_b.weight"]
    k_b = source[f"{block}.attn_k_b.weight"].swapaxes(1, 2)  # [heads, nope, kv_lora]
    v_b = source[f"{block}.attn_v_b.weight"]  # [heads, value, kv_lora]
    return np.concatenate([k_b, v_b], axis=1).reshape(-1, source.hyper.kv_lora)


if __name__ == "__main__":
    print(logits(sys.argv[1], [int(token) for token in sys.argv[2:]]))
