#!/usr/bin/env bash
# Every option that a command's source takes is in its --help, in its manual page and offered by the completion; the
# values that the completion offers are those that the program takes; the pages render without warnings.
# usage: check_help.sh WOQ MAN_DIRECTORY
set -u
woq=$1 man=$2
here=$(cd "$(dirname "$0")" && pwd)
bad=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export WOQ_DEVICE=reference XDG_CACHE_HOME=$dir OCL_ICD_VENDORS=$dir/none VK_DRIVER_FILES=$dir/none
# shellcheck source=tools/woq-completion.bash
. "$here/woq-completion.bash"

fail() { printf 'FAILED: %s\n' "$*"; bad=$((bad + 1)); }

# What the completion offers at the end of a line, as sorted words. Bash itself ends words at colons.
offered() { # the line after "woq "
    COMP_LINE="$woq $1" COMP_POINT=$((${#woq} + 1 + ${#1}))
    _woq "$woq" 2>/dev/null
    sorted "${COMPREPLY[*]}"
}
sorted() { tr -s ' ' '\n' <<<"$*" | sort | tr '\n' ' ' | sed 's/^ *//; s/ *$//'; }
expect() { # line, words
    local got
    got=$(offered "$1")
    [ "$got" = "$(sorted "$2")" ] || fail "completion of 'woq $1' offers '$got', expected '$(sorted "$2")'"
}

commands=$("$woq" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 3 ] || fail "woq --help lists no commands"
expect '' "$commands help --help --version"
expect 'de' devices
expect 'help expl' explain

for command in $commands; do
    # Rows of the table that getopt_long takes; a file of the command's own may have them.
    mapfile -t sources < <(ls "$here/cmd_$command.c" "$here/${command}_options.c" "$here/${command}_"*.h 2>/dev/null)
    options=$(grep -ohE '\{"[a-z0-9-]+", (no|required|optional)_argument' "${sources[@]}" |
        sed 's/{"\([^"]*\)".*/--\1/')
    [ -n "$options" ] || fail "cmd_$command.c: no table of options found"
    expect "$command --" "$options"
    help=$("$woq" "$command" --help)
    page=$(sed 's/\\-/-/g' "$man/woq-$command.1") || fail "woq-$command.1 is missing"
    for option in $options; do
        grep -qE -- "^  (-[^ ,], |    )$option( |$)" <<<"$help" || fail "woq $command --help lacks $option"
        grep -qE -- "^\.B .*$option( |$)" <<<"$page" || fail "woq-$command.1 lacks $option"
    done

    # Where the program says "'?' is no …; a, b or c", these are the words.
    for option in --log --x --y --bias --math --path --zero --activation; do
        grep -qx -- "$option" <<<"$options" || continue
        right=$("$woq" "$command" "$option" '?' 2>&1 | sed -n "s/.*'?' is no .*; //p" | sed 's/,//g; s/ or / /')
        [ -n "$right" ] || fail "woq $command $option '?' does not say what would be right"
        expect "$command $option " "$right"
    done
done

expect 'devices -l d' debug
expect 'explain --math=e' exact
expect 'explain -d refe' reference:0
expect 'bench --device reference:0,refe' 0,reference:0
expect 'explain --device reference:' 0
expect 'explain --n ' ''
expect 'bench --json ' ''
for format in $(offered 'explain --format ') $(offered 'bench --formats '); do
    "$woq" explain --n 16 --k 256 --m 1 --format "$format" >/dev/null ||
        fail "the completion offers '$format' as a format"
done
if grep -qx eval <<<"$commands"; then
    expect 'quantize --bits ' '4 8'
    expect 'quantize --method ' 'rtn mse awq gptq awq+gptq'
    expect 'quantize --method=awq' 'awq awq+gptq'
    for method in $(offered 'quantize --method '); do
        "$woq" quantize "$dir/none.gguf" "$dir/out" --method "$method" 2>&1 | grep -q 'must be' &&
            fail "the completion offers '$method' as a method"
    done
    touch "$dir/m.gguf"
    expect "eval $dir/m.gguf:w4g3" w4g32
    expect "bench --model $dir/m.gguf:f" f16
    for weights in $(offered 'eval --weights '); do
        "$woq" eval "$dir/m.gguf:$weights" 2>&1 | grep -q 'nothing to do' ||
            fail "the completion offers '$weights' as weights"
    done
fi

if command -v groff >/dev/null; then
    for page in "$man"/*.1; do
        warnings=$(groff -k -man -ww -Tutf8 -z "$page" 2>&1)
        [ -z "$warnings" ] || fail "$page: $warnings"
    done
else
    echo "skipped: no groff here, so the manual pages were not rendered"
fi
[ $bad -eq 0 ] && echo "$(wc -w <<<"$commands") commands, $(find "$man" -name '*.1' | wc -l) manual pages"
exit $((bad > 0))
