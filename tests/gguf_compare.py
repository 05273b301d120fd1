#!/usr/bin/env python3
"""gguf_compare.py: our dequantization against that of the PyPI package `gguf`, bit for bit.

    gguf_compare.py libwoq-model.so [GGUF...]

Needs the PyPI packages gguf and numpy. Makes a file of random blocks of each type, with and without
llama.cpp's order of q and k rows, and compares all tensors of it and of the files that are given.
Exit status 1 if anything differs.
"""
import ctypes
import sys
import tempfile

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

TYPES = [Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0,
         Type.Q4_K, Type.Q5_K, Type.Q6_K]
HEADS, KV_HEADS, ROWS, COLUMNS = 4, 2, 64, 1536
GLOBAL = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
         "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
         "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def load(path):
    lib = ctypes.CDLL(path)
    lib.woq_checkpoint_open.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]
    lib.woq_checkpoint_find.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    lib.woq_checkpoint_find.restype = ctypes.c_void_p
    lib.woq_tensor_read.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64,
                                    ctypes.c_void_p]
    lib.woq_checkpoint_close.argtypes = [ctypes.c_void_p]
    return lib


def make(path):
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    for kind in TYPES:
        size, size_bytes = gguf.GGML_QUANT_SIZES[kind]
        for part in ("attn_q", "attn_k", "attn_v"):
            raw = random.integers(0, 256, (ROWS, COLUMNS // size * size_bytes), dtype=np.uint8)
            name = f"blk.{int(kind)}.{part}.weight"
            if kind in (Type.F32, Type.F16):
                writer.add_tensor(name, raw.view(np.float32 if kind == Type.F32 else np.float16))
            else:
                writer.add_tensor(name, raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def our_name(name):
    stem, suffix = name.rsplit(".", 1)
    if stem.startswith("blk."):
        _, layer, part = stem.split(".")
        return f"model.layers.{layer}.{LAYER[part]}.{suffix}" if part in LAYER else name
    return f"{GLOBAL[stem]}.{suffix}" if stem in GLOBAL else name


def same_bits(a, b):
    a, b = a.view(np.uint32), b.view(np.uint32)
    both_nan = ((a & 0x7FFFFFFF) > 0x7F800000) & ((b & 0x7FFFFFFF) > 0x7F800000)
    return bool(np.all((a == b) | both_nan))


def expected(reader, tensor):
    with np.errstate(all="ignore"):
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    permuted = reader.get_field("general.architecture").contents() == "llama"
    for part, key in (("attn_q", "head_count"), ("attn_k", "head_count_kv")):
        if permuted and f".{part}." in tensor.name:
            heads = int(reader.get_field(f"llama.attention.{key}").contents())
            pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, -1)
            values = pairs.swapaxes(1, 2).reshape(values.shape)
    return np.ascontiguousarray(values)


def compare(lib, path):
    reader, checkpoint, wrong = gguf.GGUFReader(path), ctypes.c_void_p(), 0
    if lib.woq_checkpoint_open(path.encode(), None, ctypes.byref(checkpoint)):
        print(f"{path}: refused")
        return 1
    for tensor in reader.tensors:
        want = expected(reader, tensor)
        got = np.full_like(want, np.nan)
        rows = want.shape[0] if want.ndim > 1 else 1
        found = lib.woq_checkpoint_find(checkpoint, our_name(tensor.name).encode())
        if not found or lib.woq_tensor_read(found, 0, rows, got.ctypes.data) or \
                not same_bits(got, want):
            print(f"{path}: {tensor.name} ({tensor.tensor_type.name}) differs")
            wrong += 1
    lib.woq_checkpoint_close(ctypes.byref(checkpoint))
    print(f"{path}: {len(reader.tensors)} tensors, {wrong} differ")
    return wrong


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    lib = load(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        make(f"{folder}/blocks.gguf")
        wrong = compare(lib, f"{folder}/blocks.gguf")
    for path in sys.argv[2:]:
        wrong += compare(lib, path)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
