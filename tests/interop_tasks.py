#!/usr/bin/env python3
"""interop_tasks.py: what `woq eval` answers in LAMBADA and MMLU against transformers on the same GGUF.

    interop_tasks.py WOQ GGUF DATA [--lambada 200] [--questions 70] [--chat 60] [--device NAME]

DATA has lambada/*.jsonl and mmlu/{dev,test}. The first lines of the one and the first questions of each subject of the
other are asked, again by a copy of them in which a chat template is used. The peer is made of other people's code from
the file on: csv and json read the data, tokenizers encodes, jinja2 (by transformers) applies the chat template, and
transformers computes in binary32; prompts are put together here, after lm-evaluation-harness. Ours computes with
weights in binary16, and activations in binary32 and in binary16. Answers and log-probabilities must agree: within
TOLERANCES, in nats, and where the peer's two likeliest are nearer to each other than that, either will do. Run by
interop.sh.
"""
import argparse
import copy
import csv
import glob
import json
import math
import os
import subprocess
import sys
import tempfile

import torch
from gguf import GGUFReader
from transformers.utils.chat_template_utils import render_jinja_template

from perplexity_compare import load_peer
from tokenizer_compare import build, read_gguf

TOLERANCES = {"f32": 0.01, "f16": 0.05} # by the type of our activations
SHOTS = 5


def read_mmlu(folder, split, limit=None):
    """{subject: [(question, choices, answer)]}"""
    subjects = {}
    for path in sorted(glob.glob(os.path.join(folder, split, f"*_{split}.csv"))):
        with open(path, encoding="utf-8", newline="") as f:
            rows = list(csv.reader(f))
        assert rows[0] == ["question", "choice0", "choice1", "choice2", "choice3", "answer"], path
        name = os.path.basename(path)[: -len(f"_{split}.csv")]
        subjects[name] = [(r[0], r[1:5], int(r[5])) for r in rows[1:]][:limit]
    return subjects


def question_text(question):
    text, choices, _ = question
    return text.strip() + "".join(f"\n{letter}. {c}" for letter, c in zip("ABCD", choices)) + "\nAnswer:"


def mmlu_prompt(subject, shots, question):
    text = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
    for shot in shots:
        text += question_text(shot) + f" {'ABCD'[shot[2]]}\n\n"
    return text + question_text(question)


class Peer:
    def __init__(self, path):
        data = read_gguf(path)
        self.tokenizer, _ = build(data, data["pre"] or "llama")
        self.model = load_peer(path)
        fields = GGUFReader(path).fields
        bos = fields.get("tokenizer.ggml.add_bos_token")
        adds = bos.contents() if bos else data["model"] == "llama"
        self.bos = [int(fields["tokenizer.ggml.bos_token_id"].contents())] if adds else []
        template = fields.get("tokenizer.chat_template")
        self.template = template.contents() if template else None

    def encode(self, text, special):
        self.tokenizer.encode_special_tokens = not special
        return self.bos + self.tokenizer.encode(text, add_special_tokens=False).ids

    def chat(self, text):
        made, _ = render_jinja_template([[{"role": "user", "content": text}]], chat_template=self.template,
                                        add_generation_prompt=True)
        return made[0]

    def logs(self, ids, cache=None):
        """ln p of the token after each of ids."""
        with torch.no_grad():
            out = self.model(torch.tensor([ids]), past_key_values=cache, use_cache=True)
        return torch.log_softmax(out.logits[0].double(), dim=-1), out.past_key_values

    def last_word(self, text, chat):
        """(ln p of the last word, whether it is the likeliest, margin of the nearest decision on the way)"""
        context, target = text.rsplit(" ", 1)
        target = text[len(context.rstrip()):]
        context = context.rstrip()
        prompt = self.chat(context) if chat else context
        ids, begin = self.encode(prompt + target, chat), len(self.encode(prompt, chat))
        logs, _ = self.logs(ids[:-1])
        total, greedy, margin = 0.0, True, math.inf
        for row, token in zip(logs[begin - 1:], ids[begin:]):
            total += row[token].item()
            best = row.topk(2)
            greedy &= best.indices[0].item() == token
            margin = min(margin, abs(best.values[0].item() - (best.values[1] if best.indices[0] == token
                                                               else row[token]).item()))
        return total, greedy, margin

    def choices(self, prompts, chat):
        """For each prompt ln p of the four letters."""
        letters = [" A", " B", " C", " D"] if not chat else ["A", "B", "C", "D"]
        texts = [self.chat(p) if chat else p for p in prompts]
        ids = [self.encode(t, chat) for t in texts]
        whole = [self.encode(texts[0] + letter, chat) for letter in letters]
        assert all(w[:-1] == ids[0] for w in whole)
        common = len(os.path.commonprefix(ids)) if len(ids) > 1 else len(ids[0]) - 1
        common = min([common] + [len(i) - 1 for i in ids])
        _, cache = self.logs(ids[0][:common])
        for i in ids:
            logs, _ = self.logs(i[common:], copy.deepcopy(cache))
            yield [logs[-1, w[-1]].item() for w in whole]


def compare(name, x, ours, keys, theirs, margins, answers):
    """x: type of our activations; keys: (group, number) of each example; theirs: (answer, log-probabilities); margins:
    of the answer from the next one; answers: the right ones."""
    tolerance = TOLERANCES[x]
    assert len(ours) == len(theirs), f"{name}: {len(ours)} predictions for {len(theirs)} examples"
    worst, other, near, wrong = 0.0, 0, 0, 0
    assert [(mine["group"], mine["example"]) for mine in ours] == keys
    for mine, (answer, logs), margin, right in zip(ours, theirs, margins, answers):
        got = mine["choices"] if name == "mmlu" else [mine["log_probability"]]
        worst = max([worst] + [abs(a - b) for a, b in zip(got, logs)])
        near += margin < tolerance
        other += mine["answer"] != answer
        wrong += mine["answer"] != answer and margin >= tolerance
        wrong += bool(mine["correct"]) != (mine["answer"] == right)
    accuracy = [sum(m["correct"] for m in ours) / len(ours),
                sum(t[0] == r for t, r in zip(theirs, answers)) / len(ours)]
    print(f"{name}, {x}: {len(ours)} examples, accuracy {accuracy[0]:.4f}, transformers {accuracy[1]:.4f}; {other} "
          f"other answers, {near} nearly tied; log-probabilities differ by up to {worst:.5f}", flush=True)
    return wrong == 0 and worst < tolerance


def run_ours(args, lambada, mmlu, x, chat):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "predictions.jsonl")
        command = [args.woq, "eval", f"{args.gguf}:f16", "--lambada", lambada, "--mmlu", mmlu, "--shots", str(SHOTS),
                   "--x", x, "--predictions", out, "--json", os.path.join(folder, "result.json")]
        command += (["--chat"] if chat else []) + (["--device", args.device] if args.device else [])
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(out, encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
    return {task: [line for line in lines if line["task"] == task] for task in ("lambada", "mmlu")}


def check(args, peer, texts, subjects, dev, chat):
    with tempfile.TemporaryDirectory() as folder:
        lambada, mmlu = os.path.join(folder, "lambada.jsonl"), os.path.join(folder, "mmlu")
        with open(lambada, "w", encoding="utf-8") as f:
            f.writelines(json.dumps({"text": t}) + "\n" for t in texts)
        for split, data in (("dev", dev), ("test", subjects)):
            os.makedirs(os.path.join(mmlu, split))
            for name, questions in data.items():
                with open(os.path.join(mmlu, split, f"{name}_{split}.csv"), "w", encoding="utf-8", newline="") as f:
                    csv.writer(f).writerows([q, *c, "ABCD"[a]] for q, c, a in questions) # the original's form
        ours = {x: run_ours(args, lambada, mmlu, x, chat) for x in TOLERANCES}
    words = [peer.last_word(t, chat) for t in texts]
    good = all([compare("lambada", x, o["lambada"], [("lambada", i) for i in range(len(words))],
                        [(int(g), [p]) for p, g, _ in words], [m for _, _, m in words], [1] * len(words))
                for x, o in ours.items()])
    keys, theirs, margins, answers = [], [], [], []
    for name, questions in subjects.items():
        prompts = [mmlu_prompt(name, dev[name][:SHOTS], q) for q in questions]
        for i, (logs, question) in enumerate(zip(peer.choices(prompts, chat), questions)):
            keys.append((name, i))
            first, second = sorted(logs, reverse=True)[:2]
            theirs.append((logs.index(first), logs))
            margins.append(first - second)
            answers.append(question[2])
    return all([compare("mmlu", x, o["mmlu"], keys, theirs, margins, answers) for x, o in ours.items()]) and good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("woq")
    parser.add_argument("gguf")
    parser.add_argument("data")
    parser.add_argument("--lambada", type=int, default=200, help="lines")
    parser.add_argument("--questions", type=int, default=70, help="of each subject of MMLU")
    parser.add_argument("--chat", type=int, default=20, help="lines, and questions of each subject, as a chat")
    parser.add_argument("--device")
    args = parser.parse_args()
    texts = []
    for path in sorted(glob.glob(os.path.join(args.data, "lambada", "*.jsonl"))):
        with open(path, encoding="utf-8") as f:
            texts += [json.loads(line)["text"] for line in f if line.strip()]
    mmlu = os.path.join(args.data, "mmlu")
    subjects, dev = read_mmlu(mmlu, "test", args.questions), read_mmlu(mmlu, "dev")
    dev = {name: dev[name] for name in subjects}
    assert len(texts) >= args.lambada and subjects, "the data are incomplete"
    peer = Peer(args.gguf)
    good = check(args, peer, texts[:args.lambada], subjects, dev, False)
    if args.chat and peer.template:
        few = {name: questions[:args.chat] for name, questions in subjects.items()}
        good &= check(args, peer, texts[:args.chat], few, dev, True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
