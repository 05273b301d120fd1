#!/usr/bin/env python3
"""Checks what of tools/compare_quantizers.py needs none of its peers.

    compare_quantizers_test.py

The draw of windows against numbers that tests/test_calibrate_samples.c holds ours to, and their fingerprint; bad
arguments; a whole comparison with a program that answers as woq does, without peers, and again from what is there.
"""
import argparse
import json
import os
import sys
import tempfile

import compare_checks as checks
import compare_quantizers_peers as peers

SCRIPT = "compare_quantizers.py"
DRAWN = [(20, 5, 0, [0, 3, 5, 15, 17]), (1000, 8, 1, [38, 55, 205, 242, 465, 582, 627, 781]),
         (6, 6, 3, [0, 1, 2, 3, 4, 5]), (100000, 4, 0xdeadbeefcafe, [29423, 86305, 91251, 93956])]
# Writes what woq would: a directory, or an evaluation with a row for each model.
FAKE = """#!{python}
import json, os, sys
args = sys.argv[1:]
with open({log!r}, "a", encoding="utf-8") as f:
    f.write(json.dumps(args) + "\\n")
if args[0] == "--version":
    print("woq 9.9")
elif args[0] == "quantize":
    if args[1].endswith("bad.gguf"):
        sys.exit("woq quantize: bad.gguf: is no model")
    os.makedirs(args[2], exist_ok=True)
elif args[0] == "eval":
    models = [a for a in args[1:args.index("--text")]]
    rows = []
    for i, file in enumerate(models):
        row = {{"file": file, "bits_per_weight": 16 - i, "perplexity": 20 + i, "standard_error": 0.5, "windows": 7}}
        if i:
            row.update(ln_ratio=0.25 * i, ln_ratio_error=0.125, kl={{"mean": i, "standard_error": 0.5,
                       "top1_agreement": 0.5, "top1_agreement_error": 0.01}})
        rows.append(row)
    if {broken}:
        rows[-1] = {{"file": models[-1], "error": "no memory"}}
    with open(args[args.index("--json") + 1], "w", encoding="utf-8") as f:
        json.dump({{"device_name": "a device", "driver": "a driver", "models": rows}}, f)
"""


def check_draw():
    for available, count, seed, want in DRAWN:
        assert peers.draw(available, count, seed) == want, (available, count, seed)
    # FNV-1a's offset, and one step by hand of tokens 0 and 1
    assert peers.fingerprint([]) == "cbf29ce484222325"
    assert peers.fingerprint([[0]]) == f"{0xcbf29ce484222325 * 0x100000001b3 % 2**64:016x}"
    assert peers.fingerprint([[1, 2], [3]]) == peers.fingerprint([[1], [2, 3]]) != peers.fingerprint([[1, 3], [2]])
    print("draw")


def write(folder, name, text):
    file = os.path.join(folder, name)
    with open(file, "w", encoding="utf-8") as f:
        f.write(text)
    return file


def make_program(folder, broken=False):
    log = os.path.join(folder, "log")
    program = write(folder, "woq", FAKE.format(python=sys.executable, log=log, broken=broken))
    os.chmod(program, 0o755)
    return program, log


def calls(log, verb):
    with open(log, encoding="utf-8") as f:
        return [args for args in map(json.loads, f) if args[0] == verb]


def check_arguments(folder):
    done = checks.call(SCRIPT, "--help")
    assert done.returncode == 0 and "--no-install" in done.stdout and "llmcompressor" in done.stdout
    text, program = write(folder, "text", "words"), make_program(folder)[0]
    fine = {"--text": text, "--test": text, "--work": folder, "--woq": program}
    for change, says in [({"--text": "/no/text"}, "/no/text"), ({"--woq": "/no/woq"}, "is no program"),
                         ({"--peers": "autogptq"}, "llmcompressor"), ({"--samples": "0"}, "at least 1"),
                         ({"--threads": "100000"}, "cores"), ({"--json": "/no/folder/x"}, "no folder"),
                         ({"--text": write(folder, "lines.jsonl", "{}")}, "must be plain text")]:
        args = [part for pair in {**fine, **change}.items() for part in pair]
        done = checks.call(SCRIPT, text, *args)
        assert done.returncode == 2 and says in done.stderr, (change, done)
    done = checks.call(SCRIPT, "/no/model", *[part for pair in fine.items() for part in pair])
    assert done.returncode == 2 and "no model '/no/model'" in done.stderr, done
    print("arguments")


def check_run(folder):
    program, log = make_program(folder)
    text, model, work = write(folder, "text", "words"), write(folder, "model.gguf", ""), os.path.join(folder, "work")
    result, venv = os.path.join(folder, "result.json"), os.path.join(folder, "venv")
    args = [model, "--text", text, "--test", text, "--work", work, "--woq", program, "--venv", venv, "--no-install",
            "--threads", "1", "--samples", "3", "--window", "32", "--seed", "5", "--group", "32", "--json", result]
    done = checks.call(SCRIPT, *args)
    assert done.returncode == 0, done
    rtn, gptq = calls(log, "quantize")
    assert "--method" not in rtn and rtn[rtn.index("--group") + 1] == "32", rtn
    for option, value in (("--method", "gptq"), ("--samples", "3"), ("--window", "32"), ("--seed", "5")):
        assert gptq[gptq.index(option) + 1] == value, gptq
    evaluated, = calls(log, "eval")
    assert evaluated[1:4] == [model + ":f16", os.path.join(work, "woq-rtn"), os.path.join(work, "woq-gptq")], evaluated
    lines = done.stdout.splitlines()
    assert lines[0] == f"a device, a driver; 1 threads; 3 samples of 32 tokens, seed 5; 7 windows of {text}", lines
    assert lines[2].split() == "fp16 16.00 – – 20.000 ± 0.500 baseline – –".split(), lines
    assert lines[4].endswith("22.000 ± 0.500  +0.5000 ± 0.1250  2.0000 ± 0.5000  50.00 ± 1.00 %"), lines
    for name, line in zip(peers.PEERS, lines[5:]):
        assert line.split()[0] == name and "left out: not installed: pip install" in line, lines
    with open(result, encoding="utf-8") as f:
        assert set(json.load(f)["left_out"]) == set(peers.PEERS)
    check_again(args, log, folder)
    print("run")


def check_again(args, log, folder):
    """From what is there, unless the arguments are others; and what fails."""
    assert checks.call(SCRIPT, *args).returncode == 0 and len(calls(log, "quantize")) == 2
    assert checks.call(SCRIPT, *args, "--seed", "6").returncode == 0 and len(calls(log, "quantize")) == 3
    make_program(folder, broken=True)
    done = checks.call(SCRIPT, *args, "--seed", "6")
    assert done.returncode == 0 and "no memory" in done.stdout, done
    bad = write(folder, "bad.gguf", "")
    done = checks.call(SCRIPT, bad, *args[1:])
    assert done.returncode == 1 and "bad.gguf: is no model" in done.stderr, done


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    check_draw()
    with tempfile.TemporaryDirectory() as folder:
        check_arguments(folder)
        check_run(folder)
    print("all fine")


if __name__ == "__main__":
    main()
