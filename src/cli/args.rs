//! The command line as typed. No I/O, no defaults: what is meant is decided in `resolve.rs`.

use std::ffi::OsString;

use clap::{ArgAction, CommandFactory, Parser};

use super::pages::{KINDS, page};
use super::words;
use crate::escape::{escaped, escaped_lines};

/// What `--help` says after the options.
const EXAMPLES: &str = "\
Examples:
  reloadrun -- python app.py                          restart on a change of anything not ignored
  reloadrun -w '*.py;*.toml' -- python app.py         only on these
  reloadrun -w '*.py' -w /etc/app/app.toml -- gunicorn app:app
  reloadrun -w app.toml --on-change signal:HUP -- nginx -g 'daemon off;'
  reloadrun -w 'src/**/*.rs' -i tests -- cargo run
  reloadrun --on-exit restart -- ./worker             keep it running
  reloadrun --explain src/app.py                      would a change of it restart?

Quote the patterns, or the shell expands them.";

/// What `--help` says at the very end.
const MORE: &str = "\
Signals: INT, TERM, HUP and QUIT end the command and then reloadrun, with 128+n; a second one kills. USR1, USR2 and \
WINCH are passed on. Removing the lockfile ends everything with 0.

Exit codes: the command's own; 128+n when a signal ended it; 126 it cannot be run, 127 it was not found; 2 wrong use \
or config; 125 reloadrun failed.

Environment of the command: RELOADRUN_LOCKFILE, RELOADRUN_GENERATION (1, 2, ...), RELOADRUN_CHANGED (a JSON array of \
the paths behind this start).

Every option is also a key of reloadrun.toml, with the same name; a flag wins over a key.";

/// Run a command and restart it when the files it depends on change.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "reloadrun",
    version,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{MORE}"),
    override_usage = "reloadrun [OPTIONS] -- COMMAND [ARGUMENT]...\n       reloadrun [OPTIONS]                 (command in reloadrun.toml)\n       reloadrun [OPTIONS] --explain PATH",
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct Args {
    /// Watch files that match; ';' between patterns, repeatable [default: everything not ignored]
    ///
    /// As in a .gitignore: '*.py' at any depth, 'src/**/*.rs', 'conf/app.toml', '/etc/app/*.toml', '../lib/**'. A
    /// directory means everything in it. A name without wildcards is one path, watched even where it is ignored or
    /// does not exist yet.
    #[arg(short, long, value_name = "PATTERNS", help_heading = "What to watch", action = ArgAction::Append)]
    pub watch: Vec<OsString>,

    /// Do not watch files that match; wins over patterns of -w
    ///
    /// The same form. A name without wildcards or slashes counts at any depth. Loses against a name that -w gives
    /// literally.
    #[arg(short, long, value_name = "PATTERNS", help_heading = "What to watch", action = ArgAction::Append)]
    pub ignore: Vec<OsString>,

    /// Do not honour .gitignore, .ignore and the built-in list
    ///
    /// The list: version control, node_modules, __pycache__, target, .venv and other caches, swap and backup files of
    /// editors.
    #[arg(long, help_heading = "What to watch")]
    pub no_ignore: bool,

    /// Root of relative patterns and the command's working directory [default: .]
    #[arg(short = 'C', long, value_name = "DIR", help_heading = "What to watch")]
    pub directory: Option<OsString>,

    /// Do not follow symlinks that lead out of the watched directories
    #[arg(long, help_heading = "What to watch")]
    pub no_follow: bool,

    /// How to learn of changes: auto, inotify, notify or poll [default: auto]
    ///
    /// auto is inotify, and polling for file systems that tell of no changes (NFS, CIFS, 9p, FUSE).
    #[arg(long, value_name = "NAME", help_heading = "What to watch")]
    pub backend: Option<String>,

    /// Heartbeat and polling [default: 1s]
    ///
    /// Durations are written 500ms, 2s, 1m; a bare number is seconds.
    #[arg(long, value_name = "DURATION", help_heading = "What to watch")]
    pub interval: Option<String>,

    /// Stop only when no watched file has changed for so long [default: 0]
    ///
    /// For saves that come in a row: a formatter, a generator, a package manager. Not needed for a single save, however
    /// it is written: a file that looks incomplete is waited for anyway, for 100ms or this time. Writers that never
    /// pause delay a restart by at most 10 times as long.
    #[arg(long, value_name = "DURATION", help_heading = "What to watch")]
    pub debounce: Option<String>,

    /// What makes a file another one: time or content [default: time]
    ///
    /// With content, what has the same bytes as when the command started restarts nothing, however often it is written
    /// or touched. Files of more than 64 MiB always count.
    #[arg(long, value_name = "WHAT", help_heading = "What to watch")]
    pub compare: Option<String>,

    /// What a change does: restart, or signal:NAME [default: restart]
    ///
    /// signal:HUP sends HUP to the command and lets it run; if it is not running, it is started.
    #[arg(long, value_name = "ACTION", help_heading = "What to do")]
    pub on_change: Option<String>,

    /// What follows when the command ends: wait, exit or restart [default: wait]
    ///
    /// wait for a change and start it then; exit with its exit code (the default as PID 1 and where CI is set);
    /// restart after a delay that grows from 100ms to 30s.
    #[arg(long, value_name = "ACTION", help_heading = "What to do")]
    pub on_exit: Option<String>,

    /// First signal of a stop [default: TERM]
    #[arg(long, value_name = "NAME", help_heading = "What to do")]
    pub stop_signal: Option<String>,

    /// Who gets it first: all or main [default: all]
    ///
    /// all is the command's process group. main is its first process alone, which ends its workers itself; what it leaves
    /// behind gets the signal when it has ended.
    #[arg(long, value_name = "WHOM", help_heading = "What to do")]
    pub stop_group: Option<String>,

    /// How long after it until KILL [default: 5s]
    #[arg(long, value_name = "DURATION", help_heading = "What to do")]
    pub stop_timeout: Option<String>,

    /// Clear the terminal before each start
    #[arg(long, help_heading = "What to say")]
    pub clear: bool,

    /// Colour: auto, always or never [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = "What to say")]
    pub color: Option<String>,

    /// Say errors only
    #[arg(short, long, help_heading = "What to say")]
    pub quiet: bool,

    /// Say every decision
    #[arg(short, long, help_heading = "What to say")]
    pub verbose: bool,

    /// Tell events as JSON lines: to a file, to - (standard error) or to fd:N
    #[arg(long, value_name = "PATH", help_heading = "What to say")]
    pub events: Option<OsString>,

    /// Say whether a change of PATH would restart, and why; run nothing
    ///
    /// Exits with 0 if it would, with 1 if not.
    #[arg(long, value_name = "PATH", help_heading = "What to say")]
    pub explain: Option<OsString>,

    /// Config file [default: reloadrun.toml in the directory or above it]
    #[arg(short, long, value_name = "FILE", help_heading = "Other")]
    pub config: Option<OsString>,

    /// Lockfile with the heartbeat [default: a private one]
    ///
    /// Given, it also makes sure that only one runs. Removing it ends everything.
    #[arg(long, value_name = "PATH", help_heading = "Other")]
    pub lockfile: Option<OsString>,

    /// Print the man page or the completions for a shell
    ///
    /// man, complete-bash, complete-zsh or complete-fish.
    #[arg(long, value_name = "PAGE", help_heading = "Other")]
    pub generate: Option<String>,

    /// Print help; --help is longer than -h
    #[arg(short, long, action = ArgAction::Help, help_heading = "Other")]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Other")]
    version: Option<bool>,

    /// The command, after --
    #[arg(last = true, value_name = "COMMAND", hide = true)]
    pub command: Vec<OsString>,
}

/// What the words come to.
#[derive(Debug)]
pub enum Parsed {
    /// A command line.
    Args(Box<Args>),
    /// Text that was asked for: help, the version.
    Text(String),
    /// The words are wrong; sentences and hints.
    Wrong(String),
}

/// Reads the words of a command line.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Parsed {
    use clap::error::ErrorKind;
    let words: Vec<OsString> = words.into_iter().collect();
    match Args::try_parse_from(&words) {
        Ok(Args { generate: Some(kind), .. }) => match page(&kind, Args::command(), EXAMPLES, MORE) {
            Some(text) => Parsed::Text(text),
            None => Parsed::Wrong(
                escaped(&format!("--generate '{kind}': it must be one of {}", KINDS.join(", "))).into_owned(),
            ),
        },
        Ok(args) => Parsed::Args(Box::new(args)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Parsed::Text(error.to_string())
        }
        Err(mut error) => {
            let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            let tip = tip(&error, &words);
            escape_words(&mut error);
            Parsed::Wrong(with_tip(&error, tip.map(|tip| escaped_lines(&tip))))
        }
    }
}

/// The words that the user gave stand in the text, whose line ends are clap's: a line end in a word must not be one of them.
fn escape_words(error: &mut clap::Error) {
    use clap::error::{ContextKind, ContextValue};
    let shown = |text: &String| escaped(text).into_owned();
    let contexts: Vec<(ContextKind, ContextValue)> = error
        .context()
        .filter(|(kind, _)| *kind != ContextKind::Usage)
        .filter_map(|(kind, value)| {
            let value = match value {
                ContextValue::String(text) => ContextValue::String(shown(text)),
                ContextValue::Strings(texts) => ContextValue::Strings(texts.iter().map(shown).collect()),
                ContextValue::StyledStr(text) => ContextValue::StyledStr(shown(&text.to_string()).into()),
                ContextValue::StyledStrs(texts) => {
                    ContextValue::StyledStrs(texts.iter().map(|text| shown(&text.to_string()).into()).collect())
                }
                _ => return None,
            };
            Some((kind, value))
        })
        .collect();
    for (kind, value) in contexts {
        error.insert(kind, value);
    }
}

/// The parser's sentences, with our tip in the place of its own. Those are too bold: `--exts` became `--events`, and
/// "use '-- --wacth'" would run a misspelt flag.
fn with_tip(error: &clap::Error, tip: Option<String>) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    let is_tip = |line: &str| line.trim_start().starts_with("tip: ");
    let mut lines: Vec<&str> = text.lines().filter(|line| !is_tip(line)).collect();
    lines.dedup_by(|one, other| one.is_empty() && other.is_empty());
    let text = lines.join("\n");
    match (tip, text.split_once("\n\n")) {
        (Some(tip), Some((sentence, rest))) => format!("{sentence}\n\n  tip: {tip}\n\n{rest}"),
        (Some(tip), None) => format!("{text}\n\n  tip: {tip}"),
        (None, _) => text,
    }
}

fn tip(error: &clap::Error, words: &[String]) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    match error.kind() {
        // Most often a pattern that the shell expanded, or a command without `--`.
        ErrorKind::UnknownArgument if !word.starts_with('-') => {
            Some("the command comes after --, and patterns need quotes, or the shell expands them:\n       reloadrun -w '*.py' -- python app.py".to_owned())
        }
        ErrorKind::UnknownArgument => {
            let command = Args::command();
            words::tip(word, words, command.get_arguments().filter_map(|argument| argument.get_long()))
        }
        _ => words::missing_value(word, words),
    }
}

/// The long names of all options that are also keys of the config file.
pub fn keys() -> Vec<String> {
    let command = Args::command();
    let names = command.get_arguments().filter_map(|argument| argument.get_long());
    let mut keys: Vec<String> = names
        .filter(|name| !["help", "version", "config", "explain", "generate"].contains(name))
        .map(str::to_owned)
        .collect();
    keys.push("command".to_owned());
    keys
}
