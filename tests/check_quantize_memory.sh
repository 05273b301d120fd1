#!/usr/bin/env bash
# `woq quantize` of a checkpoint that is larger than the memory it may use: the peak is at most 1 GiB, mapped pages of
# the source included, and what is written is right. Run by hand or by tools/test.sh --full.
# usage: check_quantize_memory.sh WOQ [GIGABYTES of FP16, default 2] [FOLDER, default a temporary one]
#
# The source is sparse files of a Llama of 4096 (from 8 GB on 8192) columns, all zeros but two rows of each matrix; OUT
# takes a quarter of it on the disk.
set -u
woq=$(realpath "$1")
gigabytes=${2:-2}
dir=$(mktemp -d -p "${3:-${TMPDIR:-/tmp}}")
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1

python3 -B - "$woq" "$gigabytes" <<'END'
import json, os, resource, struct, subprocess, sys

woq, gigabytes = sys.argv[1], float(sys.argv[2])
hidden, inner = (8192, 28672) if gigabytes >= 8 else (4096, 14336)
words, kv, limit, shard_limit = 32000, 1024, 1 << 30, 4 << 30
MARK = [(i % 15 - 7) / 8 for i in range(hidden)]  # exact in FP16 and by 4 bits: scale 1/8

matrices = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, hidden), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner)}
size = lambda shape: 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
of_layer = sum(map(size, matrices.values())) + 4 * hidden
layers = max(1, round((gigabytes * 1e9 - 2 * words * hidden) / of_layer))
tensors = {"model.embed_tokens.weight": (words, hidden), "model.norm.weight": (hidden,)}
for i in range(layers):
    for norm in "input_layernorm", "post_attention_layernorm":
        tensors[f"model.layers.{i}.{norm}.weight"] = (hidden,)
    for name, shape in matrices.items():
        tensors[f"model.layers.{i}.{name}.weight"] = shape

shards, used = [{}], 0
for name, shape in tensors.items():
    if used + size(shape) > shard_limit:
        shards.append({})
        used = 0
    shards[-1][name] = shape
    used += size(shape)
os.mkdir("model")
index = {}
for number, shard in enumerate(shards):
    file, header, offset = f"model-{number + 1:05}-of-{len(shards):05}.safetensors", {}, 0
    for name, shape in shard.items():
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size(shape)]}
        offset += size(shape)
        index[name] = file
    text = json.dumps(header).encode()
    with open("model/" + file, "wb") as f:
        f.truncate(8 + len(text) + offset)
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shard.items():
            for row in (1, shape[0] - 1) if len(shape) > 1 else ():
                columns = (MARK * -(-shape[1] // hidden))[: shape[1]]
                f.seek(8 + len(text) + header[name]["data_offsets"][0] + 2 * row * shape[1])
                f.write(struct.pack(f"<{shape[1]}e", *columns))
with open("model/model.safetensors.index.json", "w") as f:
    json.dump({"weight_map": index}, f)
with open("model/config.json", "w") as f:
    json.dump({"model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
               "num_attention_heads": hidden // 128, "num_key_value_heads": kv // 128, "vocab_size": words,
               "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "tie_word_embeddings": True}, f)

failed = subprocess.run([woq, "quantize", "model", "out", "--group", "64"]).returncode
peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
total = sum(map(size, tensors.values()))
print(f"{layers} layers, {len(shards)} files, {total / 1e9:.1f} GB of weights: peak {peak / 2**20:.0f} MiB")
if failed:
    sys.exit("FAILED: woq quantize")
if peak > limit:
    sys.exit(f"FAILED: more than {limit >> 20} MiB")

found = {}
for file in sorted(os.listdir("out")):
    if not file.endswith(".safetensors"):
        continue
    with open("out/" + file, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        for name, entry in json.loads(f.read(length)).items():
            if name == "__metadata__" or not name.endswith((".weight_packed", ".weight_scale")):
                continue
            rows, columns = entry["shape"]
            width = 4 if name.endswith("packed") else 2
            for row in 0, 1, rows - 1:
                f.seek(8 + length + entry["data_offsets"][0] + width * row * columns)
                found[name, row == 0] = f.read(width * columns)
                line = MARK * -(-inner // hidden)
                if width == 2:  # scales: 0 of zeros, the largest / 7 of others
                    count = columns * 64
                    want = b"".join(struct.pack("<e", max(map(abs, line[g : g + 64])) / 7) for g in range(0, count, 64))
                    want = bytes(width * columns) if row == 0 else want
                else:
                    codes = [8 + round(v * 8) for v in line[: columns * 8]] if row else [8] * (columns * 8)
                    want = bytes(codes[i] | codes[i + 1] << 4 for i in range(0, len(codes), 2))
                if found[name, row == 0] != want:
                    sys.exit(f"FAILED: {name}, row {row}")
layers_found = len({name for name, _ in found})
if layers_found != 2 * len(matrices) * layers:
    sys.exit(f"FAILED: {layers_found} tensors of layers")
print(f"{layers_found} tensors of layers are right in the rows that are not zero")
END
