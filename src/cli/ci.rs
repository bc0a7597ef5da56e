//! `reloadrun ci`: a smoke run by the config file. It takes the same options as a run; what is typed wins over the file.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches};

use super::args::Args;

const ABOUT: &str = "Start the server of reloadrun.toml, check it, end it, and exit with the check's exit code

The keys smoke (the command that checks), prove-reload, deadline and report of the config file count here, and nowhere else. \
All other keys and options mean the same as always.";

/// Whether these words, the program's name first, ask for it.
pub fn is_asked(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| word == "ci")
}

/// Reads them.
///
/// # Errors
/// clap's, as for other words; also where help was asked for.
pub fn parse(words: &[OsString]) -> Result<Args, clap::Error> {
    let command = Args::command()
        .bin_name("reloadrun ci")
        .about(ABOUT.lines().next().unwrap_or_default().to_owned())
        .long_about(ABOUT)
        .override_usage("reloadrun ci [OPTIONS] [-- COMMAND [ARGUMENT]...]");
    let matches = command.try_get_matches_from(&words[1..])?;
    let mut args = Args::from_arg_matches(&matches)?;
    args.ci = true;
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::{is_asked, parse};
    use std::ffi::OsString;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn ci_is_the_first_word_and_takes_what_a_run_takes() {
        let args = parse(&words("reloadrun ci -C d --report json:a --deadline 1m -- serve x")).unwrap();
        assert!(args.ci);
        assert_eq!((args.directory, args.deadline.as_deref()), (Some("d".into()), Some("1m")));
        assert_eq!(args.command, ["serve", "x"]);
        assert!(is_asked(&words("reloadrun ci")));
        assert!(!is_asked(&words("reloadrun -- ci")) && !is_asked(&words("reloadrun")));
        assert!(parse(&words("reloadrun ci now")).is_err());
        let help = parse(&words("reloadrun ci --help")).unwrap_err().to_string();
        assert!(help.contains("reloadrun ci [OPTIONS]") && help.contains("prove-reload"), "{help}");
    }
}
