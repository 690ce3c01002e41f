"""Logits of a GGUF by llama.cpp (package llama-cpp-python), and a writer of F32 copies to ask it about.

llama.cpp rounds activations to the format of the weights (f16, or 8-bit blocks) before a product. A copy of the file with
every matrix as F32 removes that rounding: it shows whether the architecture agrees, where the file itself shows how far
the arithmetic of a product may differ.
"""

import sys
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

F32 = 0  # ggml's number of the type, for the KV cache


def logits(path: str | Path, tokens: list[int], **overrides) -> np.ndarray:
    """[n_tokens, n_vocab], with an f32 KV cache, no flash attention and one thread."""
    settings = dict(n_ctx=64, n_threads=1, n_threads_batch=1, type_k=F32, type_v=F32, flash_attn=False)
    settings |= beta_settings(path) | overrides
    model = llama_cpp.Llama(str(path), logits_all=True, verbose=False, **settings)
    model.eval(tokens)
    result = np.array(model.scores[: len(tokens)])
    model.close()
    return result


def beta_settings(path: str | Path) -> dict:
    """llama.cpp does not read these two keys of a deepseek2 file, but takes them as settings."""
    settings = {}
    for name, field in gguf.GGUFReader(path).fields.items():
        if name.endswith(".rope.scaling.yarn_beta_fast"):
            settings["yarn_beta_fast"] = float(field.contents())
        if name.endswith(".rope.scaling.yarn_beta_slow"):
            settings["yarn_beta_slow"] = float(field.contents())
    return settings


def write_dequantised(source: str | Path, target: str | Path, kind=gguf.GGMLQuantizationType.F32) -> None:
    """Copies a GGUF with its metadata, every matrix as `kind` (F32 or F16); vectors keep their format."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kinds = field.types
        sub_type = kinds[-1] if kinds[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kinds[0], sub_type=sub_type)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    print(logits(sys.argv[1], [int(token) for token in sys.argv[2:]]))
