#!/usr/bin/env python3
"""woq report: the page of a calibration report is well-formed, whole and right; what is no report is refused.

usage: report_page.py WOQ
"""
import copy
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

from page_tree import SVG, parse, texts

MATRICES = {
    "qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "o": ["self_attn.o_proj"],
    "gate_up": ["mlp.gate_proj", "mlp.up_proj"],
    "down": ["mlp.down_proj"],
}
WOQ = sys.argv[1]
failures = []


def check(good, what):
    if not good:
        failures.append(what)
        print("FAILED:", what)


def matrix(layer, name, index):
    rtn = 0.05 + 0.01 * index + 0.02 * ((layer + 1) % 3)
    error = rtn * (0.5 + 0.03 * index)
    return {
        "name": f"model.layers.{layer}.{name}",
        "format": "qb4w_g64_f16",
        "rows": 576,
        "columns": 576 + index,
        "output_rms": 1.5,
        "relative_error_rtn": rtn,
        "relative_error": error,
        "snr_db_rtn": -20 * math.log10(rtn),
        "snr_db": -20 * math.log10(error),
        "range_kept": 0.93,
        "scale_min": -0.0625,
        "scale_median": 0.01,
        "scale_max": 0.09375,
        "groups": 5184,
        "negative_scales": 2600,
        "weight_limit": 1.25,
        "weight_histogram": [(24 - abs(i - 24)) ** 3 for i in range(48)],
        "scale_histogram": [i % 7 for i in range(48)],
        "seconds": 0.25,
    }


def report():
    layers = []
    for layer in range(3):
        stages = []
        for stage, names in MATRICES.items():
            kept = layer == 2 and stage == "down"
            stages.append({
                "stage": stage, "tokens": 65536, "damping": 0.01, "dead_channels": layer, "awq_exponent": None,
                "matrices": [] if kept else [matrix(layer, n, i) for i, n in enumerate(names)]})
        layers.append({"layer": layer, "stages": stages})
    return {"woq": "0.1.0", "model": "/data/<b>&\"", "method": "gptq", "text": "a'<i>.txt", "samples": 128,
            "window": 512, "seed": 0, "damping": 0.01, "input_share": 0.5, "residual_share": 0.5,
            "natural_order": False, "math": "fixed16",
            "bits_per_weight": 4.25, "seconds": 300.5, "layers": layers}


def all_matrices(data):
    return [m for layer in data["layers"] for stage in layer["stages"] for m in stage["matrices"]]


def run(folder, text):
    """Exit status, messages, and the page's text or None."""
    source, page = folder / "report.json", folder / "page.html"
    source.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    page.unlink(missing_ok=True)
    done = subprocess.run([WOQ, "report", source, page], capture_output=True, text=True, timeout=60, check=False)
    check(sorted(p.name for p in folder.iterdir() if p.name not in ("report.json", "page.html")) == [],
          "files left over")
    return done.returncode, done.stderr, page.read_text(encoding="utf-8") if page.exists() else None


def made(folder, data, what):
    """The page of a good report, and its tree; both parsers take it, and no number in it is none."""
    status, said, page = run(folder, data)
    check(status == 0 and page is not None, f"{what}: status {status}: {said}")
    if page is None:
        return "", xml.Element("html")
    tree, faults = parse(page)
    check(not faults, f"{what}: {faults[:3]}")
    return page, tree


def check_page(folder):
    data = report()
    page, tree = made(folder, data, "page")
    head, matrices = texts(tree, "h1"), all_matrices(data)
    check(head == ['<b>&": gptq, 4.25 bits per weight'], f"heading {head}")
    check(texts(tree, "title")[0] == head[0], "title")
    check({"/data/<b>&\"", "a'<i>.txt", "the largest inputs first", "fixed16"} <= set(texts(tree, "dd")), "facts")
    check("<b>&\"" not in page and "<i>" not in page, "escapes")
    cells = texts(tree, "td")
    for m in matrices:
        check(m["name"] in cells and f"{m['rows']} × {m['columns']}" in cells, f"the table lacks {m['name']}")
    rows = next(t for t in tree.iter(SVG + "table") if t.get("class") == "sort").findall(f"{SVG}tbody/{SVG}tr")
    check(len(rows) == 20 and {len(row) for row in rows} == {17}, "rows of the table")

    ratios = [math.log(m["relative_error"] / m["relative_error_rtn"]) for m in matrices]
    share = 100 * (1 - math.exp(sum(ratios) / len(ratios)))
    cards = texts(tree, "div", class_="card")
    check(f"−{share:.1f} %" in cards[1] and "smaller in 20" in cards[1], f"{share} in {cards[1]}")
    check("layer 1error" in cards[2], f"worst layer: {cards[2]}")
    check("5 min 0 s" in cards[3], f"time: {cards[3]}")

    titles = texts(tree, "title")
    for m in matrices:
        layer, kind = m["name"].split(".")[2], m["name"].rsplit(".", 1)[1]
        wanted = f"layer {layer}, {kind}: {m['snr_db']:.1f} dB, rounding to nearest {m['snr_db_rtn']:.1f} dB"
        check(any(t.startswith(wanted) for t in titles), f"the map lacks '{wanted}'")
        wanted = f"layer {layer}: {m['relative_error']:.4f}, rounding to nearest {m['relative_error_rtn']:.4f}"
        check(wanted in titles, f"the plots lack '{wanted}'")
    check("layer 2, down_proj: not quantized" in titles, "what stayed 16-bit")
    check(len([p for p in tree.iter(SVG + "path") if p.get("class") in ("weights", "scales")]) == 40, "histograms")
    check(len([p for p in tree.iter(SVG + "path") if p.get("class") == "before"]) == 9, "8 plots and the key")
    check("Sensitivity" not in texts(tree, "h2"), "no sensitivity was measured")


def check_sensitivity(folder):
    data = report()
    data["sensitivity"] = [{"layer": i % 3, "stage": stage, "bits": bits, "kl": kl, "relative_error": 0.08,
                            "weights": 1234567} for i, (stage, bits, kl) in enumerate(
                                [("qkv", 4, 0.002), ("down", 16, 0.05), ("o", 8, 0.01), ("gate_up", 4, None)])]
    data["budget"] = 5.5
    _, tree = made(folder, data, "sensitivity")
    order = ["".join(li.find(SVG + "span").itertext()) for li in tree.iter(SVG + "li")]
    check(order == ["layer 1 down", "layer 2 o", "layer 0 qkv", "layer 0 gate_up"], f"order {order}")
    bars = [r for r in tree.iter(SVG + "rect") if r.get("class") in ("b4", "b8", "b16") and r.get("height") == "10"]
    check([(b.get("class"), b.get("width")) for b in bars] ==
          [("b16", "100.00"), ("b8", "20.00"), ("b4", "4.00"), ("b4", "0.00")], "bars")
    check("budget 5.50" in texts(tree, "div", class_="card")[0], "budget")


def check_extremes(folder):
    """Numbers that a writer can give, but no plot expects."""
    for value in (None, 0, -1, 1e308, 5e-324, 1e-9):
        data = report()
        for key in ("relative_error_rtn", "relative_error", "snr_db_rtn", "snr_db", "scale_min", "weight_limit",
                    "seconds"):
            all_matrices(data)[3][key] = value
        data["layers"][1]["stages"][0]["damping"] = data["seconds"] = data["bits_per_weight"] = value
        made(folder, data, f"a matrix of {value}")
        for m in all_matrices(data):
            m["relative_error_rtn"] = m["relative_error"] = m["snr_db"] = value
            m["weight_histogram"] = [0]
        made(folder, data, f"all of {value}")
    data = report()
    data["layers"] = data["layers"][:1]
    data["layers"][0]["stages"] = data["layers"][0]["stages"][1:2]
    data["layers"][0]["stages"][0]["matrices"][0]["name"] = "odd"
    check("odd" in made(folder, data, "one matrix")[0], "a name without dots")
    for layers in (9, 40, 130):
        data["layers"] = [dict(copy.deepcopy(report()["layers"][0]), layer=i) for i in range(layers)]
        made(folder, data, f"{layers} layers")


def refused(folder, data, pattern):
    status, said, page = run(folder, data)
    check(status == 1 and re.search(pattern, said) and said.count("\n") == 1,
          f"wanted status 1 and /{pattern}/, got {status}: {said}")
    check(page is None, f"/{pattern}/: there is a page")


def check_refusals(folder):
    text = json.dumps(report())
    refused(folder, text[:-9], "no JSON at byte")
    refused(folder, "", "no JSON at byte 0")
    refused(folder, "[1]", "must be an object")
    refused(folder, {}, "'woq' is missing")
    places = {"": lambda d: d, "layers[1].": lambda d: d["layers"][1],
              "layers[0].stages[2].": lambda d: d["layers"][0]["stages"][2],
              "layers[1].stages[0].matrices[2].": lambda d: d["layers"][1]["stages"][0]["matrices"][2],
              "sensitivity[0].": lambda d: d["sensitivity"][0]}
    whole = report()
    whole["sensitivity"] = [{"layer": 0, "stage": "o", "bits": 4, "kl": 0.1, "relative_error": 0.1, "weights": 9}]
    for place, get in places.items():
        for key in get(whole):
            name = re.escape(place + key)
            if key in ("awq_exponent", "sensitivity"):
                continue
            data = copy.deepcopy(whole)
            del get(data)[key]
            refused(folder, data, f"'{name}'.* missing")
            get(data)[key] = {"a": 1}
            refused(folder, data, f"'{name}' (must be|is no list)")
    for change, pattern in (
            (lambda d: d.update(layers=[]), "no quantized matrix"),
            (lambda d: d.update(sensitivity=7), "'sensitivity' must be a list"),
            (lambda d: d.update(model="a\0b"), "'model' must be a text"),
            (lambda d: d["layers"][1].update(layer=2), r"'layers\[1\].layer' must be 1"),
            (lambda d: d["layers"].append(1), r"'layers\[3\].stages' is missing"),
            (lambda d: d["layers"][0]["stages"].append(1), r"'layers\[0\].stages\[4\]' must be an object"),
            (lambda d: all_matrices(d)[0].update(weight_histogram=[]), "weight_histogram' must be a list of counts"),
            (lambda d: all_matrices(d)[0].update(scale_histogram=[1, -1]), "scale_histogram' must be a list of counts"),
            (lambda d: all_matrices(d)[0].update(rows=-1), "rows' must be a whole number"),
            (lambda d: all_matrices(d)[1].update(name="x.q_proj"), "as another one of its layer"),
            (lambda d: d["layers"][0]["stages"][0].update(matrices=[matrix(0, f"m{i}", 0) for i in range(17)]),
             "one more than the 16 kinds")):
        data = report()
        change(data)
        refused(folder, data, pattern)


def check_file(folder):
    """A page that was there stays on failure, and is replaced as a whole; the report is never written over."""
    source, page, bad = folder / "report.json", folder / "page.html", folder / "bad.json"
    source.write_text(json.dumps(report()))
    bad.write_text("{}")
    page.write_text("old")

    def woq(*args):
        return subprocess.run([WOQ, "report", *args], capture_output=True, text=True, timeout=60, check=False)

    check(woq(bad, page).returncode == 1 and page.read_text() == "old", "the old page stays")
    check(woq(source, page).returncode == 0 and page.read_text().startswith("<!DOCTYPE html>"), "the old page goes")
    check(woq(source, "-").stdout == page.read_text(), "standard output")
    same = woq(source, folder / "." / "report.json")
    check(same.returncode == 1 and "the report itself" in same.stderr, "the report as its page")
    link = folder / "link.html"
    link.symlink_to(page)
    page.write_text("old")
    check(woq(source, link).returncode == 0 and link.is_symlink() and page.read_text() != "old", "through a link")
    check(woq(source, "/dev/full").returncode == 1, "no space")
    check(woq(source, "/dev/null").returncode == 0 and not pathlib.Path("/dev/null").is_file(), "a device")
    check(len(list(folder.iterdir())) == 4, "files left over")


def main():
    for part in (check_page, check_sensitivity, check_extremes, check_refusals, check_file):
        with tempfile.TemporaryDirectory() as folder:
            part(pathlib.Path(folder))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
