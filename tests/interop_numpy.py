#!/usr/bin/env python3
"""Checks a directory that `woq quantize` wrote, by numpy and safetensors alone.

usage: interop_numpy.py MODEL OUT [--library libwoq.so] [--tensor]
       interop_numpy.py MODEL --make WOQ [--library libwoq.so] [-- OPTION...]

MODEL: the .gguf file (package gguf) or Hugging Face directory that OUT was made from. With --make, WOQ is the program
that makes it, by `woq quantize` with the options, in a temporary folder.

For every packed layer: codes are unpacked as compressed-tensors documents them, and codes, scales and zero points must
equal, bit for bit, rounding to nearest as woq/quantize.h defines it, done here again. With --library the layer is also
dequantized by woq_format_decode_row and must equal scale * (q - zero) of the unpacked file. Everything else must be the
source's weights rounded to config.json's type. The last line counts layers and tensors; the exit status is 0 if all is
right.
"""
import argparse
import ctypes
import glob
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np


def f32_to_bf16(x):
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def bf16_to_f32(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Safetensors:
    """Raw access: the package refuses bfloat16 for numpy. Its own parser checks the files as well."""

    def __init__(self, directory):
        self.tensors = {}
        index = os.path.join(directory, "model.safetensors.index.json")
        if os.path.exists(index):
            with open(index, encoding="utf-8") as f:
                names = sorted(set(json.load(f)["weight_map"].values()))
        else:
            names = ["model.safetensors"]
        assert names == sorted(os.path.basename(p) for p in glob.glob(os.path.join(directory, "*.safetensors")))
        for name in names:
            path = os.path.join(directory, name)
            self.check(path)
            with open(path, "rb") as f:
                (size,) = struct.unpack("<Q", f.read(8))
                header = json.loads(f.read(size))
            assert header.pop("__metadata__", {}).get("format") == "pt", f"{name}: metadata format must be pt"
            for key, entry in header.items():
                assert key not in self.tensors, f"{key} is in two shards"
                self.tensors[key] = (path, 8 + size, entry)

    @staticmethod
    def check(path):
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as f:
            assert f.metadata() == {"format": "pt"}
            assert list(f.keys())

    def names(self):
        return list(self.tensors)

    def dtype(self, name):
        return self.tensors[name][2]["dtype"]

    def raw(self, name):
        path, base, entry = self.tensors[name]
        begin, end = entry["data_offsets"]
        kind = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "I32": "<i4", "I64": "<i8"}[entry["dtype"]]
        data = np.fromfile(path, dtype=kind, count=(end - begin) // np.dtype(kind).itemsize, offset=base + begin)
        return data.reshape(entry["shape"])

    def floats(self, name):
        raw = self.raw(name)
        return bf16_to_f32(raw) if self.dtype(name) == "BF16" else raw.astype(np.float32)


GGUF_NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
}


class Gguf:
    def __init__(self, path):
        from gguf import GGUFReader

        reader = GGUFReader(path)
        field = lambda key: reader.fields[key].contents()
        arch = field("general.architecture")
        self.heads = {"q": field(arch + ".attention.head_count") if arch == "llama" else 0}
        kv = reader.fields.get(arch + ".attention.head_count_kv")
        self.heads["k"] = (kv.contents() if kv else self.heads["q"]) if arch == "llama" else 0
        self.tensors = {self.rename(t.name): t for t in reader.tensors}

    @staticmethod
    def rename(name):
        whole = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
                 "output.weight": "lm_head.weight"}
        if name in whole:
            return whole[name]
        parts = name.split(".")
        if parts[0] != "blk":
            return name
        return f"model.layers.{parts[1]}.{GGUF_NAMES[parts[2]]}.{parts[3]}"

    def names(self):
        return [n for n in self.tensors if n != "rope_freqs.weight"]

    def floats(self, name):
        from gguf import dequantize

        t = self.tensors[name]
        w = np.asarray(dequantize(t.data, t.tensor_type), dtype=np.float32)
        w = w.reshape([int(d) for d in reversed(t.shape)])
        for part in "qk":
            heads = self.heads[part]
            if heads and name.endswith((f"self_attn.{part}_proj.weight", f"self_attn.{part}_proj.bias")):
                # llama.cpp's converter interleaves the two halves of a rotated head; back again.
                w = w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)
        return w


def round_to(dtype, x):
    if dtype == "F16":
        return x.astype(np.float16).astype(np.float32)
    return bf16_to_f32(f32_to_bf16(x)) if dtype == "BF16" else x


def rtn(w, bits, groups, tensor, symmetric, dtype):
    """Codes [N, K], scales [N, G], zero points [N, G]; binary32 throughout."""
    n, k = w.shape
    x = w.reshape(n, groups, k // groups)
    axis = None if tensor else 2
    low = np.minimum(x.min(axis=axis, keepdims=True), np.float32(0))
    high = np.maximum(x.max(axis=axis, keepdims=True), np.float32(0))
    top, half = np.float32(2**bits - 1), np.float32(2 ** (bits - 1) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if symmetric:
            scale = round_to(dtype, np.maximum(-low, high) / half)
            zero = np.full_like(scale, 2 ** (bits - 1))
            q = np.where(scale > 0, np.clip(np.rint(x / scale), -half, half), 0) + zero
        else:
            scale = round_to(dtype, (high - low) / top)
            zero = np.where(scale > 0, np.minimum(np.rint(-low / scale), top), 0)
            q = np.where(scale > 0, np.clip(np.rint(x / scale) + zero, 0, top), zero)
    shape = (n, groups)
    return (q.astype(np.uint8).reshape(n, k), np.broadcast_to(scale, (n, groups, 1)).reshape(shape),
            np.broadcast_to(zero, (n, groups, 1)).astype(np.uint8).reshape(shape))


def unpack(words, bits, count):
    """int32 [R, W] to unsigned codes [R, count], low bits first."""
    u = words.view(np.uint32)
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    codes = (u[:, :, None] >> shifts) & np.uint32(2**bits - 1)
    codes = codes.reshape(u.shape[0], -1)
    assert not codes[:, count:].any(), "padding must be zero"
    return codes[:, :count].astype(np.uint8)


class Format(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("code", ctypes.c_int), ("zero", ctypes.c_int),
                ("scale", ctypes.c_int), ("group", ctypes.c_uint64), ("g_idx", ctypes.c_bool)]


def decode(library, codes, raw_scales, zeros, dtype, bits, symmetric):
    """All rows by woq_format_decode_row, from canonical arrays."""
    n, k = codes.shape
    groups = raw_scales.shape[1]
    f = Format(ctypes.sizeof(Format), 1 if bits == 4 else 2, 1 if symmetric else 2,
               {"F32": 1, "F16": 2, "BF16": 3}[dtype], k // groups, False)
    if bits == 4:
        padded = np.pad(codes, ((0, 0), (0, k % 2)))
        codes = padded[:, 0::2] | padded[:, 1::2] << 4
    codes, scales, zeros = map(np.ascontiguousarray, (codes, raw_scales, zeros))
    out = np.empty((n, k), np.float32)
    pointer = lambda a: a.ctypes.data_as(ctypes.c_void_p)
    for row in range(n):
        status = library.woq_format_decode_row(
            ctypes.byref(f), ctypes.c_uint64(n), ctypes.c_uint64(k), pointer(codes), ctypes.c_uint64(0),
            pointer(scales), None if symmetric else pointer(zeros), None, ctypes.c_uint64(row), pointer(out[row]))
        assert status == 0, f"woq_format_decode_row: {status}"
    return out


def same(name, what, a, b):
    if a.shape != b.shape:
        sys.exit(f"{name}: {what}: shape {a.shape}, expected {b.shape}")
    bad = np.argwhere(a != b)
    if len(bad):
        at = tuple(bad[0])
        sys.exit(f"{name}: {what}: {len(bad)} of {a.size} differ, the first at {at}: {a[at]}, expected {b[at]}")


def check_layer(name, source, made, weights, tensor, library):
    bits, symmetric = weights["num_bits"], weights["symmetric"]
    w = source.floats(name + ".weight")
    n, k = w.shape
    same(name, "weight_shape", made.raw(name + ".weight_shape"), np.array([n, k]))
    assert made.dtype(name + ".weight_packed") == "I32"
    groups = 1 if weights["strategy"] == "channel" else k // weights["group_size"]
    codes = unpack(made.raw(name + ".weight_packed"), bits, k)
    raw, dtype = made.raw(name + ".weight_scale"), made.dtype(name + ".weight_scale")
    scales = made.floats(name + ".weight_scale")
    q, s, z = rtn(w, bits, groups, tensor, symmetric, dtype)
    same(name, "weight_scale", scales, s)
    same(name, "codes", codes, q)
    zeros = np.full((n, groups), 2 ** (bits - 1), np.uint8)
    if not symmetric:
        zeros = unpack(np.ascontiguousarray(made.raw(name + ".weight_zero_point").T), bits, n).T
        same(name, "weight_zero_point", zeros, z)
    assert (name + ".weight_zero_point" in made.tensors) != symmetric
    if library:
        expected = scales[:, :, None] * (codes.reshape(n, groups, -1).astype(np.float32) - zeros[:, :, None])
        same(name, "woq_format_decode_row", decode(library, codes, raw, zeros, dtype, bits, symmetric),
             expected.reshape(n, k))


def check(source, path, tensor, library):
    made = Safetensors(path)
    with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    q = config["quantization_config"]
    groups = list(q["config_groups"].values())
    assert len(groups) == 1 or all("Linear" not in g["targets"] for g in groups), "a class beside names takes their layers"
    dtype = {"float16": "F16", "bfloat16": "BF16"}[config.get("dtype", config.get("torch_dtype"))]
    assert q["quant_method"] == "compressed-tensors" and q["format"] == "pack-quantized"
    layers = plain = 0
    expected = set()
    for name in source.names():
        stem = name[: -len(".weight")] if name.endswith(".weight") else name
        if stem + ".weight_packed" in made.tensors:
            of = [g["weights"] for g in groups if stem in g["targets"] or "Linear" in g["targets"]]
            assert len(of) == 1, f"{stem} is in {len(of)} config groups"
            weights = of[0]
            check_layer(stem, source, made, weights, tensor, library)
            assert stem not in q["ignore"]
            expected |= {stem + end for end in (".weight_packed", ".weight_scale", ".weight_shape")}
            expected |= set() if weights["symmetric"] else {stem + ".weight_zero_point"}
            layers += 1
            continue
        assert not name.endswith("_proj.weight") or stem in q["ignore"], f"{name} is neither packed nor ignored"
        assert made.dtype(name) == dtype
        same(name, "weights", made.floats(name), round_to(dtype, source.floats(name)))
        expected.add(name)
        plain += 1
    assert expected == set(made.names()), f"unexpected: {expected ^ set(made.names())}"
    print(f"{path}: {layers} packed layers and {plain} other tensors are right")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--library")
    parser.add_argument("--make", metavar="WOQ")
    parser.add_argument("--tensor", action="store_true", help="made by woq quantize --tensor")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, options = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1:]
    if bool(args.out) == bool(args.make):
        parser.error("either OUT or --make must be given")
    library = ctypes.CDLL(args.library) if args.library else None
    source = Gguf(args.model) if args.model.endswith(".gguf") else Safetensors(args.model)
    if args.out:
        check(source, args.out, args.tensor, library)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "quantized")
        subprocess.run([args.make, "quantize", args.model, path, *options], check=True)
        check(source, path, "--tensor" in options, library)


if __name__ == "__main__":
    main()
