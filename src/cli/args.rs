//! The command line as typed. No I/O, no defaults: what is meant is decided in `resolve.rs`.

use std::ffi::OsString;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};

use super::init::{self, Init};
use super::keys::{PAGES, USUAL_BROWSER, keys_of};
use super::pages::page;
use super::{ci, verbs, words};
use crate::client::Order;
use crate::escape::{escaped, escaped_lines};
use crate::print_watched::Format;

/// The end of `-h`; `--help` continues with `MORE`.
const EXAMPLES: &str = "\
Examples:
  reloadrun -- python app.py                          restart on a change to anything not ignored
  reloadrun -w '*.py;*.toml' -- python app.py         only on these
  reloadrun -w '*.py' -w /etc/app/app.toml -- gunicorn app:app
  reloadrun -w app.toml --on-change signal:HUP -- nginx -g 'daemon off;'
  reloadrun -w 'src/**/*.rs' -i tests -- cargo run
  reloadrun --on-exit restart -- ./worker             keep it running
  reloadrun --explain src/app.py                      would a change to it restart?

Quote the patterns, or the shell expands them.";

/// The end of `--help`.
const MORE: &str = "\
Signals: INT, TERM, HUP and QUIT stop the command, and reloadrun exits with 128+n; a second one kills the command. \
USR1, USR2 and WINCH are passed on to the command. Removing the lockfile stops everything, with exit code 0.

Exit codes: the command's own; 128+n if signal n ended it; 126 if it cannot be run, 127 if it was not found; 2 for \
wrong usage or config; 125 if reloadrun itself failed.

Environment of the command: RELOADRUN_LOCKFILE, RELOADRUN_GENERATION (1, 2, ...), RELOADRUN_CHANGED (a JSON array of \
the paths that caused this start), RELOADRUN_CONTROL (the socket at which this run is asked).

Verbs ask a run: list, status, restart, stop, pause, resume, events, wait, explain PATH. Each has a help of its own. A command of \
such a name comes after --, as every command does.

Every option is also a key of reloadrun.toml, with the same name; a flag wins over a key.";

/// Run a command and restart it when the files it depends on change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Parser)]
#[command(
    name = "reloadrun",
    version,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{MORE}"),
    override_usage = "reloadrun [OPTIONS] -- COMMAND [ARGUMENT]...\n       reloadrun [OPTIONS]                 (command in reloadrun.toml)\n       reloadrun [OPTIONS] --explain PATH\n       reloadrun status|list|restart|stop|pause|resume|events|wait|explain [OPTIONS]   (ask a run)\n       reloadrun init [-C DIR]             (writes reloadrun.toml)\n       reloadrun ci [OPTIONS]              (a smoke run by reloadrun.toml)",
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct Args {
    /// Watch files that match; ';' between patterns, repeatable [default: everything not ignored]
    ///
    /// As in a .gitignore: '*.py' at any depth, 'src/**/*.rs', 'conf/app.toml', '/etc/app/*.toml', '../lib/**'. A
    /// directory means everything in it. A name without wildcards is one path, watched even if it is ignored or
    /// does not exist yet.
    #[arg(short, long, value_name = "PATTERNS", help_heading = "What to watch", action = ArgAction::Append)]
    pub watch: Vec<OsString>,

    /// Do not watch files that match; wins over patterns of -w
    ///
    /// The same form. A name without wildcards or slashes matches at any depth. A name without wildcards after -w wins
    /// over it.
    #[arg(short, long, value_name = "PATTERNS", help_heading = "What to watch", action = ArgAction::Append)]
    pub ignore: Vec<OsString>,

    /// Do not honour .gitignore, .ignore and the built-in ignore list
    ///
    /// The list: version control directories, node_modules, __pycache__, target, .venv and other caches, swap and
    /// backup files of editors.
    #[arg(long, help_heading = "What to watch")]
    pub no_ignore: bool,

    /// Root of relative patterns and the command's working directory [default: .]
    #[arg(short = 'C', long, value_name = "DIR", help_heading = "What to watch")]
    pub directory: Option<OsString>,

    /// Do not follow symlinks that lead out of the watched directories
    #[arg(long, help_heading = "What to watch")]
    pub no_follow: bool,

    /// Watch the files that the command reads: add, only or off [default: add without -w, else off]
    ///
    /// reloadrun traces which files the command and its descendants open. add: what they read counts as well, also outside
    /// of the directory, and what they write does not, unless -w names it. only: nothing else counts. off: no tracing.
    #[arg(long, value_name = "HOW", help_heading = "What to watch")]
    pub discover: Option<String>,

    /// A directory of the system where files count that the command reads, like /etc/app
    ///
    /// Repeatable. Without it, nothing counts in /etc, /usr and other places where systems and toolchains are installed,
    /// except in /usr/local, /usr/src, /opt, in packages (site-packages, node_modules) and in the directory itself.
    #[arg(long, value_name = "DIR", help_heading = "What to watch", action = ArgAction::Append)]
    pub discover_root: Vec<OsString>,

    /// How to detect changes: auto, inotify, notify or poll [default: auto]
    ///
    /// auto uses inotify, and polls file systems that send no events (NFS, CIFS, 9p, FUSE).
    #[arg(long, value_name = "NAME", help_heading = "What to watch")]
    pub backend: Option<String>,

    /// Interval of the heartbeat and of polling [default: 1s]
    ///
    /// Durations are written 500ms, 2s, 1m; a bare number is seconds.
    #[arg(long, value_name = "DURATION", help_heading = "What to watch")]
    pub interval: Option<String>,

    /// Restart only after this long without a change [default: 0]
    ///
    /// For several saves in a row: a formatter, a generator, a package manager. A single save does not need it: for a
    /// file that looks incomplete, reloadrun always waits 100ms or this time, whichever is longer. Writers that never
    /// pause delay a restart by at most 10 times this long.
    #[arg(long, value_name = "DURATION", help_heading = "What to watch")]
    pub debounce: Option<String>,

    /// Spread what a change does over this time, for a fleet that sees it at once [default: 0]
    ///
    /// Each run waits for its own share of it, which follows from the name of the host and --name and is the same for each
    /// change. What changes meanwhile is taken in too. The first start and `reloadrun restart` do not wait.
    #[arg(long, value_name = "DURATION", help_heading = "What to watch")]
    pub jitter: Option<String>,

    /// What counts as a change: time or content [default: time]
    ///
    /// With content, a file with the same bytes as when the command started does not restart it, however often the
    /// file is written or touched. Files larger than 64 MiB always count.
    #[arg(long, value_name = "WHAT", help_heading = "What to watch")]
    pub compare: Option<String>,

    /// What a change does: restart, signal:NAME, queue or run:COMMAND [default: restart]
    ///
    /// signal:HUP sends HUP to the running command, and starts a command that is not running. queue lets the command
    /// finish, then starts it again. run:COMMAND runs COMMAND in a shell, once for all files that changed together, with
    /// their paths as "$@"; one at a time, and none is left out. Then no other command is needed.
    #[arg(long, value_name = "ACTION", help_heading = "What to do")]
    pub on_change: Option<String>,

    /// Shell command that must succeed before a change does anything, and before the first start
    ///
    /// A build, a test of the configuration, a migration. The command keeps running meanwhile, and also if it fails.
    /// Files that it writes itself cause no restart.
    #[arg(long, value_name = "COMMAND", help_heading = "What to do")]
    pub prepare: Option<String>,

    /// File in which a command that moves to the background writes the pid of its main process
    ///
    /// The command ends with that process, and signals of --on-change signal:NAME go to it. It must be a process that the
    /// command started.
    #[arg(long, value_name = "PATH", help_heading = "What to do")]
    pub pidfile: Option<OsString>,

    /// What to do when the command exits: wait, exit or restart [default: wait]
    ///
    /// wait for a change, then start it again; exit with its exit code (the default as PID 1 and where CI is set);
    /// restart it after a delay that grows from 100ms to 30s.
    #[arg(long, value_name = "ACTION", help_heading = "What to do")]
    pub on_exit: Option<String>,

    /// Signal that stops the command [default: TERM]
    #[arg(long, value_name = "NAME", help_heading = "What to do")]
    pub stop_signal: Option<String>,

    /// Which processes get it first: all or main [default: all]
    ///
    /// all is the command's process group. main is the command's first process alone, which stops its own workers;
    /// processes that it leaves behind get the signal once it has exited.
    #[arg(long, value_name = "WHOM", help_heading = "What to do")]
    pub stop_group: Option<String>,

    /// Time between it and KILL [default: 5s]
    #[arg(long, value_name = "DURATION", help_heading = "What to do")]
    pub stop_timeout: Option<String>,

    /// Read keys from the terminal: r restart, p pause, w why, q quit, ? help
    ///
    /// The command then reads from /dev/null.
    #[arg(long, help_heading = "Other")]
    pub keys: bool,

    /// Name of the run, for `reloadrun status --name NAME` and the other verbs
    #[arg(long, value_name = "NAME", help_heading = "Other")]
    pub name: Option<String>,
    /// Hold a listening socket for the command across restarts; repeatable
    ///
    /// tcp:127.0.0.1:8000 (an IPv6 address in brackets) or unix:PATH, with ,name=NAME behind it. The command gets them
    /// as descriptors from 3 up, as from systemd: LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES. While it restarts, connections
    /// wait.
    #[arg(long, value_name = "ADDRESS", help_heading = "What to do", action = ArgAction::Append)]
    pub listen: Vec<String>,

    /// By what the command is known to be ready: an address that answers, or its own word
    ///
    /// http://HOST:PORT/PATH (2xx or 3xx), tcp:HOST:PORT, unix:PATH: the socket that answers must belong to the command.
    /// exec:COMMAND exits with 0. notify: the command sends READY=1, as to systemd. fd:N: it writes a newline to
    /// descriptor N.
    #[arg(long, value_name = "PROBE", help_heading = "What to do")]
    pub ready: Option<String>,

    /// How long it may take to be ready [default: 60s]
    #[arg(long, value_name = "DURATION", help_heading = "What to do")]
    pub ready_timeout: Option<String>,

    /// Start the next generation beside the old one, which stays until the next is ready
    ///
    /// Needs --ready notify, exec: or fd:. If the next generation ends or is not ready in time, it is ended and the old
    /// one stays. The command gets no standard input.
    #[arg(long, help_heading = "What to do")]
    pub overlap: bool,

    /// Reload pages in browsers when the command is ready again; [default: 127.0.0.1:35729]
    ///
    /// LiveReload: for <script src="http://localhost:35729/livereload.js"></script> in the page, and for browser extensions. With
    /// --ready, pages reload when the new generation is ready. A command that fails shows in the page.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = USUAL_BROWSER, help_heading = "Output")]
    pub browser: Option<String>,

    /// Files that only browsers care about: they restart nothing; ';' between patterns, repeatable
    ///
    /// Stylesheets and images are exchanged in the page, and for others it is loaded again. Patterns as for --watch; they win over those.
    #[arg(long, value_name = "PATTERNS", help_heading = "What to watch", action = ArgAction::Append)]
    pub browser_watch: Vec<OsString>,

    /// Run COMMAND in a shell when the server is ready, end both, and exit with its exit code (a smoke run, for CI)
    ///
    /// Needs --ready. COMMAND finds the server's address in RELOADRUN_URL and RELOADRUN_ADDRESS. The run fails if the server
    /// ends or is restarted meanwhile, if its port answered before the start, and if something is left in the end.
    #[arg(long, value_name = "COMMAND", help_heading = "Smoke run")]
    pub smoke: Option<String>,

    /// Before that, touch PATH and demand a new generation that becomes ready; repeatable
    ///
    /// The file gets its bytes, mode and times back in the end. With --listen or --overlap, no request to the probe may fail
    /// meanwhile.
    #[arg(long, value_name = "PATH", help_heading = "Smoke run", action = ArgAction::Append)]
    pub prove_reload: Vec<OsString>,

    /// How long all of it may take, from the start to the end of COMMAND [default: 10m]
    #[arg(long, value_name = "DURATION", help_heading = "Smoke run")]
    pub deadline: Option<String>,

    /// Write a report to junit:PATH or json:PATH; repeatable
    #[arg(long, value_name = "REPORT", help_heading = "Smoke run", action = ArgAction::Append)]
    pub report: Vec<OsString>,

    /// Whether this is `reloadrun ci`: the keys of a smoke run in the config file count.
    #[arg(skip)]
    pub ci: bool,

    /// Answer probes over HTTP at this address: /live
    ///
    /// An IP address and a port, as in 127.0.0.1:9000; a port alone is on the loopback interface.
    #[arg(long, value_name = "ADDRESS", help_heading = "Output")]
    pub http: Option<String>,

    /// Give the command the variables in this file; repeatable
    ///
    /// NAME=value lines, as dotenv tools read them. A variable that reloadrun was started with keeps its value; of two
    /// files, the later wins. The files are watched, and a change to one restarts the command with what it holds then.
    #[arg(long, value_name = "FILE", help_heading = "What to do", action = ArgAction::Append)]
    pub env_file: Vec<OsString>,

    /// Clear the terminal before each start
    #[arg(long, help_heading = "Output")]
    pub clear: bool,

    /// Colour: auto, always or never [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = "Output")]
    pub color: Option<String>,

    /// Print errors only
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    /// Print every decision
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,

    /// Write events as JSON lines to a file, to - (standard error) or to fd:N
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub events: Option<OsString>,

    /// Print whether a change to PATH would restart, and why; run nothing
    ///
    /// Exits with 0 if it would, with 1 if it would not. With no other option, a run of this directory is asked, which knows
    /// what its command reads and writes; else the options and the config file alone are.
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub explain: Option<OsString>,

    /// Run the command once and print which files it reads, writes, lists and misses; as text or json [default: text]
    ///
    /// Each with what a change of it does. The lines come on standard error when the command has ended; its exit code is
    /// that of reloadrun. Nothing is watched.
    #[arg(
        long,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text",
        hide_possible_values = true,
        help_heading = "What to say"
    )]
    pub print_watched: Option<Format>,

    /// Config file [default: reloadrun.toml in the directory or above it]
    #[arg(short, long, value_name = "FILE", help_heading = "Other")]
    pub config: Option<OsString>,

    /// Lockfile with the heartbeat [default: a private one]
    ///
    /// A path given here also ensures that only one reloadrun uses it. Removing the file stops everything.
    #[arg(long, value_name = "PATH", help_heading = "Other")]
    pub lockfile: Option<OsString>,

    /// Print the man page, the completions for a shell, or the schema
    ///
    /// man, complete-bash, complete-zsh, complete-fish, or schema: the JSON schema of reloadrun.toml.
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

impl Args {
    /// Whether they say nothing about what counts, besides the directory.
    pub fn leave_all_open(&self) -> bool {
        let quiet = Args { explain: None, directory: None, color: None, quiet: false, verbose: false, ..self.clone() };
        quiet == Args::default()
    }
}

/// The result of reading a command line.
#[derive(Debug)]
pub enum Parsed {
    /// A command line.
    Args(Box<Args>),
    /// `reloadrun init`.
    Init(Box<Init>),
    /// A question to a run.
    Ask(Order),
    /// Text that the user asked for: help or the version.
    Text(String),
    /// The error message for a wrong command line, with hints.
    Wrong(String),
}

/// Reads a command line; the first word is the program's own name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Parsed {
    let words: Vec<OsString> = words.into_iter().collect();
    if init::is_asked(&words) {
        return init::parse(&words).map_or_else(|error| outcome(error, &words), |init| Parsed::Init(Box::new(init)));
    }
    if ci::is_asked(&words) {
        let matches = ci::command(Args::command()).try_get_matches_from(&words[1..]);
        return match matches.and_then(|matches| Args::from_arg_matches(&matches)) {
            Ok(args) => Parsed::Args(Box::new(Args { ci: true, ..args })),
            Err(error) => outcome(error, &words),
        };
    }
    if verbs::is_verb(&words) {
        return verbs::parse(&words).map_or_else(|error| outcome(error, &words), Parsed::Ask);
    }
    match Args::try_parse_from(&words) {
        Ok(Args { generate: Some(kind), .. }) => match page(&kind, Args::command(), EXAMPLES, MORE) {
            Some(text) => Parsed::Text(text),
            None => Parsed::Wrong(
                escaped(&format!("--generate '{kind}': must be one of {}", PAGES.join(", "))).into_owned(),
            ),
        },
        Ok(args) => Parsed::Args(Box::new(args)),
        Err(error) => outcome(error, &words),
    }
}

/// What clap reports as an error: help that was asked for, or a mistake.
fn outcome(mut error: clap::Error, words: &[OsString]) -> Parsed {
    use clap::error::ErrorKind;
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Parsed::Text(error.to_string());
    }
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let tip = tip(&error, &words);
    escape_words(&mut error);
    Parsed::Wrong(with_tip(&error, tip.map(|tip| escaped_lines(&tip))))
}

/// Escapes the user's words in clap's error. Line ends in the message are clap's own; a line end inside a user's word
/// must not look like one of them.
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

/// clap's error message, with our tip instead of clap's. clap guesses too boldly: it suggested `--events` for `--exts`,
/// and its "use '-- --wacth'" would run a misspelt flag as the command.
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
    if let Some(verb) = words.get(1).filter(|verb| *verb == init::VERB || verbs::VERBS.contains(&verb.as_str())) {
        // What a flag of another tool is called here does not matter to a verb.
        let is_command = error.kind() == ErrorKind::UnknownArgument && !word.starts_with('-');
        return is_command.then(|| {
            format!("{verb} is a verb of reloadrun; a command of that name comes after --: reloadrun -- {verb}")
        });
    }
    match error.kind() {
        ErrorKind::UnknownArgument if word == init::VERB || word == ci::VERB || verbs::VERBS.contains(&word.as_str()) => {
            Some(format!("a verb comes first: reloadrun {word}; a command comes after --"))
        }
        ErrorKind::UnknownArgument if words.get(1) == Some(word) && nearest_verb(word).is_some() => {
            nearest_verb(word).map(|verb| format!("did you mean reloadrun {verb}? A command comes after --"))
        }
        // Usually a pattern that the shell expanded, or a command without `--`.
        ErrorKind::UnknownArgument if !word.starts_with('-') => {
            Some("the command comes after --; quote the patterns, or the shell expands them:\n       reloadrun -w '*.py' -- python app.py".to_owned())
        }
        ErrorKind::UnknownArgument => {
            let command = Args::command();
            words::tip(word, words, command.get_arguments().filter_map(|argument| argument.get_long()))
        }
        _ => words::missing_value(word, words),
    }
}

/// The verb that a first word may have been meant as.
fn nearest_verb(word: &str) -> Option<&'static str> {
    if word.starts_with('-') {
        return None;
    }
    words::nearest_option(word, verbs::VERBS.into_iter().chain([init::VERB, ci::VERB]))
}

/// All keys of the config file.
pub fn keys() -> Vec<String> {
    keys_of(&Args::command())
}
