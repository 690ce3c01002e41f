#!/usr/bin/env python3
"""Trains tiny vocabularies (vocab_NAME.gguf) and writes the ids that `tokenizers` gives (vocab_golden.txt).

    make_vocab_golden.py

One byte-level BPE vocabulary for each of the pre-tokenisers below, and one SPM vocabulary, whose oracle is a BPE with byte
fallback over all pairs that make a token. vocab_golden.txt is a list of fields, each `KEY LENGTH` on a line, then LENGTH bytes
and a line break: the texts first (text), then for each vocabulary its name (vocabulary) and the ids of each text (ids).
"""
import json
import pathlib
import sys

import gguf
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "oracles"))
import compare_tokenizers  # noqa: E402

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def split(*expressions):
    parts = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in expressions]
    return pre_tokenizers.Sequence(parts + [BYTES])


END = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s")
CASED_END = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
HAN = r"\p{Script=Han}"
PRE_TOKENIZERS = {
    "gpt-2": GPT2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]),
    "falcon": pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), GPT2, pre_tokenizers.Split(
        Regex("[0-9][0-9][0-9]"), "isolated")]),
    "llama-bpe": split(CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + END),
    "qwen2": split(CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + END),
    "gpt-4o": split(CASED % (CONTRACTION + "?", CONTRACTION + "?") + r"|\p{N}{1,3}|" + CASED_END),
    "tekken": split(CASED % ("", "") + r"|\p{N}|" + CASED_END),
    "deepseek-v3": split(
        r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
        "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
}
IGNORE_MERGES = {"llama-bpe", "tekken"}
N_TOKENS = 1000


def train(name, texts):
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=name in IGNORE_MERGES))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[name]
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=N_TOKENS, special_tokens=["<|begin|>", "<|end_of_text|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.add_tokens(["<think>", "    "])
    spec = json.loads(tokenizer.to_str())
    config = {"bos_token": "<|begin|>", "eos_token": "<|end_of_text|>"}
    compare_tokenizers.convert(spec, config, name, HERE / f"vocab_{name}.gguf")
    return tokenizer


def train_spm(texts):
    space = "▁"
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement=space, prepend_scheme="always")
    trained.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=N_TOKENS, limit_alphabet=300, show_progress=False))
    spec = json.loads(trained.to_str())["model"]
    merged = ["".join(merge) if isinstance(merge, list) else merge.replace(" ", "") for merge in spec["merges"]]
    merged = list(dict.fromkeys(merged))
    characters = sorted(token for token in spec["vocab"] if len(token) == 1)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + merged + characters
    kinds = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.BYTE] * 256
    scores = [0.0] * len(kinds) + [float(-i) for i in range(len(merged) + len(characters))]
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))
    writer = gguf.GGUFWriter(HERE / "vocab_spm.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ids = {token: id for id, token in enumerate(tokens)}
    known = set(merged) | set(characters)
    pairs = [(token[:i], token[i:]) for token in merged for i in range(1, len(token))
             if token[:i] in known and token[i:] in known]
    oracle = tokenizers.Tokenizer(models.BPE(ids, pairs, unk_token="<unk>", byte_fallback=True))
    oracle.normalizer = normalizers.Sequence([normalizers.Prepend(space), normalizers.Replace(" ", space)])
    return oracle


def field(key, text):
    data = text.encode()
    return f"{key} {len(data)}\n".encode() + data + b"\n"


def main():
    training = compare_tokenizers.generated_texts(3000, 11)
    texts = ["", " ", "\n", "Hello world", "Hello, y'all! I'M sure they'LL 've 123456 x"]
    texts += [text for text in compare_tokenizers.generated_texts(90, 12, None) if len(text) < 400]
    texts += ["a<think>b</think>c     d        e"]
    out = b"".join(field("text", text) for text in texts)
    oracles = {name: train(name, training) for name in PRE_TOKENIZERS}
    oracles["spm"] = train_spm(training)
    for name, oracle in oracles.items():
        out += field("vocabulary", name)
        for text in texts:
            out += field("ids", " ".join(map(str, oracle.encode(text, add_special_tokens=False).ids)))
    (HERE / "vocab_golden.txt").write_bytes(out)
    print(f"{len(texts)} texts, {len(oracles)} vocabularies, {len(out)} bytes")


if __name__ == "__main__":
    main()
