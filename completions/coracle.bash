# bash completion for coracle; also for aliases: complete -F _coracle podman

_coracle() {
    local line=${COMP_LINE:0:COMP_POINT} cur candidate directive= prefix=
    local -a words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    cur=${words[${#words[@]} - 1]}
    COMPREPLY=()
    while IFS= read -r candidate; do
        case $candidate in
        :*) directive=$candidate ;;
        *) COMPREPLY+=("${candidate%%$'\t'*}") ;;
        esac
    done < <(coracle __complete -- "${words[@]:1}" 2>/dev/null)
    if [[ $directive == :files ]]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r candidate; do
            COMPREPLY+=("$candidate")
        done < <(compgen -f -- "$cur")
        return
    fi
    # readline took a part of the word away at a colon or an equals sign.
    case $COMP_WORDBREAKS in
    *:*) [[ $cur == *:* ]] && prefix=${cur%"${cur##*:}"} ;;
    esac
    case $COMP_WORDBREAKS in
    *=*) [[ $cur == *=* && -z $prefix ]] && prefix=${cur%"${cur##*=}"} ;;
    esac
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    if ((${#COMPREPLY[@]} == 1)) && [[ ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -F _coracle coracle
