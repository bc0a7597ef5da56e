//! Options of other tools (nodemon, watchexec, entr, cargo-watch, watchmedo, watchfiles, reflex, air, uvicorn) and
//! their names here. Pure; the answer is one line, or nothing where there is no good guess.

use std::str::FromStr;

use crate::escape::quoted;
use crate::os::signals::Signal;

/// The tip for an option that reloadrun does not have.
///
/// `option` is as the parser names it (`-e`, `--ext`); `words` is the whole command line, and the option's value is
/// searched for before `--`; `known` are our long options without dashes.
pub fn tip<'a>(option: &str, words: &[String], known: impl Iterator<Item = &'a str>) -> Option<String> {
    let value = value_of(option, words);
    other_tools(option, value.as_deref()).or_else(|| {
        let name = option.strip_prefix("--")?;
        nearest_option(name, known).map(|known| format!("did you mean '--{known}'?"))
    })
}

/// The tip for `-c` without a file: in watchexec, entr and cargo-watch it clears the screen.
pub fn missing_value(option: &str, words: &[String]) -> Option<String> {
    let is_short = words.iter().take_while(|word| *word != "--").any(|word| word == "-c");
    (option.starts_with("--config") && is_short).then(|| "-c is --config here; --clear clears the screen".to_owned())
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
            format!("choose files by pattern: -w '{}'", extensions(value))
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
        | "--throttle" => format!("the option is --debounce here{}", duration(value)),
        "-r" | "--restart" | "--reload" | "--autoreload" | "--auto-reload" | "--auto-restart" | "--hot"
        | "--watch-files" | "--live-reload" | "--respawn" => {
            "not needed: a change restarts the command anyway".to_owned()
        }
        "-s" | "--signal" | "--kill-signal" | "--sig" | "--send-signal" => match value {
            Some(line) if Signal::from_str(line).is_err() => {
                format!("for a shell line, write: -- sh -c {}", one_word(line))
            }
            name => {
                let name = name.unwrap_or("HUP");
                format!(
                    "--stop-signal {name} stops the command with it; --on-change signal:{name} sends it and keeps the command running"
                )
            }
        },
        "--map-signal" | "--sigint" | "--restart-signal" => {
            "--stop-signal NAME sets the signal that stops the command; --on-change signal:NAME sends one on each change".to_owned()
        }
        "--kill-after" | "--kill-delay" | "--kill-timeout" | "--sigint-timeout" | "--sigkill-timeout"
        | "--shutdown-timeout" | "--grace-period" | "--stop-grace" | "-t" => {
            format!("the option is --stop-timeout here{}", duration(value))
        }
        "-k" | "--kill" => {
            "--stop-signal KILL stops the command at once; the default is TERM, then KILL after --stop-timeout".to_owned()
        }
        "-E" | "--env" | "--environment" => {
            let variable = value.filter(|value| value.contains('=')).unwrap_or("NAME=value");
            format!("set variables with env: -- env {} COMMAND", one_word(variable))
        }
        "-n" | "--no-shell" => "not needed: no shell is used unless you name one".to_owned(),
        "--shell" | "--use-shell" => match value {
            Some("none") => "not needed: no shell is used unless you name one".to_owned(),
            Some(shell) if !shell.contains(' ') => format!("for a shell, write: -- {shell} -c 'COMMAND'"),
            line => format!("for a shell, write: -- sh -c {}", one_word(line.unwrap_or("COMMAND"))),
        },
        "-p" if value.is_some_and(is_pattern) => watch(value),
        "-p" | "--postpone" | "--delay-run" | "--only-emit-events" | "--on-change-only" => {
            "the command always runs once at the start; this cannot be postponed".to_owned()
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
            format!("the option is --ignore here: -i '{}'", value.unwrap_or("tests"))
        }
        "--regex" | "--regexes" | "--inverse-regex" => {
            "patterns are globs as in a .gitignore, not regular expressions: -w '*.py', -i tests".to_owned()
        }
        "-R" if value.is_some_and(|value| value.contains(['\\', '$', '^', '*', '('])) => {
            "patterns are globs as in a .gitignore, not regular expressions: -w '*.py', -i tests".to_owned()
        }
        "-R" | "--recursive" => "not needed: a pattern matches at any depth: '*.py', 'src/**'".to_owned(),
        "-W" | "--non-recursive" | "--watch-non-recursive" | "--no-recursive" => {
            "a pattern with a slash and without ** matches in one directory only: -w 'src/*'".to_owned()
        }
        "--watch-filter" | "--filter-prog" => "choose files by pattern: -w '*.py' -i tests".to_owned(),
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
            None => "polling is --backend poll; --interval sets how often".to_owned(),
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
        | "-a" => "the option is --no-ignore here".to_owned(),
        "--ignore-file" | "--ignore-files" | "--filter-file" => {
            "put patterns to ignore in a .gitignore or .ignore file, or after -i".to_owned()
        }
        "--cls" | "--clear-screen" | "--clear-console" | "--clear-terminal" | "--preserveWatchOutput" => {
            "the option is --clear here".to_owned()
        }
        "--workdir"
        | "--cwd"
        | "--chdir"
        | "--dir"
        | "--app-dir"
        | "--root"
        | "--working-directory"
        | "--project-origin" => {
            format!("the option is --directory here: -C {}", value.unwrap_or("DIR"))
        }
        "--verbosity" | "--debug" | "--print-events" | "--dump" | "--why" | "--log-level" => {
            "--verbose prints every decision, --quiet only errors".to_owned()
        }
        "--silent" | "--no-messages" => "the option is --quiet here".to_owned(),
        "--emit-events-to" | "--json" | "--log-file" => {
            "--events PATH writes events to a file as JSON lines".to_owned()
        }
        "-z" | "--exitcrash" | "--once" | "-1" | "--exit-on-error" | "--exit" => {
            "--on-exit exit exits when the command does, with its exit code".to_owned()
        }
        "--no-restart-on-command-exit" => {
            "not needed: by default the command starts again only on a change".to_owned()
        }
        "--keep-alive" | "--restart-on-exit" | "--restart-on-command-exit" => {
            "--on-exit restart starts the command again whenever it exits".to_owned()
        }
        "--no-color" | "--no-colors" | "--no-colour" => "the option is --color never here".to_owned(),
        "--target-type" | "--args" => "the command and its arguments come after --, word for word".to_owned(),
        "-N" | "--notify" | "--beep" | "--bell" => {
            "there are no desktop notifications; --events reports to programs".to_owned()
        }
        "-I" | "--no-stdin" | "--interactive" | "--stdin-quit" => {
            "the command reads from the terminal; to prevent it, append: < /dev/null".to_owned()
        }
        "--pid-file" => {
            "--pidfile PATH names the file in which the command writes its pid; that of reloadrun is in --lockfile PATH".to_owned()
        }
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

/// cargo-watch's `-x test` is `cargo test`; the value of other tools' options is a command line.
fn command(option: &str, value: Option<&str>) -> String {
    const OF_CARGO: [&str; 9] = ["run", "test", "check", "build", "clippy", "bench", "fmt", "doc", "nextest"];
    let Some(value) = value else { return "COMMAND".to_owned() };
    let first = value.split(' ').next().unwrap_or_default();
    let cargo = matches!(option, "-x" | "--exec") && OF_CARGO.contains(&first);
    if cargo { format!("cargo {value}") } else { value.to_owned() }
}

fn watch(value: Option<&str>) -> String {
    format!("the option is --watch here: -w '{}'", value.unwrap_or("*.py"))
}

/// The value, if it has a unit. A bare number is milliseconds for some tools and seconds for others, so it is left out.
fn duration(value: Option<&str>) -> String {
    let with_unit = value.filter(|value| is_duration(value) && value.ends_with(char::is_alphabetic));
    with_unit.map(|value| format!(": {value}")).unwrap_or_default()
}

/// For polling intervals, a bare number is milliseconds in all of these tools.
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

/// The long option that was probably meant: at most two letters differ, or the name is the beginning of just one
/// option.
pub fn nearest_option<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
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
