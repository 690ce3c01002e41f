#!/usr/bin/env python3
"""Compares the encoder with the Python package `tokenizers` on the vocabularies of a folder.

    compare_tokenizers.py FOLDER [--encode-texts PROGRAM] [--texts N] [--write OUT]

FOLDER/NAME/tokenizer.json is converted to a GGUF vocabulary (NAME.gguf), in which every text is encoded by our program
`encode_texts` (build target of that name) and by `tokenizers`; the ids must be equal and decoding must give the text again.
FOLDER/*.gguf with X.gguf.inp and X.gguf.out beside it (texts parted by a line __ggml_vocab_test__, and their ids) are checked
too. Texts with invalid UTF-8 are checked for the round trip only, as `tokenizers` cannot take them. With --write the converted
vocabularies and their .inp and .out are kept in OUT, where test_tokenizer finds them through SLUICE_VOCABS.

Needs the packages gguf, numpy and tokenizers.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

import gguf
import tokenizers

SEPARATOR = "\n__ggml_vocab_test__\n"

# The name under tokenizer.ggml.pre, told by the expression that only that tokeniser has.
PRE_BY_EXPRESSION = [
    ("[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+", "deepseek-v3"),
    ("[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*", "qwen2"),
    ("[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*", "llama-bpe"),
]


def pre_tokenizer_name(spec):
    text = json.dumps(spec["pre_tokenizer"], ensure_ascii=False)
    for expression, name in PRE_BY_EXPRESSION:
        if json.dumps(expression, ensure_ascii=False)[1:-1] in text:
            return name
    raise SystemExit("no pre-tokeniser name is known for this tokenizer.json: " + text[:400])


def looks_special(token):
    return (token.startswith("<|") and token.endswith("|>")) or (token.startswith("<｜") and token.endswith("｜>"))


def convert_folder(folder, path):
    spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8")) if config_path.exists() else {}
    convert(spec, config, pre_tokenizer_name(spec), path)
    return [added["content"] for added in spec["added_tokens"]]


def convert(spec, config, pre_tokenizer, path):
    """Writes a byte-level BPE tokenizer.json as a GGUF vocabulary."""
    tokens = {id: token for token, id in spec["model"]["vocab"].items()}
    kinds = {id: gguf.TokenType.NORMAL for id in tokens}
    for added in spec["added_tokens"]:
        tokens[added["id"]] = added["content"]
        special = added["special"] or looks_special(added["content"])
        kinds[added["id"]] = gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED
    size = max(tokens) + 1
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list([tokens.get(id, f"[PAD{id}]") for id in range(size)])
    writer.add_token_types([kinds.get(id, gguf.TokenType.UNUSED) for id in range(size)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in spec["model"]["merges"]])
    ids = {token: id for id, token in tokens.items()}
    for key, add in (("bos_token", writer.add_bos_token_id), ("eos_token", writer.add_eos_token_id)):
        token = config.get(key)
        token = token.get("content") if isinstance(token, dict) else token
        if token in ids:
            add(ids[token])
    if "add_bos_token" in config:
        writer.add_add_bos_token(bool(config["add_bos_token"]))
    if "chat_template" in config:
        writer.add_chat_template(config["chat_template"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


WORDS = """the of and to in is that was for on Internationalisation don't we'll they've I'M YOU'RE she'D it's 'tis O'Neill's
naïve café Straße Müller Führer fiancée señor façade coöperate Ångström smörgåsbord İstanbul Đà Nẵng Việt Nam
нещо на Български привет мир ещё Україна ελληνικά λόγος Ἀθῆναι العربية السلام עברית שלום हिन्दी नमस्ते বাংলা தமிழ் ไทย สวัสดี
ខ្មែរ កាន់តែពិសេស ქართული հայերեն አማርኛ 中文 漢字 我想在 苹果 工作 日本語 ひらがな カタカナ ｶﾀｶﾅ 한국어 안녕하세요 ㄅㄆㄇ 𠀀𠮷 ～。、「」
int main(void) { return 0; } #include <stdio.h> def f(x): lambda x: x**2 == y != z && || -> => :: // /* */ <html> </div> &amp;
https://example.org/a?b=c&d=%20 user@example.com C:\\Users\\x snake_case camelCase HTTPServer kebab-case ...... ------ ======
3 33 333 3333 33333 333333 1,234,567.89 0x1F 1e-10 ½ ² ³ Ⅷ ① ٣٤٥ १२३ ３３ 2024-11-23 12:34:56
😀 🦙 🚀 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ❤️ ✅ ∑ ∫ √ ≠ € £ ¥ © ™ † « » “ ” ‘ ’ … — – ¿ ¡""".split()
SPACES = [" ", " ", " ", " ", " ", " ", "  ", "   ", "       ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", " \n", "\n ",
          "\u00a0", "\u3000", "\u2003", "\u200b", "\u180e", "\u0085", "\v", "\f", ""]
RANGES = [(0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5F4),
          (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE5B), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x20A0, 0x20BF),
          (0x2100, 0x218B), (0x2190, 0x23FF), (0x2E80, 0x2FD5), (0x3000, 0x30FF), (0x3105, 0x312F), (0x4E00, 0x9FFF),
          (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFE30, 0xFE4F), (0xFF01, 0xFFEE), (0x10400, 0x1044F), (0x1F300, 0x1F64F),
          (0x1D400, 0x1D7FF), (0x20000, 0x2A6D6), (0x0, 0x1F)]


def generated_text(random, special):
    kind = random.randrange(6)
    if kind == 0:  # characters of one or all ranges
        ranges = RANGES if random.random() < 0.4 else [random.choice(RANGES)]
        chars = [chr(random.randint(*random.choice(ranges))) for _ in range(random.randint(1, 60))]
        return "".join(chars)
    if kind == 1:  # digits among others
        return "".join(random.choice("0123456789 ,.x\n５٣") for _ in range(random.randint(1, 60)))
    if kind == 2:  # runs of white space
        return "".join(random.choice(SPACES) * random.randint(1, 9) + random.choice(["", "a", "é", "中", "!", "7"])
                       for _ in range(random.randint(1, 12)))
    pieces = []
    for _ in range(random.randint(1, 50)):
        pieces.append(random.choice(WORDS) if special is None or random.random() < 0.85 else random.choice(special))
        if random.random() < 0.15:
            pieces[-1] = pieces[-1].upper() if random.random() < 0.5 else pieces[-1].title()
        pieces.append(random.choice(SPACES))
    return "".join(pieces)


def generated_texts(n, seed, special=None):
    source = random.Random(seed)
    texts = []
    while len(texts) < n:
        text = generated_text(source, special)
        if all(unicodedata.category(c) != "Cn" for c in text):  # Unicode versions disagree on what is not assigned
            texts.append(text)
    return texts


def byte_characters():
    """The byte-level alphabet: the character of each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (chr(0x100 + i) for i in range(256))
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]


def known_bytes(vocabulary):
    """The bytes that the vocabulary has tokens for; some lack those that their training texts did not have."""
    fields = gguf.GGUFReader(vocabulary).fields
    if fields["tokenizer.ggml.model"].contents() != "gpt2":
        return set(range(256))
    kinds = fields["tokenizer.ggml.token_type"].contents()
    tokens = {token for token, kind in zip(fields["tokenizer.ggml.tokens"].contents(), kinds) if kind == gguf.TokenType.NORMAL}
    return {byte for byte, character in enumerate(byte_characters()) if character in tokens}


def invalid_texts(n, seed, known):
    source = random.Random(seed)
    high = sorted(byte for byte in known if byte >= 0x80)
    texts = []
    while len(texts) < n:
        text = bytearray(generated_text(source, None).encode())
        for _ in range(source.randint(1, 6)):
            text.insert(source.randint(0, len(text)), source.choice(high))
        if all(byte in known for byte in text):
            texts.append(bytes(text))
    return texts


def run(program, vocabulary, texts, parse):
    data = b"".join(str(len(text)).encode() + b"\n" + text for text in texts)
    command = [program, vocabulary] + (["parse"] if parse else [])
    result = subprocess.run(command, input=data, capture_output=True)
    if result.returncode != 0:
        raise SystemExit(result.stderr.decode())
    lines = result.stdout.decode().splitlines()
    assert len(lines) == len(texts)
    ids, same = zip(*(line.split("|") for line in lines))
    return [[int(id) for id in each.split()] for each in ids], [each == "1" for each in same], result.stderr.decode().strip()


def report(name, what, texts, expected, found, round_trip):
    wrong = [i for i in range(len(texts)) if expected is not None and expected[i] != found[i]]
    lost = [i for i in range(len(texts)) if not round_trip[i]]
    equal = "" if expected is None else f"{len(texts) - len(wrong)} of {len(texts)} equal, "
    print(f"{name}: {what}: {equal}{len(texts) - len(lost)} of {len(texts)} decode to the text")
    for i in wrong[:3]:
        print(f"  {texts[i]!r}\n    expected {expected[i]}\n    found    {found[i]}")
    for i in lost[:3]:
        print(f"  lost: {texts[i]!r}")
    return not wrong and not lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--encode-texts", default=str(root / "build/release/tests/encode_texts"))
    parser.add_argument("--texts", type=int, default=2500)
    parser.add_argument("--write", type=pathlib.Path)
    options = parser.parse_args()
    program = options.encode_texts
    good = True

    common_texts = []
    for vocabulary in sorted(options.folder.glob("*.gguf")):
        inp, out = (vocabulary.with_name(vocabulary.name + suffix) for suffix in (".inp", ".out"))
        if not inp.exists() or not out.exists():
            continue
        texts = inp.read_bytes().decode().split(SEPARATOR)
        expected = [[int(id) for id in line.split()] for line in out.read_text().split("\n")][:len(texts)]
        ids, same, _ = run(program, vocabulary, [text.encode() for text in texts], False)
        good &= report(vocabulary.name, "its texts", texts, expected, ids, same)
        invalid = invalid_texts(500, 3, known_bytes(vocabulary))
        ids, same, _ = run(program, vocabulary, invalid, False)
        good &= report(vocabulary.name, "invalid UTF-8", invalid, None, ids, same)
        common_texts = texts

    for folder in sorted(path.parent for path in options.folder.glob("*/tokenizer.json")):
        with tempfile.TemporaryDirectory() as temporary:
            out = options.write or pathlib.Path(temporary)
            out.mkdir(parents=True, exist_ok=True)
            vocabulary = out / (folder.name + ".gguf")
            special = convert_folder(folder, vocabulary)
            oracle = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            # A GGUF file does not tell a normaliser: texts come normalised as the tokeniser would do it.
            normalise = (lambda text: oracle.normalizer.normalize_str(text)) if oracle.normalizer else (lambda text: text)
            for what, texts, parse in (
                    ("common texts", common_texts, False),
                    ("generated texts", generated_texts(options.texts, 1), False),
                    ("generated texts with special tokens", generated_texts(options.texts // 4, 2, special), True)):
                texts = [normalise(text) for text in texts]
                expected = [oracle.encode(text, add_special_tokens=False).ids for text in texts]
                ids, same, _ = run(program, vocabulary, [text.encode() for text in texts], parse)
                good &= report(folder.name, what, texts, expected, ids, same)
                if options.write and what == "generated texts":
                    vocabulary.with_suffix(".gguf.inp").write_bytes(SEPARATOR.join(texts).encode())
                    vocabulary.with_suffix(".gguf.out").write_text("\n".join(" ".join(map(str, each)) for each in expected))
            invalid = invalid_texts(500, 3, known_bytes(vocabulary))
            ids, same, _ = run(program, vocabulary, invalid, False)
            good &= report(folder.name, "invalid UTF-8", invalid, None, ids, same)
            english = " ".join(source for source in [__doc__] * 1200).encode()[:1 << 20]
            _, _, took = run(program, vocabulary, [english], False)
            print(f"{folder.name}: {took}")
    print("all equal" if good else "DIFFERENT")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
