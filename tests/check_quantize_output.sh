#!/usr/bin/env bash
# What becomes of OUT when `woq quantize` is killed at random moments, the disk is full or the directory not writable:
# it is whole or absent, one that was there before is kept or replaced whole, and the next run clears what was left.
# usage: check_quantize_output.sh WOQ [ROUNDS] [SEED]
set -um # job control: background jobs do not ignore SIGINT
woq=$(realpath "$1")
rounds=${2:-16}
RANDOM=${3:-1}
bad=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1

fail() {
    printf 'FAILED: %s\n' "$*"
    bad=$((bad + 1))
}

# A Llama of two layers, 24 MB, all of whose weights are 0.0625.
python3 - <<'END' || exit 1
import json, os, struct
hidden, inner, words, layers = 768, 2048, 2000, 2
tensors = {"model.embed_tokens.weight": [words, hidden], "model.norm.weight": [hidden]}
for i in range(layers):
    layer = f"model.layers.{i}."
    for norm in "input_layernorm", "post_attention_layernorm":
        tensors[layer + norm + ".weight"] = [hidden]
    for part in "qkvo":
        tensors[layer + f"self_attn.{part}_proj.weight"] = [hidden, hidden]
    for part in "gate", "up":
        tensors[layer + f"mlp.{part}_proj.weight"] = [inner, hidden]
    tensors[layer + "mlp.down_proj.weight"] = [hidden, inner]
header, offset = {}, 0
for name, shape in tensors.items():
    size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]}
    offset += size
text = json.dumps(header).encode()
os.mkdir("model")
with open("model/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    f.write(b"\x00\x2c" * (offset // 2))
with open("model/config.json", "w") as f:
    json.dump({"model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
               "num_attention_heads": 12, "vocab_size": words, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
               "tie_word_embeddings": True}, f)
with open("model/tokenizer.json", "w") as f:
    f.write("{}")
END

sums() { (cd "$1" 2>/dev/null && sha256sum -- *); }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

began=$(milliseconds)
"$woq" quantize model four >/dev/null || exit 1
took=$(($(milliseconds) - began + 1))
"$woq" quantize model eight --bits 8 >/dev/null || exit 1
four=$(sums four) eight=$(sums eight)

# refused <what> <pattern> <output> <status>
refused() {
    if [ "$4" -ne 1 ] || ! grep -qE -- "$2" <<<"$3"; then fail "$1: status $4, wanted 1 and /$2/: $3"; fi
}

output=$("$woq" quantize model four 2>&1)
refused "an existing directory" "'four' exists.*--force" "$output" $?
[ "$(sums four)" = "$four" ] || fail "a refusal changed the directory"

# Root without its capabilities is bound by permissions.
bound=()
[ "$(id -u)" -ne 0 ] || bound=(setpriv --inh-caps=-all --bounding-set=-all)
mkdir -m 555 locked
if "${bound[@]}" true 2>/dev/null && ! "${bound[@]}" touch locked/probe 2>/dev/null; then
    output=$("${bound[@]}" "$woq" quantize model locked/out 2>&1)
    refused "a directory without permission" "cannot create 'locked/out': Permission denied" "$output" $?
else
    echo "skipped: a directory without permission, as there is none for this user"
fi

# A disk of 2 MiB, in a mount namespace of its own.
namespace=(unshare --mount)
[ "$(id -u)" -eq 0 ] || namespace=(unshare --map-root-user --mount)
mkdir disk
if "${namespace[@]}" mount -t tmpfs -o size=2m tmpfs disk 2>/dev/null; then
    # shellcheck disable=SC2016
    output=$("${namespace[@]}" sh -c 'mount -t tmpfs -o size=2m tmpfs disk; "$0" quantize model disk/out
        status=$?; ls -A disk; exit $status' "$woq" 2>&1)
    refused "a full disk" "^woq quantize: writing 'disk/out/model.safetensors': No space left on device\$" "$output" $?
    [ "$(wc -l <<<"$output")" -eq 1 ] || fail "a full disk: left behind: $output"
else
    echo "skipped: a full disk, as nothing may be mounted here"
fi

killed=0 stopped=0 done=0
for ((i = 0; i < rounds; i++)); do
    signal=KILL
    [ $((i % 4)) -lt 2 ] || signal=INT
    force=()
    before=
    rm -rf out
    if [ $((i % 2)) -eq 1 ]; then
        cp -r eight out
        force=(--force)
        before=$eight
    fi
    "$woq" quantize model out "${force[@]}" >log 2>&1 &
    wait=$((RANDOM % (took * 5 / 4)))
    sleep "$((wait / 1000)).$(printf %03d $((wait % 1000)))"
    kill -$signal $! 2>/dev/null
    wait $! 2>/dev/null
    status=$?
    case $status in
    0) done=$((done + 1)) ;;
    1)
        stopped=$((stopped + 1))
        grep -q "interrupted; 'out' was not written" log || fail "round $i: $(cat log)"
        ;;
    130) stopped=$((stopped + 1)) ;; # before woq asked for the signal
    137) killed=$((killed + 1)) ;;
    *) fail "round $i: $signal: status $status: $(cat log)" ;;
    esac
    after=$(sums out)
    [ "$after" = "$before" ] || [ "$after" = "$four" ] || fail "round $i: $signal after $wait ms: OUT is not whole"
    [ "$status" -ne 0 ] || [ "$after" = "$four" ] || fail "round $i: OUT is not there although it ended well"
    [ $signal = KILL ] || [ ! -e .out.woq-partial ] || fail "round $i: $signal left .out.woq-partial behind"
    "$woq" quantize model out --force >log 2>&1 || fail "round $i: the next run: $(cat log)"
    [ "$(sums out)" = "$four" ] || fail "round $i: the next run's OUT is not whole"
    [ "$(echo .out*)" = '.out*' ] || fail "round $i: the next run left $(echo .out*)"
done
echo "$rounds rounds of up to $((took * 5 / 4)) ms: $killed killed, $stopped interrupted, $done done before"
exit $((bad > 0))
