#!/usr/bin/env bash
# Runs a comparison with other people's Python packages, those of tools/setup.sh --python.
# usage: with_python.sh SCRIPT ARG...
# In an ARG, @smollm2@ is the GGUF of tools/fetch_model.sh and @shared@ the folder of test data (WOQ_SHARED_DATA).
# Exit status 77, a skip, where one of them is missing; 1 under WOQ_REQUIRE_PYTHON, but for test data.
set -euo pipefail

here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
drivers=${WOQ_DRIVERS_DIR:-$here/../build/drivers}
python=$drivers/python/bin/python
smollm2=$drivers/model/SmolLM2-135M-Instruct.Q4_1.gguf
shared=${WOQ_SHARED_DATA:-$here/../../shared/data}

missing() { # what, status
    echo "skip: $1"
    exit "$2"
}

demanded=77
[ -z "${WOQ_REQUIRE_PYTHON:-}" ] || demanded=1
[ -e "$drivers/python/VERSION" ] || missing "there is no $python; tools/setup.sh --python makes it" $demanded
args=()
for arg in "${@:2}"; do
    arg=${arg//@smollm2@/$smollm2}
    arg=${arg//@shared@/$shared}
    case $arg in
    "$smollm2") [ -e "$arg" ] || missing "there is no $arg; tools/fetch_model.sh downloads it" $demanded ;;
    "$shared"/*) [ -e "$arg" ] || missing "there is no $arg" 77 ;;
    esac
    args+=("$arg")
done
export PYTHONDONTWRITEBYTECODE=1
exec "$python" "$here/$1" "${args[@]}"
