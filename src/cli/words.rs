//! Words of other tools (nodemon, watchexec, entr, cargo-watch, watchmedo, watchfiles, reflex, air, uvicorn), and what
//! they are called here. Pure; the answer is one line, or nothing where there is no good guess.

use std::str::FromStr;

use crate::escape::quoted;
use crate::os::signals::Signal;

/// What an option that is none of ours leads to.
///
/// `option` is as the parser names it (`-e`, `--ext`); `words` are all words of the command line, of which those before
/// `--` are looked at for the option's value; `known` are our long options without dashes.
pub fn tip<'a>(option: &str, words: &[String], known: impl Iterator<Item = &'a str>) -> Option<String> {
    let value = value_of(option, words);
    other_tools(option, value.as_deref()).or_else(|| {
        let name = option.strip_prefix("--")?;
        nearest_option(name, known).map(|known| format!("did you mean '--{known}'?"))
    })
}

/// What `-c` without a file leads to: in watchexec, entr and cargo-watch it clears the screen.
pub fn missing_value(option: &str, words: &[String]) -> Option<String> {
    let is_short = words.iter().take_while(|word| *word != "--").any(|word| word == "-c");
    (option.starts_with("--config") && is_short)
        .then(|| "-c is --config here; the screen is cleared with --clear".to_owned())
}

fn value_of(option: &str, words: &[String]) -> Option<String> {
    let mut ours = words.iter().skip(1).take_while(|word| *word != "--");
    while let Some(word) = ours.next() {
        if word == option {
            return ours.next().filter(|next| !next.starts_with('-')).cloned();
        }
        if let Some(rest) = word.strip_prefix(option) {
            let is_long = option.starts_with("--");
            match rest.strip_prefix('=') {
                Some(value) => return Some(value.to_owned()),
                None if !is_long => return Some(rest.to_owned()),
                None => {}
            }
        }
    }
    None
}

fn other_tools(option: &str, value: Option<&str>) -> Option<String> {
    let text = match option {
        "-e" | "--ext" | "--exts" | "--extension" | "--extensions" | "--include_ext" => {
            format!("files are chosen by pattern: -w '{}'", extensions(value))
        }
        "-x" | "--exec" | "--cmd" | "--command" | "--run" | "--execute" => {
            format!("the command comes last, after --: -- {}", command(option, value))
        }
        "--delay"
        | "--settle"
        | "-d"
        | "--debounce-interval"
        | "--debounce-delay"
        | "--reload-delay"
        | "--watch-delay"
        | "--watch-when-idle"
        | "--wait-time"
        | "--throttle" => format!("it is called --debounce here{}", duration(value)),
        "-r" | "--restart" | "--reload" | "--autoreload" | "--auto-reload" | "--auto-restart" | "--hot"
        | "--watch-files" | "--live-reload" | "--respawn" => {
            "a change restarts the command anyway; leave it out".to_owned()
        }
        "-s" | "--signal" | "--kill-signal" | "--sig" | "--send-signal" => match value {
            Some(line) if Signal::from_str(line).is_err() => {
                format!("for the shell write: -- sh -c {}", one_word(line))
            }
            name => {
                let name = name.unwrap_or("HUP");
                format!(
                    "--stop-signal {name} ends the command with it; --on-change signal:{name} sends it and lets the command run"
                )
            }
        },
        "--map-signal" | "--sigint" | "--restart-signal" => {
            "--stop-signal says what ends the command, --on-change signal:HUP what a change sends".to_owned()
        }
        "--kill-after" | "--kill-delay" | "--kill-timeout" | "--sigint-timeout" | "--sigkill-timeout"
        | "--shutdown-timeout" | "--grace-period" | "--stop-grace" | "-t" => {
            format!("it is called --stop-timeout here{}", duration(value))
        }
        "-k" | "--kill" => {
            "--stop-signal KILL ends the command at once; the default is TERM, and KILL after --stop-timeout".to_owned()
        }
        "-E" | "--env" | "--environment" => {
            let variable = value.filter(|value| value.contains('=')).unwrap_or("NAME=value");
            format!("variables are set by env: -- env {} COMMAND", one_word(variable))
        }
        "-n" | "--no-shell" => "no shell is involved here unless you name one; leave it out".to_owned(),
        "--shell" | "--use-shell" => match value {
            Some("none") => "no shell is involved here unless you name one; leave it out".to_owned(),
            Some(shell) if !shell.contains(' ') => format!("for a shell write: -- {shell} -c 'COMMAND'"),
            line => format!("for a shell write: -- sh -c {}", one_word(line.unwrap_or("COMMAND"))),
        },
        "-p" if value.is_some_and(is_pattern) => watch(value),
        "-p" | "--postpone" | "--delay-run" | "--only-emit-events" | "--on-change-only" => {
            "the command always runs once at the start; that cannot be put off".to_owned()
        }
        "-o" | "--on-busy-update" | "--no-restart" | "--wait" => {
            "a change during a run restarts the command, or sends it a signal with --on-change signal:NAME".to_owned()
        }
        "-g"
        | "--glob"
        | "-f"
        | "--filter"
        | "--pattern"
        | "--patterns"
        | "--path"
        | "--paths"
        | "--files"
        | "--include"
        | "--only"
        | "--reload-dir"
        | "--reload-dirs"
        | "--reload-include"
        | "--reload-includes"
        | "--reload-extra-file"
        | "--watch-path"
        | "--watch-dir"
        | "--watch-file"
        | "--watch-pattern"
        | "--include_dir"
        | "--extra-files" => watch(value),
        "-G"
        | "--inverse-glob"
        | "--exclude"
        | "--excludes"
        | "--ignore-pattern"
        | "--ignore-patterns"
        | "--ignore-path"
        | "--ignore-paths"
        | "--ignore-dir"
        | "--ignore-directories"
        | "--reload-exclude"
        | "--reload-excludes"
        | "--exclude-patterns"
        | "--exclude_dir"
        | "--exclude-dir"
        | "--watch-ignore" => {
            format!("it is called --ignore here: -i '{}'", value.unwrap_or("tests"))
        }
        "--regex" | "--regexes" | "--inverse-regex" => {
            "patterns are globs as in a .gitignore, and no regular expressions: -w '*.py', -i tests".to_owned()
        }
        "-R" if value.is_some_and(|value| value.contains(['\\', '$', '^', '*', '('])) => {
            "patterns are globs as in a .gitignore, and no regular expressions: -w '*.py', -i tests".to_owned()
        }
        "-R" | "--recursive" => "a pattern applies at any depth: '*.py', 'src/**'; leave it out".to_owned(),
        "-W" | "--non-recursive" | "--watch-non-recursive" | "--no-recursive" => {
            "a pattern with a slash and without ** stays in its directory: -w 'src/*'".to_owned()
        }
        "--watch-filter" | "--filter-prog" => "files are chosen by pattern: -w '*.py' -i tests".to_owned(),
        "--poll"
        | "--polling"
        | "--polling-interval"
        | "--force-poll"
        | "--force-polling"
        | "--legacy-watch"
        | "-L"
        | "--legacyWatch"
        | "--use-polling"
        | "--debug-force-polling"
        | "--reload-engine" => match value.filter(|value| is_duration(value)) {
            Some(value) => format!("polling is --backend poll --interval {}", milliseconds(value)),
            None => "polling is --backend poll, and how often is --interval".to_owned(),
        },
        "--no-vcs-ignore"
        | "--no-vcs-ignores"
        | "--no-gitignore"
        | "--no-project-ignore"
        | "--no-default-ignore"
        | "--no-global-ignore"
        | "--no-discover-ignore"
        | "--no-dot-ignores"
        | "--no-default-ignores"
        | "--ignore-nothing"
        | "--ignore-vcs"
        | "--no-ignore-vcs"
        | "--all"
        | "-a" => "it is called --no-ignore here".to_owned(),
        "--ignore-file" | "--ignore-files" | "--filter-file" => {
            "patterns to leave out stand in a .gitignore or .ignore, or after -i".to_owned()
        }
        "--cls" | "--clear-screen" | "--clear-console" | "--clear-terminal" | "--preserveWatchOutput" => {
            "it is called --clear here".to_owned()
        }
        "--workdir"
        | "--cwd"
        | "--chdir"
        | "--dir"
        | "--app-dir"
        | "--root"
        | "--working-directory"
        | "--project-origin" => {
            format!("it is called --directory here: -C {}", value.unwrap_or("DIR"))
        }
        "--verbosity" | "--debug" | "--print-events" | "--dump" | "--why" | "--log-level" => {
            "--verbose says every decision, --quiet only what is wrong".to_owned()
        }
        "--silent" | "--no-messages" => "it is called --quiet here".to_owned(),
        "--emit-events-to" | "--json" | "--log-file" => {
            "events go to a file as JSON lines with --events PATH".to_owned()
        }
        "-z" | "--exitcrash" | "--once" | "-1" | "--exit-on-error" | "--exit" => {
            "--on-exit exit ends with the command, with its exit code".to_owned()
        }
        "--no-restart-on-command-exit" => {
            "the command is not started again until a change, which is the default".to_owned()
        }
        "--keep-alive" | "--restart-on-exit" | "--restart-on-command-exit" => {
            "--on-exit restart starts it again whenever it ends".to_owned()
        }
        "--no-color" | "--no-colors" | "--no-colour" => "it is called --color never here".to_owned(),
        "--target-type" | "--args" => "the command and its arguments stand after --, word for word".to_owned(),
        "-N" | "--notify" | "--beep" | "--bell" => {
            "there are no desktop messages; --events tells programs what happens".to_owned()
        }
        "-I" | "--no-stdin" | "--interactive" | "--stdin-quit" => {
            "the command has the terminal; without it write: < /dev/null".to_owned()
        }
        "--pid-file" | "--pidfile" => "--lockfile PATH holds the pid, as one line of JSON".to_owned(),
        _ => return None,
    };
    Some(text)
}

/// `py,toml`, `.py`, `py toml` as patterns.
fn extensions(value: Option<&str>) -> String {
    let words = value.unwrap_or("py").split([',', ' ', ';', '|']);
    let words = words.map(|word| word.trim().trim_start_matches(['*', '.'])).filter(|word| !word.is_empty());
    words.map(|word| format!("*.{word}")).collect::<Vec<_>>().join(";")
}

/// cargo-watch's `-x test` is `cargo test`; what others name is a command line.
fn command(option: &str, value: Option<&str>) -> String {
    const OF_CARGO: [&str; 9] = ["run", "test", "check", "build", "clippy", "bench", "fmt", "doc", "nextest"];
    let Some(value) = value else { return "COMMAND".to_owned() };
    let first = value.split(' ').next().unwrap_or_default();
    let cargo = matches!(option, "-x" | "--exec") && OF_CARGO.contains(&first);
    if cargo { format!("cargo {value}") } else { value.to_owned() }
}

fn watch(value: Option<&str>) -> String {
    format!("it is called --watch here: -w '{}'", value.unwrap_or("*.py"))
}

/// Bare numbers are milliseconds with some and seconds with others, so they are not repeated.
fn duration(value: Option<&str>) -> String {
    let with_unit = value.filter(|value| is_duration(value) && value.ends_with(char::is_alphabetic));
    with_unit.map(|value| format!(": {value}")).unwrap_or_default()
}

/// Intervals of polling are milliseconds wherever they are bare numbers.
fn milliseconds(value: &str) -> String {
    if value.ends_with(char::is_alphabetic) { value.to_owned() } else { format!("{value}ms") }
}

fn is_duration(value: &str) -> bool {
    value.starts_with(|character: char| character.is_ascii_digit())
        && (value.parse::<f64>().is_ok() || humantime::parse_duration(value).is_ok())
}

fn is_pattern(value: &str) -> bool {
    value.contains(['*', '?', ';', '[', '/', '.'])
}

fn one_word(text: &str) -> String {
    quoted(&[text.into()])
}

/// A long option that is nearly another one: one or two letters wrong, or the beginning of it.
fn nearest_option<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = name.to_lowercase().replace('_', "-");
    let plain = plain.as_str();
    let known: Vec<&str> = known.collect();
    let most = match plain.chars().count() {
        0..=2 => return None,
        3..=5 => 1,
        _ => 2,
    };
    let distance = |option: &&str| strsim::damerau_levenshtein(plain, option);
    let nearest = known.iter().copied().filter(|option| distance(option) <= most).min_by_key(distance);
    nearest.or_else(|| {
        let mut longer = known.iter().copied().filter(|option| option.starts_with(plain));
        longer.next().filter(|_| longer.next().is_none())
    })
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
