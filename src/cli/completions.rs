//! Completion scripts: small ones, that ask this program for candidates (see
//! [`super::candidates`]), so that they know every command, option and live object, and never go
//! out of date. Those in `completions/` are made from here by a test.

/// The shells.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish", "powershell"];

/// The script of a shell; without descriptions where `described` is false.
pub fn script(shell: &str, described: bool) -> Option<String> {
    let script = match shell {
        "bash" => BASH,
        "zsh" if described => ZSH,
        "zsh" => return Some(ZSH.replace("_describe -V -t", "_describe -V -n -t")),
        "powershell" if described => POWERSHELL,
        "powershell" => return Some(POWERSHELL.replace("$parts[-1]", "$parts[0]")),
        "fish" if described => FISH,
        "fish" => return Some(FISH.replace("string split --max", "string split -f1 --max")),
        _ => return None,
    };
    Some(script.to_owned())
}

const BASH: &str = r#"# bash completion for coracle; also for aliases: complete -F _coracle podman

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
"#;

const ZSH: &str = r#"#compdef coracle
# zsh completion for coracle

_coracle() {
    local candidate directive=
    local -a found
    while IFS= read -r candidate; do
        case $candidate in
        :*) directive=$candidate ;;
        *)
            local name=${candidate%%$'\t'*}
            found+=("${name//:/\\:}:${candidate#*$'\t'}")
            ;;
        esac
    done < <(coracle __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#found )) && _describe -V -t candidates coracle found
    [[ $directive == :files ]] && _files
}

if [[ $funcstack[1] == _coracle ]]; then
    _coracle "$@"
else
    compdef _coracle coracle
fi
"#;

const FISH: &str = r#"# fish completion for coracle

function __coracle_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (coracle __complete -- $words[2..-1] 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path (commandline -ct)
            case ':*'
            case '*'
                string split --max 0 \n -- $line
        end
    end
end

complete -c coracle -f -a '(__coracle_complete)'
"#;

const POWERSHELL: &str = r#"# PowerShell completion for coracle

Register-ArgumentCompleter -Native -CommandName 'coracle' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements |
        Where-Object { $_.Extent.StartOffset -lt $cursorPosition } |
        Select-Object -Skip 1 |
        ForEach-Object { $_.Extent.Text.Trim('"', "'") })
    if ($wordToComplete -eq '') { $words += '' }
    # Older shells drop empty arguments; the program takes a missing last word for an empty one.
    foreach ($line in @(& coracle __complete -- @words 2>$null)) {
        if ($line.StartsWith(':')) { continue }
        $parts = @($line -split "`t", 2 | Where-Object { $_ -ne '' })
        [System.Management.Automation.CompletionResult]::new(
            $parts[0], $parts[0], 'ParameterValue', $parts[-1])
    }
}
"#;
