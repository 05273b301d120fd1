#!/usr/bin/env python3
"""Compares woq's GPTQ with that of gptqmodel and of llmcompressor: the same samples, bits and groups, on the CPU.

    tools/compare_quantizers.py MODEL --text calibration.txt --test test.txt --woq build/tools/woq --work DIR

MODEL, a .gguf file or a Hugging Face directory, becomes 4 bits, symmetric, in groups of --group columns, all layers of
the decoder but no embedding and no lm_head,

  woq-rtn            by woq quantize, rounded to nearest
  woq-gptq           by woq quantize --method gptq
  llmcompressor      by GPTQModifier, act order with static groups, damping 1 %: its defaults
  gptqmodel          by GPTQ with act order and static groups, damping 1 %
  gptqmodel-default  by GPTQ as gptqmodel does it when nothing is said: act order by groups, damping 5 %

each but the first calibrated on the same windows of tokens of --text, in FP32. Then woq eval measures all against the
model in FP16 on --test: perplexity, the logarithm of its ratio to FP16's, KL divergence in nats a token, and how often
the likeliest token is the same. Seconds are by the clock, and of the CPU (of all threads): of ours the whole program's,
of the peers from the loaded model to the written one. All have as many threads.

What was made lies in --work, and is taken from there by a later run with the same arguments; --work needs about 1 GB,
for SmolLM2-135M. Each peer runs in a virtual environment of its own below --venv, as they want other versions of
PyTorch; the first run installs it from PyPI, with pip: on x86-64 Linux some 6 GB each. With --no-install those that are
not there run in the Python that runs this, or are left out if it lacks them.
"""
import argparse
import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import time

import compare_common as common
import compare_quantizers_peers as peers
import compare_venv

PROGRAM = "compare_quantizers.py"
OURS = {"woq-rtn": "round to nearest", "woq-gptq": "GPTQ, damping 1 %"}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POCL_CPU_MAX_CU_COUNT", "POCL_MAX_PTHREAD_COUNT")


class Failed(Exception):
    """Why a quantizer has no row."""


def parse_arguments(argv):
    folder = compare_venv.default_folder("woq-compare-quantizers")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--text", required=True, metavar="FILE", help="samples are windows of this text (UTF-8)")
    parser.add_argument("--test", required=True, metavar="FILE", help="another text, to measure on (UTF-8)")
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for what is made")
    parser.add_argument("--woq", default="woq", metavar="PROGRAM", help="the program woq (default: that in PATH)")
    parser.add_argument("-p", "--peers", type=common.parse_peers(peers.PEERS), default=list(peers.PEERS),
                        metavar="LIST", help=f"others (default {','.join(peers.PEERS)}), or none")
    parser.add_argument("-g", "--group", type=common.number, default=64, metavar="N",
                        help="columns that share a scale (default 64)")
    parser.add_argument("--samples", type=common.number, default=128, metavar="N", help="windows (default 128)")
    parser.add_argument("--window", type=common.number, default=512, metavar="N", help="tokens of one (default 512)")
    parser.add_argument("--seed", type=lambda text: common.number(text, 0), default=0, metavar="N",
                        help="draws other windows (default 0)")
    parser.add_argument("--tokens", type=lambda text: common.number(text, 0), default=32768, metavar="N",
                        help="of --test at most (default 32768; 0: all)")
    parser.add_argument("-d", "--device", metavar="NAME", help="where products of ours run, as woq takes it")
    parser.add_argument("--math", default="default", metavar="MODE", help="of these products, as woq takes it")
    parser.add_argument("-n", "--threads", type=common.number, default=len(os.sched_getaffinity(0)), metavar="N",
                        help="threads of each, and cores for them (default all)")
    parser.add_argument("--venv", default=folder, metavar="DIR", help=f"the environments (default below {folder})")
    parser.add_argument("--no-install", action="store_true", help="install nothing")
    parser.add_argument("-j", "--json", metavar="FILE", help="also as JSON")
    options = parser.parse_args(argv)
    options.png = None
    options.work, options.venv = os.path.abspath(options.work), os.path.abspath(options.venv)
    common.check_files(parser, options)
    check_inputs(parser, options)
    return options


def check_inputs(parser, options):
    for name in (options.text, options.test):
        if not os.path.isfile(name):
            parser.error(f"no file '{name}'")
    if options.text.endswith(".jsonl"):
        parser.error(f"--text {options.text}: must be plain text; the peers' side does not read .jsonl")
    if not os.path.exists(options.model):
        parser.error(f"no model '{options.model}'")
    if not shutil.which(options.woq):
        parser.error(f"--woq {options.woq}: is no program; build/tools/woq is one after a build")
    if options.threads > len(os.sched_getaffinity(0)):
        parser.error(f"--threads {options.threads}: there are {len(os.sched_getaffinity(0))} cores")


# ---- Making ----

def said(text, fallback):
    """The last line of a failed program's output."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else fallback


def run_program(command, log, folder=None):
    """(seconds, CPU seconds); its output goes to the file `log`. folder: where it runs."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with open(log, "w", encoding="utf-8") as f:
        done = subprocess.run(command, stdout=f, stderr=subprocess.STDOUT, cwd=folder, check=False)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        with open(log, encoding="utf-8", errors="replace") as f:
            raise Failed(f"{said(f.read(), f'exit status {done.returncode}')} ({log})")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def of_ours(options, name, out):
    """The command."""
    command = [options.woq, "quantize", options.model, out, "--bits", "4", "--group", str(options.group), "--force",
               "--jobs", str(options.threads)]
    if name == "woq-gptq":
        command += ["--method", "gptq", "--text", options.text, "--samples", str(options.samples), "--window",
                    str(options.window), "--seed", str(options.seed), "--math", options.math]
        command += ["--device", options.device] if options.device else []
    return command


def version_of(options):
    done = subprocess.run([options.woq, "--version"], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()[-1]  # "woq 0.1.0"


def make_ours(options, name, out):
    seconds, cpu = run_program(of_ours(options, name, out), out + ".log")
    return {"seconds": seconds, "cpu_seconds": cpu, "versions": {"woq": version_of(options)}}


def python_of(options, peer):
    """The interpreter that has the peer; raises Failed."""
    folder = os.path.join(options.venv, peer.package)
    python = os.path.join(folder, "bin", "python")
    wanted = [peer.package, "gguf"]
    if not options.no_install:
        try:
            python = compare_venv.make(folder)
        except OSError as e:
            raise Failed(common.first_line(e)) from None
        compare_venv.install(compare_venv.missing_in(python, wanted), (python, "-m", "pip"))
    elif not os.path.exists(python):
        python = sys.executable
    lacking = compare_venv.missing_in(python, wanted)
    if lacking:
        raise Failed(f"not installed: pip install {' '.join(lacking)}")
    return python


def make_peer(options, name, out):
    python = python_of(options, peers.PEERS[name])
    work = options.work
    job = peers.Job(peer=name, model=os.path.abspath(options.model), rounded=os.path.join(work, "woq-rtn"),
                    dense=os.path.join(work, "fp16"), out=out, text=os.path.abspath(options.text),
                    samples=options.samples, window=options.window, seed=options.seed, group=options.group)
    with open(out + ".job", "w", encoding="utf-8") as f:
        json.dump(dataclasses.asdict(job), f)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compare_quantizers_peers.py")
    run_program([python, script, out + ".job"], out + ".log", work)  # gptqmodel writes a folder of logs
    with open(out + ".json", encoding="utf-8") as f:
        return json.load(f)


def arguments(options, name):
    """What the directory depends on."""
    return [name, os.path.abspath(options.model), options.group] + ([] if name == "woq-rtn" else [
        os.path.abspath(options.text), options.samples, options.window, options.seed])


def make(options, name):
    """The facts of one quantizer; what an earlier run left is taken if its arguments were the same."""
    out = os.path.join(options.work, name)
    facts, wanted = out + ".facts", arguments(options, name)
    if os.path.isdir(out) and os.path.exists(facts):
        with open(facts, encoding="utf-8") as f:
            earlier = json.load(f)
        if earlier["arguments"] == wanted:
            print(f"{name}: from an earlier run", file=sys.stderr, flush=True)
            return earlier
    print(f"{name}: {OURS.get(name) or peers.PEERS[name].label}", file=sys.stderr, flush=True)
    if os.path.exists(facts):
        os.remove(facts)
    result = (make_ours if name in OURS else make_peer)(options, name, out)
    result["arguments"] = wanted
    with open(facts, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=2)
    return result


# ---- Measuring ----

def evaluate(options, names):
    """woq eval's models: FP16, then those of names."""
    file, log = os.path.join(options.work, "eval.json"), os.path.join(options.work, "eval.log")
    first = options.model + (":f16" if options.model.endswith(".gguf") else "")
    command = [options.woq, "eval", first, *(os.path.join(options.work, name) for name in names),
               "--text", options.test, "--tokens", str(options.tokens), "--kl", "--math", options.math, "--json", file]
    run_program(command + (["--device", options.device] if options.device else []), log)
    with open(file, encoding="utf-8") as f:
        return json.load(f)


def row(model, name, facts):
    """Cells of the table."""
    if "error" in model:
        return [name, model["error"]]
    perplexity = f"{model['perplexity']:.3f} ± {model['standard_error']:.3f}"
    cells = [name, f"{model['bits_per_weight']:.2f}"]
    cells += [f"{facts['seconds']:.0f}", f"{facts['cpu_seconds']:.0f}"] if facts else ["–", "–"]
    if "kl" not in model:
        return [*cells, perplexity, "baseline", "–", "–"]
    kl = model["kl"]
    return [*cells, perplexity, f"{model['ln_ratio']:+.4f} ± {model['ln_ratio_error']:.4f}",
            f"{kl['mean']:.4f} ± {kl['standard_error']:.4f}",
            f"{100 * kl['top1_agreement']:.2f} ± {100 * kl['top1_agreement_error']:.2f} %"]


HEAD = ["quantizer", "bits", "s", "CPU s", "perplexity", "ln(PPL/FP16)", "KL from FP16", "same top-1"]


def print_table(rows):
    whole = [r for r in rows if len(r) == len(HEAD)]
    widths = [max(len(r[i]) for r in [HEAD, *whole]) for i in range(len(HEAD))]
    for r in [HEAD, *rows]:
        if len(r) == len(HEAD):
            print(r[0].ljust(widths[0]) + "".join("  " + c.rjust(w) for c, w in zip(r[1:], widths[1:])))
        else:
            print(f"{r[0].ljust(widths[0])}  {r[1]}")


def report(options, result, made, left_out):
    names = ["fp16", *made]
    models = dict(zip(names, result["models"]))
    print(f"{result['device_name']}, {result['driver']}; {options.threads} threads; {options.samples} samples of "
          f"{options.window} tokens, seed {options.seed}; {models['fp16']['windows']} windows of {options.test}")
    print_table([row(models[name], name, made.get(name)) for name in names] + [[n, w] for n, w in left_out.items()])
    for name, facts in made.items():
        label = OURS.get(name) or peers.PEERS[name].label
        print(f"{name}: {label}; " + ", ".join(f"{p} {v}" for p, v in facts["versions"].items()))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"samples": options.samples, "window": options.window, "seed": options.seed,
                       "group": options.group, "threads": options.threads, "made": made, "left_out": left_out,
                       "eval": result}, f, indent=2)


def limit_threads(count):
    """Of the programs that are run."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    for name in THREADS:
        os.environ[name] = str(count)
    os.environ["HF_HUB_OFFLINE"] = "1"


def main(argv=None):
    options = parse_arguments(sys.argv[1:] if argv is None else argv)
    limit_threads(options.threads)
    made, left_out = {}, {}
    try:
        os.makedirs(options.work, exist_ok=True)
        for name in OURS:
            made[name] = make(options, name)
        for name in options.peers:
            try:
                made[name] = make(options, name)
            except Failed as e:
                left_out[name] = f"left out: {e}"
        report(options, evaluate(options, made), made, left_out)
    except (Failed, OSError) as e:
        sys.exit(f"{PROGRAM}: {e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
