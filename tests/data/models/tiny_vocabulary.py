"""Two tokenizers of 320 tokens for the model fixtures: a byte-level BPE (gpt2) and an SPM (llama).

Both are whole tokenizers: every byte is a token, so any text can be encoded and decoded.
"""

from collections import Counter

import gguf

N_VOCAB = 320

TEXT = (
    "a sluice is a gate that lets through just the water that is needed when it is needed and the miller who opens it "
    "knows the stream the wheel and the weather better than the water knows itself so the wheel turns all day and the "
    "stones are never dry and the bread that is baked in the town is better for it than the bread of any other town"
)


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in a gpt2 vocabulary."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    stand_in = iter(range(256, 512))
    return [chr(byte if byte in printable else next(stand_in)) for byte in range(256)]


def learn_merges(words: list[list[str]], n_merges: int) -> list[tuple[str, str]]:
    """Byte-pair encoding in its plainest form: join the commonest pair, again and again (ties: the smallest pair)."""
    merges = []
    while len(merges) < n_merges:
        pairs = Counter(pair for word in words for pair in zip(word, word[1:]))
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append((left, right))
        for word in words:
            i = 0
            while i + 1 < len(word):
                if word[i] == left and word[i + 1] == right:
                    word[i : i + 2] = [left + right]
                i += 1
    return merges


def learn_distinct_merges(space: str, n_merges: int) -> list[tuple[str, str]]:
    return learn_merges([list(space + word) for word in TEXT.split()], n_merges)


def add_gpt2(writer: gguf.GGUFWriter, pre: str, bos: str, eos: str, add_bos: bool = True) -> None:
    """Ids: 0 bos, 1 eos, 2 padding, 3 a marker of the user's turn, 4..259 the bytes in order, 260..319 merges."""
    special = [bos, eos, "<pad>", "<user>"]
    merges = learn_distinct_merges("\u0120", N_VOCAB - len(special) - 256)
    tokens = special + byte_characters() + [left + right for left, right in merges]
    assert len(tokens) == len(set(tokens)) == N_VOCAB
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([control] * len(special) + [normal] * (N_VOCAB - len(special)))
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(add_bos)
    writer.add_add_eos_token(False)


def add_spm(writer: gguf.GGUFWriter) -> None:
    """Ids: 0 unknown, 1 bos, 2 eos, 3..258 the bytes in order, then pieces; a better score is joined earlier."""
    pieces = sorted(set("".join("\u2581" + word for word in TEXT.split())))
    pieces = [left + right for left, right in learn_distinct_merges("\u2581", N_VOCAB - 259 - len(pieces))] + pieces
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + pieces
    assert len(tokens) == len(set(tokens)) == N_VOCAB
    kinds = gguf.TokenType
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(i) for i in range(len(pieces))])
    writer.add_token_types(
        [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * 256 + [kinds.NORMAL] * len(pieces)
    )
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
