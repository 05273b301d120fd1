#!/usr/bin/env bash
# Installs what building and testing woq needs on Debian 12 and 13, and unpacks the software drivers the tests run on.
set -euo pipefail

usage() {
    cat <<'END'
usage: tools/setup.sh [--aarch64] [--cuda] [--fuzz] [--ocloc] [--python] [--help]

Installs compilers, headers, PoCL and the Vulkan tools with apt-get (as root or through sudo), and unpacks into
build/drivers (or $WOQ_DRIVERS_DIR), where nothing else on the machine sees them:
  lavapipe/  Vulkan on the CPU, from trixie-backports (cooperative matrices)
  lavapipe25/  the same of Debian 13 (none), for tests
  radv/      AMD's Vulkan driver, from trixie, for compiling without hardware
  intel/     Intel's OpenCL runtime for CPUs, from PyPI (x86-64 only)
  ocloc/     with --ocloc: Intel's OpenCL compiler for GPUs, from bookworm, for compiling without hardware (x86-64 only)
  cuda/      with --cuda and no nvcc on the machine: the CUDA compiler, from PyPI (x86-64 only)
  python/    with --python: a virtual environment with the packages that tests compare with, from PyPI
  env.sh     source it to use them
--fuzz also installs libFuzzer for the clang that PoCL brings; --aarch64 what links and emulates ARM programs.

On Debian 12 a trixie source is added with a priority below the machine's own packages. What is there already is
left alone; a second run changes nothing and needs no network.
END
}

want_aarch64=0 want_cuda=0 want_fuzz=0 want_ocloc=0 want_python=0
for arg in "$@"; do
    case $arg in
    --aarch64) want_aarch64=1 ;;
    --cuda) want_cuda=1 ;;
    --fuzz) want_fuzz=1 ;;
    --ocloc) want_ocloc=1 ;;
    --python) want_python=1 ;;
    -h | --help) usage; exit 0 ;;
    *)
        echo "setup.sh: unknown option '$arg'; the options are --aarch64, --cuda, --fuzz, --ocloc, --python and --help" >&2
        exit 2
        ;;
    esac
done

top=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
dir=${WOQ_DRIVERS_DIR:-$top/build/drivers}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# One run at a time for a folder; the lock goes with the process.
exec 9>"$dir/.lock"
command -v flock >/dev/null && flock 9

# What is installed -------------------------------------------------------------------------------------------------

# Tools by the command they bring, taken from the machine's own suite, and with them OpenBLAS, which goes with the
# compiler's libgfortran. Clear of the trixie source on purpose: the machine keeps its compiler.
tools=(gcc:gcc g++:g++ cmake:cmake ninja:ninja-build pkg-config:pkg-config git:git python3:python3)
[ $want_aarch64 -eq 0 ] || tools+=(qemu-aarch64:qemu-user aarch64-linux-gnu-ld:binutils-aarch64-linux-gnu)
# Packages that must be Debian 13's, with the lowest version that serves: PoCL 6, and a glslc and Vulkan headers that
# know VK_KHR_cooperative_matrix.
packages=(
    pocl-opencl-icd=6.0 ocl-icd-opencl-dev=2.3 ocl-icd-libopencl1=2.3 opencl-headers=3.0~2023
    libvulkan-dev=1.3.280 libvulkan1=1.3.280 glslc=2024 spirv-tools=2024 vulkan-validationlayers=1.3.280
    libcmocka-dev=1.1.7 libyyjson-dev=0.8 libpcre2-dev=10.36 libutf8proc-dev=2.5
)
[ $want_fuzz -eq 0 ] || packages+=(libclang-rt-18-dev=18)

missing_tools() {
    local t
    for t in "${tools[@]}"; do command -v "${t%%:*}" >/dev/null || echo "${t#*:}"; done
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    [ $want_python -eq 0 ] || python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    pkg-config --exists openblas 2>/dev/null || echo libopenblas-dev
}

missing_packages() {
    local p v have
    have=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' "${packages[@]%%=*}" 2>/dev/null || true)
    for p in "${packages[@]}"; do
        v=$(awk -v p="${p%%=*}" '$1 == "installed" && $2 == p { print $3; exit }' <<<"$have")
        if [ -z "$v" ] || dpkg --compare-versions "${v#*:}" lt "${p#*=}"; then echo "${p%%=*}"; fi
    done
}

# apt ---------------------------------------------------------------------------------------------------------------

asroot=()
need_root() { # $1: the packages, for the message
    [ "$(id -u)" -eq 0 ] && return
    if command -v sudo >/dev/null; then
        if sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; then
            asroot=(sudo -n)
            return
        fi
    fi
    die "neither root nor sudo; have these installed from Debian 13 (trixie): $1"
}

run_apt() { # quiet unless it fails
    local log
    log=$(mktemp)
    if ! "${asroot[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        die "apt-get $1 failed"
    fi
    rm -f "$log"
}

targets() { # lines "release component uri" of Debian's own package lists, whatever form the sources are written in
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 ~ /^Debian/ { print $2, $3, $4 }'
}

suite_uri() { awk -v s="$1" '$1 == s && $2 == "main" { print $3; exit }' <<<"$sources"; }

# Leaves in `release` the options that make apt-get take trixie's packages.
apt_ready=0
release=()
prepare_apt() {
    [ $apt_ready -eq 1 ] && return
    apt_ready=1
    run_apt update
    local sources uri add=() s
    sources=$(targets)
    # The suite of the sources and not /etc/os-release: trixie's libc brings trixie's base-files along.
    uri=$(suite_uri bookworm)
    if [ -n "$uri" ]; then
        release=(-t trixie)
        [ -n "$(suite_uri trixie)" ] || add+=(trixie)
    else
        uri=$(suite_uri trixie)
        [ -n "$uri" ] || die "no Debian 12 or 13 package source found; this script knows no other system"
    fi
    [ -n "$(suite_uri trixie-backports)" ] || add+=(trixie-backports)
    [ ${#add[@]} -gt 0 ] || return 0
    say "apt: adding ${add[*]}, pinned below the machine's own packages"
    local key=/usr/share/keyrings/debian-archive-keyring.gpg
    {
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$uri" "${add[*]}"
        [ ! -e $key ] || echo "Signed-By: $key"
    } | "${asroot[@]}" tee /etc/apt/sources.list.d/woq-trixie.sources >/dev/null
    for s in "${add[@]}"; do
        printf 'Package: *\nPin: release n=%s\nPin-Priority: %d\n\n' "$s" "$([ "$s" = trixie ] && echo 100 || echo 50)"
    done | "${asroot[@]}" tee /etc/apt/preferences.d/woq-trixie >/dev/null
    run_apt update
}

install_packages() {
    local own new had_gdb=0
    mapfile -t own < <(missing_tools)
    mapfile -t new < <(missing_packages)
    if [ $((${#own[@]} + ${#new[@]})) -eq 0 ]; then
        say "packages: all there"
        return
    fi
    need_root "${own[*]} ${new[*]}"
    prepare_apt
    # Trixie's libraries can push the machine's gdb out.
    if dpkg-query -W -f '${db:Status-Status}' gdb 2>/dev/null | grep -qx installed; then had_gdb=1; fi
    if [ ${#own[@]} -gt 0 ]; then
        say "packages: installing ${own[*]}"
        run_apt install --no-install-recommends "${own[@]}"
    fi
    if [ ${#new[@]} -gt 0 ]; then
        say "packages: installing ${new[*]}"
        run_apt install --no-install-recommends "${release[@]}" "${new[@]}"
    fi
    if [ $had_gdb -eq 1 ] && ! command -v gdb >/dev/null; then
        say "packages: reinstalling gdb"
        run_apt install --no-install-recommends "${release[@]}" gdb
    fi
}

# Drivers unpacked aside --------------------------------------------------------------------------------------------

work=
cleanup() { [ -z "$work" ] || rm -rf "$work"; }
trap cleanup EXIT
new_work() { cleanup; work=$(mktemp -d "$dir/.new.XXXXXX"); chmod 755 "$work"; }
finish() { # $1: name; what is in $work becomes that folder
    rm -rf "${dir:?}/$1"
    mv "$work" "$dir/$1"
    work=
}

# Installing these over the system's Mesa would remove packages, hence a folder of their own.
unpack_mesa() { # name, wanted version, suite to fall back to, stem of its icd file
    local name=$1 want=$2 suite=$3 icd=$4 all version
    if [ -e "$dir/$name/VERSION" ]; then
        say "$name: Mesa $(cat "$dir/$name/VERSION")"
        return
    fi
    # Nothing is installed here, but the lists of the trixie sources have to be there.
    if ! apt-cache madison mesa-vulkan-drivers | grep "$want" >/dev/null; then
        need_root "(sources for $suite, to unpack mesa-vulkan-drivers from)"
        prepare_apt
    fi
    all=$(apt-cache madison mesa-vulkan-drivers | awk -F'|' '{ gsub(/ /, "", $2); print $2, $3 }')
    version=$(awk -v w="$want-" 'index($1, w) == 1 { print $1; exit }' <<<"$all")
    if [ -z "$version" ]; then
        version=$(awk -v s="$suite/main" '$3 == s { print $1; exit }' <<<"$all")
        [ -n "$version" ] || die "$name: no mesa-vulkan-drivers in $suite"
        say "$name: Mesa $want is gone from the archive, taking $version"
    fi
    new_work
    (
        cd "$work"
        opt=()
        [ "$(id -u)" -ne 0 ] || opt=(-o APT::Sandbox::User=root)
        apt-get "${opt[@]}" -q download "mesa-vulkan-drivers=$version" >log 2>&1 || { cat log >&2; exit 1; }
        dpkg-deb -x ./*.deb all
        cp all/usr/lib/*/"libvulkan_$icd.so" .
        sed "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$dir/$name/libvulkan_$icd.so\"|" \
            all/usr/share/vulkan/icd.d/"${icd}_icd"*.json >icd.json
        rm -rf all ./*.deb log
        echo "$version" >VERSION
    ) || die "$name: unpacking Mesa $version failed"
    need_libraries "$name" "$work"/*.so mesa_own mesa_new
    finish "$name"
    say "$name: unpacked Mesa $version"
}

# Mesa's dependencies by the names that both suites know; whether they are needed the loader itself says.
# shellcheck disable=SC2034 # by name, below
mesa_own=(libelf1 libpng16-16 libdrm2 libdrm-amdgpu1 libexpat1 libwayland-client0 libx11-xcb1 libxcb1 libxcb-dri3-0
    libxcb-present0 libxcb-randr0 libxcb-shm0 libxcb-sync1 libxcb-xfixes0 libxshmfence1 libzstd1 zlib1g)
# shellcheck disable=SC2034
mesa_new=(libllvm19 libdisplay-info2)
need_libraries() { # name, library, arrays of packages of the machine's suite and of trixie: installs what it lacks
    local -n own_list=$3 new_list=$4
    if ldd "$2" 2>&1 | grep 'not found' >/dev/null; then # -q would end ldd, and pipefail count that
        need_root "${own_list[*]} ${new_list[*]}"
        prepare_apt
        say "$1: installing the libraries it needs"
        run_apt install --no-install-recommends "${own_list[@]}"
        [ ${#new_list[@]} -eq 0 ] || run_apt install --no-install-recommends "${release[@]}" "${new_list[@]}"
    fi
    if ldd "$2" 2>&1 | grep 'not found' >&2; then die "$1: libraries are still missing"; fi
}

download() { # name, folder, requirement...
    say "$1: downloading ${*:3}"
    python3 -m pip --disable-pip-version-check download -q --no-deps --only-binary=:all: --no-cache-dir -d "$2" "${@:3}" ||
        die "$1: downloading failed"
}

# Wheels hold each library two or three times, under every name of it; the copies become links.
unwheel() { # target folder, wheel...
    python3 - "$@" <<'END'
import os, re, sys, zipfile
target, seen = sys.argv[1], {}
skip = re.compile(r"libOpenCL|icx-lto|-gdb\.py|libtbbmalloc_proxy|libze_trace|libxptifw|/locale/")
for wheel in sys.argv[2:]:
    with zipfile.ZipFile(wheel) as z:
        for i in sorted(z.infolist(), key=lambda i: -len(i.filename)):
            m = re.search(r"\.data/data/lib/([^/]+)$", i.filename) or \
                re.search(r"dist-info/(?:licenses/)?(LICENSE[^/]*)$", i.filename)
            if not m or skip.search(i.filename):
                continue
            name = m.group(1)
            if name.startswith("LICENSE"):
                name = os.path.basename(wheel).split("-")[0] + "-" + name
            path = os.path.join(target, name)
            if (i.CRC, i.file_size) in seen:
                os.symlink(seen[i.CRC, i.file_size], path)
                continue
            seen[i.CRC, i.file_size] = name
            with z.open(i) as src, open(path, "wb") as dst:
                while chunk := src.read(1 << 20):
                    dst.write(chunk)
END
}

# Intel's compiler, of the one release in which Debian has it with all that it needs. The lists of that release come
# into a folder of their own, from where the machine has its own packages: apt's sources stay as they are.
ocloc_debs=(intel-opencl-icd libigc1 libigdfcl1 libopencl-clang14 libllvmspirvlib14 libllvm14 libclang-cpp14)
# shellcheck disable=SC2034 # by name
ocloc_own=(libedit2 libffi8 libtinfo6 libxml2 libz3-4 zlib1g) ocloc_new=()
unpack_ocloc() {
    [ $want_ocloc -eq 1 ] || return 0
    if [ "$(uname -m)" != x86_64 ]; then
        say "ocloc: skipped, Debian has it for x86-64 only"
        return
    fi
    if [ -e "$dir/ocloc/VERSION" ]; then
        say "ocloc: $(cat "$dir/ocloc/VERSION")"
        return
    fi
    local sources uri key=/usr/share/keyrings/debian-archive-keyring.gpg
    sources=$(targets)
    uri=$(suite_uri bookworm)
    [ -n "$uri" ] || uri=$(suite_uri trixie)
    [ -n "$uri" ] || die "ocloc: no Debian 12 or 13 package source found"
    new_work
    (
        cd "$work"
        mkdir -p apt/lists/partial apt/cache/archives/partial debs all
        printf 'Types: deb\nURIs: %s\nSuites: bookworm\nComponents: main\n' "$uri" >apt/bookworm.sources
        [ ! -e $key ] || echo "Signed-By: $key" >>apt/bookworm.sources
        opt=(-q -o Dir::Etc::sourcelist="$work/apt/bookworm.sources" -o Dir::Etc::sourceparts=/dev/null
            -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
            -o Dir::State::lists="$work/apt/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$work/apt/cache"
            -o Acquire::Languages=none)
        [ "$(id -u)" -ne 0 ] || opt+=(-o APT::Sandbox::User=root)
        { apt-get "${opt[@]}" update && cd debs && apt-get "${opt[@]}" download "${ocloc_debs[@]}"; } >../log 2>&1 ||
            { cat "$work/log" >&2; exit 1; }
        for deb in ./*.deb; do dpkg-deb -x "$deb" ../all; done
        dpkg-deb -f intel-opencl-icd*.deb Version >../VERSION
        cd ..
        mkdir lib
        cp -L all/usr/bin/ocloc lib/
        cp -L all/usr/lib/x86_64-linux-gnu/{libocloc.so,libigc.so.1,libigdfcl.so.1,libopencl-clang.so.14} \
            all/usr/lib/x86_64-linux-gnu/{libLLVMSPIRVLib.so.14,libLLVM-14.so.1} \
            all/usr/lib/llvm-14/lib/libclang-cpp.so.14 lib/
        # shellcheck disable=SC2016
        printf '%s\n' '#!/bin/sh' 'here=$(dirname "$(readlink -f "$0")")' \
            'LD_LIBRARY_PATH=$here/lib exec "$here/lib/ocloc" "$@"' >ocloc
        chmod 755 ocloc
        rm -rf apt debs all log
    ) || die "ocloc: unpacking failed"
    LD_LIBRARY_PATH=$work/lib need_libraries ocloc "$work/lib/libLLVM-14.so.1" ocloc_own ocloc_new
    { "$work/ocloc" compile --help || true; } 2>&1 | grep '^Usage:' >/dev/null || die "ocloc: does not start"
    finish ocloc
    say "ocloc: unpacked $(cat "$dir/ocloc/VERSION")"
}

# The versions tried together. The loader follows $ORIGIN, so no LD_LIBRARY_PATH is needed.
intel=(intel-opencl-rt==2026.2.0 intel-cmplr-lib-rt==2026.2.0 tbb==2023.2.0)
unpack_intel() {
    if [ "$(uname -m)" != x86_64 ]; then
        say "intel: skipped, the runtime is for x86-64 only"
        return
    fi
    if [ -e "$dir/intel/VERSION" ]; then
        say "intel: OpenCL runtime $(cat "$dir/intel/VERSION")"
        return
    fi
    new_work
    mkdir "$work/whl"
    download intel "$work/whl" "${intel[@]}"
    unwheel "$work" "$work"/whl/*.whl
    rm -rf "$work/whl"
    echo "${intel[0]#*==}" >"$work/VERSION"
    finish intel
    say "intel: unpacked OpenCL runtime $(cat "$dir/intel/VERSION")"
}

# nvcc, ptxas, headers and libdevice: what compiling kernels needs, 105 MB to load. No cudart, no libraries.
cuda=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85)
find_nvcc() {
    local n
    for n in "$(command -v nvcc || true)" "${CUDA_PATH:-/usr/local/cuda}/bin/nvcc" "$dir/cuda/bin/nvcc"; do
        if [ -x "$n" ]; then echo "$n"; return; fi
    done
}
unpack_cuda() {
    local nvcc
    nvcc=$(find_nvcc)
    if [ -z "$nvcc" ] && [ "$want_cuda" -eq 1 ] && [ "$(uname -m)" = x86_64 ]; then
        new_work
        mkdir "$work/whl"
        download cuda "$work/whl" "${cuda[@]}"
        python3 - "$work" <<'END'
import glob, re, sys, zipfile
for wheel in glob.glob(sys.argv[1] + "/whl/*.whl"):
    with zipfile.ZipFile(wheel) as z:
        for i in z.infolist():
            if not re.search(r"libnvvm|/nvlink$|/lib/|/cccl/|/include/(cub|cuda|thrust)/|\.metadata", i.filename):
                z.extract(i, sys.argv[1] + "/whl/all")
END
        mv "$work"/whl/all/nvidia/cu13/* "$work/"
        rm -rf "$work/whl"
        chmod 755 "$work"/bin/* "$work"/nvvm/bin/*
        "$work/bin/nvcc" --version | sed -n 's/.*, V//p' >"$work/VERSION"
        finish cuda
        say "cuda: unpacked nvcc $(cat "$dir/cuda/VERSION")"
        return
    fi
    if [ -n "$nvcc" ]; then
        say "cuda: $nvcc"
    else
        say "cuda: nvcc not found, the CUDA backend will be left out (--cuda fetches it, on x86-64)"
    fi
}

# Without their dependencies, of which only pyyaml is imported. The environment holds its own path and so is made in
# place; VERSION, written last, tells that it is whole.
python=(numpy==2.4.6 safetensors==0.8.0 gguf==0.19.0 tokenizers==0.23.3 pyyaml==6.0.4)
make_python() {
    [ $want_python -eq 1 ] || return 0
    if [ "$(cat "$dir/python/VERSION" 2>/dev/null)" = "${python[*]}" ] && "$dir/python/bin/python" -c '' 2>/dev/null; then
        say "python: ${python[*]}"
        return
    fi
    rm -rf "$dir/python"
    python3 -m venv "$dir/python" || die "python: making a virtual environment failed"
    say "python: downloading ${python[*]}"
    "$dir/python/bin/python" -m pip --disable-pip-version-check install -q --no-deps --only-binary=:all: \
        --no-cache-dir "${python[@]}" || die "python: installing failed"
    echo "${python[*]}" >"$dir/python/VERSION"
}

write_env() {
    mkdir -p "$dir/opencl"
    cp -f /etc/OpenCL/vendors/pocl.icd "$dir/opencl/"
    if [ -e "$dir/intel/VERSION" ]; then echo "$dir/intel/libintelocl.so" >"$dir/opencl/intel.icd"; fi
    cat >"$dir/env.sh" <<END
# Written by tools/setup.sh; source it. The loaders then see the software drivers and no others, so that a test run
# is the same on every machine; for a GPU's own driver, unset OCL_ICD_VENDORS and VK_DRIVER_FILES.
export WOQ_DRIVERS_DIR='$dir'
export OCL_ICD_VENDORS='$dir/opencl'
export VK_DRIVER_FILES='$dir/lavapipe/icd.json'
# An older lavapipe, without cooperative matrices.
export WOQ_LAVAPIPE25_ICD='$dir/lavapipe25/icd.json'
# For RADV on null hardware: VK_DRIVER_FILES=\$WOQ_RADV_ICD RADV_FORCE_FAMILY=navi31
export WOQ_RADV_ICD='$dir/radv/icd.json'
# Intel's compiler for GPUs.
export WOQ_OCLOC='$dir/ocloc/ocloc'
END
}

install_packages
unpack_mesa lavapipe 26.1.6 trixie-backports lvp
unpack_mesa lavapipe25 25.0.7 trixie lvp
unpack_mesa radv 25.0.7 trixie radeon
unpack_intel
unpack_ocloc
unpack_cuda
make_python
write_env
say "ready; use the drivers with: . $dir/env.sh"
