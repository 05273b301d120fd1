# Completion of woq for bash. Installed as share/bash-completion/completions/woq; or: . tools/woq-completion.bash
# Commands, options and what takes a value come from the program's own --help; devices from `woq devices`.

# Lines "-x --name VALUE" of a command's options; "-" where there is no short name, nothing where no value.
_woq_options() { # program, command
    "$1" "$2" --help 2>/dev/null |
        sed -n 's/^  \(-[^ ,]\), \(--[a-z0-9-]*\)\( [A-Z0-9|=]*\)\{0,1\}\( .*\)*$/\1 \2\3/p
                s/^      \(--[a-z0-9-]*\)\( [A-Z0-9|=]*\)\{0,1\}\( .*\)*$/- \1\2/p'
}

# What an option's value can be: words, or nothing where anything goes.
_woq_values() { # program, long option, its value's name in the help
    case $2 in
    --device) "$1" devices 2>/dev/null | sed -n 's/^\([a-z]*:[0-9]*\) .*/\1/p' ;;
    --log) echo error warning info debug ;;
    --x | --y | --bias) echo f16 bf16 f32 ;;
    --math) echo default exact rounded fixed16 ;;
    --path) echo gemv gemm skinny expand floor ;;
    --zero) echo symmetric point offset ;;
    --method) echo rtn mse awq gptq awq+gptq ;;
    --activation) echo none relu gelu_tanh gelu_erf silu silu_mul ;;
    --format | --formats) echo w4g32 w4g64 w4g128 w4g64z w4g128z w8 w8t f16 bf16 ;;
    --for) echo device architecture vendor ;;
    --weights) echo as-stored f16 w8 w4g32 w4g64 w4g128 w4g64z ;;
    *) case $3 in *'|'*) echo "${3//|/ }" ;; esac ;;
    esac
}

# The words that go on with the whole word at the cursor, or with its last part after a comma or the other separator.
_woq_offer() { # whole word, words, separator (default a comma)
    local separator=${3-,} head='' i
    case $1 in *"$separator"*) head=${1%"$separator"*}$separator ;; esac
    # Words hold no blanks and no quotes.
    # shellcheck disable=SC2207
    COMPREPLY=($(compgen -P "$head" -W "$2" -- "${1##*"$separator"}"))
    # Bash takes a colon for the end of a word and keeps what is before it.
    case $COMP_WORDBREAKS in *:*) ;; *) return ;; esac
    case $1 in *:*) for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]#"${1%:*}":}; done ;; esac
}

_woq() {
    local program=${1/#\~/$HOME} line=${COMP_LINE:0:COMP_POINT} words word before command option='' options values
    local short long value
    COMPREPLY=()
    read -ra words <<<"woq${line#*"$1"}"
    case $line in *[[:space:]]) words+=('') ;; esac
    word=${words[-1]} command=${words[1]-}
    if [ ${#words[@]} -le 2 ] || { [ "$command" = help ] && [ ${#words[@]} -eq 3 ]; }; then
        compopt +o default 2>/dev/null
        _woq_offer "$word" "$("$program" --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  .*/\1/p') help --help --version"
        return
    fi

    options=$(_woq_options "$program" "$command")
    before=${words[-2]}
    case $word in --*=*) before=${word%%=*} word=${word#*=} ;; esac
    while read -r short long value; do
        if [ "$before" = "$long" ] || [ "$before" = "$short" ]; then option=$long; break; fi
    done <<<"$options"
    if [ -n "$option" ] && [ -n "$value" ]; then
        # Where no words are known, bash offers files, if files are wanted.
        values=$(_woq_values "$program" "$option" "$value")
        case $value in FILE | MODEL | REGEX | REGEX=FORMAT) ;; *) compopt +o default 2>/dev/null ;; esac
        if [ -n "$values" ]; then _woq_offer "$word" "$values"; return; fi
        [ "$value" = MODEL ] || return
    fi
    case $word in
    -*) compopt +o default 2>/dev/null
        _woq_offer "$word" "$(grep -o -- '--[a-z0-9-]*' <<<"$options")" ;;
    *:*) # A model's weights.
        if [ -e "${word%:*}" ]; then _woq_offer "$word" "$(_woq_values "$program" --weights LIST)" :; fi ;;
    esac
}

complete -o default -F _woq woq
