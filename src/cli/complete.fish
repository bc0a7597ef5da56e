
# Whether the first word is a verb, or this one.
function __reloadrun_verb
    set -l words (commandline -opc)
    test (count $words) -ge 2; or return 1
    contains -- $words[2] VERBS; or return 1
    test (count $argv) -eq 0; or test $words[2] = $argv[1]
end
function __reloadrun_begins
    test (count (commandline -opc)) -eq 1
end

function __reloadrun_names
    reloadrun list --json 2> /dev/null | string replace -rf '^\{"version":"[^"]*","pid":[0-9]*,"name":"([^"\\\\]*)".*' '$1'
end

function __reloadrun_command
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words)
    set -l given
    if test $at -lt (count $words)
        set given (string escape -- $words[(math $at + 1)..-1])
    end
    complete -C (string join ' ' -- $given (commandline -ct))
end
complete -c reloadrun -n 'contains -- -- (commandline -opc)' -x -a '(__reloadrun_command)'
