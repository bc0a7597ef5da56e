//! The man page and the completions, made from the command line that `args.rs` declares, so that they cannot differ
//! from `--help`.

use clap::builder::PossibleValuesParser;
use clap::{Command, ValueHint};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use roff::{Roff, roman};

use crate::os::signals::Signal;

/// What there is to make.
pub const KINDS: [&str; 4] = ["man", "complete-bash", "complete-zsh", "complete-fish"];

/// The options with a fixed choice of values; a test holds them against what is accepted.
const CHOICES: [(&str, &[&str]); 6] = [
    ("backend", &["auto", "inotify", "notify", "poll"]),
    ("compare", &["time", "content"]),
    ("on_exit", &["wait", "exit", "restart"]),
    ("stop_group", &["all", "main"]),
    ("color", &["auto", "always", "never"]),
    ("generate", &KINDS),
];

const HINTS: [(&str, ValueHint); 10] = [
    ("watch", ValueHint::AnyPath),
    ("ignore", ValueHint::AnyPath),
    ("directory", ValueHint::DirPath),
    ("config", ValueHint::FilePath),
    ("lockfile", ValueHint::FilePath),
    ("events", ValueHint::FilePath),
    ("explain", ValueHint::AnyPath),
    // Nobody can guess a duration.
    ("interval", ValueHint::Other),
    ("debounce", ValueHint::Other),
    ("stop_timeout", ValueHint::Other),
];

/// What `--help` does not say about the program, because whoever asks for help knows it.
const DESCRIPTION: &str = "\
reloadrun runs a command and starts it again when the files it depends on change. Before a new command starts, the \
whole tree of processes of the old one has ended. Without --watch, every file in the directory counts that is not \
ignored.";

/// The text of one of the [`KINDS`]. `examples` and `more` are what `--help` ends with.
pub fn page(kind: &str, command: Command, examples: &str, more: &str) -> Option<String> {
    match kind {
        "man" => Some(man(command, examples, more)),
        "complete-bash" => Some(completion(Shell::Bash, command) + include_str!("complete.bash")),
        "complete-zsh" => Some(completion(Shell::Zsh, command)),
        "complete-fish" => Some(completion(Shell::Fish, command) + include_str!("complete.fish")),
        _ => None,
    }
}

fn man(command: Command, examples: &str, more: &str) -> String {
    const IN_MEMORY: &str = "memory takes everything";
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
    String::from_utf8(text).expect("all of it was text")
}

fn completion(shell: Shell, command: Command) -> String {
    let mut text = Vec::new();
    generate(shell, &mut described(command), "reloadrun", &mut text);
    String::from_utf8(text).expect("all of it was text")
}

/// The command line with what a shell can offer for each value. The real one takes any text, because `resolve.rs` has
/// better sentences for a wrong one.
fn described(command: Command) -> Command {
    let command = CHOICES.into_iter().fold(command, |command, (option, values)| {
        command.mut_arg(option, |option| option.value_parser(PossibleValuesParser::new(values)))
    });
    let command = HINTS
        .into_iter()
        .fold(command, |command, (option, hint)| command.mut_arg(option, |option| option.value_hint(hint)));
    // Text that lives as long as the program, of a program that prints a page and ends.
    let signals = || Signal::names().map(|name| &*format!("signal:{name}").leak());
    command
        .mut_arg("on_change", |option| {
            option.value_parser(PossibleValuesParser::new(["restart"].into_iter().chain(signals())))
        })
        .mut_arg("stop_signal", |option| option.value_parser(PossibleValuesParser::new(Signal::names())))
        .mut_arg("command", |words| {
            words.hide(false).last(false).trailing_var_arg(true).value_hint(ValueHint::CommandWithArguments)
        })
}
