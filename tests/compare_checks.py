"""compare_checks.py: what the tests of tools/compare_cuda.py and tools/compare_cpu.py share."""
import json
import os
import struct
import subprocess
import sys

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools")
sys.path.insert(0, TOOLS)


def call(script, *args):
    """In a Python without installed packages, so that all machines get the same."""
    return subprocess.run([sys.executable, "-B", "-S", os.path.join(TOOLS, script), *args], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)


def check_bad_arguments(script, more):
    """more: (arguments, a part of what is said about them)."""
    for args, says in [(["--shapes", "12"], "NxK"), (["--m", "1,0"], "numbers of rows"), (["--m", "4,4"], "twice"),
                       (["--rounds", "0"], "at least 1"), (["--rotate", "-1"], "at least 0"),
                       (["--json", "/no/such/folder/x"], "no folder"), (["--nonsense"], "unrecognized"), *more]:
        done = call(script, *args)
        assert done.returncode == 2 and says in done.stderr, (args, done)


def check_bad_device(script, library, *args):
    done = call(script, *args, "--library", "/no/such.so")
    assert done.returncode == 1 and "/no/such.so" in done.stderr, done
    done = call(script, *args, "--library", library, "--device", "nonsense")
    assert done.returncode == 1 and "nonsense" in done.stderr, done


def run(script, folder, *args):
    """What came of it, and its JSON."""
    file = os.path.join(folder, f"{script}.json")
    done = call(script, *args, "--rounds", "2", "--json", file)
    assert done.returncode == 0, done
    with open(file, encoding="utf-8") as f:
        return done, json.load(f)


def check_rows(result, shapes, rows, names):
    """Every row has a time for each name, and for no other."""
    assert [(s["n"], s["k"]) for s in result["shapes"]] == shapes
    for shape in result["shapes"]:
        assert [row["m"] for row in shape["rows"]] == rows
        for row in shape["rows"]:
            assert set(row["us"]) == names and all(us > 0 for us in row["us"].values()), row


def weight(data, row, column):
    """Of canonical weights, decoded here."""
    if data.bits == 16:
        return struct.unpack_from("<e", data.codes, 2 * (row * data.k + column))[0]
    at = row * data.k + column
    q = data.codes[at] if data.bits == 8 else data.codes[at // 2] >> 4 * (at % 2) & 15
    group = row * data.groups + (column // data.format.group if data.format.group else 0)
    zero = data.zeros[group] if data.zeros else 2 ** (data.bits - 1)
    return (q - zero) * struct.unpack_from("<e", data.scales, 2 * group)[0]
