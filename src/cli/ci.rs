//! `reloadrun ci`: a smoke run by the config file. It takes the same options as a run; what is typed wins over the file.

use std::ffi::OsString;

use clap::Command;

const ABOUT: &str = "Start the server of reloadrun.toml, check it, end it, and exit with the exit code of the check

The keys smoke (the command that checks), prove-reload, deadline and report of the config file count here, and nowhere else. \
All other keys and options mean the same as always.";

/// The first word.
pub const VERB: &str = "ci";

/// What it is, in a line.
pub fn summary() -> &'static str {
    ABOUT.lines().next().unwrap_or_default()
}

/// Whether these words, the program's name first, ask for it.
pub fn is_asked(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| word == VERB)
}

/// What reads them, without the program's name: a run's options, with a help of its own.
pub fn command(of_a_run: Command) -> Command {
    of_a_run
        .bin_name("reloadrun ci")
        .about(summary())
        .long_about(ABOUT)
        .override_usage("reloadrun ci [OPTIONS] [-- COMMAND [ARGUMENT]...]")
}
