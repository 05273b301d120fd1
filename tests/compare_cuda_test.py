#!/usr/bin/env python3
"""Checks what of tools/compare_cuda.py needs no GPU.

    compare_cuda_test.py --library libwoq.so --include include --cc cc

The ctypes structs and constants against the headers, compiled; products through them on the reference device against
sums in Python; bad arguments; and a whole comparison without peers, with its JSON.
"""
import argparse
import ctypes
import os
import re
import struct
import subprocess
import tempfile

import compare_checks as checks
import compare_common as common
import compare_cuda
import woq_ctypes as woq

SCRIPT = "compare_cuda.py"


def check_headers(options, folder):
    """The compiler's sizes, offsets and values equal ours."""
    wanted, lines = [], []
    for kind in woq.STRUCTS:
        wanted.append((f"sizeof {kind.NAME}", ctypes.sizeof(kind)))
        lines.append(f'printf("%llu\\n", (unsigned long long)sizeof(struct {kind.NAME}));')
        for field, *_ in kind._fields_:
            wanted.append((f"{kind.NAME}.{field}", (getattr(kind, field).offset, getattr(kind, field).size)))
            lines.append(f'printf("(%llu, %llu)\\n", (unsigned long long)offsetof(struct {kind.NAME}, {field}), '
                         f'(unsigned long long)sizeof(((struct {kind.NAME} *)0)->{field}));')
    for name, value in woq.CONSTANTS.items():
        wanted.append((name, value))
        lines.append(f'printf("%llu\\n", (unsigned long long){name});')
    source, program = os.path.join(folder, "abi.c"), os.path.join(folder, "abi")
    with open(source, "w", encoding="utf-8") as f:
        f.write("#include <stddef.h>\n#include <stdio.h>\n#include <woq/command.h>\nint main(void)\n{\n" +
                "\n".join(lines) + "\nreturn 0;\n}\n")
    subprocess.run([options.cc, "-std=c11", "-I", options.include, source, "-o", program], check=True)
    output = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    assert len(output) == len(wanted)
    for (what, ours), theirs in zip(wanted, output):
        assert str(ours) == theirs, f"{what}: {ours} in woq_ctypes.py, {theirs} in the headers"
    for name in woq.FUNCTIONS:
        with open(os.path.join(options.include, "woq", header_of(name)), encoding="utf-8") as f:
            text = f.read()
        count = re.search(rf"enum woq_status {name}\(([^;]*)\);", text).group(1).count(",") + 1
        assert count == len(woq.FUNCTIONS[name]), f"{name}: {len(woq.FUNCTIONS[name])} arguments, {count} in the header"
    print(f"headers: {len(wanted)} sizes, offsets and values, {len(woq.FUNCTIONS)} functions")


def header_of(function):
    part = function.split("_")[1]
    return {"commands": "command.h"}.get(part, f"{part}.h")


def check_products(library):
    """Every format, by the reference device."""
    n, k, m = 5, 256, 2
    with woq.Device(library, "reference") as device:
        assert device.info.struct_size == ctypes.sizeof(woq.DeviceInfo)
        for name in common.FORMATS:
            ours = compare_cuda.make_ours(device, name, n, k, m, 6000)
            x = common.halves(m * k, 1.0)
            assert len(ours.gemms) > 1 and ours.prepare(m, x)() >= 0
            y, values = struct.unpack(f"<{m * n}e", ours.result(m)), struct.unpack(f"<{m * k}e", x)
            assert ours.kernel(m)
            for i in range(m):
                for j in range(n):
                    right = sum(values[i * k + c] * checks.weight(ours.data, j, c) for c in range(k))
                    assert abs(y[i * n + j] - right) < 4e-3, f"{name}: y[{i}][{j}] is {y[i * n + j]}, not {right}"
    print(f"products: {len(common.FORMATS)} formats")


def check_arguments(options):
    done = checks.call(SCRIPT, "--help")
    assert done.returncode == 0 and "--peers" in done.stdout
    checks.check_bad_arguments(SCRIPT, [(["--formats", "w5"], "w4g128"), (["--peers", "marlin"], "tinygemm")])
    checks.check_bad_device(SCRIPT, options.library, "--peers", "none")
    done = checks.call(SCRIPT, "--library", options.library)
    assert done.returncode == 1 and "PyTorch is not installed" in done.stderr, done
    done = checks.call(SCRIPT, "--png", "x.png")
    assert done.returncode == 2 and "matplotlib is not installed" in done.stderr, done
    print("arguments")


def check_run(options, folder):
    done, result = checks.run(SCRIPT, folder, "--library", options.library, "--device", "reference", "--peers", "none",
                              "--shapes", "16x128,8x64", "--m", "1,3", "--formats", "w4g128,f16", "--rotate", "1")
    checks.check_rows(result, [(16, 128), (8, 64)], [1, 3], {"w4g128", "f16"})
    assert "16×128" in done.stdout and "woq w4g128" in done.stdout
    print("a run")


def main():
    parser = argparse.ArgumentParser()
    for name in ("--library", "--include", "--cc"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check_headers(options, folder)
        check_products(woq.Library(options.library))
        check_arguments(options)
        check_run(options, folder)


if __name__ == "__main__":
    main()
