//! Generates the man page, the shell completions and the schema of the config file from the clap command in `args.rs`, so they always agree with
//! `--help`.

use clap::builder::PossibleValuesParser;
use clap::{Command, ValueHint};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use roff::{Roff, roman};

use super::keys::CHOICES;
use super::schema::schema;
use crate::os::signals::Signal;

/// What kind of value the other options take.
const HINTS: [(&str, ValueHint); 18] = [
    ("watch", ValueHint::AnyPath),
    ("ignore", ValueHint::AnyPath),
    ("directory", ValueHint::DirPath),
    ("config", ValueHint::FilePath),
    ("env_file", ValueHint::FilePath),
    ("lockfile", ValueHint::FilePath),
    ("events", ValueHint::FilePath),
    ("explain", ValueHint::AnyPath),
    // A duration; the shell has nothing to offer.
    ("interval", ValueHint::Other),
    ("debounce", ValueHint::Other),
    ("stop_timeout", ValueHint::Other),
    ("ready_timeout", ValueHint::Other),
    ("deadline", ValueHint::Other),
    ("prove_reload", ValueHint::FilePath),
    // Lines for the shell, and the forms of a report.
    ("smoke", ValueHint::Other),
    ("report", ValueHint::Other),
    // Addresses, and the words of a probe.
    ("listen", ValueHint::Other),
    ("ready", ValueHint::Other),
];

/// The description on the man page; `--help` has only the first sentence of it.
const DESCRIPTION: &str = "\
reloadrun runs a command and starts it again when the files it depends on change. Before a new command starts, the \
whole tree of processes of the old one has ended. Without --watch, every file in the directory counts that is not \
ignored.";

/// The page of this kind, or `None` if it is not one of `PAGES`. `examples` and `more` are the last parts of `--help`.
pub fn page(kind: &str, command: Command, examples: &str, more: &str) -> Option<String> {
    match kind {
        "man" => Some(man(command, examples, more)),
        "complete-bash" => Some(completion(Shell::Bash, command) + include_str!("complete.bash")),
        "complete-zsh" => Some(completion(Shell::Zsh, command)),
        "schema" => Some(schema(&command)),
        "complete-fish" => Some(completion(Shell::Fish, command) + include_str!("complete.fish")),
        _ => None,
    }
}

fn man(command: Command, examples: &str, more: &str) -> String {
    const IN_MEMORY: &str = "writing to memory cannot fail";
    let page = Man::new(command);
    let mut text = Vec::new();
    page.render_title(&mut text).expect(IN_MEMORY);
    page.render_name_section(&mut text).expect(IN_MEMORY);
    page.render_synopsis_section(&mut text).expect(IN_MEMORY);
    Roff::new().control("SH", ["DESCRIPTION"]).text([roman(DESCRIPTION)]).to_writer(&mut text).expect(IN_MEMORY);
    page.render_options_section(&mut text).expect(IN_MEMORY);
    let mut rest = Roff::new();
    rest.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in examples.lines().skip(1) {
        rest.text([roman(line)]);
    }
    rest.control("fi", []);
    for paragraph in more.split("\n\n") {
        let (heading, words) = paragraph.split_once(": ").unwrap_or(("Config file", paragraph));
        rest.control("SH", [heading.to_uppercase().as_str()]).text([roman(words)]);
    }
    rest.to_writer(&mut text).expect(IN_MEMORY);
    String::from_utf8(text).expect("the generators write UTF-8")
}

fn completion(shell: Shell, command: Command) -> String {
    let mut text = Vec::new();
    generate(shell, &mut described(command), "reloadrun", &mut text);
    String::from_utf8(text).expect("the generators write UTF-8")
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
