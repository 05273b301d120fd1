#!/usr/bin/env bash
# man_pages.sh WOQ DIRECTORY: manual pages of `woq` and of each of its commands, made from what they say of themselves.
set -euo pipefail

woq=$1 dir=$2
mkdir -p "$dir"
version=$("$woq" --version)
text=$("$woq" --help)
commands=$(sed -n 's/^  \([a-z]*\)  .*/\1/p' <<<"$text")

page() { # name, one line of what it is, names of other pages; its help on standard input
    awk -v name="$1" -v what="$2" -v others="$3" -v version="$version" '
        function plain(s) {
            gsub(/\\/, "\\e", s); gsub(/-/, "\\-", s); gsub(/\047/, "\\(aq", s); gsub(/`/, "\\(ga", s)
            return s ~ /^\./ ? "\\&" s : s
        }
        function kind(k) { # ends one kind of text where another begins
            if (k != is && is == "fixed") print ".fi"
            if (k != is && k == "fixed") print ".PP\n.nf"
            is = k
        }
        function section(title) { kind("text"); print ".SH " title; gap = 0 }
        BEGIN {
            print ".\\\" -*- coding: utf-8 -*-\n.TH " toupper(name) " 1 \"\" \"" version "\" \"woq\""
            print ".SH NAME\n" plain(name) " \\- " plain(what)
        }
        NR == 1 && !/^usage: / { next } # NAME has it
        /^usage: / || (usage == 1 && /^       /) {
            if (!usage) section("SYNOPSIS"); else print ".br"
            usage = 1
            print plain(substr($0, 8))
            next
        }
        /^$/ { if (usage == 1) { section("DESCRIPTION"); usage = 2 } gap = 1; next }
        /^[A-Z][a-z ]*:$/ { section(toupper(substr($0, 1, length($0) - 1))); next }
        match($0, /^  (-[^ ,], |    )--[a-z0-9-]+( [A-Z0-9|=]+)?( |$)/) && usage {
            rest = substr($0, RSTART + RLENGTH)
            tag = substr($0, 3, RLENGTH - 2)
            gsub(/^ +| +$/, "", tag)
            sub(/^ +/, "", rest)
            if (!optioned++) section("OPTIONS"); else kind("text")
            print ".TP\n.B " plain(tag) "\n" plain(rest)
            listed = 1; gap = 0
            next
        }
        /^          / && listed && !gap { sub(/^ +/, ""); print plain($0); next }
        /^  / { kind("fixed"); gap = 0; print plain($0); next }
        { kind("text"); if (gap) print ".PP"; gap = listed = 0; print plain($0) }
        END {
            section("SEE ALSO")
            n = split(others, other, " ")
            for (i = 1; i <= n; i++) print ".BR " plain(other[i]) " (1)" (i < n ? "," : "")
        }' >"$dir/$1.1.part"
    mv "$dir/$1.1.part" "$dir/$1.1"
}

pages=''
for command in $commands; do
    what=$(sed -n "s/^  $command  *//p" <<<"$text")
    "$woq" "$command" --help | page "woq-$command" "$what" woq
    pages="$pages woq-$command"
done
page woq "$(sed -n '1s/^woq: //p' <<<"$text")" "$pages" <<<"$text"
