#!/usr/bin/env python3
"""woq report: the page of calibration statistics is well-formed, whole and right; what are none is refused.

usage: statistics_page.py WOQ
"""
import json
import math
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

from page_tree import SVG, parse, texts
from report_page import WOQ, check, failures

ROWS = 100
META = {"woq.kind": "statistics", "woq.model": "ab" * 32, "woq.samples": "4", "woq.window": "25", "woq.seed": "9",
        "woq.rows": str(ROWS), "woq.text": "a'<i>&.txt"}
KINDS = {"self_attn.q_proj": ("q/k/v", 6), "self_attn.o_proj": ("o", 4), "mlp.gate_proj": ("gate/up", 6),
         "mlp.down_proj": ("down", 10)}


def inputs(layers=3):
    """{name: {suffix: values}}: one channel of each stands out, layer 1's most."""
    out = {}
    for layer in range(layers):
        for number, (tail, (_, k)) in enumerate(KINDS.items()):
            mean = [1.0137 + 0.2611 * i for i in range(k)]
            mean[(layer + number) % k] *= 8 if layer == 1 else 4
            histogram = [0] * 64
            histogram[30], histogram[31] = ROWS * k - 7, 5
            out[f"model.layers.{layer}.{tail}"] = {
                "absmax": [3 * m for m in mean], "mean_abs": mean, "mean": [0.0] * k,
                "second_moment": [2 * m * m for m in mean], "histogram": histogram}
    return out


def write(file, data, meta=None):
    header, body = {"__metadata__": META if meta is None else meta}, b""
    for name, vectors in data.items():
        for suffix, values in vectors.items():
            bits = struct.pack(f"<{len(values)}{'q' if suffix == 'histogram' else 'f'}", *values)
            header[f"{name}.{suffix}"] = {"dtype": "I64" if suffix == "histogram" else "F32", "shape": [len(values)],
                                          "data_offsets": [len(body), len(body) + len(bits)]}
            body += bits
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + body)


def woq(source, page):
    return subprocess.run([WOQ, "report", source, page], capture_output=True, text=True, timeout=60, check=False)


def made(folder, data, what, meta=None):
    """The page, and its tree; both parsers take it, and no number in it is none."""
    source, page = folder / "all.safetensors", folder / "page.html"
    write(source, data, meta)
    page.unlink(missing_ok=True)
    done = woq(source, page)
    check(done.returncode == 0 and page.exists(), f"{what}: status {done.returncode}: {done.stderr}")
    if not page.exists():
        return "", xml.Element("html")
    text = page.read_text(encoding="utf-8")
    tree, faults = parse(text)
    check(not faults, f"{what}: {faults[:3]}")
    return text, tree


def figure(value):
    """As the page has numbers."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 4}f}"


def check_page(folder):
    data = inputs()
    text, tree = made(folder, data, "page")
    check(texts(tree, "h1") == ["Activations on a'<i>&.txt"] == texts(tree, "title")[:1], "heading")
    check("<i>" not in text, "escapes")
    facts = {str(folder / "all.safetensors"), "ab" * 32, "4 windows of 25 tokens, seed 9"}
    check(facts <= set(texts(tree, "dd")), "facts")

    def ratio(name):
        mean = data[name]["mean_abs"]
        return max(mean) * len(mean) / sum(mean)

    top = max(data, key=lambda name: max(data[name]["absmax"]))
    strong = max(data, key=ratio)
    cards = texts(tree, "div", class_="card")
    check("12of 3 decoder layers, 100 tokens each" in cards[0], cards[0])
    check(figure(max(data[top]["absmax"])) + f"layer {top.split('.')[2]}, " in cards[1], cards[1])
    check(figure(ratio(strong)) + " ×" in cards[2] and f"layer {strong.split('.')[2]}, " in cards[2], cards[2])
    check("24which count nowhere" in cards[3], cards[3])

    table = next(t for t in tree.iter(SVG + "table") if t.get("class") == "sort")
    rows = [["".join(cell.itertext()) for cell in row] for row in table.findall(f"{SVG}tbody/{SVG}tr")]
    titles = texts(tree, "title")
    for row, (name, vectors) in zip(rows, data.items()):
        mean, k = vectors["mean_abs"], len(vectors["mean_abs"])
        rms = math.sqrt(sum(vectors["second_moment"]) / k)
        wanted = [name, name.split(".")[2], str(k), figure(max(vectors["absmax"])), figure(rms), figure(sum(mean) / k),
                  str(mean.index(max(mean))), figure(ratio(name)), "2"]
        check(row == wanted, f"{row}, not {wanted}")
        check(f"layer {wanted[1]}: largest {wanted[3]}, RMS {wanted[4]}, mean {wanted[5]}; channel {wanted[6]} has "
              f"{wanted[7]} times the mean" in titles, f"no point of {name}")
    check(len(rows) == 12, f"{len(rows)} rows")
    captions = texts(tree, "figcaption")
    check(captions[:4] == [kind for kind, _ in KINDS.values()] and len(captions) == 16, f"figures {captions}")
    check(texts(tree, "h3")[0].startswith("Layer 1 "), "the layer with the strongest channel is not the first")
    check(len([p for p in tree.iter(SVG + "path") if p.get("class") == "weights"]) == 12, "histograms")
    check(len([p for p in tree.iter(SVG + "path") if p.get("class") == "most"]) == 1 + 4 + 12, "lines of the largest")
    # Two bins of |x| from 2^0.5 on, the smaller one's bar by the logarithm of its count.
    bars = next(p.get("d") for p in tree.iter(SVG + "path") if p.get("class") == "weights")
    heights = [84 - float(v) for v in re.findall(r"V([\d.]+)h", bars)]
    check(len(heights) == 2 and abs(heights[0] - 78) < 0.1 and
          abs(heights[1] - 78 * math.log(6) / math.log(ROWS * 6 - 6)) < 0.2, f"bars {heights}")


def check_extremes(folder):
    """Numbers that a file can hold, but no plot expects."""
    for value in (0.0, -1.0, math.nan, math.inf, 3e38, 1e-45):
        data = inputs()
        for suffix in ("absmax", "mean_abs", "second_moment"):
            data["model.layers.1.mlp.down_proj"][suffix][3] = value
        made(folder, data, f"a channel of {value}")
        for vectors in data.values():
            for suffix in ("absmax", "mean_abs", "second_moment"):
                vectors[suffix] = [value] * len(vectors[suffix])
        made(folder, data, f"all of {value}")
    data = inputs()
    for vectors in data.values():
        del vectors["second_moment"], vectors["histogram"]
    _, tree = made(folder, data, "neither moments nor histograms")
    check(not [p for p in tree.iter(SVG + "path") if p.get("class") == "weights"], "histograms of nothing")
    data = inputs()
    data["model.layers.0.mlp.down_proj"]["histogram"] = [0] * 64
    del data["model.layers.2.self_attn.o_proj"]
    made(folder, data, "an empty histogram, an input less")
    data = {"odd": dict(inputs()["model.layers.0.self_attn.o_proj"], absmax=[1.0], mean_abs=[0.5], second_moment=[0.3])}
    check("odd" in made(folder, data, "one channel", {"woq.kind": "statistics"})[0], "a name without layers")
    data["odd"].update(absmax=[1.0 / (i + 1) for i in range(5000)], mean_abs=[0.1] * 5000, second_moment=[0.1] * 5000)
    made(folder, data, "many channels")
    made(folder, inputs(130), "130 layers")


def refused(folder, source, pattern):
    page = folder / "refused.html"
    done = woq(source, page)
    check(done.returncode == 1 and re.search(pattern, done.stderr) and done.stderr.count("\n") == 1,
          f"wanted status 1 and /{pattern}/, got {done.returncode}: {done.stderr}")
    check(not page.exists(), f"/{pattern}/: there is a page")


def check_refusals(folder):
    source = folder / "all.safetensors"
    write(source, inputs(), {})
    refused(folder, source, "all.safetensors' is no file of statistics")
    write(source, {"model.layers.0.mlp.down_proj": {"absmax": [1.0]}})
    refused(folder, source, "has statistics of no input")
    write(source, {"model.layers.4096.mlp.down_proj": {"absmax": [1.0], "mean_abs": [1.0]}})
    refused(folder, source, "'model.layers.4096.mlp.down_proj' is beyond 4096 layers of 16 inputs")
    write(source, {f"model.layers.0.p{i}": {"absmax": [1.0], "mean_abs": [1.0]} for i in range(17)})
    refused(folder, source, "is beyond 4096 layers of 16 inputs")
    write(source, inputs())
    source.write_bytes(source.read_bytes()[:600])
    refused(folder, source, "all.safetensors")
    write(source, inputs())
    done = woq(source, source)
    check(done.returncode == 1 and "the page needs a file of its own" in done.stderr, "the statistics as their page")


def main():
    for part in (check_page, check_extremes, check_refusals):
        with tempfile.TemporaryDirectory() as folder:
            part(pathlib.Path(folder))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
