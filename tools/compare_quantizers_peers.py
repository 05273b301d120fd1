"""compare_quantizers_peers.py: one peer of compare_quantizers.py, in a Python that has its packages.

    compare_quantizers_peers.py JOB.json

JOB: an object with the members of Job, which compare_quantizers.py writes. Makes the directory `out`,
compressed-tensors `pack-quantized` with FP16 scales as `woq quantize` writes it, and <out>.json: seconds and CPU
seconds from the loaded model to the written directory, the packages' versions, and the samples' fingerprint. All peers
compute in FP32 on the CPU.
"""
import dataclasses
import glob
import json
import os
import shutil
import sys
import time

ACTORDER_STATIC = {"desc_act": True, "static_groups": True, "damp_percent": 0.01}


@dataclasses.dataclass
class Peer:
    package: str        # of PyPI; the module has the same name
    settings: dict      # beside bits, group and symmetry
    label: str


PEERS = {
    "llmcompressor": Peer("llmcompressor", {"actorder": "static", "dampening_frac": 0.01},
                          "act order, static groups, damping 1 % (its defaults)"),
    "gptqmodel": Peer("gptqmodel", ACTORDER_STATIC, "act order, static groups, damping 1 %"),
    "gptqmodel-default": Peer("gptqmodel", {}, "its defaults: act order by groups, damping 5 %"),
}
PACKAGES = ("torch", "transformers", "compressed-tensors")  # whose versions matter, beside the peer's
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@dataclasses.dataclass
class Job:
    peer: str
    model: str          # .gguf file or Hugging Face directory
    rounded: str        # what `woq quantize` made of it by rounding to nearest, with the same bits and groups
    dense: str          # where the model's FP16 directory is or will be
    out: str
    text: str
    samples: int
    window: int
    seed: int
    group: int


# ---- The same samples as ours ----

def next_random(state):
    """SplitMix64: the next state, and its number."""
    mask = 2**64 - 1
    state = (state + 0x9e3779b97f4a7c15) & mask
    z = ((state ^ state >> 30) * 0xbf58476d1ce4e5b9) & mask
    z = ((z ^ z >> 27) * 0x94d049bb133111eb) & mask
    return state, z ^ z >> 31


def draw(available, count, seed):
    """Numbers of windows, ascending, as `woq quantize --seed` draws them (woq/calibrate.h)."""
    numbers = list(range(available))
    for i in range(count):
        limit = available - i
        uneven = 2**64 % limit  # numbers of an incomplete last round are drawn again
        seed, r = next_random(seed)
        while r < uneven:
            seed, r = next_random(seed)
        j = i + r % limit
        numbers[i], numbers[j] = numbers[j], numbers[i]
    return sorted(numbers[:count])


def fingerprint(windows):
    """FNV-1a over the tokens, as in the file run.json of a `woq quantize` at work."""
    value = 0xcbf29ce484222325
    for token in (t for window in windows for t in window):
        value = ((value ^ token) * 0x100000001b3) & (2**64 - 1)
    return f"{value:016x}"


def read_windows(job):
    from tokenizers import Tokenizer

    with open(os.path.join(job.rounded, "tokenizer_config.json"), encoding="utf-8") as f:
        config = json.load(f)
    tokenizer = Tokenizer.from_file(os.path.join(job.rounded, "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # a text that spells one is text
    with open(job.text, encoding="utf-8", errors="replace", newline="") as f:
        ids = tokenizer.encode(f.read(), add_special_tokens=False).ids
    available = len(ids) // job.window
    if available < job.samples:
        sys.exit(f"{job.text}: gives {available} windows of {job.window} tokens; {job.samples} are wanted")
    windows = [ids[n * job.window:(n + 1) * job.window] for n in draw(available, job.samples, job.seed)]
    if config.get("add_bos_token"):
        bos = tokenizer.token_to_id(config["bos_token"])
        windows = [[bos] + window[1:] for window in windows]
    return windows


# ---- The model, and what becomes of it ----

def copy_tokenizer(source, out):
    for name in TOKENIZER:
        shutil.copy(os.path.join(source, name), out)


def read_config(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        return json.load(f)


def write_directory(out, tensors, config, tokenizer):
    """Under another name until it is whole."""
    from safetensors.torch import save_file

    made = out + ".part"
    shutil.rmtree(made, ignore_errors=True)
    os.makedirs(made)
    save_file(tensors, os.path.join(made, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(made, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)
    copy_tokenizer(tokenizer, made)
    shutil.rmtree(out, ignore_errors=True)
    os.rename(made, out)


def dense_directory(job):
    """The model as FP16, dequantized by transformers if it is a .gguf file."""
    import torch
    from transformers import AutoModelForCausalLM

    if os.path.isdir(job.model):
        return job.model
    if not os.path.isdir(job.dense):
        folder, name = os.path.split(os.path.realpath(job.model))
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float16)
        tied = model.config.tie_word_embeddings
        tensors = {key: w.contiguous() for key, w in model.state_dict().items()
                   if not (tied and key == "lm_head.weight")}
        config = read_config(job.rounded)
        del config["quantization_config"]
        write_directory(job.dense, tensors, config, job.rounded)
    return job.dense


def unpack_gptq(tensors, name, group):
    """The pack-quantized tensors of a layer in GPTQ's layout. Both hold eight codes of a row in a word, the first one
    lowest, and 8 is zero; GPTQ has words of one row in a column."""
    import torch

    words, scales = tensors[name + ".qweight"], tensors[name + ".scales"]
    k, n = words.shape[0] * 8, words.shape[1]
    zeros, g_idx = tensors[name + ".qzeros"], tensors.get(name + ".g_idx")
    same = {int(z) & 0xffffffff for z in zeros.unique()}
    if same not in ({0x77777777}, {0x88888888}):  # version 1 stores the zero point less 1
        sys.exit(f"{name}: is not symmetric")
    if g_idx is not None and not torch.equal(g_idx.long(), torch.arange(k) // group):
        sys.exit(f"{name}: has groups of scattered columns, which pack-quantized cannot hold")
    return {name + ".weight_packed": words.T.contiguous(), name + ".weight_scale": scales.T.contiguous().half(),
            name + ".weight_shape": torch.tensor([n, k])}


def from_gptq(folder, job):
    from safetensors.torch import load_file

    tensors = {}
    for file in glob.glob(os.path.join(folder, "*.safetensors")):
        tensors.update(load_file(file))
    out = {}
    for key, tensor in tensors.items():
        name, part = key.rsplit(".", 1)
        if part == "qweight":
            out.update(unpack_gptq(tensors, name, job.group))
        elif part not in ("qzeros", "scales", "g_idx"):
            out[key] = tensor.half().contiguous()
    config = read_config(job.rounded)
    if config.get("tie_word_embeddings"):
        out.pop("lm_head.weight", None)
    write_directory(job.out, out, config, job.rounded)


# ---- Peers: (job, FP16 directory, windows) -> (seconds, CPU seconds) ----

class Clock:
    """Seconds by the clock, and of the CPU by all threads of this process."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self):
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def run_gptqmodel(job, dense, windows):
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig

    # pack_impl: not one that is compiled first
    config = QuantizeConfig(bits=4, group_size=job.group, sym=True, device="cpu", pack_impl="original",
                            **PEERS[job.peer].settings)
    model = GPTQModel.load(dense, config, dtype=torch.float32)
    clock = Clock()
    model.quantize([{"input_ids": w, "attention_mask": [1] * len(w)} for w in windows], batch_size=1)
    folder = job.out + ".gptq"
    model.save(folder)
    times = clock.read()
    from_gptq(folder, job)
    return times


def run_llmcompressor(job, dense, windows):
    import torch
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32)
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": job.group}
    recipe = GPTQModifier(config_groups={"group_0": {"targets": ["Linear"], "weights": weights}}, ignore=["lm_head"],
                          **PEERS[job.peer].settings)
    samples = [{"input_ids": torch.tensor([w]), "attention_mask": torch.ones(1, len(w), dtype=torch.long)}
               for w in windows]
    loader = torch.utils.data.DataLoader(samples, batch_size=None)
    clock = Clock()
    oneshot(model=model, dataset=loader, recipe=recipe, max_seq_length=job.window, num_calibration_samples=job.samples)
    model.half().save_pretrained(job.out, save_compressed=True)  # scales of 16 bits, as the others'
    times = clock.read()
    copy_tokenizer(job.rounded, job.out)
    return times


RUN = {"gptqmodel": run_gptqmodel, "llmcompressor": run_llmcompressor}


def versions(package):
    from importlib import metadata

    return {name: metadata.version(name) for name in (package, *PACKAGES)}


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        job = Job(**json.load(f))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["GPTQMODEL_CPU_WORKERS"] = "2"  # as few as it takes; on two cores it would choose one, and end
    package = PEERS[job.peer].package
    windows = read_windows(job)
    seconds, cpu = RUN[package](job, dense_directory(job), windows)
    with open(job.out + ".json", "w", encoding="utf-8") as f:
        json.dump({"seconds": seconds, "cpu_seconds": cpu, "versions": versions(package),
                   "samples": fingerprint(windows)}, f, indent=2)


if __name__ == "__main__":
    main()
