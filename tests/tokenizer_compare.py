#!/usr/bin/env python3
"""tokenizer_compare.py: our ids and texts against those of the PyPI package `tokenizers`.

    tokenizer_compare.py test_tokenizer GGUF [--count 10000] [--seed 1]

Needs the PyPI packages tokenizers, gguf and numpy. From the GGUF's vocabulary it builds the peer's tokenizer with the
parts that the model's original tokenizer.json has, generates strings, and compares the GGUF read by us, and the
tokenizer.json that the peer saves read by us, with it. A byte-level vocabulary is also tried under the
pre-tokenizers of the other models. Exit status 1 if anything differs.
"""
import argparse
import os
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata

from gguf import GGUFReader
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers)

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def byte_level(regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)


def split(regex):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), byte_level(False)])


PRE = {
    "gpt-2": lambda: byte_level(True),
    "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
    "llama-bpe": lambda: split(LLAMA3),
    "qwen2": lambda: split(QWEN2),
}


def read_gguf(path):
    fields = GGUFReader(path).fields

    def get(key, otherwise=None):
        field = fields.get("tokenizer.ggml." + key)
        return field.contents() if field else otherwise

    return {key: get(key) for key in ("model", "pre", "tokens", "scores", "token_type", "merges")}


def pairs_by_score(vocab, scores):
    """Every cut of a token into two is a merge; the higher the token's score, the earlier."""
    found = []
    for token, index in vocab.items():
        cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
        cuts = [c for c in cuts if c[0] in vocab and c[1] in vocab]
        cuts.sort(key=lambda c: (vocab[c[0]], vocab[c[1]]))
        found += [(-scores[index], n, cut) for n, cut in enumerate(cuts)]
    found.sort(key=lambda f: f[0])
    return [f[2] for f in found]


def build(data, pre):
    vocab = {token: i for i, token in enumerate(data["tokens"])}
    kinds = data["token_type"]
    if data["model"] == "llama":
        normal = {t: i for t, i in vocab.items() if kinds[i] == 1}
        peer = Tokenizer(models.BPE(vocab, pairs_by_score(normal, data["scores"]), unk_token="<unk>",
                                    byte_fallback=True, fuse_unk=True))
        peer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        peer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                          decoders.Strip(" ", 1, 0)])
    else:
        peer = Tokenizer(models.BPE(vocab, [tuple(m.split(" ")) for m in data["merges"]],
                                    ignore_merges=pre == "llama-bpe"))
        peer.pre_tokenizer = PRE[pre]()
        peer.decoder = decoders.ByteLevel()
        if pre == "qwen2":
            peer.normalizer = normalizers.NFC()
    special = [i for i in range(len(kinds)) if kinds[i] in (2, 3)]
    peer.add_special_tokens([AddedToken(data["tokens"][i], normalized=False, special=True) for i in special])
    return peer, [data["tokens"][i] for i in special]


def assigned(rng, low, high):
    """A character of Unicode 13 or before, which the regular expression engines of both sides know."""
    while True:
        c = chr(rng.randrange(low, high))
        if unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Cs", "Co"):
            return c


WORDS = ["the", "The", "hello", "World", "don't", "I'll", "WE'VE", "it's", "'S", "'\u017f", "x86", "naïve", "Straße",
         "日本語", "русский", "Ελληνικά", "हिन्दी", "العربية", "ไทย", "한국어", "e\u0301", "ﬁn", "\u2581x", "tokenizer",
         "antidisestablishmentarianism", "http://example.org/?a=b&c=d", "foo_bar", "camelCase", "\ufeff"]
EMOJI = ["😀", "🚀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "✅", "❤️", "🦙"]
NUMBERS = ["0", "7", "42", "1984", "31415", "1000000", "1.5e-3", "½", "²", "Ⅷ", "٣٤", "㊿", "1,234"]
SPACES = [" ", "  ", "   ", "\n", "\r\n", "\n\n", "\t", " \t ", "\u00a0", "\u2003", "\u3000", "\u200b", "\u180e",
          "\u0085", "\u2028", "\v", "\f", "\x1c", "\x00", "\x7f", " " * 17, "\n " * 5]


def piece(rng, special):
    kind = rng.randrange(13)
    if kind < 3:
        return rng.choice(WORDS)
    if kind == 3:
        return rng.choice(EMOJI)
    if kind == 4:
        return rng.choice(NUMBERS) if rng.randrange(2) else str(rng.randrange(10 ** rng.randrange(1, 12)))
    if kind < 8:
        return rng.choice(SPACES) if rng.randrange(3) else " "
    if kind == 8:
        return rng.choice(special) if special else "<s>"
    if kind == 9:
        return assigned(rng, 0x20, rng.choice([0x80, 0x250, 0x3000, 0x10000, 0x20000, 0x110000]))
    if kind == 10:
        return "".join(assigned(rng, 0xa0, 0x3000) for _ in range(rng.randrange(1, 9)))
    if kind == 11:
        return "".join(chr(rng.randrange(0x20, 0x7f)) for _ in range(rng.randrange(1, 20)))
    return rng.choice("!?.,;:-_=+*/\\|@#$%^&~`'\"()[]{}<>") * rng.randrange(1, 9)


def generate(count, seed, special):
    rng = random.Random(seed)
    return ["".join(piece(rng, special) for _ in range(rng.randrange(1, 16))) for _ in range(count)]


def ours(program, path, strings, folder):
    name = os.path.join(folder, "strings")
    with open(name, "wb") as file:
        for s in strings:
            data = s.encode()
            file.write(struct.pack("<I", len(data)) + data)
    run = subprocess.run([program, "--encode", path, name, "special"], stdout=subprocess.PIPE, check=True)
    for line in run.stdout.decode().splitlines():
        ids, text = line.split("\t")
        yield [int(i) for i in ids.split()], bytes.fromhex(text).decode(errors="replace")


def compare(what, program, path, peer, strings, folder):
    wrong = 0
    for s, (ids, text) in zip(strings, ours(program, path, strings, folder), strict=True):
        expected = peer.encode(s, add_special_tokens=False).ids
        decoded = peer.decode(expected, skip_special_tokens=True)
        if ids != expected or text != decoded:
            wrong += 1
            if wrong <= 5:
                print(f"{what}: {s!r}\n  ours {ids} {text!r}\n  peer {expected} {decoded!r}")
    print(f"{what}: {len(strings) - wrong} of {len(strings)} strings agree")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("gguf")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    data = read_gguf(args.gguf)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for pre in PRE if data["model"] == "gpt2" else ["llama"]:
            peer, special = build(data, pre)
            strings = generate(args.count, args.seed, special)
            path = os.path.join(folder, "tokenizer.json")
            peer.save(path)
            if pre in (data["pre"], "llama"):
                wrong += compare(f"{pre}, GGUF", args.program, args.gguf, peer, strings, folder)
            wrong += compare(f"{pre}, tokenizer.json", args.program, path, peer, strings, folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
