
# The generated function above does not complete the command after --, and does not handle that bash splits words at
# = and :.
_reloadrun_words() {
    local line=${COMP_LINE:0:COMP_POINT} value option finished index
    for ((index = 1; index < COMP_CWORD; index++)); do
        [[ ${COMP_WORDS[index]} == -- ]] || continue
        if declare -F _comp_command_offset > /dev/null; then
            _comp_command_offset $((index + 1))
        elif declare -F _command_offset > /dev/null; then
            _command_offset $((index + 1))
        elif ((index + 1 == COMP_CWORD)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$2")
        else
            COMPREPLY=()
        fi
        return
    done
    value=${line##*[[:space:]]}
    option=${line%"$value"}
    option=${option%"${option##*[![:space:]]}"}
    option=${option##*[[:space:]]}
    if [[ $value == --*=* ]]; then
        option=${value%%=*}
        value=${value#*=}
    fi
    _reloadrun "$1" "$value" "$option"
    if [[ $value == *:* && $COMP_WORDBREAKS == *:* ]]; then
        finished=${value%"${value##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$finished"}")
    fi
}

complete -F _reloadrun_words -o bashdefault -o default reloadrun
