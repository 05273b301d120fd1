#!/usr/bin/env python3
"""Compares libwoq with ONNX Runtime and PyTorch on the CPU, in one run.

    tools/compare_cpu.py --library build/libwoq.so
    tools/compare_cpu.py --shapes 4096x4096 --m 1,16 --formats w4g128 --json out.json --png out.png

Y[M,N] = X[M,K] · Wᵀ, W in groups of 128. Ours takes FP16 X (BF16 with --x bf16) on an OpenCL device for CPUs, as
integers of 16 bits with --math fixed16; of the others

  ort-float   ONNX Runtime's MatMulNBits, 4 bits, FP32 X, accuracy_level 1: FP32 arithmetic
  ort-int8    the same with accuracy_level 4: X rounded to 8 bits, which no other column does but
  ort-w8      accuracy_level 4 with weights of 8 bits
  torch-bf16  PyTorch's linear on BF16 weights
  torch-int4  PyTorch's _weight_int4pack_mm_for_cpu, BF16 X

Each contender's result is first compared with a product in float64; one that is off by more than its tolerance is not
timed, and if it is ours the exit status is 1. Then all take turns: a run is 20 ms of products by the host's clock,
after as many that do not count and a rest in which the threads of the one before fall asleep; a number is the median
over rounds, and ×r behind it is the peer's time ÷ ours of the same weights. A line names those whose runs differ much.
All have as many threads, and the same cores. Every product multiplies the same matrix, which stays in the last-level
cache if it fits, unless --rotate goes through copies.

The first run makes a virtual environment and installs the packages from PyPI, with pip: on x86-64 Linux PyTorch alone
brings 5 GB. --no-install uses what the running Python has.
"""
import os
import statistics
import subprocess
import sys

import compare_common as common
import compare_cpu_check as check
import compare_cpu_peers as peers
import compare_plot
import compare_venv
import woq_ctypes as woq
from compare_common import Skip, first_line

PROGRAM = "compare_cpu.py"
SHAPES = "4096x4096,11008x4096,4096x14336"
ROWS = "1,2,3,4,6,8,12,16,24,32,64,128,256,512"
FORMATS = {name: common.FORMATS[name] for name in ("w4g128", "w8g128")}
REST_SECONDS = 0.1     # for threads that spin after their work
STEADY = 1.25          # upper ÷ lower quartile of a contender's runs, on a machine that does nothing else
X_TYPES = {"f16": woq.F16, "bf16": woq.BF16}
TOLERANCE = 5e-3       # ours; peers.FLOAT says of what
POCL = "Portable Computing Language"
THREADS = ("OMP_NUM_THREADS", "POCL_CPU_MAX_CU_COUNT", "POCL_MAX_PTHREAD_COUNT", "LP_NUM_THREADS")


def parse_arguments(argv):
    cores = len(os.sched_getaffinity(0))
    folder = compare_venv.default_folder("woq-compare-cpu")
    parser = common.make_parser(__doc__, SHAPES, ROWS, FORMATS, peers.KINDS, rotate=0)
    parser.add_argument("-d", "--device", help="as woq_device_open takes it (default: PoCL, whichever opencl:… it is)")
    parser.add_argument("--math", choices=woq.MATH, default="default", help="math mode of ours (default default)")
    parser.add_argument("-x", "--x", choices=X_TYPES, default="f16", help="type of X and Y of ours (default f16)")
    parser.add_argument("-n", "--threads", type=common.number, default=cores, metavar="N",
                        help="threads of each, and cores for them (default all)")
    parser.add_argument("--venv", default=folder, metavar="DIR", help=f"the virtual environment (default {folder})")
    parser.add_argument("--no-install", action="store_true", help="make none; use what the running Python has")
    options = parser.parse_args(argv)
    if options.threads > cores:
        parser.error(f"--threads {options.threads}: there are {cores} cores")
    common.check_files(parser, options)
    if options.no_install:
        common.check_plot(parser, options)
    return options


def packages(options):
    """What of PyPI the run needs, in the order in which it is installed."""
    wanted = ["numpy"] + (["matplotlib"] if options.png else [])
    for name in options.peers:
        wanted += [p for p in peers.KINDS[name].packages if p not in wanted]
    return wanted


def prepare_packages(options, argv):
    """Does not return where the script has to run again, in its environment."""
    wanted = packages(options)
    if not options.no_install:
        try:
            compare_venv.enter(options.venv, wanted, [os.path.abspath(__file__), *argv])
        except (OSError, subprocess.CalledProcessError) as e:
            sys.exit(f"{PROGRAM}: --venv: {e}; --no-install does without")
    lacking = compare_venv.missing(wanted)
    if lacking:
        print(f"{PROGRAM}: not installed; pip install {' '.join(lacking)}", file=sys.stderr)
    if options.png and not compare_plot.available():
        options.png = None


def limit_threads(count):
    """Before anything that makes threads is loaded."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    for name in THREADS:
        os.environ[name] = str(count)
    # PoCL's threads sleep between kernels; where Linux wakes them on one core, they stay there for a second and more.
    os.environ.setdefault("POCL_AFFINITY", "1")


def open_device(library, selector):
    if selector:
        return woq.Device(library, selector)
    for index in range(16):
        try:
            device = woq.Device(library, f"opencl:{index}")
        except woq.Error:
            break
        if POCL in device.info.driver.decode():
            return device
        device.close()
    sys.exit(f"{PROGRAM}: PoCL is not among the OpenCL devices; --device takes another one")


# ---- Measuring ----

class Ours(common.Ours):
    def __init__(self, device, name, n, k, max_m, rotate, math, x_type):
        super().__init__(device, name, n, k, max_m, rotate, peers.BATCH_SECONDS, woq.Batch.host_seconds, math, x_type)
        self.against = name
        self.bf16 = x_type == woq.BF16
        self.tolerance = peers.BF16 if self.bf16 else TOLERANCE

    def prepare(self, m, x):
        run = super().prepare(m, check.bf16(x) if self.bf16 else x)

        def seconds():
            run()  # as the peers do
            return run()
        return seconds

    def result(self):
        return check.numbers("bf16" if self.bf16 else "e", super().result(None))


class Table:
    """One shape: contenders, and rows of M."""

    def __init__(self, options, device, shape):
        self.options, self.shape = options, shape
        self.skipped, self.rows, self.versions = {}, [], {}
        n, k = shape
        rotate, most = options.rotate << 20, max(options.m)
        if not check.possible(most, n, k):
            sys.exit(f"{PROGRAM}: without numpy the results of {n}x{k} cannot be checked: pip install numpy")
        self.ours = [Ours(device, name, n, k, most, rotate, options.math, X_TYPES[options.x])
                     for name in options.formats]
        self.peers = []
        data = {o.name: o.data for o in self.ours}
        for name in options.peers:
            kind = peers.KINDS[name]
            if kind.against in data:
                self.add_peer(kind, data[kind.against], rotate)
        self.x = common.halves(most * k, 1.0)
        self.right = {name: check.product(d, most, self.x) for name, d in data.items()}

    def add_peer(self, kind, data, rotate):
        lacking = compare_venv.missing(kind.packages)
        if lacking:
            self.skipped[kind.name] = f"not installed: pip install {' '.join(lacking)}"
            return
        try:
            peer = kind(data, self.options.threads, rotate)
        except Skip as e:
            self.skipped[kind.name] = first_line(e)
            return
        self.peers.append(peer)
        self.versions[kind.packages[-1]] = peer.version

    def columns(self):
        """Of the table: (name, label); each of ours before its peers."""
        out = []
        for name in self.options.formats:
            out.append((name, f"woq {name}"))
            out += [(p, peers.KINDS[p].label) for p in self.options.peers if peers.KINDS[p].against == name]
        return out

    def measure(self, m):
        x = self.x[:2 * m * self.shape[1]]
        row = {"m": m, "us": {}, "ratio": {}, "error": {}, "kernel": {}, "failed": {}, "runs_us": {}}
        runs = {}
        for contender in self.ours + self.peers:
            try:
                run = contender.prepare(m, x)
                self.check(contender, m, row)
                runs[contender.name] = run
            except Exception as e:  # of the peers' own kinds, too; its cell says so
                row["failed"][contender.name] = first_line(e)
        times = common.alternate(runs, self.options.rounds, REST_SECONDS)
        row["runs_us"] = {name: [s * 1e6 for s in t] for name, t in times.items()}
        row["us"] = {name: statistics.median(t) for name, t in row["runs_us"].items()}
        row["ratio"] = ratios(row["us"], {p.name: p.against for p in self.peers})
        row["kernel"] = {o.name: o.kernel(m) for o in self.ours if o.name in runs}
        self.rows.append(row)
        return row

    def check(self, contender, m, row):
        error = check.error(self.right[contender.against], contender.result(), m)
        row["error"][contender.name] = error
        if not error <= contender.tolerance:
            raise ArithmeticError(f"WRONG, error {error:.3g} of the root mean square, tolerance {contender.tolerance}")


def unsteady(runs_us):
    """Names of those whose runs differ so much that something else ran, too."""
    out = []
    for name, runs in runs_us.items():
        if len(runs) > 1:
            low, _, high = statistics.quantiles(runs, n=4, method="inclusive")
            out += [name] * (high > STEADY * low)
    return out


def ratios(us, against):
    """Peers' times ÷ those of ours that they stand against, where there are both."""
    return {name: us[name] / us[ours] for name, ours in against.items() if name in us and ours in us}


# ---- Reports ----

def cell(table, row, name):
    if name in table.skipped:
        return "left out"
    if name in row["failed"]:
        return "WRONG" if row["failed"][name].startswith("WRONG") else "failed"
    ms = row["us"][name] / 1000
    digits = 3 if ms < 10 else 2 if ms < 100 else 1
    return f"{ms:.{digits}f}" + (f" ×{row['ratio'][name]:.2f}" if name in row["ratio"] else "")


def width(label):
    return max(len(label), len("100.00 ×10.00"))


def print_head(table):
    n, k = table.shape
    print(f"\n{n}×{k}, ms a product; ×: time ÷ that of woq on the same weights")
    for name, why in table.skipped.items():
        print(f"  {peers.KINDS[name].label}: left out: {why}")
    print("   M  " + "  ".join(label.rjust(width(label)) for _, label in table.columns()), flush=True)


def report_row(table, row):
    print(f"{row['m']:4}  " + "  ".join(cell(table, row, name).rjust(width(label)) for name, label in table.columns()))
    for name, why in row["failed"].items():
        print(f"      {name}: {why}")
    disturbed = unsteady(row["runs_us"])
    if disturbed:
        print(f"      unsteady, measure again on an idle machine: {', '.join(disturbed)}")
    sys.stdout.flush()
    return len(set(row["failed"]) & {o.name for o in table.ours})


def tolerances(options):
    return {**{name: peers.BF16 if options.x == "bf16" else TOLERANCE for name in options.formats},
            **{name: peers.KINDS[name].tolerance for name in options.peers}}


def run(options, library, device):
    versions = {}

    def make(shape):
        table = Table(options, device, shape)
        versions.update(table.versions)
        return table

    tables, bad = common.each_row(options, make, print_head, report_row)
    print("\nlargest errors against float64, of the root mean square: " + largest_errors(tables, options))
    result = common.document(options, device, library, tables, peers=versions, threads=options.threads,
                             math=options.math, x=options.x, tolerance=tolerances(options))
    note = f"medians of {options.rounds}, {options.threads} threads"
    common.write(result, options, [compare_plot.MILLISECONDS] + [compare_plot.RATIO] * bool(options.peers), note)
    return 1 if bad else 0


def largest_errors(tables, options):
    worst = {}
    for row in (row for table in tables for row in table.rows):
        for name, error in row["error"].items():
            worst[name] = max(error, worst.get(name, 0))
    limits = tolerances(options)
    return ", ".join(f"{name} {error:.1g} (≤ {limits[name]:g})" for name, error in worst.items())


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options = parse_arguments(argv)
    prepare_packages(options, argv)
    limit_threads(options.threads)
    library = common.open_library(PROGRAM, options)
    try:
        device = open_device(library, options.device)
        print(f"{common.describe(library, device)}; {options.threads} threads, X {options.x}, math {options.math}",
              flush=True)
        return run(options, library, device)
    except woq.Error as e:
        sys.exit(f"{PROGRAM}: {e}")


if __name__ == "__main__":
    sys.exit(main())
