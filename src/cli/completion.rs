//! The shell completions. clap_complete writes those of the options; the verbs and what follows them are added here, because
//! clap does not know that a command may have the name of a verb.

use clap::builder::{PossibleValuesParser, StyledStr};
use clap::{Arg, Command, ValueHint};
use clap_complete::{Shell, generate};

use super::keys::CHOICES;
use super::{ci, init, verbs};
use crate::os::signals::Signal;

/// What kind of value the other options take. Paths of any kind are `FilePath`: for others, clap_complete's script for bash
/// cuts a name at its blanks.
const HINTS: [(&str, ValueHint); 26] = [
    ("watch", ValueHint::FilePath),
    ("ignore", ValueHint::FilePath),
    ("browser_watch", ValueHint::FilePath),
    ("discover_root", ValueHint::DirPath),
    ("pidfile", ValueHint::FilePath),
    ("directory", ValueHint::DirPath),
    ("config", ValueHint::FilePath),
    ("env_file", ValueHint::FilePath),
    ("lockfile", ValueHint::FilePath),
    ("events", ValueHint::FilePath),
    ("explain", ValueHint::FilePath),
    // A duration; the shell has nothing to offer.
    ("interval", ValueHint::Other),
    ("debounce", ValueHint::Other),
    ("jitter", ValueHint::Other),
    ("stop_timeout", ValueHint::Other),
    ("ready_timeout", ValueHint::Other),
    ("deadline", ValueHint::Other),
    ("prove_reload", ValueHint::FilePath),
    // Lines for the shell, and the forms of a report.
    ("prepare", ValueHint::Other),
    ("smoke", ValueHint::Other),
    ("report", ValueHint::Other),
    // Addresses, and the words of a probe.
    ("browser", ValueHint::Other),
    ("http", ValueHint::Other),
    ("listen", ValueHint::Other),
    ("ready", ValueHint::Other),
    // A new one.
    ("name", ValueHint::Other),
];

/// The script for a shell. `command`: that of `args.rs`.
pub fn completion(shell: Shell, command: Command) -> String {
    let mut text = Vec::new();
    generate(shell, &mut described(command), "reloadrun", &mut text);
    let text = String::from_utf8(text).expect("the generators write UTF-8");
    let verbs: Vec<Command> = verbs::commands().into_iter().chain([init::command()]).map(built).collect();
    match shell {
        Shell::Bash => text + include_str!("complete.bash") + &bash(&verbs),
        Shell::Zsh => zsh(&text, &verbs),
        _ => fish(&text, &verbs),
    }
}

/// Adds the possible values to the clap command. The command that parses does not have them, because `resolve.rs` has
/// better error messages for wrong values.
fn described(command: Command) -> Command {
    let command = CHOICES.into_iter().fold(command, |command, (option, values)| {
        command.mut_arg(option, |option| option.value_parser(PossibleValuesParser::new(values)))
    });
    let command = HINTS
        .into_iter()
        .fold(command, |command, (option, hint)| command.mut_arg(option, |option| option.value_hint(hint)));
    // Leaked, because clap wants 'static text; the program prints one page and exits.
    let signals = || Signal::names().map(|name| &*format!("signal:{name}").leak());
    command
        .mut_arg("on_change", |option| {
            option.value_parser(PossibleValuesParser::new(["restart", "queue"].into_iter().chain(signals())))
        })
        .mut_arg("stop_signal", |option| option.value_parser(PossibleValuesParser::new(Signal::names())))
        .mut_arg("command", |words| {
            words.hide(false).last(false).trailing_var_arg(true).value_hint(ValueHint::CommandWithArguments)
        })
}

/// With `--help`, which clap adds when it is built.
fn built(mut command: Command) -> Command {
    command.build();
    command
}

fn options(verb: &Command) -> impl Iterator<Item = &Arg> {
    verb.get_arguments().filter(|option| !option.is_positional())
}

fn takes_value(option: &Arg) -> bool {
    option.get_num_args().is_some_and(|count| count.takes_values())
}

fn flags(verb: &Command) -> Vec<String> {
    let long = options(verb).filter_map(Arg::get_long).map(|long| format!("--{long}"));
    long.chain(options(verb).filter_map(Arg::get_short).map(|short| format!("-{short}"))).collect()
}

/// Whether a path follows.
fn names_path(verb: &Command) -> bool {
    verb.get_positionals().next().is_some()
}

/// Its first line, without what a shell would expand.
fn help(text: Option<&StyledStr>) -> String {
    let text = text.map(StyledStr::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().replace('\'', "’").replace(['[', ']', '`', '$', '\\'], "")
}

fn bash(verbs: &[Command]) -> String {
    let mut text =
        "\n# The options of a verb; nothing of another word.\n_reloadrun_options() {\n    case $1 in\n".to_owned();
    for verb in verbs {
        text += &format!("        {}) echo \"{}\" ;;\n", verb.get_name(), flags(verb).join(" "));
    }
    let names: Vec<&str> = verbs.iter().map(Command::get_name).chain([ci::VERB]).collect();
    text + "    esac\n}\n" + &format!("_reloadrun_verbs=\"{}\"\n", names.join(" "))
}

fn zsh(generated: &str, verbs: &[Command]) -> String {
    const BEGIN: &str = "\n_reloadrun() {\n";
    let mut cases = String::new();
    let mut described = String::new();
    for verb in verbs {
        described += &format!("        '{}:{}'\n", verb.get_name(), help(verb.get_about()).replace(':', "\\:"));
        let mut specs = String::new();
        for option in options(verb) {
            let value = match option.get_id().as_str() {
                _ if !takes_value(option) => "",
                "name" => ":NAME:_reloadrun_names",
                "directory" => ":DIR:_files -/",
                _ => ":VALUE: ",
            };
            let text = help(option.get_help());
            if let Some(long) = option.get_long() {
                let equals = if value.is_empty() { "" } else { "=" };
                specs += &format!(" '--{long}{equals}[{text}]{value}'");
            }
            if let Some(short) = option.get_short() {
                specs += &format!(" '-{short}[{text}]{value}'");
            }
        }
        let path = if names_path(verb) { " ':PATH:_files'" } else { "" };
        cases += &format!(
            "        {}) shift words; (( CURRENT-- )); _arguments -s -S{specs}{path}; taken=$?; return ;;\n",
            verb.get_name()
        );
    }
    // What follows it is what a run takes.
    described += &format!("        '{}:{}'\n", ci::VERB, ci::summary());
    let functions = include_str!("complete.zsh").replace("VERBS\n", &described).replace("CASES\n", &cases);
    let calls = "    local taken=; _reloadrun_verb; [[ -z $taken ]] || return $taken\n";
    generated.replacen(BEGIN, &format!("\n{functions}{BEGIN}{calls}"), 1)
}

fn fish(generated: &str, verbs: &[Command]) -> String {
    let mut text = generated.replace("complete -c reloadrun ", "complete -c reloadrun -n 'not __reloadrun_verb' ");
    let names: Vec<&str> = verbs.iter().map(Command::get_name).collect();
    text += &include_str!("complete.fish").replace("VERBS", &names.join(" "));
    text += &format!("complete -c reloadrun -n __reloadrun_begins -f -a {} -d '{}'\n", ci::VERB, ci::summary());
    for verb in verbs {
        let (name, about) = (verb.get_name(), help(verb.get_about()));
        text += &format!("complete -c reloadrun -n __reloadrun_begins -f -a {name} -d '{about}'\n");
        let condition = format!("-n '__reloadrun_verb {name}'");
        if !names_path(verb) {
            text += &format!("complete -c reloadrun {condition} -f\n");
        }
        for option in options(verb) {
            let value = match option.get_id().as_str() {
                _ if !takes_value(option) => "",
                "name" => " -x -a '(__reloadrun_names)'",
                "directory" => " -x -a '(__fish_complete_directories)'",
                _ => " -x",
            };
            let short = option.get_short().map(|short| format!(" -s {short}")).unwrap_or_default();
            let long = option.get_long().map(|long| format!(" -l {long}")).unwrap_or_default();
            text +=
                &format!("complete -c reloadrun {condition}{short}{long} -d '{}'{value}\n", help(option.get_help()));
        }
    }
    text
}
