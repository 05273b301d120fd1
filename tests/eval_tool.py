#!/usr/bin/env python3
"""woq eval: verdicts find a wrong layer, tasks count what is right, a run that was killed goes on to the same figures,
outputs are whole.

usage: eval_tool.py WOQ TINY.gguf [STORIES.gguf STORIES.txt]
"""
import json
import math
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

from page_tree import SVG, parse

WOQ, TINY, STORIES, TEXT = (sys.argv[1:] + [None, None])[:4]
TIMES = ("date", "load_seconds", "seconds", "tokens_per_second")
os.environ["WOQ_DEVICE"] = "reference"
os.environ.pop("WOQ_EMULATE", None)
os.environ["OMP_WAIT_POLICY"] = "passive"
failures = 0


def check(good, what):
    global failures
    if not good:
        failures += 1
        print("FAILED:", what)


def woq(status, pattern, *arguments):
    """Runs it, and checks exit status and what it says; returns that."""
    done = subprocess.run([WOQ, *map(str, arguments)], capture_output=True, text=True, timeout=240)
    said = done.stdout + done.stderr
    check(done.returncode == status and pattern in said,
          f"{' '.join(map(str, arguments))}: status {done.returncode}, wanted {status} and '{pattern}':\n{said}")
    return said


def figures(file):
    """A JSON result without what a clock says."""
    def strip(value):
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k not in TIMES}
        return [strip(v) for v in value] if isinstance(value, list) else value
    return strip(json.loads(pathlib.Path(file).read_text()))


def edit(directory, ending, change):
    """Changes the bytes of the tensors whose names end so; returns how many."""
    file = directory / "model.safetensors"
    data = bytearray(file.read_bytes())
    size = struct.unpack("<Q", data[:8])[0]
    found = 0
    for name, tensor in json.loads(data[8:8 + size]).items():
        if name.endswith(ending):
            begin, end = (8 + size + x for x in tensor["data_offsets"])
            data[begin:end] = change(data[begin:end], tensor)
            found += 1
    file.write_bytes(data)
    return found


def negate(data, tensor):
    """Numbers of 16 bits."""
    check(tensor["dtype"] in ("F16", "BF16"), f"scales are {tensor['dtype']}")
    return bytes(b ^ 0x80 if i % 2 else b for i, b in enumerate(data))


def swap_halves(data, tensor):
    """Of the matrix's rows."""
    half = len(data) // 2
    return data[half:] + data[:half]


def test_verdicts(root):
    text = ["--text", TEXT, "--tokens", 96, "--window", 32, "--kl", "--verdict"]
    for name in ("good", "negated"):
        woq(0, "8 bits", "quantize", STORIES, root / name, "--bits", 8, "--channel")
    check(edit(root / "negated", "layers.2.self_attn.o_proj.weight_scale", negate) == 1, "a scale to negate")
    said = woq(3, "verdict: 1 of 2 pass", "eval", f"{STORIES}:f16", root / "good", root / "negated", *text,
               "--json", root / "verdict.json", "--html", root / "page.html", "--max-perplexity", 2)
    first, good, bad = json.loads((root / "verdict.json").read_text())["models"]
    check("verdict" not in first and good["verdict"]["passes"], f"the good model passes: {said}")
    check(not bad["verdict"]["passes"] and "perplexity +" in bad["verdict"]["text"] and
          "KL" in bad["verdict"]["text"] and bad["kl"]["mean"] > 10 * good["kl"]["mean"], f"a wrong layer: {said}")
    check_page(root / "page.html")


def test_itself(root):
    model = root / "tiny.gguf"
    woq(0, "verdict: 1 of 1 pass", "eval", model, model, "--text", root / "long.txt", "--tokens", 200, "--window", 8,
        "--kl", "--lambada", root / "lambada.jsonl", "--verdict", "--json", root / "self.json")
    itself = figures(root / "self.json")["models"][1]
    check(itself["kl"]["mean"] == 0 and itself["kl"]["max"] == 0 and itself["ln_ratio"] == 0 and
          itself["kl"]["top1_agreement"] == 1, "a model beside itself")
    check(itself["tasks"]["lambada"]["comparison"]["same_answers"] == 1, "its answers")
    # Activations between products: the same model, other roundings.
    text = ["eval", model, "--text", root / "long.txt", "--tokens", 200, "--window", 8, "--json", root / "x.json",
            "--html", root / "x.html"]
    perplexity = []
    for x in ("f16", "f32", "bf16"):
        said = woq(0, "perplexity", *text, "--x", x)
        check((f"activations between products: {x}" in said) == (x != "f16"), f"{x} is said: {said}")
        result = figures(root / "x.json")
        check(result["x"] == x, f"{result['x']} instead of {x}")
        check(f"activations{x}" in read_page(root / "x.html")[1], f"{x} on the page")
        perplexity.append(result["models"][0]["perplexity"])
    check(0 < abs(perplexity[0] / perplexity[1] - 1) < 0.01 and 0 < abs(perplexity[2] / perplexity[1] - 1) < 0.05,
          f"perplexities by type of activations: {perplexity}")
    woq(2, "--x: ", "eval", model, "--text", root / "long.txt", "--x", "f64")
    # A weight of its only layer is another: the output matrix, half of whose bytes are swapped.
    woq(0, "8 bits", "quantize", model, root / "tiny", "--bits", 8, "--channel")
    check(edit(root / "tiny", "o_proj.weight_packed", swap_halves) == 1, "a weight to swap")
    woq(3, "verdict: 0 of 1 pass", "eval", f"{model}:f16", root / "tiny", "--text", root / "long.txt", "--tokens", 200,
        "--window", 8, "--kl", "--verdict")


def tiny_model(file):
    """TINY's weights are all but zero; here they are numbers that are fair as FP16 and as FP32, 1 to 2."""
    data = bytearray(pathlib.Path(TINY).read_bytes())
    tensors = 12
    begin = len(data) - 32 * (tensors + 1)  # each fills 32 bytes but the embedding, which needs 64
    draw = random.Random(1)
    for i in range(begin, len(data), 4):
        if data[i:i + 4] in (b"\0\0\x80\x3f", b"\0\0\0\0"):  # the divisor of a rotary frequency; what fills up
            continue
        low = draw.choice((0, 0x8000)) | draw.randrange(0x3400, 0x4000)
        data[i:i + 4] = struct.pack("<HH", low, draw.choice((0, 0x8000)) | draw.randrange(0x3f80, 0x4000))
    file.write_bytes(data)
    return file


def read_page(file):
    """Its tree and its words."""
    page, faults = parse(file.read_text())
    check(not faults, f"the page: {faults[:3]}")
    return page, " ".join("".join(page.itertext()).split())


def check_page(file):
    page, words = read_page(file)
    check("passes" in words and words.count("✗ fails") == 1, "verdicts on the page")
    check(len(list(page.iter(SVG + "svg"))) == 2 + 2 + 2, "drawings on the page: rows, histograms, windows")
    check(len(list(page.iter(SVG + "circle"))) == 2 + 2 + 2 * 3, "dots on the page")


def kill_in_the_middle(command, state):
    """True if it was killed after it had written some of the file."""
    run = subprocess.Popen([WOQ, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.time() + 120
    while run.poll() is None and time.time() < end and not (state.exists() and state.stat().st_size > 20000):
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    return run.wait() == -signal.SIGKILL


def test_state(root):
    draw = random.Random(2)
    (root / "long.txt").write_text(" ".join(draw.choice(("a", "b", "ab", "1")) for i in range(6000)))
    (root / "lambada.jsonl").write_text("".join(
        json.dumps({"text": " ".join(draw.choice("ab1") for k in range(3 + i % 9))}) + "\n" for i in range(40)))
    state = root / "state"
    run = ["eval", tiny_model(root / "tiny.gguf"), "--weights", "f16,w8", "--text", root / "long.txt",
           "--tokens", 4000, "--window", 4, "--kl",
           "--lambada", root / "lambada.jsonl"]
    go_on = run + ["--state", state, "--json", root / "resumed.json", "--predictions", root / "resumed.jsonl"]
    woq(0, "lambada: 40 examples", *run, "--json", root / "whole.json", "--predictions", root / "whole.jsonl")
    check(kill_in_the_middle(go_on, state), "killed while it ran")
    killed = state.read_bytes()
    lines = killed.count(b"\n")
    check(20 < lines < 1500, f"{lines} lines when killed")
    state.write_bytes(killed + b'{"step":"window","model":0,"window":')  # and in the middle of a line
    woq(0, "f16", *go_on)
    whole = figures(root / "whole.json")
    check(figures(root / "resumed.json") == whole, "figures after a kill are those of a run without one")
    check(len(whole["models"][1]["window_nll"]) == 1000 and whole["models"][1]["kl"]["mean"] > 0,
          "figures of all windows")
    check((root / "resumed.jsonl").read_text() == (root / "whole.jsonl").read_text(), "predictions too")
    check(len((root / "whole.jsonl").read_text().splitlines()) == 80, "a line for each example and model")
    kept = state.read_bytes()
    check(kept.startswith(killed[:killed.rindex(b"\n")]), "what was finished is kept")
    woq(0, "f16", *go_on)  # nothing is left to do
    check(state.read_bytes() == kept and figures(root / "resumed.json") == whole,
          "a finished run gives its figures again")

    woq(1, "models[1].weights is \"w8\" there and \"w4\" here", *[str(a).replace("f16,w8", "f16,w4") for a in go_on])
    woq(1, "text.window is 4 there and 8 here", *[8 if a == 4 else a for a in go_on])
    woq(1, "x is \"f16\" there and \"f32\" here", *go_on, "--x", "f32")
    woq(1, "is the state of another run: tasks", *go_on, "--limit", 5)
    check(state.read_bytes() == kept, "a refused run leaves the file")
    state.write_bytes(kept.replace(b'"step"', b'"step', 1))
    woq(1, "is damaged at line 2", *go_on)
    state.write_text("something else\n")
    woq(1, "is no state of woq eval", *go_on)
    check(state.read_text() == "something else\n", "what is no state is left alone")


def test_outputs(root):
    run = ["eval", root / "tiny.gguf", "--weights", "f16,w8", "--text", root / "long.txt", "--tokens", 64,
           "--window", 8]
    said = woq(1, "cannot write '/dev/full'", *run, "--state", "/dev/full", "--json", root / "full.json")
    check("verdict:" in said and "perplexity" in figures(root / "full.json")["models"][0],
          "other outputs of a full disk")
    woq(1, "cannot write '/dev/full'", *run, "--html", "/dev/full")
    woq(1, "cannot write", *run, "--html", root / "none" / "x.html")
    woq(2, "both", *run, "--html", root / "x", "--json", root / "x")
    woq(2, "needs a file", *run, "--state", "-")
    # Nothing is written over what is read, under whatever name.
    before = (root / "tiny.gguf").read_bytes(), (root / "long.txt").read_bytes()
    (root / "link").symlink_to(root / "long.txt")
    for option in ("--json", "--html", "--state"):
        woq(2, "is a model to measure", *run, option, root / "tiny.gguf")
        woq(2, "both", *run, option, root / "link")
    check(before == ((root / "tiny.gguf").read_bytes(), (root / "long.txt").read_bytes()), "what is read stays")
    (root / "empty.txt").write_text("")
    woq(1, "need 16", *(root / "empty.txt" if a == root / "long.txt" else a for a in run))
    woq(2, "--verdict is of models beside the first", "eval", TINY, "--text", root / "long.txt", "--verdict")
    woq(2, "standard errors, as in 2se", *run, "--max-accuracy-drop", "2x")
    woq(2, "percent", *run, "--max-perplexity", "-1")
    woq(2, "test or dev", *run, "--mmlu", root, "--split", "train")
    woq(1, "is of no known form", *run, "--lambada", root / "lambada.jsonl", "--chat")
    # One that is right in fewer places than it may be; and by points.
    lambada = ["--lambada", root / "lambada.jsonl", "--max-perplexity", 1000]
    woq(0, "points, not below -100 points", *run, *lambada, "--max-accuracy-drop", 100, "--verdict")
    # Bounds are the user's; without --verdict they are but words.
    text = [*run, "--kl", "--verdict"]
    woq(3, "> 0", *text, "--max-kl", 0)
    woq(0, "1 of 1 pass", *text, "--max-kl", 9, "--max-perplexity", 1000)
    woq(0, "0 of 1 pass", *text[:-1], "--stride", 4, "--max-kl", 0)


LETTERS = {"likes_c": (1, 2, 4, 3), "likes_b": (2, 4, 1, 3)}  # logits of " A" ... " D" behind a prompt's colon


def letters_model(folder, logits):
    """Predicts the same whatever was before the last token: its layer adds nothing to that token's embedding, of which
    the norm is 1 and the output matrix has multiples in the letters' rows. Returns the size of the vocabulary."""
    hidden, draw = 32, random.Random(3)
    signs = [chr(c) for c in range(33, 127)] + ["\u0120", "\u010a"]  # bytes as themselves; the blank, the line's end
    words = signs + ["\u0120" + c for c in "ABCD"]
    size = len(words) + 1
    embedding = [[draw.choice((-1, 1)) for i in range(hidden)] for row in range(size)]
    output = [[0] * hidden for row in range(size)]
    for letter, logit in zip(range(len(signs), len(words)), logits):
        output[letter] = [logit / hidden * x for x in embedding[signs.index(":")]]

    def matrix(part, rows=hidden):
        zero = part in ("self_attn.o_proj", "mlp.down_proj")
        return [[0 if zero else draw.randrange(-32, 33) / 64 for i in range(hidden)] for row in range(rows)]
    tensors = {"model.embed_tokens": embedding, "lm_head": output, "model.norm": [1] * hidden}
    for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                 "mlp.up_proj", "mlp.down_proj"):
        tensors["model.layers.0." + part] = matrix(part)
    for part in ("input_layernorm", "post_attention_layernorm"):
        tensors["model.layers.0." + part] = [1] * hidden
    header, data = {}, b""
    for name, rows in tensors.items():
        shape = [len(rows), hidden] if isinstance(rows[0], list) else [hidden]
        flat = sum(rows, []) if len(shape) == 2 else rows
        begin = len(data)
        data += struct.pack(f"<{len(flat)}e", *flat)
        header[name + ".weight"] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "hidden_act": "silu", "num_hidden_layers": 1, "hidden_size": hidden,
        "intermediate_size": hidden, "vocab_size": size, "num_attention_heads": 4, "num_key_value_heads": 4,
        "head_dim": 8, "max_position_embeddings": 1024, "rms_norm_eps": 1e-6, "rope_theta": 10000,
        "tie_word_embeddings": False, "bos_token_id": size - 1, "eos_token_id": size - 1}))
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<s>", "add_bos_token": true}')
    (folder / "tokenizer.json").write_text(json.dumps({
        "added_tokens": [{"id": size - 1, "content": "<s>", "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "model": {"type": "BPE", "vocab": {word: i for i, word in enumerate(words)},
                  "merges": ["\u0120 " + c for c in "ABCD"]}}))
    return size


def near(a, b, tolerance=1e-9):
    return abs(a - b) <= tolerance


def has_accuracy(group, right):
    """The mean of 0s and 1s, and its standard error."""
    mean = sum(right) / len(right)
    error = math.sqrt(sum((x - mean) ** 2 for x in right) / (len(right) - 1) / len(right))
    return near(group["accuracy"], mean) and near(group["accuracy_error"], error)


def test_mmlu(root):
    answers = {"prehistory": "BCD", "virology": "CCBAC"}
    folder = root / "mmlu"
    for split in ("dev", "test"):
        (folder / split).mkdir(parents=True)
        for subject, letters in answers.items():
            (folder / split / f"{subject}_{split}.csv").write_text("".join(
                f'"Which, {i}?",one,two,three,four,{x}\n'
                for i, x in enumerate("ABCDC" if split == "dev" else letters)))
    size = [letters_model(root / name, logits) for name, logits in LETTERS.items()][0]
    run = ["eval", *(root / name for name in LETTERS), "--mmlu", folder, "--details"]
    files = ["--json", root / "mmlu.json", "--html", root / "mmlu.html", "--predictions", root / "mmlu.jsonl"]
    said = woq(3, "mmlu: 8 examples of 2 subjects (test), 5 shots", *run, *files, "--verdict",
               "--max-accuracy-drop", 20)
    check("verdict: 0 of 1 pass" in said and "mmlu -25.0 ± 31.3 points, below -20 points" in said, f"verdict: {said}")
    given = json.loads((root / "mmlu.json").read_text())
    tasks = [m["tasks"]["mmlu"] for m in given["models"]]
    for task, likes in zip(tasks, "CB"):
        right = {s: [x == likes for x in letters] for s, letters in answers.items()}
        check(has_accuracy(task, sum(right.values(), [])), f"accuracy {task}")
        for subject, category in zip(task["subjects"], ("humanities", "other")):
            check(subject["category"] == category and has_accuracy(subject, right[subject["name"]]), f"in {subject}")
        check([(c["name"], c["examples"]) for c in task["categories"]] == [("humanities", 3), ("other", 5)],
              "categories")
    beside = tasks[1]["comparison"]
    check(near(beside["accuracy_change"], -0.25) and beside["gained"] == 2 and beside["lost"] == 4 and
          beside["same_answers"] == 0, f"comparison {beside}")
    # Logits of the right letters, those of one model less those of the other.
    change = [a - b for x in "".join(answers.values()) for a, b in [[l["ABCD".index(x)] for l in LETTERS.values()]]]
    check(near(beside["ln_perplexity_ratio"], sum(change) / 8, 0.01), f"comparison {beside}")
    lines = [json.loads(line) for line in (root / "mmlu.jsonl").read_text().splitlines()]
    check([line["group"] for line in lines] == 2 * (3 * ["prehistory"] + 5 * ["virology"]), "a line for each question")
    for line, logits in zip(lines, 8 * [LETTERS["likes_c"]] + 8 * [LETTERS["likes_b"]]):
        total = math.log(sum(map(math.exp, logits)) + size - 4)
        check(all(near(a, b - total, 0.01) for a, b in zip(line["choices"], logits)) and
              line["answer"] == logits.index(max(logits)) and "truncated" not in line, f"prediction {line}")
    page, words = read_page(root / "mmlu.html")
    check("By category" in words and "2 subjects" in words and "virology" in words and "✗ fails" in words and
          len(list(page.iter(SVG + "svg"))) == 2, f"the page: {words}")
    # Of dev's own five questions four are the examples.
    for shots in ([], ["--shots", 5], ["--shots", 99]):
        woq(1, "has 5 questions; ", *run, "--split", "dev", *shots)
    woq(0, "mmlu: 10 examples of 2 subjects (dev), 4 shots", *run, "--split", "dev", "--shots", 4,
        "--json", root / "dev.json")
    dev = json.loads((root / "dev.json").read_text())
    check(dev["tasks"][0]["split"] == "dev" and [m["tasks"]["mmlu"]["correct"] for m in dev["models"]] == [4, 2], "dev")
    # Nothing is written among the files of models and questions.
    hidden = root / "likes_c" / "model.safetensors", folder / "test" / "virology_test.csv"
    before = [file.read_bytes() for file in hidden]
    for option in ("--json", "--html", "--predictions", "--state"):
        for name in ("model.safetensors", "config.json", "new"):
            woq(2, "is in the directory of a model to measure", *run, option, root / "mmlu" / ".." / "likes_c" / name)
        woq(2, f"{option} '{hidden[1]}' is in --mmlu", *run, option, hidden[1])
    os.chdir(root / "likes_c")
    woq(0, '"correct": 4', *run[:2], "--mmlu", folder, "--json", "-")
    os.chdir("/")
    check([file.read_bytes() for file in hidden] == before and not (root / "likes_c" / "new").exists(), "what is read")
    woq(1, "needs two or more", *run[:2], "--mmlu", one_question(root / "one"), "--split", "dev")


def one_question(folder):
    (folder / "dev").mkdir(parents=True)
    (folder / "dev" / "virology_dev.csv").write_text("Which?,one,two,three,four,A\n")
    return folder


def main():
    tests = [test_state, test_outputs, test_itself, test_mmlu]
    if STORIES and not os.path.exists(STORIES):
        print(f"{STORIES} is not there")
        return 77
    if STORIES:
        tests = [test_verdicts]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        os.environ["XDG_CACHE_HOME"] = folder
        for test in tests:
            start = time.time()
            test(root)
            print(f"{test.__name__}: {time.time() - start:.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
