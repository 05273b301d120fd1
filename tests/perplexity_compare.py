#!/usr/bin/env python3
"""perplexity_compare.py: our logits and perplexity against those of transformers, on the same GGUF.

    perplexity_compare.py WOQ GGUF TEXT --library libwoq.so --model-library libwoq-model.so [--windows 4]
                          [--weights f16,as-stored] [--device NAME]

The peer is made of other people's code from the file on: the package gguf dequantizes, tokenizers encodes, and
transformers computes in binary32. Perplexity is llama.cpp's: windows of 512, the last 255 of each scored, the first
token replaced by BOS where the tokenizer adds one. `woq eval` must agree within 0.2 % in all and within 2 % of a nat
in each window. Logits of the text's first 64 tokens, with X in binary32, must agree within 0.2 % of their root mean
square: our weights are rounded to FP16 where the file has F32. Run by tools/test.sh --interop.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from gguf import GGUFReader
from transformers import LlamaConfig, LlamaForCausalLM

from interop_numpy import Gguf
from interop_transformers import logit_error, our_logits
from tokenizer_compare import build, read_gguf

WINDOW, SCORED = 512, 255


def load_peer(path):
    fields = GGUFReader(path).fields

    def get(key, otherwise=None):
        field = fields.get("llama." + key)
        return field.contents() if field else otherwise

    source = Gguf(path)
    weights = {name: torch.from_numpy(source.floats(name).copy()) for name in source.names()}
    vocabulary, hidden = weights["model.embed_tokens.weight"].shape
    tied = "lm_head.weight" not in weights
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=get("feed_forward_length"),
        num_hidden_layers=get("block_count"), num_attention_heads=get("attention.head_count"),
        num_key_value_heads=get("attention.head_count_kv"), max_position_embeddings=get("context_length"),
        rms_norm_eps=get("attention.layer_norm_rms_epsilon"), tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": get("rope.freq_base", 10000.0)})
    model = LlamaForCausalLM(config).float().eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and missing == (["lm_head.weight"] if tied else []), (missing, unexpected)
    model.tie_weights()
    return model


def window_nll(model, ids, bos):
    ids = torch.tensor([ids])
    if bos is not None:
        ids[0, 0] = bos
    with torch.no_grad():
        logits = model(ids).logits[0, WINDOW - 1 - SCORED:WINDOW - 1].double()
    return torch.nn.functional.cross_entropy(logits, ids[0, WINDOW - SCORED:]).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("woq")
    parser.add_argument("gguf")
    parser.add_argument("text")
    parser.add_argument("--library", required=True)
    parser.add_argument("--model-library", required=True)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--weights", default="f16,as-stored")
    parser.add_argument("--device")
    args = parser.parse_args()
    with open(args.text, encoding="utf-8") as f:
        text = f.read(args.windows * WINDOW * 8)
    data = read_gguf(args.gguf)
    tokenizer, _ = build(data, data["pre"] or "llama")
    tokenizer.encode_special_tokens = True # as llama.cpp: "<unk>" in a text is five characters
    bos = 1 if data["model"] == "llama" else None
    ids = ([] if bos is None else [bos]) + tokenizer.encode(text, add_special_tokens=False).ids
    assert len(ids) >= args.windows * WINDOW, "the text is too short"
    model = load_peer(args.gguf)
    with torch.no_grad():
        theirs = model(torch.tensor([ids[:64]])).logits[0].numpy()
    ours = our_logits(args.library, args.model_library, args.gguf, ids[:64], theirs.shape[1])
    error, name = logit_error(ours, theirs), os.path.basename(args.gguf)
    print(f"{name}: logits differ by {100 * error:.4f} % of their root mean square")
    wrong = error > 0.002
    peer = np.array([window_nll(model, ids[w * WINDOW:(w + 1) * WINDOW], bos) for w in range(args.windows)])
    with tempfile.TemporaryDirectory() as folder:
        cut, result = os.path.join(folder, "text"), os.path.join(folder, "result.json")
        with open(cut, "w", encoding="utf-8") as f:
            f.write(text)
        subprocess.run([args.woq, "eval", args.gguf, "--weights", args.weights, "--text", cut, "--json", result,
                        "--tokens", str(args.windows * WINDOW)] +
                       (["--device", args.device] if args.device else []), check=True, stdout=subprocess.DEVNULL)
        with open(result, encoding="utf-8") as f:
            models = json.load(f)["models"]
    theirs = math.exp(peer.mean())
    for m in models:
        change = m["perplexity"] / theirs - 1
        worst = np.abs(np.array(m["window_nll"]) - peer).max()
        print(f"{name}, {m['weights']}: perplexity {m['perplexity']:.4f} of {m['windows']} windows, transformers "
              f"{theirs:.4f}: {100 * change:+.4f} %; largest difference of a window {worst:.1e} nats")
        wrong |= m["windows"] != args.windows or abs(change) > 0.002 or worst > 0.02
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
