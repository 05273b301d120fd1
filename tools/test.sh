#!/usr/bin/env bash
# Builds and tests woq from nothing: installs what is missing, then the plain build, and the same sources under
# sanitizers.
set -euo pipefail

usage() {
    cat <<'END'
usage: tools/test.sh [--quick] [--full] [--interop] [--help]

Stages, each in a folder of its own under build/:
  setup   tools/setup.sh --aarch64 --cuda --fuzz --ocloc --python: compilers, headers, software drivers, an emulator,
          libFuzzer, Python packages; and tools/fetch_model.sh: SmolLM2
  test    all backends, all tests; a backend without a device is a failure (WOQ_REQUIRE_BACKENDS to change that), and so
          are missing Python packages (WOQ_REQUIRE_PYTHON, empty to skip what needs them)
  asan    address and undefined behaviour sanitizers: the tests labelled `sanitize`, and fuzzers for a minute
  tsan    thread sanitizer, reference backend only: the tests labelled `tsan`
  memory  (only with --full: 0.6 GB on the disk) woq quantize of a checkpoint of 2 GB, whose peak must be below 1 GiB
  interop (only with --interop: 6 GB of Python packages) quantized SmolLM2 in transformers + compressed-tensors, and
          perplexity and logits of two models against transformers
--quick ends after `test`. --full is also for CUDA kernels of all architectures, not 8.0 and 9.0 alone, and for tests
that take long: the whole suite and more limits on lavapipe, the suite by each of its kernels for matrix units, more
limits on Intel's runtime as a GPU, PoCL as a GPU and as a CPU without AVX2, an older lavapipe, calibration on PoCL, more
of AMD's and Intel's GPUs as targets of their compilers, a trial of all of PoCL's kernels, every call made again after
an allocation failed, and, with sanitizers, the suite on the reference whole, more of calibration, failing allocations,
and every native call that can fail, not one of four. The last line counts the tests of all stages; the exit status is 0
if none failed.
END
}

quick=0 full=0 interop=0
for arg in "$@"; do
    case $arg in
    --quick) quick=1 ;;
    --full) full=1 ;;
    --interop) interop=1 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "test.sh: unknown option '$arg'; the options are --quick, --full, --interop and --help" >&2; exit 2 ;;
    esac
done

top=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
cd "$top"
jobs=$(nproc)
passed=0 failed=0 skipped=0

heading() { printf '\n== %d:%02d %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }
closing() { printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"; }

# A stage that does not even build counts as one failure, so that the closing line always comes.
stage() { # name, ctest options or "" for all, cmake options...
    local name=$1 label=$2 log=$top/build/$1/stage.log
    shift 2
    heading "$name: build"
    mkdir -p "build/$name"
    if ! cmake -S . -B "build/$name" -G Ninja -DWOQ_WERROR=ON "$@" >"$log" 2>&1; then
        cat "$log"
        failed=$((failed + 1))
        return
    fi
    grep 'woq:' "$log" || true
    if ! cmake --build "build/$name" -j "$jobs" >"$log" 2>&1; then
        grep -vE '^\[[0-9]+/[0-9]+\] (Building|Compiling|Embedding|Linking)' "$log" | tail -n 60
        failed=$((failed + 1))
        return
    fi
    heading "$name: tests"
    local report=$top/build/$name/report.xml
    rm -f "$report"
    ctest --test-dir "build/$name" -j "$jobs" --output-on-failure --no-tests=ignore \
        --output-junit "$report" \
        ${label:+-L "^$label\$"} || true
    count "$report"
}

# Adds a report's numbers; they stand in its <testsuite> line.
count() {
    local line tests bad skips
    line=$(tr '\n\t' '  ' <"$1" 2>/dev/null | grep -o '<testsuite [^>]*>' | head -n 1) || true
    number() { sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p" <<<"$line"; }
    tests=$(number tests) bad=$(number failures) skips=$(($(number skipped) + $(number disabled)))
    if [ -z "$tests" ]; then
        failed=$((failed + 1))
        return
    fi
    passed=$((passed + tests - bad - skips))
    failed=$((failed + bad))
    skipped=$((skipped + skips))
}

heading "setup"
tools/setup.sh --aarch64 --cuda --fuzz --ocloc --python
model=$(tools/fetch_model.sh)
drivers=${WOQ_DRIVERS_DIR:-$top/build/drivers}
# shellcheck disable=SC1091
. "$drivers/env.sh"
export WOQ_REQUIRE_BACKENDS=${WOQ_REQUIRE_BACKENDS-reference,opencl,vulkan}
export WOQ_REQUIRE_PYTHON=${WOQ_REQUIRE_PYTHON-1}

archs="80;90a" long=OFF
if [ $full -eq 1 ]; then archs="75;80;90a;90-virtual" long=ON; fi
stage test "" -DWOQ_OPENCL=ON -DWOQ_VULKAN=ON -DWOQ_CUDA_ARCHS="$archs" -DWOQ_LONG_TESTS=$long
if [ $quick -eq 0 ]; then
    stage asan sanitize -DWOQ_OPENCL=ON -DWOQ_VULKAN=ON -DWOQ_CUDA_ARCHS=75 -DWOQ_SANITIZE=address,undefined \
        -DWOQ_LONG_TESTS=$long
    # The drivers' own threads are not built for it, so nothing but our code.
    WOQ_REQUIRE_BACKENDS=reference
    stage tsan tsan -DWOQ_OPENCL=OFF -DWOQ_VULKAN=OFF -DWOQ_CUDA=OFF -DWOQ_SANITIZE=thread -DWOQ_LONG_TESTS=$long
fi

if [ $full -eq 1 ]; then
    heading "memory"
    if tests/check_quantize_memory.sh build/test/tools/woq; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi
if [ $interop -eq 1 ]; then
    heading "interop"
    if tests/interop.sh build/test "$model"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi

heading "done"
closing
[ "$failed" -eq 0 ]
