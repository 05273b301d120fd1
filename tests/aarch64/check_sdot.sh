#!/usr/bin/env bash
# The kernels for ARM's dot products: the compiler that PoCL brings compiles all of their programs for ARMv8.2, and the
# code has the instruction as often as it should; an emulator runs them on products with known answers.
# usage: check_sdot.sh SHADERS_FOLDER; exit status 77: compiler, linker or emulator are not there
set -u
here=$(cd "$(dirname "$0")" && pwd)
shaders=$1
bad=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for tool in clang-18 aarch64-linux-gnu-ld qemu-aarch64; do
    command -v "$tool" >/dev/null || { echo "SKIPPED: no $tool (tools/setup.sh installs it)"; exit 77; }
done
common=("$shaders"/abi.inc "$shaders"/opencl/{common,dequant,epilogue,xfix,dot16,dot8,sdot,fixed_sums}.clh)

# build <output> <option>...: source from stdin. A kernel's calling convention is for drivers, which replace it. Callers
# count failures: behind a pipe this is a process of its own.
build() {
    local out=$1
    shift
    clang-18 -target aarch64-linux-gnu -march=armv8.2-a+dotprod -x cl -w -O2 -ffreestanding -fno-builtin \
        -D__kernel= '-Dreqd_work_group_size(x,y,z)=noinline' -DWOQ_LAYOUT=1 -DWOQ_DOT=1 "$@" -o "$out" - 2>"$dir/log" ||
        { head -n 20 "$dir/log"; return 1; }
}

cat "${common[@]}" "$shaders"/opencl/xfixed.cl | build "$dir/xfixed.s" -S -cl-std=CL1.2 || bad=$((bad + 1))
for code in 1 2; do
    for zero in 1 2 3; do
        for scale in 1 2 3; do
            # 3, 2 and 1 rows, or 1 row of two panels, by 4 vectors, 2 halves of 8 columns, high and low bytes
            for kernel in fixed:96 fixed_row:32; do
                cat "${common[@]}" "$shaders/opencl/${kernel%:*}.cl" | build "$dir/fixed.s" -S -cl-std=CL1.2 \
                    -DWOQ_CODE=$code -DWOQ_ZERO=$zero -DWOQ_SCALE=$scale || { bad=$((bad + 1)); continue; }
                count=$(grep -c '[[:space:]]sdot[[:space:]]' "$dir/fixed.s")
                [ "$count" -eq "${kernel#*:}" ] && continue
                echo "$kernel, code $code, zero $zero, scale $scale: $count sdot"
                bad=$((bad + 1))
            done
        done
        cat "$here/builtins.clh" "${common[@]}" "$shaders"/opencl/{xfixed,fixed,fixed_row}.cl \
            "$here/sdot_test.cl" |
            build "$dir/test.o" -c -cl-std=CL2.0 -DWOQ_CODE=$code -DWOQ_ZERO=$zero -DWOQ_SCALE=1 || { bad=$((bad + 1)); continue; }
        # What the products do not call may be missing: half precision, activations.
        aarch64-linux-gnu-ld --unresolved-symbols=ignore-all -o "$dir/test" "$dir/test.o" || bad=$((bad + 1))
        timeout 120 qemu-aarch64 "$dir/test"
        status=$?
        [ $status -eq 0 ] || { echo "code $code, zero $zero: product $status is wrong"; bad=$((bad + 1)); }
    done
done
[ $bad -eq 0 ] && echo "37 programs compiled, 6 run by qemu-aarch64, 54 products each: compiled, not run on hardware"
exit $((bad > 0))
