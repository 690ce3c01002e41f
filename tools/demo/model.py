"""The model: DeepSeek-V3's architecture, small, in float32.

The names and shapes in the state dict are those of the GGUF architecture `deepseek2`, so that exporting is a plain
copy. Letters in shapes: B sequences, T tokens, N = B*T, D model width, H heads, E experts, K experts a token, F expert
width, V vocabulary.

Sources: multi-head latent attention, DeepSeek-V2 (arXiv 2405.04434); sigmoid gating with a selection bias that balances
the load, DeepSeek-V3 (arXiv 2412.19437).
"""
import dataclasses
import random

import torch
import torch.nn as nn
import torch.nn.functional as F

ROPE_BASE = 10000.0
NORM_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class Shape:
    """What fixes the weights' shapes and the forward pass. As every row a matrix has is a multiple of 256, any GGUF
    block format can store any matrix."""
    vocab: int = 2048
    dim: int = 256               # model width
    layers: int = 4
    dense: int = 2               # the first layers have a dense feed-forward in place of experts
    ff: int = 768                # width of the dense feed-forward
    heads: int = 4
    nope: int = 32               # width of a head's query and key without position,
    rope: int = 32               # and of their rotated part
    value: int = 64              # width of a head's value
    q_lora: int = 256            # rank of the query's latent
    kv_lora: int = 256           # rank of the latent that key and value share
    experts: int = 16
    top: int = 4                 # experts a token
    expert_ff: int = 256         # width of one expert, and of the shared one
    route_scale: float = 2.0     # the chosen experts' weights sum to this

    @classmethod
    def from_settings(cls, settings):
        return cls(**{field.name: settings[field.name] for field in dataclasses.fields(cls)})


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + NORM_EPSILON) * self.weight


class Stack(nn.Module):
    """One matrix an expert, [E, rows, cols]."""

    def __init__(self, n_experts, n_rows, n_cols):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_experts, n_rows, n_cols))


class Dropout:
    """Dropout with masks cut out of one pool of random numbers: drawing fresh ones costs more than a matrix product."""

    def __init__(self, p, pool_size=1 << 23):
        self.p, self.on, self.generator = p, False, random.Random()
        self.pool = (torch.rand(pool_size) >= p).float() / (1 - p) if p else None

    def __call__(self, x):
        if not (self.p and self.on):
            return x
        begin = self.generator.randrange(self.pool.numel() - x.numel())
        return x * self.pool[begin:begin + x.numel()].view(x.shape)


def rotate(x, cos, sin):
    """x [.., T, R]: turns the pair (2i, 2i+1) by position * ROPE_BASE^(-2i/R). cos and sin [T, R/2]."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class GatherRows(torch.autograd.Function):
    """Row order[i] // copies of x [N, D] -> [N * copies, D]. `inverse` is the inverse permutation of `order`: with it
    the way back is a gather too, where index_select's own is a slow scatter."""

    @staticmethod
    def forward(ctx, x, order, inverse, copies):
        ctx.save_for_backward(inverse)
        ctx.copies = copies
        return x.index_select(0, order // copies)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.index_select(0, ctx.saved_tensors[0])
        return gradient.view(-1, ctx.copies, gradient.shape[1]).sum(1), None, None, None


def linear(n_in, n_out):
    """weight [n_out, n_in]"""
    return nn.Linear(n_in, n_out, bias=False)


class Block(nn.Module):
    """One layer: latent attention, then a dense SwiGLU or the mixture of experts."""

    def __init__(self, shape, layer, dropout):
        super().__init__()
        self.shape, self.dropout, self.is_moe = shape, dropout, layer >= shape.dense
        D, H = shape.dim, shape.heads
        self.attn_norm = RMSNorm(D)
        self.attn_q_a = linear(D, shape.q_lora)
        self.attn_q_a_norm = RMSNorm(shape.q_lora)
        self.attn_q_b = linear(shape.q_lora, H * (shape.nope + shape.rope))
        self.attn_kv_a_mqa = linear(D, shape.kv_lora + shape.rope)
        self.attn_kv_a_norm = RMSNorm(shape.kv_lora)
        self.attn_kv_b = linear(shape.kv_lora, H * (shape.nope + shape.value))
        self.attn_output = linear(H * shape.value, D)
        self.ffn_norm = RMSNorm(D)
        if self.is_moe:
            E, W = shape.experts, shape.expert_ff
            self.ffn_gate_inp = linear(D, E)                                      # the router
            self.exp_probs_b = nn.Module()
            self.exp_probs_b.register_buffer("bias", torch.zeros(E))              # moved by the load, not by gradients
            self.load = torch.zeros(E)                                            # (token, slot) pairs each has had
            self.ffn_gate_exps, self.ffn_up_exps, self.ffn_down_exps = Stack(E, W, D), Stack(E, W, D), Stack(E, D, W)
            self.ffn_gate_shexp, self.ffn_up_shexp, self.ffn_down_shexp = linear(D, W), linear(D, W), linear(W, D)
        else:
            self.ffn_gate, self.ffn_up = linear(D, shape.ff), linear(D, shape.ff)
            self.ffn_down = linear(shape.ff, D)

    def forward(self, x, cos, sin, mask):
        x = x + self.dropout(self.attention(self.attn_norm(x), cos, sin, mask))
        h = self.ffn_norm(x)
        if self.is_moe:
            y = self.mixture(h.flatten(0, 1)).view_as(h)
        else:
            y = self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return x + self.dropout(y)

    def attention(self, x, cos, sin, mask):
        """x [B, T, D] -> [B, T, D], keys and values expanded from the latent."""
        shape, (B, T, _) = self.shape, x.shape
        q = self.attn_q_b(self.attn_q_a_norm(self.attn_q_a(x))).view(B, T, shape.heads, -1).transpose(1, 2)
        q_nope, q_rope = q.split((shape.nope, shape.rope), -1)                    # each [B, H, T, width]
        latent, k_rope = self.attn_kv_a_mqa(x).split((shape.kv_lora, shape.rope), -1)       # each [B, T, width]
        kv = self.attn_kv_b(self.attn_kv_a_norm(latent)).view(B, T, shape.heads, -1).transpose(1, 2)
        k_nope, v = kv.split((shape.nope, shape.value), -1)                       # each [B, H, T, width]
        k_rope = rotate(k_rope.unsqueeze(1), cos, sin).expand(-1, shape.heads, -1, -1)      # one for all heads
        q = torch.cat((q_nope, rotate(q_rope, cos, sin)), -1) * (shape.nope + shape.rope) ** -0.5
        k = torch.cat((k_nope, k_rope), -1)
        probability = (q @ k.transpose(-1, -2) + mask).softmax(-1)                # [B, H, T, T]
        return self.attn_output((probability @ v).transpose(1, 2).reshape(B, T, -1))

    def mixture(self, x):
        """x [N, D] -> [N, D]: sorts the (token, slot) pairs by expert, so that each expert is one run of products."""
        shape = self.shape
        score = torch.sigmoid(self.ffn_gate_inp(x))                               # [N, E]
        chosen = (score.detach() + self.exp_probs_b.bias).topk(shape.top, -1, sorted=False).indices        # [N, K]
        weight = score.gather(1, chosen)                                          # the bias selects, it does not weigh
        weight = shape.route_scale * weight / (weight.sum(-1, keepdim=True) + 1e-20)
        order = chosen.flatten().argsort()                                        # [N*K], by expert
        inverse = torch.empty_like(order).scatter_(0, order, torch.arange(order.numel()))
        counts = torch.bincount(chosen.flatten(), minlength=shape.experts)
        self.load += counts
        runs = GatherRows.apply(x, order, inverse, shape.top).split(counts.tolist())
        out = [F.linear(F.silu(F.linear(run, gate)) * F.linear(run, up), down) for run, gate, up, down in
               zip(runs, self.ffn_gate_exps.weight.unbind(0), self.ffn_up_exps.weight.unbind(0),
                   self.ffn_down_exps.weight.unbind(0))]
        y = GatherRows.apply(torch.cat(out), inverse, order, 1).view(-1, shape.top, x.shape[1])            # [N, K, D]
        shared = self.ffn_down_shexp(F.silu(self.ffn_gate_shexp(x)) * self.ffn_up_shexp(x))
        return (y * weight.unsqueeze(-1)).sum(1) + shared


class Model(nn.Module):
    def __init__(self, shape, dropout=0.0, initial_std=0.03):
        super().__init__()
        self.shape, self.dropout = shape, Dropout(dropout)
        self.token_embd = nn.Embedding(shape.vocab, shape.dim)                    # the output head too
        self.blk = nn.ModuleList(Block(shape, layer, self.dropout) for layer in range(shape.layers))
        self.output_norm = RMSNorm(shape.dim)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:        # what adds to the residual stream begins smaller, as in GPT-2
                is_output = "attn_output" in name or "ffn_down" in name
                nn.init.normal_(parameter, std=initial_std * (2 * shape.layers) ** -0.5 if is_output else initial_std)

    @classmethod
    def from_checkpoint(cls, path):
        """For inference, from a file of train.py."""
        checkpoint = torch.load(path, map_location="cpu")
        model = cls(Shape.from_settings(checkpoint["config"]))
        model.load_state_dict(checkpoint["model"])
        return model

    def forward(self, ids):
        """ids [B, T] -> logits [B, T, V]"""
        T, R = ids.shape[1], self.shape.rope
        angle = torch.arange(T)[:, None] * ROPE_BASE ** (-torch.arange(0, R, 2) / R)        # [T, R/2]
        mask = torch.full((T, T), float("-inf")).triu(1)
        x = self.dropout(self.token_embd(ids))
        for block in self.blk:
            x = block(x, angle.cos(), angle.sin(), mask)
        return F.linear(self.output_norm(x), self.token_embd.weight)

    def moe_blocks(self):
        return [block for block in self.blk if block.is_moe]

    def clear_loads(self):
        for block in self.moe_blocks():
            block.load.zero_()
