_reloadrun_names() {
    local names; names=(${(f)"$(reloadrun list --json 2> /dev/null | sed -n 's/^{"version":"[^"]*","pid":[0-9]*,"name":"\([^"\\]*\)".*/\1/p')"})
    compadd -a names
}

# What a verb takes; fails for other words.
_reloadrun_verb() {
    if (( CURRENT == 2 )) && [[ $PREFIX != -* ]]; then
        local verbs; verbs=(
VERBS
        )
        _describe -t verbs 'verb' verbs
        return
    fi
    (( CURRENT > 2 )) || return 1
    local verb=$words[2]
    case $verb in
CASES
    esac
    return 1
}
