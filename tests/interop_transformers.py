#!/usr/bin/env python3
"""Loads a directory that `woq quantize` wrote in transformers, and compares weights and logits with ours.

usage: interop_transformers.py OUT --library libwoq.so --model-library libwoq-model.so

Weights: what compressed-tensors decompresses must be rn(scale * (q - zero)) in the scale's type of the codes in the
file, bit for bit. Logits: transformers in binary32 on those weights against woq_model_forward on the same file, with
X in binary32, on WOQ_DEVICE or the best device; ours multiply by scale * (q - zero) unrounded, so they differ by the
rounding of the weights to FP16: at most 0.2 % of the logits' root mean square, and the same best token at each
position. Run by interop.sh, which pins the packages' versions.
"""
import argparse
import ctypes
import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging
from transformers.utils.quantization_config import CompressedTensorsConfig

TEXT = "The capital of France is Paris. 12 + 34 = 46, and\n\n  naïve 🙂"


class Format(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("code", ctypes.c_int), ("zero", ctypes.c_int),
                ("scale", ctypes.c_int), ("group", ctypes.c_uint64), ("g_idx", ctypes.c_bool)]


class ModelParams(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("weights", ctypes.c_int), ("format", Format),
                ("context", ctypes.c_uint32), ("batch", ctypes.c_uint32), ("x_type", ctypes.c_int),
                ("math", ctypes.c_int), ("progress", ctypes.c_void_p), ("progress_user", ctypes.c_void_p)]


def our_logits(library, model_library, path, ids, vocabulary):
    """[len(ids)][vocabulary] by woq_model_forward, X in binary32."""
    base = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    lib = ctypes.CDLL(model_library)
    base.woq_last_message.restype = ctypes.c_char_p

    def check(status):
        if status:
            sys.exit(f"woq: {base.woq_last_message().decode()}")

    device, checkpoint, model = (ctypes.c_void_p() for _ in range(3))
    params = ModelParams(ctypes.sizeof(ModelParams), 0, Format(ctypes.sizeof(Format), 0, 0, 0, 0, False),
                         len(ids), len(ids), 1, 0)
    tokens = np.asarray(ids, dtype=np.int32)
    out = np.empty((len(ids), vocabulary), dtype=np.float32)
    check(base.woq_device_open(None, None, ctypes.byref(device)))
    check(lib.woq_checkpoint_open(os.fsencode(path), None, ctypes.byref(checkpoint)))
    check(lib.woq_model_create(device, checkpoint, ctypes.byref(params), ctypes.byref(model)))
    check(lib.woq_model_forward(model, tokens.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint32(len(ids)),
                                out.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint32(len(ids))))
    lib.woq_model_destroy(ctypes.byref(model))
    lib.woq_checkpoint_close(ctypes.byref(checkpoint))
    base.woq_device_destroy(ctypes.byref(device))
    return out


def unpack(words, bits, count):
    """int32 [R, W] to unsigned codes [R, count], low bits first."""
    wide = words.to(torch.int64) & 0xFFFFFFFF
    parts = [(wide >> shift) & (2**bits - 1) for shift in range(0, 32, bits)]
    return torch.stack(parts, dim=-1).reshape(words.shape[0], -1)[:, :count]


def dequantize(tensors, name, weights):
    """rn(scale * (q - zero)) in the scale's type."""
    n, k = (int(d) for d in tensors[name + ".weight_shape"])
    bits, scale = weights["num_bits"], tensors[name + ".weight_scale"]
    codes = unpack(tensors[name + ".weight_packed"], bits, k).reshape(n, scale.shape[1], -1)
    zero = torch.full((n, scale.shape[1]), 2 ** (bits - 1))
    if not weights["symmetric"]:
        zero = unpack(tensors[name + ".weight_zero_point"].T.contiguous(), bits, n).T
    exact = scale.to(torch.float32)[:, :, None] * (codes - zero[:, :, None]).to(torch.float32)
    return exact.to(scale.dtype).reshape(n, k)


def scheme_of(groups, name):
    """`weights` of the config group that names the module, or that is for its class."""
    for target in (name, "Linear"):
        for group in groups.values():
            if target in group["targets"]:
                return group["weights"]
    sys.exit(f"{name}: no config group has it")


def logit_error(ours, theirs):
    """The difference as a share of the logits, root mean squares of both."""
    return np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2))


def load_dense(path, mixed):
    """The model with its packed layers decompressed by compressed-tensors: at loading, or, as transformers 5.23 takes
    all layers for the first config group then, by the first forward pass where there are several."""
    if mixed:
        model = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
        with torch.no_grad():
            model(torch.tensor([[0]]))
        config = AutoConfig.from_pretrained(path)
        del config.quantization_config
        dense = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
        weights = {name: w for name, w in model.state_dict().items() if name in dense.state_dict()}
        dense.load_state_dict(weights)
        return dense
    config = CompressedTensorsConfig(dequantize=True)
    return AutoModelForCausalLM.from_pretrained(path, quantization_config=config, dtype="auto")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--library", required=True)
    parser.add_argument("--model-library", required=True)
    args = parser.parse_args()
    with open(os.path.join(args.out, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    groups = config["quantization_config"]["config_groups"]
    index = os.path.join(args.out, "model.safetensors.index.json")
    files = ["model.safetensors"]
    if os.path.exists(index):
        with open(index, encoding="utf-8") as f:
            files = sorted(set(json.load(f)["weight_map"].values()))
    tensors = {}
    for name in files:
        tensors.update(load_file(os.path.join(args.out, name)))
    logging.disable_progress_bar()
    model = load_dense(args.out, len(groups) > 1)
    modules = dict(model.named_modules())
    count = dict.fromkeys((4, 8), 0)
    for key in tensors:
        if not key.endswith(".weight_packed"):
            continue
        name = key[: -len(".weight_packed")]
        weights = scheme_of(groups, name)
        made, wanted = modules[name].weight.detach(), dequantize(tensors, name, weights)
        if made.dtype != wanted.dtype or not torch.equal(made, wanted):
            sys.exit(f"{name}: transformers has other weights than the file says")
        count[weights["num_bits"]] += 1
    ids = AutoTokenizer.from_pretrained(args.out)(TEXT)["input_ids"]
    with torch.no_grad():
        theirs = model.float().eval()(torch.tensor([ids])).logits[0].numpy()
    ours = our_logits(args.library, args.model_library, args.out, ids, config["vocab_size"])
    error = logit_error(ours, theirs)
    print(f"{args.out}: {count[4]} layers of 4 bits and {count[8]} of 8 are equal; "
          f"logits differ by {100 * error:.3f} % of their root mean square")
    if error > 0.002 or (ours.argmax(axis=1) != theirs.argmax(axis=1)).any():
        sys.exit("the logits are not ours")


if __name__ == "__main__":
    main()
