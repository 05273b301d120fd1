"""compare_cpu_check.py: W in floating point, and results against a product in float64.

With numpy. Without it plain Python serves for little matrices, as tests have them.
"""
import math
import struct

try:
    import numpy
except ImportError:
    numpy = None

LITTLE = 1 << 20  # products of two numbers, M · N · K
ROWS_AT_ONCE = 1024


def possible(m, n, k):
    return numpy is not None or m * n * k <= LITTLE


def codes_of(data):
    """Of 4 or 8 bits: a byte each, row by row; rows of an odd number of columns included."""
    if data.bits == 8:
        return data.codes
    low, high = (bytes(b >> shift & 15 for b in range(256)) for shift in (0, 4))
    out = bytearray(2 * len(data.codes))
    out[0::2], out[1::2] = data.codes.translate(low), data.codes.translate(high)
    if data.k % 2:
        out = b"".join(out[i * (data.k + 1):i * (data.k + 1) + data.k] for i in range(data.n))
    return bytes(out)


def dense(data):
    """W of symmetric weights, block of rows by block: numpy arrays [rows, K] of float64."""
    zero, group = 2 ** (data.bits - 1), data.format.group or data.k
    codes = numpy.frombuffer(codes_of(data), "u1").reshape(data.n, data.k)
    scales = numpy.frombuffer(data.scales, "<f2").reshape(data.n, data.groups)
    for i in range(0, data.n, ROWS_AT_ONCE):
        rows = slice(i, i + ROWS_AT_ONCE)
        yield (codes[rows].astype("f8") - zero) * numpy.repeat(scales[rows].astype("f8"), group, axis=1)[:, :data.k]


def product(data, m, x):
    """Y as m rows of float64. x: FP16 bytes, m rows of K."""
    if numpy is not None:
        rows = numpy.frombuffer(x, "<f2").reshape(m, data.k).astype("f8")
        return numpy.concatenate([rows @ w.T for w in dense(data)], axis=1)
    zero, group, k = 2 ** (data.bits - 1), data.format.group or data.k, data.k
    codes, values = codes_of(data), struct.unpack(f"<{m * k}e", x)
    scales = struct.unpack(f"<{data.n * data.groups}e", data.scales)
    return [[sum(values[i * k + c] * (codes[j * k + c] - zero) * scales[j * data.groups + c // group]
                 for c in range(k)) for j in range(data.n)] for i in range(m)]


def bf16(halves):
    """BF16 bytes of FP16 ones: to nearest, ties to even."""
    if numpy is not None:
        bits = numpy.frombuffer(halves, "<f2").astype("<f4").view("<u4")
        return (bits + 0x7fff + (bits >> 16 & 1) >> 16).astype("<u2").tobytes()
    count = len(halves) // 2
    bits = struct.unpack(f"<{count}I", struct.pack(f"<{count}f", *struct.unpack(f"<{count}e", halves)))
    return struct.pack(f"<{count}H", *(b + 0x7fff + (b >> 16 & 1) >> 16 for b in bits))


def numbers(kind, data):
    """Little-endian bytes as numbers; kind: "e", "f", "bf16"."""
    if kind == "bf16":
        return numbers("f", b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2)))
    if numpy is not None:
        return numpy.frombuffer(data, {"e": "<f2", "f": "<f4"}[kind])
    return struct.unpack(f"<{len(data) // struct.calcsize(kind)}{kind}", data)


def error(right, y, m):
    """The largest difference of y, m · N numbers, from the first m rows of `right`, ÷ their root mean square.

    Infinite where y has a NaN.
    """
    if numpy is not None:
        right = numpy.asarray(right[:m])
        y = numpy.asarray(y).astype("f8").reshape(right.shape)
        worst, square = float(abs(y - right).max()), float((right * right).mean())
    else:
        flat = [v for row in right[:m] for v in row]
        differences = [abs(a - b) for a, b in zip(y, flat, strict=True)]
        worst = math.nan if any(map(math.isnan, differences)) else max(differences)
        square = sum(v * v for v in flat) / len(flat)
    return math.inf if math.isnan(worst) else worst / math.sqrt(square)
