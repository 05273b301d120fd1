#!/usr/bin/env python3
"""Compares libwoq with cuBLAS, torch's tinygemm and gemlite on one GPU, in one run.

    tools/compare_cuda.py --library build/libwoq.so
    tools/compare_cuda.py --shapes 4096x4096 --m 1,16,64 --formats w4g128,f16 --json out.json --png out.png

Y[M,N] = X[M,K] · Wᵀ with FP16 X and Y (tinygemm: BF16, which is all it takes). Every number is the median over rounds;
in a round each contender runs once, one after the other, so that clocks and temperature are the same for all. A run is
a CUDA graph of many products, each after the one before, over copies of the weights that together exceed the last-level
cache, between two events inside the graph. W and X are random; each contender's last result is compared with a product
in FP32 of the same weights, and one of ours that is wrong is reported and makes the exit status 1.

Peers need PyTorch with CUDA; gemlite (PyPI) is left out where it is not installed. With --peers none our own columns
alone are measured, on any device of the library, without PyTorch.
"""
import argparse
import json
import os
import random
import statistics
import struct
import sys
import time

import compare_plot
import woq_ctypes as woq

SHAPES = "4096x4096,8192x8192,28672x8192,8192x28672,6144x4096,28672x4096,4096x14336"
ROWS = "1,2,4,8,16,32,64,128,256,512,1024,2048,4096"
FORMATS = {  # name: code, zero, columns of a group (0: a row)
    "w4g128": (woq.U4, woq.SYMMETRIC, 128), "w4g32": (woq.U4, woq.SYMMETRIC, 32),
    "w4g128z": (woq.U4, woq.ZERO_POINT, 128), "w4g32z": (woq.U4, woq.ZERO_POINT, 32),
    "w8": (woq.U8, woq.SYMMETRIC, 0), "w8g128": (woq.U8, woq.SYMMETRIC, 128),
    "f16": (woq.F16_CODES, woq.ZERO_NONE, 0)}
PEERS = {"cublas": "cuBLAS f16", "tinygemm": "tinygemm w4g128", "gemlite": "gemlite w4g128"}
BATCH_SECONDS = 1e-3   # a run is at least this long, if MOST_PRODUCTS allow it
MOST_PRODUCTS, MOST_COPIES = 512, 64
WARM_SECONDS = 0.5     # of work before the first measurement, for the clocks
TOLERANCE = 2e-2       # largest difference, in units of the root mean square of the right result


class Skip(Exception):
    """Why a contender does not take part; its column says so."""


# ---- Arguments ----

def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def parse_list(what, parse):
    def parser(text):
        try:
            values = [parse(part) for part in text.split(",")]
        except (ValueError, KeyError):
            raise argparse.ArgumentTypeError(f"'{text}' is no list of {what}") from None
        if len(set(values)) < len(values):
            raise argparse.ArgumentTypeError(f"'{text}' names something twice")
        return values
    return parser


def parse_shape(text):
    n, k = text.lower().split("x")
    return positive(n), positive(k)


def parse_format(text):
    FORMATS[text]
    return text


def parse_peers(text):
    return [] if text == "none" else parse_list(f"peers ({', '.join(PEERS)}; or none)",
                                                lambda name: PEERS[name] and name)(text)


def parse_arguments(argv):
    def number(text):
        try:
            return positive(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is no number of at least 1") from None

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-L", "--library", default="libwoq.so", help="the library (default: where ld.so finds it)")
    parser.add_argument("-d", "--device", default="cuda:0", help="as woq_device_open takes it (default cuda:0)")
    parser.add_argument("-s", "--shapes", type=parse_list("shapes NxK", parse_shape), default=SHAPES, metavar="LIST",
                        help=f"N x K, outputs x inputs (default {SHAPES})")
    parser.add_argument("-m", "--m", type=parse_list("numbers of rows", positive), default=ROWS, metavar="LIST",
                        help=f"rows of X (default {ROWS})")
    parser.add_argument("-f", "--formats", type=parse_list(f"formats ({', '.join(FORMATS)})", parse_format),
                        default=",".join(FORMATS), metavar="LIST", help=f"ours (default {','.join(FORMATS)})")
    parser.add_argument("-p", "--peers", type=parse_peers, default=",".join(PEERS), metavar="LIST",
                        help=f"others (default {','.join(PEERS)}), or none")
    parser.add_argument("-r", "--rounds", type=number, default=9, metavar="N", help="runs of each (default 9)")
    parser.add_argument("--rotate", type=number, default=256, metavar="MIB",
                        help="weights that a run goes through at least (default 256)")
    parser.add_argument("-t", "--time-limit", type=number, metavar="S", help="begin no new row after this many seconds")
    parser.add_argument("-j", "--json", metavar="FILE", help="also as JSON")
    parser.add_argument("--png", metavar="FILE", help="also as a plot (needs matplotlib)")
    options = parser.parse_args(argv)
    if options.png and not compare_plot.available():
        parser.error("--png: matplotlib is not installed (pip install matplotlib)")
    for name in (options.json, options.png):
        if name and not os.path.isdir(os.path.dirname(name) or "."):
            parser.error(f"no folder for '{name}'")
    return options


# ---- Data ----

class Data:
    """W in canonical form, from random bytes; weights have the variance that keeps Y near 1."""

    def __init__(self, name, n, k):
        code, zero, group = FORMATS[name]
        self.n, self.k, self.bits = n, k, {woq.U4: 4, woq.U8: 8}.get(code, 16)
        self.groups = -(-k // group) if group else 1
        plain = code == woq.F16_CODES
        self.format = woq.Format(0, code, zero, woq.TYPE_NONE if plain else woq.F16, group, False)
        self.format.struct_size = woq.c.sizeof(woq.Format)
        deviation = (2 ** self.bits - 1) / 12 ** 0.5 if not plain else 1
        self.codes = halves(n * k, k ** -0.5) if plain else os.urandom(n * (-(-k * self.bits // 8)))
        self.scales = None if plain else halves(n * self.groups, k ** -0.5 / deviation, positive=True)
        self.zeros = None
        if zero == woq.ZERO_POINT:
            self.zeros = bytes(b & (2 ** self.bits - 1) for b in os.urandom(4093))
            self.zeros = (self.zeros * (n * self.groups // 4093 + 1))[:n * self.groups]


def halves(count, size, positive=False):
    """FP16 numbers: normal ones, or uniform in size · (0.5 … 1.5). The same 65521 ones again and again: a prime."""
    generator = random.Random(f"{count} {size}")  # of one seed, square X and W would be alike, and Y large
    draw = (lambda: size * (0.5 + generator.random())) if positive else (lambda: generator.gauss(0, size))
    some = min(count, 65521)
    pool = struct.pack(f"<{some}e", *(draw() for _ in range(some)))
    return (pool * (count // some + 1))[:2 * count]


def copies_for(rotate, bytes_of_one):
    return max(1, min(MOST_COPIES, -(-rotate // bytes_of_one)))


# ---- Contenders: prepare(m) → a function that runs a batch and gives seconds a product ----

class Ours:
    def __init__(self, device, name, n, k, max_m, rotate):
        self.name, self.device, self.n, self.k = name, device, n, k
        self.label = f"woq {name}"
        self.data = Data(name, n, k)
        self.weights, wanted = [], 1
        while len(self.weights) < wanted:
            self.weights.append(woq.Weights(device, self.data.format, n, k, self.data.codes, self.data.scales,
                                            self.data.zeros))
            wanted = copies_for(rotate, self.weights[0].info.device_bytes)
        self.gemms = [woq.Gemm(device, w, max_m) for w in self.weights]
        self.payload = self.weights[0].info.payload_bytes

    def prepare(self, m, x):
        self.x, self.y = woq.Buffer(self.device, 2 * m * self.k), woq.Buffer(self.device, 2 * m * self.n)
        self.x.write(x)
        with woq.Batch(self.device, self.gemms[:1], 1, m, self.x, self.y) as one:
            one.seconds()
            guess = one.seconds()
        batch = woq.Batch(self.device, self.gemms, products(guess, len(self.gemms)), m, self.x, self.y)
        return batch.seconds

    def kernel(self, m):
        return self.gemms[0].kernel(m)[1]

    def result(self, _m):
        return self.y.read()


def products(seconds, copies):
    """How many make a run: whole passes over the copies."""
    passes = max(1, min(int(BATCH_SECONDS / max(seconds, 1e-7) / copies) + 1, MOST_PRODUCTS // copies))
    return passes * copies


class Torch:
    """PyTorch, or a message why not."""

    def __init__(self):
        try:
            import torch
        except ImportError:
            sys.exit("compare_cuda.py: PyTorch is not installed; --peers none measures ours alone")
        if not torch.cuda.is_available():
            sys.exit("compare_cuda.py: PyTorch finds no CUDA device; --peers none measures ours alone")
        try:
            torch.cuda.Event(enable_timing=True, external=True)
        except TypeError:
            sys.exit(f"compare_cuda.py: PyTorch {torch.__version__} has no events inside graphs; a later one is needed")
        self.torch = torch
        torch.backends.cuda.matmul.allow_tf32 = False

    def tensor(self, data, dtype):
        return self.torch.frombuffer(bytearray(data), dtype=dtype).cuda()

    def codes(self, data):
        """uint8 [N, K] of 4-bit codes."""
        packed = self.tensor(data.codes, self.torch.uint8).view(data.n, data.k // 2)
        return self.torch.stack((packed & 15, packed >> 4), dim=2).view(data.n, data.k)

    def dense(self, data):
        """W in FP32."""
        t = self.torch
        if data.bits == 16:
            return self.tensor(data.codes, t.float16).view(data.n, data.k).float()
        q = self.codes(data) if data.bits == 4 else self.tensor(data.codes, t.uint8).view(data.n, data.k)
        shape = (data.n, data.groups, 1)
        scales = self.tensor(data.scales, t.float16).view(shape).float()
        zeros = self.tensor(data.zeros, t.uint8).view(shape).float() if data.zeros else float(2 ** (data.bits - 1))
        return ((q.float().view(data.n, data.groups, -1) - zeros) * scales).view(data.n, data.k)

    def error(self, dense, x, y, m):
        """Of the last rows of y, against dense. NaN where y has one."""
        rows = min(m, 16)
        right = x.view(m, -1)[m - rows:].float() @ dense.t()
        return float((y.view(m, -1)[m - rows:].float() - right).abs().max() / right.square().mean().sqrt())


class Peer:
    """Products of torch tensors. Subclasses: dtype, make() → a copy of the weights, multiply(x, copy)."""
    dtype = "float16"

    def __init__(self, torch, data, dense, rotate):
        self.t, self.torch, self.data, self.dense = torch, torch.torch, data, dense
        first, size = self.make()
        self.copies = [first] + [self.make()[0] for _ in range(copies_for(rotate, size) - 1)]

    def prepare(self, m, x):
        t = self.torch
        dtype = getattr(t, self.dtype)
        self.x = self.t.tensor(x, t.float16).view(m, -1).to(dtype)
        stream = t.cuda.Stream()
        begin, end = (t.cuda.Event(enable_timing=True) for _ in range(2))
        with t.cuda.stream(stream):
            for _ in range(2):
                self.y = self.multiply(self.x, self.copies[0])
            begin.record()
            self.y = self.multiply(self.x, self.copies[0])
            end.record()
        end.synchronize()
        count = products(begin.elapsed_time(end) * 1e-3, len(self.copies))
        graph = t.cuda.CUDAGraph()
        begin, end = (t.cuda.Event(enable_timing=True, external=True) for _ in range(2))
        with t.cuda.graph(graph):
            begin.record()
            for i in range(count):
                self.y = self.multiply(self.x, self.copies[i % len(self.copies)])
            end.record()

        def seconds():
            graph.replay()
            t.cuda.synchronize()
            return begin.elapsed_time(end) * 1e-3 / count
        return seconds


class Cublas(Peer):
    name, label = "cublas", PEERS["cublas"]

    def make(self):
        w = self.dense.half()
        return w, 2 * w.numel()

    def multiply(self, x, w):
        return self.torch.mm(x, w.t())


class Tinygemm(Peer):
    name, label, dtype = "tinygemm", PEERS["tinygemm"], "bfloat16"

    def make(self):
        t, d = self.torch, self.data
        if d.k % 128 or d.n % 8:
            raise Skip("takes N of whole 8 and K of whole 128")
        q = self.t.codes(d)
        packed = t._convert_weight_to_int4pack((q[:, ::2] << 4 | q[:, 1::2]).contiguous(), 8)
        scales = self.t.tensor(d.scales, t.float16).view(d.n, d.groups).t().bfloat16()
        scales_and_zeros = t.stack((scales, t.zeros_like(scales)), dim=2).contiguous()
        return (packed, scales_and_zeros), d.n * d.k // 2

    def multiply(self, x, w):
        return self.torch._weight_int4pack_mm(x, w[0], 128, w[1])


class Gemlite(Peer):
    name, label = "gemlite", PEERS["gemlite"]

    def make(self):
        t, d = self.torch, self.data
        try:
            from gemlite.helper import A16Wn
        except ImportError as e:
            raise Skip(f"not installed ({e})") from None
        if d.k % 128:
            raise Skip("K of whole 128 only")
        scales = self.t.tensor(d.scales, t.float16).view(-1, 1)
        layer = A16Wn(device="cuda:0", dtype=t.float16).from_weights(self.t.codes(d), scales, t.full_like(scales, 8),
                                                                    4, 128)
        return layer, d.n * d.k // 2

    def multiply(self, x, w):
        return w(x)


# ---- Measuring ----

def alternate(runs, rounds):
    """runs: name → function. Medians of `rounds` rounds, in seconds."""
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(run())
    return {name: statistics.median(t) for name, t in times.items()}


def warm(runs):
    begin = time.monotonic()
    while time.monotonic() - begin < WARM_SECONDS:
        for run in runs:
            run()


class Table:
    """One shape: contenders, and rows of M."""

    def __init__(self, options, device, torch, shape):
        self.options, self.torch, self.shape = options, torch, shape
        self.skipped, self.rows = {}, []
        n, k = shape
        rotate = options.rotate << 20
        self.ours = [Ours(device, name, n, k, max(options.m), rotate) for name in options.formats]
        self.dense = {o.name: torch.dense(o.data) for o in self.ours} if torch else {}
        self.peers = []
        if not options.peers:
            return
        data = next((o.data for o in self.ours if o.name == "w4g128"), None) or Data("w4g128", n, k)
        self.w4 = self.dense.get("w4g128")
        self.w4 = torch.dense(data) if self.w4 is None else self.w4
        for kind in (Cublas, Tinygemm, Gemlite):
            if kind.name in options.peers:
                try:
                    self.peers.append(kind(torch, data, self.w4, rotate))
                except (Skip, RuntimeError, NotImplementedError, AssertionError) as e:
                    self.skipped[kind.name] = first_line(e)

    def columns(self):
        """Of the table: (name, label)."""
        peers = [(name, PEERS[name]) for name in self.options.peers]
        return [(o.name, o.label) for o in self.ours] + peers

    def measure(self, m):
        n, k = self.shape
        x = halves(m * k, 1.0)
        runs, row = {}, {"m": m, "us": {}, "error": {}, "kernel": {}, "failed": {}}
        for c in self.ours + self.peers:
            try:
                runs[c.name] = c.prepare(m, x)
            except (woq.Error, RuntimeError, NotImplementedError, AssertionError) as e:
                row["failed"][c.name] = first_line(e)
        if not self.rows:
            warm(runs.values())
        medians = alternate(runs, self.options.rounds)
        row["us"] = {name: s * 1e6 for name, s in medians.items()}
        for o in self.ours:
            if o.name in runs:
                row["kernel"][o.name] = o.kernel(m)
        if self.torch:
            self.check(m, x, runs, row)
        self.rows.append(row)
        return row

    def check(self, m, x, runs, row):
        t = self.torch.torch
        rows = self.torch.tensor(x, t.float16)
        for o in self.ours:
            if o.name in runs:
                y = self.torch.tensor(o.result(m), t.float16)
                row["error"][o.name] = self.torch.error(self.dense[o.name], rows, y, m)
        for p in self.peers:
            if p.name in runs:
                row["error"][p.name] = self.torch.error(self.w4, p.x.float(), p.y, m)


def first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0]


# ---- Reports ----

def wrong(table, row):
    """Ours alone count for the exit status; BF16 peers round more."""
    return [o.name for o in table.ours if not row["error"].get(o.name, 0) <= TOLERANCE]


def cell(row, name):
    us = row["us"].get(name)
    return "–" if us is None else f"{us:.2f}" if us < 100 else f"{us:.0f}"


def print_head(table):
    n, k = table.shape
    columns = [label for _, label in table.columns()]
    print(f"\n{n}×{k}, µs a product")
    for name, why in table.skipped.items():
        print(f"  {PEERS[name]}: left out: {why}")
    print("   M  " + "  ".join(columns) + ("  best peer ÷ woq w4g128" if ratio_known(table) else ""), flush=True)


def ratio_known(table):
    return table.peers and any(o.name == "w4g128" for o in table.ours)


def print_row(table, row):
    cells = [cell(row, name).rjust(len(label)) for name, label in table.columns()]
    ratio = ""
    if ratio_known(table):
        best = min((row["us"][p.name] for p in table.peers if p.name in row["us"]), default=None)
        ours = row["us"].get("w4g128")
        ratio = f"  {best / ours:.2f}" if best and ours else "  –"
    print(f"{row['m']:4}  " + "  ".join(cells) + ratio, flush=True)
    for name, why in row["failed"].items():
        print(f"      {name}: {why}")
    for name in wrong(table, row):
        print(f"      {name}: WRONG, error {row['error'][name]:.3g} of the root mean square", flush=True)


def document(options, device, library, torch, tables):
    info = device.info
    return {"device": {"selector": info.selector.decode(), "name": info.name.decode(), "driver": info.driver.decode()},
            "woq": library.version(), "torch": torch.torch.__version__ if torch else None,
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "rounds": options.rounds,
            "rotate_bytes": options.rotate << 20,
            "shapes": [{"n": t.shape[0], "k": t.shape[1], "columns": dict(t.columns()), "left_out": t.skipped,
                        "rows": t.rows} for t in tables]}


def run(options, library, device, torch):
    begin, tables, bad = time.monotonic(), [], 0

    def late():
        return options.time_limit and time.monotonic() - begin > options.time_limit

    for shape in options.shapes:
        if late():
            break
        table = Table(options, device, torch, shape)
        print_head(table)
        for m in options.m:
            if late():
                break
            row = table.measure(m)
            print_row(table, row)
            bad += len(wrong(table, row)) + len(set(row["failed"]) - set(options.peers))
        tables.append(Measured(table))
        del table
    if late():
        print(f"\nstopped by --time-limit {options.time_limit}")
    result = document(options, device, library, torch, tables)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
    if options.png:
        compare_plot.draw(result, options.png)
    return 1 if bad else 0


class Measured:
    """What a table leaves when its weights are freed."""

    def __init__(self, table):
        self.shape, self.skipped, self.rows = table.shape, table.skipped, table.rows
        columns = table.columns()
        self.columns = lambda: columns


def main(argv=None):
    options = parse_arguments(argv)
    try:
        library = woq.Library(options.library)
    except (OSError, AttributeError) as e:
        sys.exit(f"compare_cuda.py: --library {options.library}: {e}")
    torch = Torch() if options.peers else None
    try:
        device = woq.Device(library, options.device)
        print(f"{device.info.selector.decode()}  {device.info.name.decode()}, {device.info.driver.decode()}; "
              f"woq {library.version()}" + (f"; PyTorch {torch.torch.__version__}" if torch else ""))
        if not device.info.features & woq.FEATURE_TIMESTAMPS:
            sys.exit("compare_cuda.py: the device has no timestamps")
        return run(options, library, device, torch)
    except woq.Error as e:
        sys.exit(f"compare_cuda.py: {e}")


if __name__ == "__main__":
    sys.exit(main())
