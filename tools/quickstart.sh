#!/usr/bin/env bash
# The main job on a real model, on the CPU, from nothing: installs what is missing, builds, quantizes SmolLM2-135M-Instruct
# to W8A16 and, rounded to nearest and calibrated, to W4A16, and measures them against FP16.
set -euo pipefail

usage() {
    cat <<'END'
usage: tools/quickstart.sh [--text FILE] [--tokens N] [--device NAME] [--help]

  --text FILE    a UTF-8 text (default: the Debian Policy Manual, from the package debian-policy): its first half
                 is for measuring perplexity, its second half for calibration
  --tokens N     of the first half at most (default 8192)
  --samples N    of the second half, windows of 512 tokens (default 32)
  --device NAME  where products run (default: PoCL, an OpenCL driver for CPUs); see `woq devices`

Everything that is downloaded or made lies in build/quickstart and, drivers and model, in build/drivers.
END
}

text='' tokens=8192 samples=32 device=''
need() { [ $# -ge 2 ] || { echo "quickstart.sh: $1 needs a value; see --help" >&2; exit 2; }; }
while [ $# -gt 0 ]; do
    case $1 in
    --text) need "$@"; text=$2; shift 2 ;;
    --tokens) need "$@"; tokens=$2; shift 2 ;;
    --samples) need "$@"; samples=$2; shift 2 ;;
    --device) need "$@"; device=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "quickstart.sh: unknown argument '$1'; the options are --text, --tokens, --samples, --device and --help" >&2; exit 2 ;;
    esac
done
if [ -n "$text" ]; then
    [ -r "$text" ] || { echo "quickstart.sh: --text: cannot read '$text'" >&2; exit 2; }
    text=$(readlink -f "$text")
fi

top=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
cd "$top"
out=build/quickstart
mkdir -p "$out"
heading() { printf '\n== %d:%02d %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

heading "installing what is missing"
tools/setup.sh
# shellcheck disable=SC1091
. "${WOQ_DRIVERS_DIR:-$top/build/drivers}/env.sh"

heading "building"
cmake -S . -B "$out/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DWOQ_OPENCL=ON -DWOQ_MODEL=ON -DWOQ_CUDA=AUTO \
    -DWOQ_TESTS=OFF -DWOQ_EXAMPLES=OFF >"$out/build.log" 2>&1 &&
    cmake --build "$out/build" >>"$out/build.log" 2>&1 || { tail -n 40 "$out/build.log"; exit 1; }
woq=$out/build/tools/woq
echo "built $woq"

heading "getting SmolLM2-135M-Instruct (98 MB, the first time)"
model=$(tools/fetch_model.sh) # Q4_1 blocks, so "FP16" below is the dequantized Q4_1
if [ -z "$text" ]; then
    text=$out/policy.txt
    if [ ! -s "$text" ]; then
        log=$top/$out/apt.log
        (cd "$out" && apt-get download debian-policy >"$log" 2>&1 && dpkg -x debian-policy_*.deb policy) ||
            { echo "quickstart.sh: cannot get the package debian-policy; give a text of your own by --text" >&2
              tail -n 3 "$log" >&2; exit 1; }
        # From the first chapter on: a table of contents tells little about a language model.
        zcat "$out/policy/usr/share/doc/debian-policy/policy.txt.gz" | sed -n '/^1\. About this manual/,$p' >"$text.part"
        mv "$text.part" "$text"
    fi
fi

# PoCL by its own list of drivers, unless another device was asked for.
if [ -z "$device" ]; then
    export OCL_ICD_VENDORS=/etc/OpenCL/vendors
    device=opencl:0
fi

# Half of the lines each: what a model was calibrated on says too much of it.
half=$(($(wc -c <"$text") / 2))
LC_ALL=C awk -v half="$half" -v first="$out/measure.txt" -v second="$out/calibrate.txt" \
    '{ size += length($0) + 1; print > (size <= half ? first : second) }' "$text"

heading "quantizing to 8 bits per channel and 4 bits in groups of 64, to nearest"
[ -d "$out/SmolLM2-w8" ] || "$woq" quantize "$model" "$out/SmolLM2-w8" --bits 8 --channel
[ -d "$out/SmolLM2-w4" ] || "$woq" quantize "$model" "$out/SmolLM2-w4" --bits 4 --group 64

heading "quantizing to 4 bits in groups of 64, by GPTQ on $samples samples"
made="$samples $(cksum <"$out/calibrate.txt")"
if [ ! -d "$out/SmolLM2-w4-gptq" ] || [ "$(cat "$out/gptq.made" 2>/dev/null)" != "$made" ]; then
    "$woq" quantize "$model" "$out/SmolLM2-w4-gptq" --bits 4 --group 64 --method gptq --text "$out/calibrate.txt" \
        --samples "$samples" --device "$device" --report "$out/gptq.json" --force
    "$woq" report "$out/gptq.json" "$out/gptq.html"
    echo "$made" >"$out/gptq.made"
fi

heading "measuring FP16, W8 and W4, and what they write"
"$woq" eval "$model:f16" "$out/SmolLM2-w8" "$out/SmolLM2-w4" "$out/SmolLM2-w4-gptq" --device "$device" \
    --text "$out/measure.txt" --tokens "$tokens" --prompt 'Rain is important for plants because' --generate 48 \
    --json "$out/result.json"
heading "done; the table as JSON: $out/result.json; what GPTQ did to each layer: $out/gptq.html"
