# fish completion for coracle

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
