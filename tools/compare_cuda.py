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
import statistics
import sys
import time

import compare_common as common
import compare_plot
import woq_ctypes as woq
from compare_common import Skip, first_line

SHAPES = "4096x4096,8192x8192,28672x8192,8192x28672,6144x4096,28672x4096,4096x14336"
ROWS = "1,2,4,8,16,32,64,128,256,512,1024,2048,4096"
PEERS = {"cublas": "cuBLAS f16", "tinygemm": "tinygemm w4g128", "gemlite": "gemlite w4g128"}
BATCH_SECONDS = 1e-3   # a run is at least this long, if MOST_PRODUCTS allow it
WARM_SECONDS = 0.5     # of work before the first measurement, for the clocks
TOLERANCE = 2e-2       # largest difference, in units of the root mean square of the right result


def parse_arguments(argv):
    parser = common.make_parser(__doc__, SHAPES, ROWS, common.FORMATS, PEERS, rotate=256)
    parser.add_argument("-d", "--device", default="cuda:0", help="as woq_device_open takes it (default cuda:0)")
    options = parser.parse_args(argv)
    common.check_plot(parser, options)
    common.check_files(parser, options)
    return options


# ---- Contenders: prepare(m, x) → a function that runs a batch and gives seconds a product ----

def make_ours(device, name, n, k, max_m, rotate):
    return common.Ours(device, name, n, k, max_m, rotate, BATCH_SECONDS, woq.Batch.seconds)


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
        self.copies = [first] + [self.make()[0] for _ in range(common.copies_for(rotate, size) - 1)]

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
        count = common.products(begin.elapsed_time(end) * 1e-3, len(self.copies), BATCH_SECONDS)
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
        self.ours = [make_ours(device, name, n, k, max(options.m), rotate) for name in options.formats]
        self.dense = {o.name: torch.dense(o.data) for o in self.ours} if torch else {}
        self.peers = []
        if not options.peers:
            return
        data = next((o.data for o in self.ours if o.name == "w4g128"), None) or common.Data("w4g128", n, k)
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
        x = common.halves(m * k, 1.0)
        runs, row = {}, {"m": m, "us": {}, "error": {}, "kernel": {}, "failed": {}}
        for c in self.ours + self.peers:
            try:
                runs[c.name] = c.prepare(m, x)
            except (woq.Error, RuntimeError, NotImplementedError, AssertionError) as e:
                row["failed"][c.name] = first_line(e)
        if not self.rows:
            warm(runs.values())
        times = common.alternate(runs, self.options.rounds)
        row["us"] = {name: statistics.median(t) * 1e6 for name, t in times.items()}
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


def report_row(options, table, row):
    print_row(table, row)
    return len(wrong(table, row)) + len(set(row["failed"]) - set(options.peers))


def run(options, library, device, torch):
    tables, bad = common.each_row(options, lambda shape: Table(options, device, torch, shape), print_head,
                                  lambda table, row: report_row(options, table, row))
    result = common.document(options, device, library, tables, torch=torch.torch.__version__ if torch else None)
    common.write(result, options, [compare_plot.MICROSECONDS], "medians, weights from memory")
    return 1 if bad else 0


def main(argv=None):
    options = parse_arguments(argv)
    library = common.open_library("compare_cuda.py", options)
    torch = Torch() if options.peers else None
    try:
        device = woq.Device(library, options.device)
        print(common.describe(library, device) + (f"; PyTorch {torch.torch.__version__}" if torch else ""))
        if not device.info.features & woq.FEATURE_TIMESTAMPS:
            sys.exit("compare_cuda.py: the device has no timestamps")
        return run(options, library, device, torch)
    except woq.Error as e:
        sys.exit(f"compare_cuda.py: {e}")


if __name__ == "__main__":
    sys.exit(main())
