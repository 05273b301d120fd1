#!/usr/bin/env bash
# What we write and compute, against the programs that users have: transformers and compressed-tensors on torch, 6 GB of
# packages in a virtual environment of their own, build/interop/venv.
# usage: interop.sh BUILD GGUF; BUILD: a build folder with libraries and program; GGUF: what tools/fetch_model.sh prints
set -euo pipefail

top=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
build=$(readlink -f "$1")
model=$(readlink -f "$2")
cd "$top"
dir=build/interop
shared=${WOQ_SHARED_DATA:-$top/../shared/data}
libraries=(--library "$build/libwoq.so" --model-library "$build/libwoq-model.so")
python=$dir/venv/bin/python

mkdir -p "$dir"
[ -x "$python" ] || python3 -m venv "$dir/venv"
"$python" -m pip --disable-pip-version-check install -q torch==2.15.0 transformers==5.23.0 \
    compressed-tensors==0.20.0 safetensors==0.8.0 gguf==0.19.0 tokenizers==0.23.3 numpy==2.4.6

export PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=ignore HF_HUB_OFFLINE=1
quantized() { # options of woq quantize
    "$build/tools/woq" quantize "$model" "$dir/quantized" --force "$@"
    "$python" tests/interop_transformers.py "$dir/quantized" "${libraries[@]}"
}
quantized --bits 8 --channel
quantized --bits 4 --group 64
quantized --bits 4 --group 64 --asymmetric --allow-unloadable
quantized --bits 4 --group 64 --override down_proj=8 --override 'layers\.1\..*o_proj=4:g32' \
    --override 'layers\.(0|29)\.=16'
# Calibrated: few samples, as the file's form does not depend on them.
quantized --method gptq --text "$shared/wikitext-2/wiki.valid.tokens" --samples 4 --window 128
for gguf in "$shared/stories260K/stories260K.gguf" "$model"; do
    "$python" tests/perplexity_compare.py "$build/tools/woq" "$gguf" "$shared/wikitext-2/wiki.valid.tokens" \
        "${libraries[@]}"
done
if [ -d "$shared/mmlu" ]; then
    "$python" tests/interop_tasks.py "$build/tools/woq" "$model" "$shared"
else
    echo "skip: there is no $shared/mmlu"
fi
