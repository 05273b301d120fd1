#!/usr/bin/env python3
"""Checks what of tools/compare_cpu.py needs none of its peers.

    compare_cpu_test.py --library libwoq.so

Weights packed for each peer, decoded by the peers' documented layouts; the product in float64; ratios, and what becomes
of wrong and failing contenders; packages and the virtual environment; bad arguments; a whole comparison without peers.
"""
import argparse
import contextlib
import io
import math
import os
import struct
import sys
import tempfile
import types

import compare_checks as checks
import compare_common as common
import compare_cpu
import compare_cpu_check as oracle
import compare_cpu_peers as peers
import compare_plot
import compare_venv

SCRIPT = "compare_cpu.py"
N, K = 16, 256


def check_packing():
    for name, bits in (("w4g128", 4), ("w8g128", 8)):
        data = common.Data(name, N, K)
        codes, scales = peers.pack_ort(data)
        blob = 128 * bits // 8
        assert len(codes) == N * 2 * blob and len(scales) == 4 * N * 2
        for row in range(N):
            for column in range(K):
                block, at = row * 2 + column // 128, column % 128
                byte = codes[block * blob + at * bits // 8]
                q = byte if bits == 8 else byte >> 4 * (at % 2) & 15
                scale, = struct.unpack_from("=f", scales, 4 * block)
                assert scale * (q - 2 ** (bits - 1)) == checks.weight(data, row, column), (name, row, column)
    data = common.Data("w4g128", N, K)
    codes, pairs = peers.pack_int4(data)
    codes, pairs = struct.unpack(f"={N * K}i", codes), struct.unpack(f"={2 * N * 2}f", pairs)
    for row in range(N):
        for column in range(K):
            scale, offset = pairs[2 * (column // 128 * N + row):][:2]
            assert scale * (codes[row * K + column] - 8) + offset == checks.weight(data, row, column), (row, column)
    for pack, n, k, says in ((peers.pack_ort, 16, 100, "K of whole 128"), (peers.pack_int4, 16, 100, "K of whole 128"),
                             (peers.pack_int4, 8, 128, "N of whole 16")):
        try:
            pack(common.Data("w4g128", n, k))
        except common.Skip as e:
            assert says in str(e), e
        else:
            raise AssertionError(f"{pack.__name__} took {n}x{k}")
    print("packing")


def check_oracle():
    """Against sums over checks.weight; with numpy where there is one, and without."""
    installed = oracle.numpy
    for numpy in {id(installed): installed, id(None): None}.values():
        oracle.numpy = numpy
        for name, n, k in (("w4g128", 3, 200), ("w4g128", 3, 131), ("w8g128", 5, 256)):
            data, m = common.Data(name, n, k), 2
            x = common.halves(m * k, 1.0)
            values, right = struct.unpack(f"<{m * k}e", x), oracle.product(data, m, x)
            if k % 2 == 0:  # checks.weight reads codes without padding
                for i in range(m):
                    for j in range(n):
                        sum_ = sum(values[i * k + c] * checks.weight(data, j, c) for c in range(k))
                        assert abs(right[i][j] - sum_) < 1e-12, (name, i, j)
            y = [float(v) for row in right for v in row]
            assert oracle.error(right, y, m) == 0
            size = math.sqrt(sum(v * v for v in y) / len(y))
            y[-1] += size / 8
            assert abs(oracle.error(right, y, m) - 1 / 8) < 1e-9
            y[0] = math.nan
            assert oracle.error(right, y, m) == math.inf
    oracle.numpy = installed
    assert not oracle.possible(512, 4096, 4096) or installed
    codes = oracle.codes_of(types.SimpleNamespace(bits=4, k=3, n=2, codes=bytes([0x21, 0x03, 0x54, 0x06])))
    assert codes == bytes([1, 2, 3, 4, 5, 6]), codes
    print("the product in float64" + ("" if installed else ", numpy not installed"))


class Fake:
    """A contender of N = 2, K = 2 that takes `seconds`."""

    def __init__(self, name, against, seconds, y=(1.0, 3.0), error=None):
        self.name, self.against, self.seconds, self.y, self.failure = name, against, seconds, y, error
        self.tolerance, self.ran = 1e-2, 0

    def prepare(self, _m, _x):
        if self.failure:
            raise self.failure
        return self.run

    def run(self):
        self.ran += 1
        return self.seconds * (1 if self.ran < 3 else 50)  # the last of three runs is disturbed

    def result(self):
        return self.y

    def kernel(self, _m):
        return "fake"


def check_ratios():
    assert compare_cpu.ratios({"a": 6.0, "b": 3.0, "o": 2.0}, {"a": "o", "b": "o", "c": "o"}) == {"a": 3.0, "b": 1.5}
    assert compare_cpu.ratios({"a": 6.0}, {"a": "o"}) == {}
    assert compare_cpu.unsteady({"a": [9.0, 10.0, 11.0, 50.0], "b": [1.0], "c": [5.0, 7.0, 9.0, 5.0]}) == ["a", "c"]
    assert compare_cpu.unsteady({"a": [9.0, 10.0, 11.0, 9.5, 50.0]}) == []
    table = compare_cpu.Table.__new__(compare_cpu.Table)
    table.options = types.SimpleNamespace(rounds=3, formats=["w4g128"],
                                          peers=["ort-float", "ort-int8", "torch-bf16", "torch-int4"])
    table.shape, table.rows, table.skipped = (2, 2), [], {"torch-int4": "not installed: pip install torch"}
    table.x, table.right = common.halves(2, 1.0), {"w4g128": [[1.0, 3.0]]}
    table.ours = [Fake("w4g128", "w4g128", 2e-3)]
    bad, broken = (Fake("ort-int8", "w4g128", 1e-3, y=(1.0, 3.1)),
                   Fake("torch-bf16", "w4g128", 1e-3, error=RuntimeError("no such instruction\nmore")))
    table.peers = [Fake("ort-float", "w4g128", 5e-3), bad, broken]
    row = table.measure(1)
    assert row["us"] == {"w4g128": 2000.0, "ort-float": 5000.0} and row["ratio"] == {"ort-float": 2.5}, row
    assert [len(t) for t in row["runs_us"].values()] == [3, 3] and not bad.ran and not broken.ran
    assert row["failed"]["ort-int8"].startswith("WRONG") and row["failed"]["torch-bf16"] == "no such instruction"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        compare_cpu.print_head(table)
        assert compare_cpu.report_row(table, row) == 0
    lines = out.getvalue().splitlines()
    assert lines[2] == "  torch int4 bf16: left out: not installed: pip install torch", lines
    assert lines[4].split() == ["1", "2.000", "5.000", "×2.50", "WRONG", "failed", "left", "out"], lines
    assert lines[6] == "      torch-bf16: no such instruction", lines
    assert lines[7].endswith("idle machine: w4g128, ort-float"), lines
    table.ours[0].y = (1.0, math.nan)
    row = table.measure(1)
    assert row["ratio"] == {} and "w4g128" not in row["us"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert compare_cpu.report_row(table, row) == 1
    print("ratios, wrong and missing contenders")


def check_packages(folder):
    def parse(*args):
        return compare_cpu.parse_arguments(args)

    assert compare_cpu.packages(parse("--peers", "none")) == ["numpy"]
    assert compare_cpu.packages(parse("--peers", "torch-bf16", "--png", "x.png")) == ["numpy", "matplotlib", "torch"]
    assert compare_cpu.packages(parse()) == ["numpy", "onnx", "onnxruntime", "torch"]
    assert compare_venv.missing(["json", "no_such_package"]) == ["no_such_package"]
    assert compare_venv.missing_in(sys.executable, ["json", "no_such_package"]) == ["no_such_package"]
    assert not compare_venv.inside(folder)
    log, pip = os.path.join(folder, "log"), os.path.join(folder, "pip")
    with open(pip, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\necho "$@" >> {log}\ncase $* in *onnx) exit 1 ;; esac\n')
    os.chmod(pip, 0o755)
    with contextlib.redirect_stderr(io.StringIO()) as err:
        compare_venv.install(["onnx", "torch"], (pip,))
    with open(log, encoding="utf-8") as f:
        asked = [line.split()[-1] for line in f]
    assert asked == ["onnx", "torch"] and "pip could not install onnx" in err.getvalue(), (asked, err.getvalue())
    done = checks.call(SCRIPT, "--venv", os.path.join(pip, "below-a-file"))
    assert done.returncode == 1 and "--no-install does without" in done.stderr, done
    print("packages")


def check_arguments(library):
    done = checks.call(SCRIPT, "--help")
    assert done.returncode == 0 and "--no-install" in done.stdout
    checks.check_bad_arguments(SCRIPT, [
        (["--formats", "w4g32"], "w4g128, w8g128"), (["--peers", "cublas"], "torch-int4"),
        (["--threads", "0"], "at least 1"), (["--threads", "100000"], "cores"),
        (["--no-install", "--png", "x.png"], "matplotlib is not installed")])
    checks.check_bad_device(SCRIPT, library, "--no-install", "--peers", "none", "--shapes", "8x8", "--m", "1")
    done = checks.call(SCRIPT, "--no-install", "--library", library, "--device", "reference")
    assert done.returncode == 1 and "without numpy" in done.stderr, done
    print("arguments")


def check_run(library, folder):
    """On the reference device, with none of the peers installed: columns that say so."""
    done, result = checks.run(SCRIPT, folder, "--no-install", "--library", library, "--device", "reference",
                              "--threads", "1", "--shapes", "16x128,32x256", "--m", "1,3")
    checks.check_rows(result, [(16, 128), (32, 256)], [1, 3], {"w4g128", "w8g128"})
    assert "pip install numpy onnx onnxruntime torch" in done.stderr, done
    for shape in result["shapes"]:
        assert set(shape["left_out"]) == set(peers.KINDS), shape
        assert "onnxruntime" in shape["left_out"]["ort-w8"] and "torch" in shape["left_out"]["torch-bf16"]
        assert list(shape["columns"]) == ["w4g128", "ort-float", "ort-int8", "torch-bf16", "torch-int4", "w8g128",
                                          "ort-w8"]
        for row in shape["rows"]:
            assert row["ratio"] == {} and set(row["error"]) == {"w4g128", "w8g128"}
            assert all(e <= result["tolerance"][name] for name, e in row["error"].items()), row
    assert result["threads"] == 1 and done.stdout.count("ORT W8 int8 X: left out: not installed") == 2
    rows = [line for line in done.stdout.splitlines() if line.startswith("   1  ") or line.startswith("   3  ")]
    assert len(rows) == 4 and all(line.count("left out") == 5 for line in rows), done.stdout
    # X and Y in BF16; 1 + 2^-8 is between two of them
    assert oracle.bf16(struct.pack("<4e", 1, 1 + 2**-8, 1 + 3 * 2**-8, -6e-8)) == \
        bytes.fromhex("803f" "803f" "823f" "80b3")
    assert list(oracle.numbers("bf16", bytes.fromhex("803f" "40c0"))) == [1, -3]
    done, result = checks.run(SCRIPT, folder, "--no-install", "--library", library, "--device", "reference",
                              "--threads", "1", "--shapes", "32x256", "--m", "3", "--x", "bf16", "--peers", "none")
    row, = result["shapes"][0]["rows"]
    assert result["x"] == "bf16" and all(1e-4 < row["error"][name] < 3e-2 for name in ("w4g128", "w8g128")), row
    if compare_plot.available():
        file = os.path.join(folder, "out.png")
        compare_plot.draw(result, file, [compare_plot.MILLISECONDS, compare_plot.RATIO], "a test")
        assert os.path.getsize(file) > 1000
    print("a run")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check_packing()
        check_oracle()
        check_ratios()
        check_packages(folder)
        check_arguments(options.library)
        check_run(options.library, folder)


if __name__ == "__main__":
    main()
