#!/usr/bin/env bash
# check_symbols.sh libwoq.so libwoq.a: only woq_* leaves the shared library; what the static one defines for other
# files begins with woq_ or woqi_. The compiler makes a common symbol of a named OpenMP critical section; all users of
# NVTX's header in a program share its weak symbols.
set -euo pipefail

shared=$(nm -D --defined-only "$1" | awk '{ print $NF }' | grep -vE '^(\.gomp_critical_user_woqi|woq)_[a-z]' || true)
static=$(nm -g --defined-only "$2" | awk 'NF == 3 && !($2 ~ /[VW]/ && $3 ~ /^(nvtx|InitializeInjectionNvtx)/) { print $3 }' | grep -vE '^(\.gomp_critical_user_)?woqi?_[a-z]' || true)
count=$(nm -D --defined-only "$1" | grep -c ' woq_' || true)
[ -z "$shared" ] || printf 'exported by the shared library:\n%s\n' "$shared"
[ -z "$static" ] || printf 'global in the static library:\n%s\n' "$static"
[ "$count" -gt 0 ] || echo "the shared library exports no woq_* symbol"
[ -z "$shared$static" ] && [ "$count" -gt 0 ]
