"""compare_common.py: what compare_cuda.py and compare_cpu.py share: arguments, weights, our side, the way of a run."""
import argparse
import json
import os
import random
import struct
import sys
import time

import compare_plot
import woq_ctypes as woq

FORMATS = {  # name: code, zero, columns of a group (0: a row)
    "w4g128": (woq.U4, woq.SYMMETRIC, 128), "w4g32": (woq.U4, woq.SYMMETRIC, 32),
    "w4g128z": (woq.U4, woq.ZERO_POINT, 128), "w4g32z": (woq.U4, woq.ZERO_POINT, 32),
    "w8": (woq.U8, woq.SYMMETRIC, 0), "w8g128": (woq.U8, woq.SYMMETRIC, 128),
    "f16": (woq.F16_CODES, woq.ZERO_NONE, 0)}
MOST_PRODUCTS, MOST_COPIES = 512, 64


class Skip(Exception):
    """Why a contender does not take part; its column says so."""


# ---- Arguments ----

def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def number(text, least=1):
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of at least {least}")
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


def parse_names(what, known):
    """A list of keys of `known`."""
    def key(text):
        known[text]
        return text
    return parse_list(f"{what} ({', '.join(known)})", key)


def parse_peers(known):
    names = parse_names("peers, or none", known)
    return lambda text: [] if text == "none" else names(text)


def make_parser(description, shapes, rows, formats, peers, rotate):
    """The options of both scripts. The strings are defaults; formats and peers have those that there are as keys."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-L", "--library", default="libwoq.so", help="the library (default: where ld.so finds it)")
    parser.add_argument("-s", "--shapes", type=parse_list("shapes NxK", parse_shape), default=shapes, metavar="LIST",
                        help=f"N x K, outputs x inputs (default {shapes})")
    parser.add_argument("-m", "--m", type=parse_list("numbers of rows", positive), default=rows, metavar="LIST",
                        help=f"rows of X (default {rows})")
    parser.add_argument("-f", "--formats", type=parse_names("formats", formats), default=",".join(formats),
                        metavar="LIST", help=f"ours (default {','.join(formats)})")
    parser.add_argument("-p", "--peers", type=parse_peers(peers), default=",".join(peers), metavar="LIST",
                        help=f"others (default {','.join(peers)}), or none")
    parser.add_argument("-r", "--rounds", type=number, default=9, metavar="N", help="runs of each (default 9)")
    parser.add_argument("--rotate", type=lambda text: number(text, 0), default=rotate, metavar="MIB",
                        help=f"weights that a run goes through at least (default {rotate}; 0: one copy)")
    parser.add_argument("-t", "--time-limit", type=number, metavar="S", help="begin no new row after this many seconds")
    parser.add_argument("-j", "--json", metavar="FILE", help="also as JSON")
    parser.add_argument("--png", metavar="FILE", help="also as a plot (needs matplotlib)")
    return parser


def check_files(parser, options):
    for name in (options.json, options.png):
        if name and not os.path.isdir(os.path.dirname(name) or "."):
            parser.error(f"no folder for '{name}'")


def check_plot(parser, options):
    if options.png and not compare_plot.available():
        parser.error("--png: matplotlib is not installed (pip install matplotlib)")


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


def products(seconds, copies, batch_seconds):
    """How many make a run of batch_seconds: whole passes over the copies, MOST_PRODUCTS at most."""
    passes = max(1, min(int(batch_seconds / max(seconds, 1e-7) / copies) + 1, MOST_PRODUCTS // copies))
    return passes * copies


class Ours:
    """A contender: prepare(m, x) → a function that runs a batch and gives seconds a product.

    clock: the method of woq.Batch that runs it and tells. math: a key of woq.MATH. x_type: of X and Y, 16 bits.
    """

    def __init__(self, device, name, n, k, max_m, rotate, batch_seconds, clock, math="default",
                 x_type=woq.F16):
        self.name, self.device, self.n, self.k = name, device, n, k
        self.batch_seconds, self.clock = batch_seconds, clock
        self.label = f"woq {name}"
        self.data = Data(name, n, k)
        self.weights, wanted = [], 1
        while len(self.weights) < wanted:
            self.weights.append(woq.Weights(device, self.data.format, n, k, self.data.codes, self.data.scales,
                                            self.data.zeros))
            wanted = copies_for(rotate, self.weights[0].info.device_bytes)
        self.gemms = [woq.Gemm(device, w, max_m, x_type, x_type, woq.MATH[math]) for w in self.weights]
        self.payload = self.weights[0].info.payload_bytes

    def prepare(self, m, x):
        self.x, self.y = woq.Buffer(self.device, 2 * m * self.k), woq.Buffer(self.device, 2 * m * self.n)
        self.x.write(x)
        with woq.Batch(self.device, self.gemms[:1], 1, m, self.x, self.y) as one:
            self.clock(one)
            guess = self.clock(one)
        count = products(guess, len(self.gemms), self.batch_seconds)
        batch = woq.Batch(self.device, self.gemms, count, m, self.x, self.y)
        return lambda: self.clock(batch)

    def kernel(self, m):
        return self.gemms[0].kernel(m)[1]

    def result(self, _m):
        return self.y.read()


# ---- A run ----

def alternate(runs, rounds, rest=0.0):
    """runs: name → function. Seconds of each in `rounds` rounds; `rest` seconds of sleep before each one."""
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(rest)
            times[name].append(run())
    return times


def first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0]


def open_library(program, options):
    try:
        return woq.Library(options.library)
    except (OSError, AttributeError) as e:
        sys.exit(f"{program}: --library {options.library}: {e}")


def describe(library, device):
    info = device.info
    return f"{info.selector.decode()}  {info.name.decode()}, {info.driver.decode()}; woq {library.version()}"


class Measured:
    """What a table leaves when its weights are freed."""

    def __init__(self, table):
        self.shape, self.skipped, self.rows = table.shape, table.skipped, table.rows
        columns = table.columns()
        self.columns = lambda: columns


def each_row(options, make_table, print_head, report_row):
    """Measures the rows of all shapes. report_row(table, row) prints, and gives how much of ours failed.

    Returns what was measured, and the sum of the failures.
    """
    begin, tables, bad = time.monotonic(), [], 0

    def late():
        return options.time_limit and time.monotonic() - begin > options.time_limit

    for shape in options.shapes:
        if late():
            break
        table = make_table(shape)
        print_head(table)
        for m in options.m:
            if late():
                break
            bad += report_row(table, table.measure(m))
        tables.append(Measured(table))
        del table
    if late():
        print(f"\nstopped by --time-limit {options.time_limit}")
    return tables, bad


def document(options, device, library, tables, **more):
    """For JSON and the plot. `more`: versions and settings of the peers."""
    info = device.info
    return {"device": {"selector": info.selector.decode(), "name": info.name.decode(), "driver": info.driver.decode()},
            "woq": library.version(), **more,
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "rounds": options.rounds,
            "rotate_bytes": options.rotate << 20,
            "shapes": [{"n": t.shape[0], "k": t.shape[1], "columns": dict(t.columns()), "left_out": t.skipped,
                        "rows": t.rows} for t in tables]}


def write(result, options, quantities, note):
    """quantities, note: as compare_plot.draw takes them."""
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
    if options.png:
        compare_plot.draw(result, options.png, quantities, note)
