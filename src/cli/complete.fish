
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
