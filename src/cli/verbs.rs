//! The verbs: `reloadrun status` and the others, which ask a run. A verb is the first word; what comes after `--` is a command,
//! whatever its name.

use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use super::duration::parse_duration;
use crate::client::{Order, Verb};

#[derive(Debug, Parser)]
#[command(name = "reloadrun", disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    verb: Typed,
}

#[derive(Debug, Subcommand)]
enum Typed {
    /// List the runs that can be asked
    List(Json),
    /// Show what a run does: its generation, what it watches, the last change, limitations
    Status(Asked),
    /// Start the command anew
    Restart(Asked),
    /// Stop the command and end the run; wait for its end
    ///
    /// A second `reloadrun stop` kills the command.
    Stop(Asked),
    /// Collect changes, and do nothing about them until `reloadrun resume`
    Pause(Asked),
    /// Let changes lead to something again, those that were collected too
    Resume(Asked),
    /// Print the events of a run from now on, as JSON lines
    Events(Asked),
    /// Wait until every save made before is live
    ///
    /// Returns when the watcher has taken in every save that was made before the call, and what came of it is there: the new
    /// generation is ready (--ready). Exits with 0 if it is, with 1 if that generation failed, with 3 if there is no such
    /// run, with 4 if nothing can show whether it is ready, with 124 if the time is up.
    Wait {
        /// Give up after this time
        #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
        timeout: Duration,
        #[command(flatten)]
        asked: Asked,
    },
    /// Print whether a change to PATH would restart, by the configuration of the run
    ///
    /// Exits with 0 if it would, with 1 if it would not.
    Explain {
        /// The path
        #[arg(value_name = "PATH")]
        path: OsString,
        #[command(flatten)]
        asked: Asked,
    },
}

#[derive(Debug, clap::Args)]
struct Json {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Asked {
    /// Ask the run with this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Ask the run whose supervisor has this pid
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,

    /// Ask the run of this directory, or of the nearest one above it [default: .]
    #[arg(short = 'C', long, value_name = "DIR")]
    directory: Option<OsString>,

    #[command(flatten)]
    json: Json,
}

/// All verbs.
pub const VERBS: [&str; 9] = ["list", "status", "restart", "stop", "pause", "resume", "events", "wait", "explain"];

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration like 500ms, 2s or 1m; a bare number is seconds".to_owned())
}

/// Whether a command line asks a run.
pub fn is_verb(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| VERBS.iter().any(|verb| word == verb))
}

/// What clap knows of them.
pub fn commands() -> Vec<clap::Command> {
    Line::command().get_subcommands().cloned().collect()
}

/// Reads such a command line.
///
/// # Errors
/// clap's: also for help.
pub fn parse(words: &[OsString]) -> Result<Order, clap::Error> {
    let order =
        |verb, Asked { name, pid, directory, json }: Asked| Order { verb, json: json.json, name, pid, directory };
    Ok(match Line::try_parse_from(words)?.verb {
        Typed::List(Json { json }) => Order { verb: Verb::List, json, name: None, pid: None, directory: None },
        Typed::Status(asked) => order(Verb::Status, asked),
        Typed::Restart(asked) => order(Verb::Restart, asked),
        Typed::Stop(asked) => order(Verb::Stop, asked),
        Typed::Pause(asked) => order(Verb::Pause, asked),
        Typed::Resume(asked) => order(Verb::Resume, asked),
        Typed::Events(asked) => order(Verb::Events, asked),
        Typed::Wait { timeout, asked } => order(Verb::Wait(timeout), asked),
        Typed::Explain { path, asked } => order(Verb::Explain(path), asked),
    })
}

#[cfg(test)]
mod tests {
    use super::{Line, VERBS, is_verb, parse};
    use crate::client::{Order, Verb};
    use clap::CommandFactory as _;
    use std::ffi::OsString;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_verb_is_the_first_word_and_never_a_command() {
        let known: Vec<String> = Line::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        assert_eq!(known, VERBS);
        for verb in VERBS {
            assert!(is_verb(&words(&format!("reloadrun {verb}"))));
            for line in [
                format!("reloadrun -- {verb}"),
                format!("reloadrun -w {verb} -- {verb} x"),
                format!("reloadrun {verb}s"),
            ] {
                assert!(!is_verb(&words(&line)), "{line}");
            }
        }
    }

    #[test]
    fn a_verb_says_whom_it_is_for() {
        let order = parse(&words("reloadrun explain --name web a.py --pid 7 -C d --json")).unwrap();
        let (name, directory) = (Some("web".to_owned()), Some("d".into()));
        assert_eq!(order, Order { verb: Verb::Explain("a.py".into()), json: true, name, pid: Some(7), directory });
        let order = parse(&words("reloadrun wait --timeout 1.5")).unwrap();
        assert_eq!((order.verb, order.json), (Verb::Wait(std::time::Duration::from_millis(1500)), false));
        for wrong in [
            "reloadrun explain",
            "reloadrun status x",
            "reloadrun list --name x",
            "reloadrun stop --pid x",
            "reloadrun wait --timeout soon",
        ] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
