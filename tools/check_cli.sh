#!/usr/bin/env bash
# What a user meets at the command line: exit statuses, and messages that say what would be right.
# usage: check_cli.sh WOQ
set -u
woq=$1
bad=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export WOQ_DEVICE=reference XDG_CACHE_HOME=$dir TMPDIR=$dir
unset WOQ_EMULATE

# expect <exit status> <pattern> <argument>...
expect() {
    local status=$1 pattern=$2 output got
    shift 2
    output=$(timeout 120 "$woq" "$@" 2>&1)
    got=$?
    if [ "$got" -ne "$status" ] || ! grep -qE -- "$pattern" <<<"$output"; then
        printf 'FAILED: woq %s: status %d, wanted %d and /%s/\n%s\n' "$*" "$got" "$status" "$pattern" "$output"
        bad=$((bad + 1))
    fi
}

expect 2 '^usage: woq'
expect 0 '^woq [0-9]+\.[0-9]+\.[0-9]+$' --version
expect 0 'Exit status' --help
expect 0 '^usage: woq bench' help bench
expect 2 "did you mean 'devices'" devcies
expect 2 "did you mean '--version'" --verison
expect 2 'there are devices, explain' frobnicate

# fails_to_write <pattern> <woq's command line>: exit status 1 and so a message
fails_to_write() {
    local output
    output=$(bash -c "$2" woq "$woq" 2>&1)
    if [ $? -ne 1 ] || ! grep -qE -- "$1" <<<"$output"; then
        printf 'FAILED: %s: wanted 1 and /%s/\n%s\n' "$2" "$1" "$output"
        bad=$((bad + 1))
    fi
}
for arguments in --help --version devices 'bench --help' 'explain --n 64 --k 64' 'explain --n 64 --k 64 --json'; do
    fails_to_write 'cannot write.*: No space left on device$' "\$1 $arguments >/dev/full"
done
# shellcheck disable=SC2016
[ "$(bash -o pipefail -c '(sleep 0.3; exec env --ignore-signal=PIPE "$0" help) | true; echo $?' "$woq" 2>&1)" = 0 ] ||
    { echo "FAILED: that nobody reads on is no failure" && bad=$((bad + 1)); }

expect 0 '^reference:0 \(default\)' devices
expect 0 'max_binding' devices --verbose
expect 0 '"selector": "reference:0"' devices --json
expect 2 "did you mean '--json'" devices --jsno
expect 2 'takes no value' devices --json=1
expect 2 'error, warning, info or debug' devices --log loud
expect 2 "unexpected 'all'" devices all
expect 0 '^reference:0' devices --try --seconds 60
expect 2 'a time in seconds' devices --try --seconds soon
WOQ_EMULATE=max_binding=1M expect 0 'emulated .*max_binding 1 MiB instead of' devices
WOQ_EMULATE=max_bindign=1M expect 2 'max_bindign' devices

expect 2 '--n is missing' explain
expect 2 '--k is missing' explain --n 64
expect 2 'not a whole number' explain --n 64 --k -1
expect 2 'gelu_tanh' explain --n 64 --k 64 --activation gelu
expect 2 'have no zero' explain --n 64 --k 64 --format f16 --zero point
expect 2 'reference, opencl, vulkan or cuda' explain --n 64 --k 64 --device nvidia
expect 0 'qb4zw_g32_bf16' explain --n 64 --k 70 --m 1,9 --format w4g32z:bf16 --bias f32 --residual
expect 0 '^16 +floor' explain --n 64 --k 64 --m 1,16 --path floor --activation silu_mul
expect 0 '"path": "floor"' explain --n 64 --k 64 --json
expect 1 'no path' explain --n 64 --k 64 --path gemv --m 64

expect 2 'bits must be 4 or 8; try w4g128, w8, f16' bench --format w5g128
expect 2 'as in w4g128' bench --formats w4g0
expect 2 'only one of them' bench --formats w4g32zo
expect 2 'must be f16, bf16 or f32' bench --formats w4g32:f64
expect 2 'like 11008x4096' bench --shapes 4096
expect 2 'like 11008x4096' bench --shapes 4096x0
expect 2 '1 to 4294967295' bench --m 0
expect 2 'a time in seconds' bench --seconds 0
expect 2 'gemv, gemm, skinny, expand or floor' bench --path gmv
expect 2 'needs a value' bench --json
expect 1 'cannot write' bench --svg "$dir/none/x.svg"
expect 1 'nothing could be measured' bench --device reference:7
for mode in --m=1 --host --startup --pack; do
    expect 1 '^reference:7( *–|:) does not exist' bench --device reference:7 "$mode"
done
expect 1 'this host has' bench --shapes 99999999x99999999 --m 1
expect 1 "'.*/new.svg' not written" bench --device reference:7 --svg "$dir/new.svg"
compgen -G "$dir/new*" >/dev/null && echo "FAILED: bench leaves files behind" && bad=$((bad + 1))
expect 1 'cannot write .*: Is a directory' bench --json "$dir"

fast=(bench --shapes 24x40,7x33 --m 1,3 --formats w4g16,w8z:f32,w4g32o:bf16,w4g16p,w8t,bf16 --seconds 0.001)
expect 0 'error/bound' "${fast[@]}" --x bf16 --math rounded --svg "$dir/x.svg" --json "$dir/x.json"
expect 0 'All devices' "${fast[@]}" --device reference,reference
expect 0 '"right": true' "${fast[@]}" --y f32 --json -
fails_to_write "cannot write '.*/over.json': File too large$" \
    "ulimit -f 1; \$1 ${fast[*]} --m 1,2,3,4,5 --json $dir/over.json"
compgen -G "$dir/over*" >/dev/null && echo "FAILED: a file over the limit is left" && bad=$((bad + 1))
# Who reads a pipe gets all of it; a link that leads nowhere gets its file.
mkfifo "$dir/pipe"
ln -s made.json "$dir/dangling"
timeout 60 cat "$dir/pipe" >"$dir/piped.json" &
expect 0 'error/bound' "${fast[@]}" --json "$dir/pipe"
wait $!
expect 0 'error/bound' "${fast[@]}" --json "$dir/dangling"
for file in piped.json made.json; do
    grep -q '"right": true' "$dir/$file" || { echo "FAILED: bench --json to $file" && bad=$((bad + 1)); }
done
WOQ_EMULATE=no_timestamps expect 0 'host clock' "${fast[@]}"

expect 2 '^woq bench: --svg does not go with --startup' bench --startup --svg "$dir/y.svg"
expect 2 '^woq bench: --seconds does not go with --startup' bench --seconds 1 --startup
expect 2 '--window is for models' bench --window 512
expect 2 '1 to 1048576' bench --generate 0
expect 2 "unexpected 'x'" bench x
expect 2 'reference, opencl, vulkan or cuda' bench --startup --device nvidia
expect 1 'nothing could be measured' bench --startup --device reference:7
TMPDIR=$dir/none expect 1 'no temporary folder' bench --startup
expect 0 'product warm' bench --startup --device reference
expect 0 '"first_product_seconds"' bench --startup --json -
expect 2 '^woq bench: --m does not go with --host' bench --host --m 1
expect 2 '^woq bench: --host does not go with --startup' bench --host --startup
expect 1 'nothing could be measured' bench --host --device reference:7
expect 0 'new M, X, Y' bench --host --device reference
expect 0 '"new_m_x_y"' bench --host --device reference --json -
expect 2 '^woq bench: --m does not go with --pack' bench --pack --m 1
expect 2 '^woq bench: --pack does not go with --host' bench --pack --host
expect 1 'nothing could be measured' bench --pack --device reference:7
expect 1 'nothing could be measured' bench --pack --device reference --shapes 99999999x99999999
pack=(bench --pack --device reference --shapes 24x40,7x33 --formats w4g16,w8z:f32,bf16 --seconds 0.001)
expect 0 'packed by' "${pack[@]}"
expect 0 '"create_gbs"' "${pack[@]}" --json -
# As from a terminal: to the program and its child.
setsid env --default-signal=INT "$woq" bench --startup --device reference,reference >"$dir/interrupted" 2>&1 &
until compgen -G "$dir/woq-startup-*" >/dev/null || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
kill -INT -- -$!
wait $!
if ! grep -qx 'woq bench: interrupted' "$dir/interrupted"; then
    echo "FAILED: bench --startup, interrupted"
    bad=$((bad + 1))
fi
if compgen -G "$dir/woq-startup-*" >/dev/null; then
    echo "FAILED: bench --startup leaves its caches behind"
    bad=$((bad + 1))
fi

expect 2 'a time in seconds' tune --budget 0
expect 2 'device, architecture or vendor' tune --for house
expect 2 "unexpected 'x'" tune x
expect 2 'reference, opencl, vulkan or cuda' tune --device nvidia
expect 1 'does not exist' tune --device reference:7
expect 1 'does not tell its architecture' tune --for architecture --dry-run
expect 1 'nothing could be measured' tune --shapes 99999999x99999999 --m 1 --dry-run
WOQ_EMULATE=no_replay expect 2 'name a file for its records' tune
WOQ_TUNING=off expect 2 'or name one by --output' tune
tune=(tune --shapes 24x64 --formats w4g64,w8 --m 3,1,3 --math fixed16 --budget 3)
expect 0 '^u8 symmetric all f16 fixed16 24x64' "${tune[@]}" --dry-run
expect 1 "cannot .* '$dir/x.json/t'" "${tune[@]}" --output "$dir/x.json/t"
expect 1 'x.json:1: must be .woq-tuning 1' "${tune[@]}" --output "$dir/x.json"
expect 0 '2 records in .*/woq/tuning.txt' "${tune[@]}"
expect 0 'vendor reference "woq"' "${tune[@]}" --for vendor --dry-run
printf '%s\n' 'woq-tuning 1' 'vendor reference "woq"' \
    'u4 symmetric g32 f16 fixed16 24x64 1-2 gemm/xfixed+fixed_PLAIN 3-3 a/b' >"$dir/t"
tuned=(explain --n 24 --k 64 --format w4g32 --math fixed16)
WOQ_TUNING=$dir/t expect 0 'tuned: vendor reference "woq", u4 symmetric g32 f16 fixed16 24x64 \(.*/t:3\)' \
    "${tuned[@]}" --m 1
WOQ_TUNING=$dir/t expect 0 'not tuned: default, as .* asks for a/b: this version has no such' "${tuned[@]}" --m 3
WOQ_TUNING=$dir/t expect 0 '"tuning": "0000000000000000"' "${tuned[@]}" --m 4 --json
WOQ_TUNING=$dir/none expect 0 'warning: tuning records are not used: .*No such file' "${tuned[@]}" --log warning
# What was found before an interrupt is kept.
setsid env --default-signal=INT "$woq" tune --shapes 96x256 --formats w4g64 --m "$(seq -s, 1 99)" --budget 100 \
    --output "$dir/kept" >"$dir/interrupted" 2>&1 &
until [ -s "$dir/kept" ] || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
sleep 1.5
kill -INT -- -$!
if ! wait $! || ! grep -q '^96×256 .* floor/floor' "$dir/interrupted" ||
    ! grep -q 'no time was left' "$dir/interrupted" ||
    ! grep -q '^u4 symmetric g64 f16 default 96x256 # .* M=1 ' "$dir/kept"; then
    echo "FAILED: tune, interrupted"
    cat "$dir/interrupted" "$dir/kept"
    bad=$((bad + 1))
fi
# Compilers in drivers, as PoCL's, want the interrupt themselves. How much comes before it depends on the machine.
if "$woq" devices | grep -q '^opencl:0'; then
    for seconds in 4 8 16 32; do
        timeout -s INT $seconds env --default-signal=INT "$woq" tune --device opencl:0 --shapes 96x256 --formats w4g64 \
            --m "$(seq -s, 1 99)" --budget 100 --output "$dir/kept.cl" >"$dir/interrupted" 2>&1
        grep -q '^1 record in .*/kept.cl$' "$dir/interrupted" && break
    done
    if ! grep -q '^u4 symmetric g64 f16 default 96x256 # ' "$dir/kept.cl"; then
        echo "FAILED: tune of a device of OpenCL, interrupted"
        cat "$dir/interrupted"
        bad=$((bad + 1))
    fi
else
    echo "skipped: an interrupt on OpenCL, as there is no device"
fi

expect 0 '^usage: woq report REPORT.json PAGE.html' report --help
expect 2 'REPORT.json is missing' report
expect 2 'PAGE.html is missing' report "$dir/r.json"
expect 2 "unexpected 'c'; it takes a report and a page" report a b c
expect 2 "unknown option '--json'" report --json
expect 2 "did you mean 'report'" reprot
expect 1 "cannot read '.*/none.json': No such file or directory" report "$dir/none.json" "$dir/r.html"
expect 1 "x.json' is no report of 'woq quantize --report': 'model' is missing" report "$dir/x.json" "$dir/r.html"
printf '{"woq": ' >"$dir/r.json"
expect 1 "r.json' is no JSON at byte" report "$dir/r.json" "$dir/r.html"
[ ! -e "$dir/r.html" ] || bad=$((bad + 1))

if "$woq" inspect --help >/dev/null 2>&1; then
    seeds=$(dirname "$0")/../tests/seeds
    expect 2 'which model' inspect
    expect 2 'takes one model' inspect a b
    expect 1 'No such file' inspect "$dir/none.gguf"
    expect 1 'neither GGUF nor safetensors' inspect "$0"
    expect 0 '^model.layers.0.self_attn.q_proj.weight' inspect "$seeds/gguf/llama_q4_1.gguf"
    expect 0 '"architecture": "qwen2"' inspect --json "$seeds/gguf/qwen2_f16.gguf"
    expect 0 'a.weight_packed .* 4.00' inspect "$seeds/safetensors/packed.safetensors"
    expect 0 '7 of 100 tokens, drawn by the seed 3 from book.txt' inspect "$seeds/safetensors/statistics.safetensors"
    expect 0 'layers.0.mlp.down_proj *4 *8 *2 *2.5x' inspect "$seeds/safetensors/statistics.safetensors"
    expect 0 '^2 elements were not finite' inspect "$seeds/safetensors/statistics.safetensors"
    expect 0 '"largest_channel_ratio": 2.5' inspect --json "$seeds/safetensors/statistics.safetensors"
    expect 0 '<h1>Activations on book.txt</h1>' report "$seeds/safetensors/statistics.safetensors" -
    expect 1 'is no file of statistics' report "$seeds/safetensors/packed.safetensors" "$dir/r.html"
fi
if "$woq" eval --help >/dev/null 2>&1; then
    tiny=$seeds/gguf/llama_q4_1.gguf
    model=(bench --model "$tiny" "$tiny:w4g16z" --window 16 --generate 3 --seconds 0.001)
    expect 2 '^woq bench: --shapes does not go with --model' bench --model "$tiny" --shapes 4x4
    expect 2 '^woq bench: --startup does not go with --model' bench --startup --model "$tiny"
    expect 2 '^woq bench: --y does not go with --model' "${model[@]}" --y f32
    expect 2 'must be even' bench --model "$tiny" --window 511
    expect 2 "there is no 'none.gguf'" bench --model none.gguf
    expect 2 'as-stored, f16, or a format' bench --model "$tiny:q4"
    expect 2 'reference, opencl, vulkan or cuda' "${model[@]}" --device nvidia
    expect 1 'neither GGUF nor safetensors' bench --model "$0"
    expect 1 '^reference:7: does not exist' "${model[@]}" --device reference:7
    expect 0 'llama_q4_1.gguf +w4g16z +qb4zw_g16_f16' "${model[@]}" --device reference,reference --x f32
    expect 0 '"decode_tokens_per_second"' "${model[@]}" --math exact --json -
    OCL_ICD_VENDORS=$dir/none VK_DRIVER_FILES=$dir/none expect 0 'decode/s' "${model[@]}" --device all
else
    expect 1 'without libwoq-model' bench --model x
fi
if "$woq" eval --help >/dev/null 2>&1; then
    printf 'abc\377' >"$dir/latin.txt"
    touch "$dir/empty.gguf"
    expect 2 'a model is missing' eval
    expect 2 "there is no 'none.gguf'" eval none.gguf --prompt x
    expect 2 'nothing to do' eval "$dir/empty.gguf"
    expect 2 'as-stored, f16, or a format' eval "$dir/empty.gguf:q4" --prompt x
    expect 2 'bits must be 4 or 8' eval "$dir/empty.gguf" --weights f16,w5 --prompt x
    expect 2 'no float offsets' eval "$dir/empty.gguf:w4g32o" --prompt x
    expect 2 'must be even' eval "$dir/empty.gguf" --window 511 --prompt x
    expect 2 'below the window of 512' eval "$dir/empty.gguf" --stride 512 --prompt x
    expect 2 'exact, rounded or fixed16' eval "$dir/empty.gguf" --math exact,f16 --prompt x
    expect 2 'give --text FILE' eval "$dir/empty.gguf" --weights f16,w8 --kl --prompt x
    expect 2 'give another one, or several --weights' eval "$dir/empty.gguf" --kl --text "$dir/none.txt"
    expect 2 "did you mean '--weights'" eval "$dir/empty.gguf" --weigths f16
    expect 1 'not UTF-8 at byte 3' eval "$dir/empty.gguf" --text "$dir/latin.txt"
    expect 1 'cannot read' eval "$dir/empty.gguf" --text "$dir/none.txt"
    expect 1 'cannot write' eval "$dir/empty.gguf" --prompt x --json "$dir/none/x.json"
    expect 1 'empty.gguf' eval "$dir/empty.gguf" --prompt x
    # A run that fails leaves no file, and what was there.
    echo kept >"$dir/old.json"
    expect 1 'does not exist' eval "$dir/empty.gguf" --prompt x --device reference:7 --json "$dir/old.json" \
        --html "$dir/new.html"
    if [ "$(cat "$dir/old.json")" != kept ] || compgen -G "$dir/new*" >/dev/null; then
        echo "FAILED: eval leaves files behind"
        bad=$((bad + 1))
    fi
fi
if "$woq" quantize --help >/dev/null 2>&1; then
    original=$(dirname "$0")/../tests/seeds/config/llama3_freqs.gguf
    small=(quantize "$original" "$dir/small" --channel)
    expect 2 'MODEL is missing' quantize
    expect 2 'OUT is missing' quantize "$original"
    expect 2 "unexpected 'c'" quantize a b c
    expect 2 'must be 4 or 8' quantize a b --bits 5
    expect 2 '0 is out of range; 1 to 256' quantize a b --jobs 0
    expect 2 'not a whole number' quantize a b --group many
    expect 2 'exclude each other' quantize a b --channel --group 32
    expect 2 "did you mean '--group'" quantize a b --groups=32
    expect 2 "did you mean 'quantize'" quantise a b
    expect 1 'No such file' quantize "$dir/none.gguf" "$dir/small"
    expect 1 'its 4 columns are no multiple of the group of 64.*--channel' quantize "$original" "$dir/small"
    expect 1 'missing closing parenthesis at byte 1' "${small[@]}" --keep '('
    expect 1 "matches no linear layer; must match a name like model.layers.0." "${small[@]}" --keep 'layers.7'
    expect 1 'nothing to quantize' "${small[@]}" --keep .
    expect 1 'symmetric ones, or allow it' "${small[@]}" --asymmetric
    expect 1 'must be a path that ends' quantize "$original" . --channel
    expect 1 "cannot create '.*/none/small': No such file" quantize "$original" "$dir/none/small" --channel
    expect 2 "must be REGEX=FORMAT, as in down_proj=8" quantize a b --override down_proj
    expect 2 "bits of 'down' are '5'; must be 4, 8 or 16" quantize a b --override down=5
    expect 2 "'down': 'row' must be gN, as in g32, channel or tensor" quantize a b --override down=8:row
    expect 2 "'down' stays 16-bit and has no 'g32'" quantize a b --override down=16:g32
    expect 2 "'17' must be a number from 1 to 16" quantize a b --budget 17
    expect 2 'budget is for calibration; choose a --method' quantize a b --budget 5
    expect 2 '2 to 16777216' quantize a b --sensitivity-tokens 1
    expect 2 '--report FILE is missing' quantize a b --method mse --text "$0" --sensitivity
    expect 1 "pattern 'layers.7' matches no linear layer" "${small[@]}" --override layers.7=8
    expect 1 "override 'o_proj': groups of 2 columns: vLLM" "${small[@]}" --override o_proj=8:g2
    expect 2 "'best' must be rtn, mse, awq, gptq or awq\+gptq" quantize a b --method best
    expect 2 '--method gptq looks at .* --text FILE is missing' quantize a b --method gptq
    expect 2 "cannot read '.*none.txt'" quantize a b --method mse --text "$dir/none.txt"
    expect 2 '--samples: 0 is out of range' quantize a b --method gptq --samples 0
    expect 2 '--damping: .0. must be a number from 1e-06 to 1' quantize a b --method gptq --damping 0
    expect 2 "--share: '1.5' must be a number from 0 to 1" quantize a b --method gptq --share 1.5
    expect 2 "--share: 'half' must be a number" quantize a b --method gptq --share half
    expect 2 'exact, rounded or fixed16' quantize a b --method gptq --math exactly
    expect 2 "did you mean '--method'" quantize a b --metod gptq
    for given in text=t samples=9 window=64 seed=9 damping=0.1 share=1 statistics=s report=r memory=9 device=d; do
        option=${given%=*}
        expect 2 "--$option is for calibration; choose a --method" quantize a b "--$given"
        expect 2 "--$option is for calibration" quantize a b --method rtn "--$given"
        expect 0 "^      --$option [A-Z]" quantize --help
    done
    for i in {1..60}; do printf 'a b b a %s\n' "$i"; done >"$dir/long.txt"
    # Outputs over what is read, or into each other, under whatever names.
    mkdir "$dir/hf" "$dir/outside" "$dir/replaced"
    cp "$original" "$dir/model.gguf"
    for name in model.safetensors config.json; do printf %s "$name" >"$dir/outside/$name"; done
    ln -s ../outside/model.safetensors "$dir/hf/model.safetensors" # as Hugging Face's cache has it
    ln "$dir/outside/config.json" "$dir/hf/config.json"
    ln -s model.gguf "$dir/link"
    before=$(cd "$dir" && cat model.gguf long.txt outside/* | sha256sum)
    for option in --report --statistics; do
        over=(--method mse --text "$dir/long.txt" "$option")
        for name in model.gguf outside/../model.gguf link; do
            expect 2 "$option '.*$name' is the model; it needs" quantize "$dir/model.gguf" "$dir/o" "${over[@]}" \
                "$dir/$name"
        done
        expect 2 "$option and --text are both" quantize "$dir/model.gguf" "$dir/o" "${over[@]}" "$dir/./long.txt"
        expect 2 "$option '.*/hf' is the model" quantize "$dir/hf" "$dir/o" "${over[@]}" "$dir/hf"
        for name in hf/new.json hf/model.safetensors outside/model.safetensors outside/config.json; do
            expect 2 "$option '.*$name' is in the model's directory" quantize "$dir/hf" "$dir/o" "${over[@]}" \
                "$dir/$name"
        done
        for out in o replaced replaced/; do
            expect 2 "$option '.*/r' is in OUT" quantize "$dir/hf" "$dir/$out" --force "${over[@]}" "$dir/$out/r"
        done
        expect 2 "$option '.*/o' is in OUT" quantize "$dir/hf" "$dir/o" "${over[@]}" "$dir/o"
    done
    expect 2 '--report and --statistics are both' quantize "$dir/hf" "$dir/o" --method mse --text "$dir/long.txt" \
        --report "$dir/r" --statistics "$dir/hf/../r"
    if [ "$before" != "$(cd "$dir" && cat model.gguf long.txt outside/* | sha256sum)" ] || [ -e "$dir/hf/new.json" ] ||
        [ -e "$dir/o" ] || [ -e "$dir/r" ]; then
        echo "FAILED: quantize writes over what it reads"
        bad=$((bad + 1))
    fi
    [ "$(echo "$dir"/small*)" = "$dir/small*" ] || bad=$((bad + 1))
    if ! "$woq" quantize "$original" "$dir/small" --channel --method mse --text "$dir/long.txt" 2>&1 |
        grep -q 'no calibration'; then
        rm -rf "$dir/small"
        calibrated=(quantize "$original" "$dir/small" --channel --text "$dir/long.txt" --samples 4 --window 8)
        expect 1 'tokens, but 9999 samples of 16 need 159984' "${calibrated[@]}" --samples 9999 --window 16 --method mse
        expect 1 "window is 18; the model's context ends at 16" "${calibrated[@]}" --window 18 --method mse
        expect 1 'layers.7' "${calibrated[@]}" --method gptq --keep layers.7
        expect 1 'none/r.json' "${calibrated[@]}" --method gptq --report "$dir/none/r.json"
        [ "$(echo "$dir"/small* "$dir"/.small*)" = "$dir/small* $dir/.small*" ] || bad=$((bad + 1))
        for method in mse awq gptq awq+gptq; do
            expect 0 "small: ${method/+/\\+}, 4 bits, per channel, symmetric, in" "${calibrated[@]}" \
                --method "$method" --report "$dir/r.json" --statistics "$dir/r.stats" --force --seed 3 --memory 0 \
                --share 0.25
            grep -q "\"method\": \"$method\"" "$dir/r.json" || bad=$((bad + 1))
        done
        # A pipe is written into, as is a device; a link stays and its file is replaced.
        for option in report statistics; do
            mkfifo "$dir/$option"
            timeout 60 cat "$dir/$option" >"$dir/$option.piped" &
            expect 0 'small: mse' "${calibrated[@]}" --method mse --force --$option "$dir/$option"
            wait $!
        done
        grep -q '"method": "mse"' "$dir/report.piped" || { echo "FAILED: --report to a pipe" && bad=$((bad + 1)); }
        expect 0 'q_proj' inspect "$dir/statistics.piped"
        echo old >"$dir/outside/old"
        ln -s outside/old "$dir/old"
        ln -s outside/new "$dir/new"
        expect 0 'small: mse' "${calibrated[@]}" --method mse --force --report "$dir/old" --statistics "$dir/new"
        if [ ! -L "$dir/old" ] || [ ! -L "$dir/new" ] || [ ! -e "$dir/outside/new" ] ||
            ! grep -q '"method": "mse"' "$dir/outside/old"; then
            echo "FAILED: quantize replaces links"
            bad=$((bad + 1))
        fi
        ln -s circle "$dir/circle"
        expect 1 "cannot .*circle': Too many" "${calibrated[@]}" --method mse --force --report "$dir/circle"
        expect 1 "cannot .*outside': Is a dir" "${calibrated[@]}" --method mse --force --report "$dir/outside"
        if mknod "$dir/full" c 1 7 2>/dev/null && [ -w "$dir/full" ] && ! echo 1 2>/dev/null >"$dir/full"; then
            for option in --report --statistics; do
                expect 1 "writing '.*/full': No space left" "${calibrated[@]}" --method mse --force $option "$dir/full"
            done
            [ -c "$dir/full" ] || { echo "FAILED: quantize replaces devices" && bad=$((bad + 1)); }
        else
            echo "skipped: a device to write into, as none may be made here"
        fi
        expect 2 '--report needs a file' "${calibrated[@]}" --method mse --force --report -
        expect 1 "small' exists" "${calibrated[@]}" --method gptq
        expect 0 'q_proj' inspect "$dir/r.stats"
        rm -rf "$dir/small"
    fi
    expect 0 '4 bits, per channel, symmetric' "${small[@]}" --jobs 1 --keep k_proj
    expect 1 "small' exists; name another, or replace it by --force" "${small[@]}"
    expect 0 '4 bits, per channel, symmetric, 3 overrides, in' "${small[@]}" --force --override o_proj=16 \
        --override down_proj=8 --override 'mlp=4:tensor'
    grep -q '"group_1"' "$dir/small/config.json" && bad=$((bad + 1)) # one scale a row, all of them
    expect 0 '3 overrides' "${small[@]}" --force --override down_proj=8 --override 'a=b|_=4' \
        --override 'down_pro(?=j)=8'
    grep -q '"group_1"' "$dir/small/config.json" || bad=$((bad + 1))
    expect 0 'warning: asymmetric weights: .*beside other formats' "${small[@]}" --force --asymmetric --allow-unloadable --override down_proj=8
    expect 0 '8 bits, per channel' "${small[@]}" --bits 8 --force
    LC_ALL=C sed 's/\x04\x00\x00\x00\x15\x00/\x4d\x00\x00\x00\x15\x00/' "$original" >"$dir/token.gguf"
    expect 0 "warning: OUT's tokenizer .* not take: .*token 6 has the type 77" quantize "$dir/token.gguf" "$dir/again" \
        --channel
    rm -rf "$dir/again"
    expect 1 'model.safetensors: holds tensors alone; open the directory' quantize "$dir/small/model.safetensors" \
        "$dir/again" --channel
    expect 1 'quantized already .*; start from the original' quantize "$dir/small" "$dir/again" --channel
    mkdir "$dir/place" && cp "$original" "$dir/place/model.gguf"
    expect 1 'is where the model' quantize "$dir/place/model.gguf" "$dir/place" --channel --force
    printf 'a b' >"$dir/short.txt"
    expect 1 "'.*short.txt' gives 4 tokens; windows of 512 need 1024" eval "$original" --text "$dir/short.txt"
    expect 1 'Is a directory' eval "$original" --text "$dir"
    expect 0 '1 \+ 2 tokens' eval "$original" "$dir/small" --prompt '' -g 2
    printf 'a b a a b c d a b a b a a a b b a c d e f g a b a b' >"$dir/long.txt"
    compared=(--text "$dir/long.txt" --window 4 --kl)
    expect 0 '^small .* baseline +– +– +– .*floor' eval "$dir/small" "$original" "${compared[@]}"
    expect 0 '^llama3_freqs.gguf .* 100.00 ± 0.00 % .*floor' eval "$dir/small" "$original" "${compared[@]}"
    expect 0 'f16: 1 \+ 2 tokens' eval "$original" --weights f16,w8 "${compared[@]}" --prompt '' -g 2
    expect 0 '"p99_9": 0.0' eval "$original" --weights f16,w8 "${compared[@]}" --json -
    expect 1 "short.txt' gives 4 tokens; windows of 512" eval "$original" --weights f16,w8 --kl --text "$dir/short.txt"
    expect 1 'not compared: the first model failed' eval "$original" --weights f16,w8 --kl --text "$dir/short.txt"
    expect 1 'makes other tokens of the text than that of the first' eval "$original" "$seeds/config/qwen3_sp.gguf" \
        "${compared[@]}"
    expect 1 'empty.gguf .*: ' eval "$original" "$dir/empty.gguf" "${compared[@]}"
    expect 1 'not compared: the first model failed' eval "$dir/empty.gguf" "$original" "${compared[@]}"
fi
grep -q '</svg>' "$dir/x.svg" && python3 -m json.tool "$dir/x.json" >/dev/null || bad=$((bad + 1))
exit $((bad > 0))
