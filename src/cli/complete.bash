
# What a verb takes.
_reloadrun_verb() {
    local options=$1
    COMPREPLY=()
    compopt +o default +o bashdefault 2> /dev/null
    case $3 in
        --name)
            mapfile -t COMPREPLY < <(compgen -W "$(reloadrun list --json 2> /dev/null |
                sed -n 's/^{"version":"[^"]*","pid":[0-9]*,"name":"\([^"\\]*\)".*/\1/p')" -- "$2")
            ;;
        -C | --directory) mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
        --pid | --timeout) ;;
        *)
            if [[ $2 == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$options" -- "$2")
            elif [[ ${COMP_WORDS[1]} == explain ]]; then
                compopt -o default
            fi
            ;;
    esac
}

# The generated function above does not complete verbs and the command after --, and does not handle that bash splits words
# at = and :.
_reloadrun_words() {
    local line=${COMP_LINE:0:COMP_POINT} value option finished index
    if ((COMP_CWORD == 1)) && [[ $2 != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$_reloadrun_verbs" -- "$2")
        return
    elif ((COMP_CWORD > 1)) && option=$(_reloadrun_options "${COMP_WORDS[1]}") && [[ -n $option ]]; then
        _reloadrun_verb "$option" "$2" "$3"
        return
    fi
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
