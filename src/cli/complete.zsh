_reloadrun_names() {
    local names; names=(${(f)"$(reloadrun list --json 2> /dev/null | sed -n 's/^{"version":"[^"]*","pid":[0-9]*,"name":"\([^"\\]*\)".*/\1/p')"})
    compadd -a names
}

# A verb and what it takes, and the command after --. Says in $taken whether there was something to complete; nothing for
# other words.
_reloadrun_verb() {
    local end=${words[(i)--]}
    if (( end < CURRENT )); then
        shift $end words
        (( CURRENT -= end ))
        _normal
        taken=$?
        return
    fi
    if (( CURRENT == 2 )) && [[ $PREFIX != -* ]]; then
        local verbs; verbs=(
VERBS
        )
        _describe -t verbs 'verb' verbs
        taken=$?
        return
    fi
    (( CURRENT > 2 )) || return
    local verb=$words[2]
    case $verb in
CASES
    esac
}
