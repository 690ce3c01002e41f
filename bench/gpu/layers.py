"""What a token's layers take on the GPU, as (model, place, format) of the counted cases, how often, and how many launches that is: none where
it is work of a launch that has a row of its own, by the last warps behind it or by thread blocks beside it. What has no case of its own
has a stand-in of about its size, named here."""

LLAMA = "Llama-8B"
R1 = "DeepSeek-R1"
QWEN = "Qwen3-30B"

LLAMA_LAYER = [
    (LLAMA, "norm, quantise", "", 2, 2),
    (LLAMA, "q, o", "Q4_K", 2, 2),
    (LLAMA, "k, v", "Q4_K", 2, 0),  # with q
    (LLAMA, "finish heads", "", 1, 1),
    (LLAMA, "attend at 4096", "F16", 1, 1),
    (LLAMA, "join, quantise at 4096", "F16", 1, 1),
    (LLAMA, "gate, up", "Q4_K", 2, 1),
    (LLAMA, "swiglu, quantise", "", 1, 0),
    (LLAMA, "down", "Q4_K", 1, 1),
]
LLAMA_TOKEN = [(*one[:3], one[3] * 32, one[4] * 32) for one in LLAMA_LAYER] + [(LLAMA, "norm, quantise", "", 1, 1),
                                                                              (LLAMA, "output", "Q6_K", 1, 1)]

R1_LAYER = [
    (R1, "norm, quantise", "", 2, 2),
    (R1, "q_a", "Q4_K", 1, 1),
    (R1, "kv_a", "Q6_K", 1, 0),  # with q_a
    (R1, "finish heads", "", 1, 1),
    (R1, "q_b", "Q4_K", 1, 1),
    (R1, "kv_b, across", "Q6_K", 2, 2),  # the second is a stand-in for the values' part, a product along the rows
    (R1, "attend at 4096", "F16", 1, 1),
    (R1, "join, quantise at 4096", "F16", 1, 1),
    (R1, "quantise", "", 1, 0),  # of the values
    (R1, "o", "Q4_K", 1, 1),
    (R1, "router", "F32", 1, 1),
    (R1, "route", "", 1, 0),
    (R1, "experts gate, up", "IQ1_S", 1, 1),
    (R1, "experts quantise", "IQ1_S", 1, 0),
    (R1, "experts down", "IQ1_S", 1, 1),
    (R1, "shared gate", "Q5_K", 2, 1),
    (R1, "swiglu, quantise", "", 1, 0),
    (R1, "shared down", "Q6_K", 1, 1),
]

# More of what stands for launches of R1 that have no case of their own (bench/virtual_time): of its dense layers.
R1_STAND_INS = [(LLAMA, "swiglu, quantise", "", 1, 0)]

# Where a format's target is judged, and its least fraction on each GPU; None: only reported.
TARGETS = [
    ("Q4_K", LLAMA, "gate, up", {"RTX 4090": 0.85, "A100-80GB": 0.85, "H100 SXM": 0.85}),
    ("Q6_K", LLAMA, "gate, up", {"RTX 4090": 0.85, "A100-80GB": 0.85, "H100 SXM": 0.85}),
    ("Q8_0", LLAMA, "gate, up", {"RTX 4090": 0.85, "A100-80GB": 0.85, "H100 SXM": 0.85}),
    ("IQ1_S", R1, "experts gate, up", {"RTX 4090": 0.85, "A100-80GB": None, "H100 SXM": None}),
]
FORMATS = ["IQ1_S", "IQ2_XXS", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "F16", "F32"]
