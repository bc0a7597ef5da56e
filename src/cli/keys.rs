//! What the options and the keys of `reloadrun.toml` take. The reader of the file, its schema and the completions go by it.

use std::time::Duration;

use clap::Command;

/// The pages that can be generated.
pub const PAGES: [&str; 5] = ["man", "complete-bash", "complete-zsh", "complete-fish", "schema"];

/// The options with a fixed set of values. A test compares them with the values that are accepted.
pub const CHOICES: [(&str, &[&str]); 7] = [
    ("discover", &["add", "only", "off"]),
    ("backend", &["auto", "inotify", "notify", "poll"]),
    ("compare", &["time", "content"]),
    ("on_exit", &["wait", "exit", "restart"]),
    ("stop_group", &["all", "main"]),
    ("color", &["auto", "always", "never"]),
    ("generate", &PAGES),
];

const LISTS: [&str; 8] =
    ["watch", "browser-watch", "ignore", "discover-root", "listen", "env-file", "prove-reload", "report"];
const FLAGS: [&str; 7] = ["no-ignore", "no-follow", "overlap", "keys", "clear", "quiet", "verbose"];

/// The usual value of `browser`.
pub const USUAL_BROWSER: &str = "127.0.0.1:35729";

/// What a key takes. The JSON schema is made of the same (`schema.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Flag,
    /// A string or a list of strings.
    List,
    /// A list of strings, or a line for the shell.
    Command,
    /// A string or a number of seconds.
    Duration,
    /// True for the usual value, false for none, or a string.
    Switch,
    /// A name or a number.
    Signal,
    /// A string.
    Text,
}

impl Kind {
    /// That of a known key.
    pub fn of(key: &str) -> Kind {
        match key {
            "command" => Kind::Command,
            "stop-signal" => Kind::Signal,
            "browser" => Kind::Switch,
            "interval" | "debounce" | "jitter" | "stop-timeout" | "ready-timeout" | "deadline" => Kind::Duration,
            _ if FLAGS.contains(&key) => Kind::Flag,
            _ if LISTS.contains(&key) => Kind::List,
            _ => Kind::Text,
        }
    }
}

/// The least duration that a key takes.
pub fn least(key: &str) -> Duration {
    match key {
        "interval" => Duration::from_millis(10),
        "ready-timeout" | "deadline" => Duration::from_millis(1),
        _ => Duration::ZERO,
    }
}

/// All keys of the config file: the long names of the options, and `command`.
pub fn keys_of(command: &Command) -> Vec<String> {
    let names = command.get_arguments().filter_map(|argument| argument.get_long());
    let mut keys: Vec<String> = names
        .filter(|name| !["help", "version", "config", "explain", "print-watched", "generate"].contains(name))
        .map(str::to_owned)
        .collect();
    keys.push("command".to_owned());
    keys
}
