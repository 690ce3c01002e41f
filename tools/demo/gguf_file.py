"""Writing and reading GGUF version 3, as far as the demo model needs it, and the block format Q8_0. NumPy alone.

GGUF lists a tensor's dimensions fastest first; here they are as NumPy has them, [.., rows, cols].
"""
import struct

import numpy as np

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9               # types of metadata values
SCALARS = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}
TENSOR_F32, TENSOR_Q8_0 = 0, 8                                      # types of tensors
ALIGNMENT = 32

Q8_0_BLOCK = np.dtype([("scale", "<f2"), ("values", "i1", (32,))])


def quantize_q8_0(weights):
    """float32 [.., cols] -> blocks [.., cols / 32]: scale = max|w| / 127, value = w / scale, halves away from zero."""
    weights = weights.reshape(*weights.shape[:-1], -1, 32)
    scale = np.abs(weights).max(-1, keepdims=True) / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    scaled = weights * inverse
    magnitude = np.abs(scaled)
    whole = np.floor(magnitude)
    rounded = np.sign(scaled) * (whole + np.floor(2 * (magnitude - whole)))
    blocks = np.empty(weights.shape[:-1], Q8_0_BLOCK)
    blocks["scale"], blocks["values"] = scale[..., 0], rounded
    return blocks


def dequantize_q8_0(blocks):
    """blocks [.., n] -> float32 [.., 32 * n]"""
    weights = blocks["scale"][..., None].astype(np.float32) * blocks["values"].astype(np.float32)
    return weights.reshape(*blocks.shape[:-1], -1)


def _string(text):
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _scalar(kind, value):
    return _string(value) if kind == STRING else struct.pack(SCALARS[kind], value)


def _metadata_field(key, kind, value):
    if isinstance(value, list):
        elements = b"".join(_scalar(kind, element) for element in value)
        return _string(key) + struct.pack("<IIQ", ARRAY, kind, len(value)) + elements
    return _string(key) + struct.pack("<I", kind) + _scalar(kind, value)


def _padded(raw):
    return raw + b"\0" * (-len(raw) % ALIGNMENT)


def write(path, metadata, tensors):
    """metadata: [(key, type, value)], a list being an array of that type. tensors: {name: float32 array or Q8_0 blocks}.
    Returns the file's bytes."""
    directory, data, offset = [], [], 0
    for name, tensor in tensors.items():
        is_q8_0 = tensor.dtype == Q8_0_BLOCK
        assert is_q8_0 or tensor.dtype == np.float32, name
        dimensions = list(tensor.shape[::-1])
        if is_q8_0:
            dimensions[0] *= 32
        directory.append(_string(name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
                         + struct.pack("<IQ", TENSOR_Q8_0 if is_q8_0 else TENSOR_F32, offset))
        data.append(_padded(np.ascontiguousarray(tensor).tobytes()))
        offset += len(data[-1])
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(_metadata_field(*field) for field in metadata)
    head = _padded(head + b"".join(directory))
    with open(path, "wb") as file:
        file.write(head)
        file.writelines(data)
    return len(head) + offset


class _Cursor:
    def __init__(self, raw, at):
        self.raw, self.at = raw, at

    def unpack(self, pattern):
        (value,) = struct.unpack_from(pattern, self.raw, self.at)
        self.at += struct.calcsize(pattern)
        return value

    def string(self):
        n_bytes = self.unpack("<Q")
        self.at += n_bytes
        return self.raw[self.at - n_bytes:self.at].decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            kind, n = self.unpack("<I"), self.unpack("<Q")
            return [self.value(kind) for _ in range(n)]
        return self.unpack(SCALARS[kind])


def read(path):
    """({key: value}, {name: float32 array}) of a file that `write` wrote."""
    with open(path, "rb") as file:
        raw = file.read()
    if raw[:4] != b"GGUF":
        raise SystemExit(f"error: {path} is not a GGUF file; it begins with {raw[:4]!r}")
    cursor = _Cursor(raw, 8)
    n_tensors, n_metadata = cursor.unpack("<Q"), cursor.unpack("<Q")
    metadata = {}
    for _ in range(n_metadata):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.unpack("<I"))
    directory = []
    for _ in range(n_tensors):
        name = cursor.string()
        shape = [cursor.unpack("<Q") for _ in range(cursor.unpack("<I"))][::-1]
        directory.append((name, shape, cursor.unpack("<I"), cursor.unpack("<Q")))
    begin = cursor.at + -cursor.at % ALIGNMENT
    tensors = {}
    for name, shape, kind, offset in directory:
        n_values = int(np.prod(shape))
        if kind == TENSOR_Q8_0:
            blocks = np.frombuffer(raw, Q8_0_BLOCK, n_values // 32, begin + offset)
            tensors[name] = dequantize_q8_0(blocks).reshape(shape)
        else:
            tensors[name] = np.frombuffer(raw, np.float32, n_values, begin + offset).reshape(shape).copy()
    return metadata, tensors
