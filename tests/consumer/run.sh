#!/usr/bin/env bash
# run.sh BUILD_DIR CC: installs that build into a folder of its own, and builds and runs applications against it: with
# find_package and with pkg-config, each with the shared and the static library; likewise libwoq-model if it was built.
set -euo pipefail

build=$1 cc=$2
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

quiet() { "$@" >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }; }

quiet cmake --install "$build" --prefix "$tmp/prefix"
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
version=$(cached CMAKE_PROJECT_VERSION)
gguf=$here/../seeds/gguf/llama_q4_1.gguf
model=$(find "$tmp/prefix" -name woq-model.pc)

check() { # how, expected, program, its arguments...
    local got
    got=$("${@:3}")
    if [ "$got" != "$2" ]; then
        echo "$1: the program says '$got', expected '$2'"
        exit 1
    fi
    echo "$1: $got"
}
says="$version mixed: llama, 1 layers, 4 tokens"

quiet cmake -S "$here" -B "$tmp/build" -G "$(cached CMAKE_GENERATOR)" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_PREFIX_PATH="$tmp/prefix" -DMODEL="$([ -n "$model" ] && echo TRUE || echo FALSE)"
quiet cmake --build "$tmp/build"
check "find_package, shared" "$version" "$tmp/build/with_woq"
check "find_package, static" "$version" "$tmp/build/with_woq_static"
if [ -n "$model" ]; then
    check "find_package, model, shared" "$says" "$tmp/build/with_woq_model" "$gguf"
    check "find_package, model, static" "$says" "$tmp/build/with_woq_model_static" "$gguf"
fi

pc=$(dirname "$(find "$tmp/prefix" -name woq.pc)")
lib=$(dirname "$pc")
# The install went elsewhere than what was configured.
flags() { PKG_CONFIG_PATH=$pc pkg-config "$@"; }
for package in woq ${model:+woq-model}; do
    if [ "$(realpath "$(flags --variable=prefix "$package")")" != "$(realpath "$tmp/prefix")" ]; then
        echo "$package.pc: its prefix is $(flags --variable=prefix "$package"), not $tmp/prefix"
        exit 1
    fi
done
# Flags are words to split.
# shellcheck disable=SC2046
build() { # how: shared or static
    local static=() rpath=()
    if [ "$1" = static ]; then static=(--static); else rpath=("-Wl,-rpath,$lib"); fi
    "$cc" -o "$tmp/main" "$here/main.c" $(flags --cflags --libs "${static[@]}" woq) "${rpath[@]}"
    check "pkg-config, $1" "$version" "$tmp/main"
    [ -n "$model" ] || return 0
    "$cc" -std=c11 -o "$tmp/model" "$here/model.c" $(flags --cflags --libs "${static[@]}" woq-model) "${rpath[@]}"
    check "pkg-config, model, $1" "$says" "$tmp/model" "$gguf"
}
build shared
rm "$lib"/libwoq*.so*
build static
