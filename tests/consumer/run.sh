#!/usr/bin/env bash
# run.sh BUILD_DIR CC: installs that build into a folder of its own, and builds and runs an application against it: with
# find_package and with pkg-config, each with the shared and the static library.
set -euo pipefail

build=$1 cc=$2
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

quiet() { "$@" >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }; }

quiet cmake --install "$build" --prefix "$tmp/prefix"
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
version=$(cached CMAKE_PROJECT_VERSION)

check() { # how, program
    local got
    got=$("$2")
    if [ "$got" != "$version" ]; then
        echo "$1: the program says '$got', expected '$version'"
        exit 1
    fi
    echo "$1: $got"
}

quiet cmake -S "$here" -B "$tmp/build" -G "$(cached CMAKE_GENERATOR)" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_PREFIX_PATH="$tmp/prefix"
quiet cmake --build "$tmp/build"
check "find_package, shared" "$tmp/build/with_woq"
check "find_package, static" "$tmp/build/with_woq_static"

pc=$(dirname "$(find "$tmp/prefix" -name woq.pc)")
lib=$(dirname "$pc")
# The file names the prefix of configure time; the install went elsewhere.
flags() { PKG_CONFIG_PATH=$pc pkg-config --define-variable=prefix="$tmp/prefix" "$@" woq; }
# Flags are words to split.
# shellcheck disable=SC2046
"$cc" -o "$tmp/shared" "$here/main.c" $(flags --cflags --libs) -Wl,-rpath,"$lib"
check "pkg-config, shared" "$tmp/shared"
rm "$lib"/libwoq.so*
# shellcheck disable=SC2046
"$cc" -o "$tmp/static" "$here/main.c" $(flags --cflags --libs --static)
check "pkg-config, static" "$tmp/static"
