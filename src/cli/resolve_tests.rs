use super::{Caller, resolve};
use crate::address::Address;
use crate::cli::args::{Args, Parsed, keys, parse};
use crate::config::{Color, Config, EventsTarget, OnChange, OnExit, Verbosity};
use crate::environment::tests::environment;
use crate::pattern::{Pattern, Shape};
use crate::probe::Probe;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A temporary directory with files, to resolve a command line in.
struct Place {
    _directory: TempDir,
    root: PathBuf,
}

impl Place {
    /// Files and their content; a name that ends with a slash is a directory.
    fn with(files: &[(&str, &str)]) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap().join("root");
        fs::create_dir(&root).unwrap();
        for (name, content) in files {
            let path = root.join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
        }
        Place { _directory: directory, root }
    }

    fn caller(&self, below: &str) -> Caller {
        let current = if below.is_empty() { self.root.clone() } else { self.root.join(below) };
        Caller { current, environment: environment(&[]), is_init: false }
    }

    fn try_resolve(&self, below: &str, words: &[&str]) -> Result<Config, Vec<String>> {
        resolve(&args(words), &self.caller(below), true)
    }

    fn resolve(&self, below: &str, words: &[&str]) -> Config {
        self.try_resolve(below, words).unwrap_or_else(|mistakes| panic!("{words:?}: {mistakes:?}"))
    }
}

/// Parses these arguments; without `--` among them, the command is `true`.
fn args(words: &[&str]) -> Args {
    let command: &[&str] = if words.contains(&"--") { &[] } else { &["--", "true"] };
    match parse(["reloadrun"].iter().chain(words).chain(command).map(|word| word.into())) {
        Parsed::Args(args) => *args,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// The resolved value of a key, as text.
fn shown(config: &Config, key: &str) -> String {
    let patterns =
        |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.text.clone()).collect::<Vec<_>>().join(" ");
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    match key {
        "command" => format!("{:?}", config.words()),
        "directory" => name(&config.directory),
        "watch" => patterns(&config.watch),
        "ignore" => patterns(&config.ignore),
        "no-ignore" => config.no_ignore.to_string(),
        "backend" => format!("{:?}", config.backend),
        "interval" => format!("{:?}", config.interval),
        "debounce" => format!("{:?}", config.debounce),
        "jitter" => format!("{:?}", config.jitter),
        "compare" => format!("{:?}", config.compare),
        "no-follow" => config.no_follow.to_string(),
        "discover" => format!("{:?}", config.discover),
        "discover-root" => config.discover_root.iter().map(|root| name(root)).collect::<Vec<_>>().join(" "),
        "on-change" => config.on_change.to_string(),
        "prepare" => config.prepare.clone().unwrap_or_else(|| "none".to_owned()),
        "on-exit" => format!("{:?}", config.on_exit),
        "stop-signal" => config.stop_signal.to_string(),
        "stop-group" => format!("{:?}", config.stop_group),
        "stop-timeout" => format!("{:?}", config.stop_timeout),
        "keys" => config.keys.to_string(),
        "name" => format!("{:?}", config.name),
        "listen" => {
            let shown = config.listen.iter().map(|listen| match (&listen.address, &listen.name) {
                (Address::Unix(path), _) => format!("unix:{}", name(path)),
                (address, None) => address.to_string(),
                (address, Some(name)) => format!("{address} as {name}"),
            });
            shown.collect::<Vec<_>>().join(" ")
        }
        "ready" => config.ready.as_ref().map_or("none".to_owned(), |probe| match probe {
            Probe::Unix(path) => format!("unix:{}", name(path)),
            probe => probe.to_string(),
        }),
        "browser" => config.browser.map_or("none".to_owned(), |address| address.to_string()),
        "browser-watch" => patterns(&config.browser_watch),
        "http" => config.http.map_or("none".to_owned(), |address| address.to_string()),
        "ready-timeout" => format!("{:?}", config.ready_timeout),
        "pidfile" => name(config.pidfile.as_deref().unwrap_or(Path::new("none"))),
        "env-file" => config.env_files.iter().map(|file| name(file)).collect::<Vec<_>>().join(" "),
        "lockfile" => name(config.lockfile.as_deref().unwrap_or(Path::new("none"))),
        "events" => match &config.events {
            Some(EventsTarget::File(path)) => name(path),
            other => format!("{other:?}"),
        },
        "overlap" => config.overlap.to_string(),
        "clear" => config.clear.to_string(),
        "color" => format!("{:?}", config.color),
        "quiet" | "verbose" => format!("{:?}", config.verbosity),
        other => panic!("unknown key {other}"),
    }
}

/// Key, value as typed, resolved value, and another value for the config file, over which the flag must win.
const GOOD: [(&str, &str, &str, &str); 93] = [
    ("directory", "sub", "sub", "."),
    ("directory", "sub/../sub/", "sub", "."),
    ("watch", "*.py", "*.py", "*.rs"),
    ("watch", "*.py;conf/*.toml", "*.py conf/*.toml", "*.rs"),
    ("watch", "a\\;b", "a;b", "*.rs"),
    ("ignore", "build;*.tmp", "build *.tmp", "x"),
    ("backend", "auto", "Auto", "poll"),
    ("backend", "inotify", "Inotify", "poll"),
    ("backend", "notify", "Notify", "poll"),
    ("backend", "poll", "Poll", "auto"),
    ("interval", "10ms", "10ms", "7s"),
    ("interval", "500ms", "500ms", "7s"),
    ("interval", "500 ms", "500ms", "7s"),
    ("interval", "10000us", "10ms", "7s"),
    ("interval", "2s", "2s", "7s"),
    ("interval", " 2s ", "2s", "7s"),
    ("interval", "2sec", "2s", "7s"),
    ("interval", "2 seconds", "2s", "7s"),
    ("interval", "2", "2s", "7s"),
    ("interval", "2.0", "2s", "7s"),
    ("interval", "0.5", "500ms", "7s"),
    ("interval", ".5", "500ms", "7s"),
    ("interval", "1m", "60s", "7s"),
    ("interval", "2min", "120s", "7s"),
    ("interval", "1m30s", "90s", "7s"),
    ("interval", "1m 30s", "90s", "7s"),
    ("interval", "1h", "3600s", "7s"),
    ("interval", "24h", "86400s", "7s"),
    ("interval", "1d", "86400s", "7s"),
    ("jitter", "0", "0ns", "7s"),
    ("jitter", "90s", "90s", "7s"),
    ("debounce", "0", "0ns", "7s"),
    ("debounce", "0s", "0ns", "7s"),
    ("debounce", "50ms", "50ms", "7s"),
    ("debounce", "1", "1s", "7s"),
    ("compare", "time", "Time", "content"),
    ("compare", "content", "Content", "time"),
    ("discover", "add", "Add", "only"),
    ("discover", "only", "Only", "off"),
    ("discover", "off", "Off", "add"),
    ("discover-root", "sub", "sub", "missing"),
    ("stop-group", "all", "All", "main"),
    ("stop-group", "main", "Main", "all"),
    ("stop-timeout", "0", "0ns", "7s"),
    ("stop-timeout", "1500ms", "1.5s", "7s"),
    ("stop-timeout", "1h", "3600s", "7s"),
    ("on-change", "restart", "restart", "signal:INT"),
    ("on-change", "signal:HUP", "signal:SIGHUP", "restart"),
    ("on-change", "signal:SIGUSR1", "signal:SIGUSR1", "restart"),
    ("on-change", "signal:usr2", "signal:SIGUSR2", "restart"),
    ("on-change", "signal:1", "signal:SIGHUP", "restart"),
    ("on-change", "queue", "queue", "restart"),
    ("on-change", "run:ruff check \"$@\"", "run:ruff check \"$@\"", "queue"),
    ("prepare", "nginx -t", "nginx -t", "make"),
    ("pidfile", "run/app.pid", "app.pid", "other.pid"),
    ("on-exit", "wait", "Wait", "exit"),
    ("on-exit", "exit", "Exit", "wait"),
    ("on-exit", "restart", "Restart", "wait"),
    ("stop-signal", "TERM", "SIGTERM", "KILL"),
    ("stop-signal", "INT", "SIGINT", "KILL"),
    ("stop-signal", "SIGINT", "SIGINT", "KILL"),
    ("stop-signal", "quit", "SIGQUIT", "KILL"),
    ("stop-signal", "sigwinch", "SIGWINCH", "KILL"),
    ("stop-signal", "9", "SIGKILL", "INT"),
    ("stop-signal", "CLD", "SIGCHLD", "INT"),
    ("stop-signal", "RTMIN", "SIGRTMIN", "INT"),
    ("stop-signal", "SIGRTMIN+3", "SIGRTMIN+3", "INT"),
    ("name", "web-1.café_2", "Some(\"web-1.café_2\")", "other"),
    ("listen", "tcp:127.0.0.1:8000", "tcp:127.0.0.1:8000", "tcp:[::1]:80"),
    ("listen", "tcp:[::1]:8000,name=web", "tcp:[::1]:8000 as web", "unix:a.sock"),
    ("listen", "unix:sub/../app.sock", "unix:app.sock", "tcp:127.0.0.1:0"),
    ("env-file", "sub/../file", "file", "vars"),
    ("ready", "http://localhost:8000/health", "http://localhost:8000/health", "notify"),
    ("ready", "tcp:[::1]:80", "tcp:[::1]:80", "notify"),
    ("ready", "unix:app.sock", "unix:app.sock", "notify"),
    ("ready", "exec:test -e ready", "exec:test -e ready", "notify"),
    ("ready", "notify", "notify", "fd:3"),
    ("ready", "fd:9", "fd:9", "notify"),
    ("ready-timeout", "500ms", "500ms", "7s"),
    ("browser", "0.0.0.0", "0.0.0.0:35729", "9000"),
    ("browser", "9000", "127.0.0.1:9000", "9001"),
    ("browser-watch", "*.css", "*.css", "*.png"),
    ("browser-watch", "static/**;*.css", "static/** *.css", "*.png"),
    ("http", "9000", "127.0.0.1:9000", "0.0.0.0:80"),
    ("http", "[::]:9000", "[::]:9000", "0.0.0.0:80"),
    ("lockfile", "run/it.lock", "it.lock", "other.lock"),
    ("events", "-", "Some(Stderr)", "fd:4"),
    ("events", "fd:3", "Some(Descriptor(3))", "-"),
    ("events", "fd:0", "Some(Descriptor(0))", "-"),
    ("events", "events.jsonl", "events.jsonl", "-"),
    ("color", "auto", "Auto", "never"),
    ("color", "always", "Always", "never"),
    ("color", "never", "Never", "always"),
];

/// Key, value, and a part of the message about it.
const BAD: [(&str, &str, &str); 82] = [
    ("directory", "missing", "no such directory"),
    ("browser", "example.com", "expected an IP address and a port, like 127.0.0.1:35729"),
    ("browser-watch", "", "pattern is empty"),
    ("browser-watch", "a/{b", "invalid pattern"),
    ("http", ":9000", "the address is missing"),
    ("http", "example.com:80", "expected an IP address and a port"),
    ("directory", "file", "not a directory"),
    ("watch", "", "pattern is empty"),
    ("watch", "*.py;", "pattern is empty"),
    ("watch", "[", "invalid pattern"),
    ("watch", "a/{b", "invalid pattern"),
    ("watch", "!*.py", "to leave files out, use --ignore"),
    ("ignore", "", "pattern is empty"),
    ("ignore", "x[", "invalid pattern"),
    ("ignore", "!x", "leave the '!' out"),
    ("backend", "", "must be one of auto, inotify, notify, poll"),
    ("backend", "Poll", "did you mean poll?"),
    ("backend", "fsevents", "must be one of auto, inotify, notify, poll"),
    ("interval", "", "expected a duration"),
    ("interval", "soon", "expected a duration like 500ms, 2s or 1m"),
    ("interval", "-1", "expected a duration"),
    ("interval", "1x", "expected a duration"),
    ("interval", "1,5", "expected a duration"),
    ("interval", "ms", "expected a duration"),
    ("interval", "inf", "expected a duration"),
    ("interval", "nan", "expected a duration"),
    ("interval", "1e300", "expected a duration"),
    ("interval", "0", "must be at least 10ms"),
    ("interval", "9ms", "must be at least 10ms"),
    ("interval", "86401", "at most one day"),
    ("jitter", "-1s", "expected a duration"),
    ("jitter", "25h", "at most one day"),
    ("debounce", "x", "expected a duration"),
    ("debounce", "25h", "at most one day"),
    ("name", "", "must be 1 to 64 letters"),
    ("name", "a b", "must be 1 to 64 letters"),
    ("name", "a/b", "must be 1 to 64 letters"),
    ("compare", "size", "must be one of time, content"),
    ("compare", "contents", "did you mean content?"),
    ("discover", "", "must be one of add, only, off"),
    ("discover", "of", "did you mean off?"),
    ("discover", "yes", "must be one of add, only, off"),
    ("discover-root", "", "expected a directory"),
    ("discover-root", "file", "not a directory"),
    ("stop-group", "", "must be one of all, main"),
    ("stop-group", "mian", "did you mean main?"),
    ("stop-group", "mixed", "must be one of all, main"),
    ("stop-group", "MAIN", "must be one of all, main; did you mean main?"),
    ("env-file", "none", "no such file"),
    ("env-file", "sub", "not a file"),
    ("env-file", "", "expected a file"),
    ("listen", "8000", "did you mean tcp:127.0.0.1:8000?"),
    ("listen", "", "expected an address"),
    ("ready", "8000", "did you mean tcp:localhost:8000?"),
    ("ready", "after:2s", "a time proves nothing"),
    ("ready-timeout", "0", "must be at least 1ms"),
    ("ready-timeout", "soon", "expected a duration"),
    ("stop-timeout", "never", "expected a duration"),
    ("stop-timeout", "2d", "at most one day"),
    ("on-change", "", "must be restart, signal:NAME as in signal:HUP, queue or run:COMMAND"),
    ("on-change", "HUP", "must be restart, signal:NAME as in signal:HUP, queue or run:COMMAND"),
    ("on-change", "sginal:HUP", "did you mean signal:HUP?"),
    ("on-change", "run", "expected a command after run:"),
    ("on-change", "run:", "expected a command after run:"),
    ("on-change", "run:  ", "expected a command after run:"),
    ("prepare", "", "expected a command"),
    ("prepare", " ", "expected a command"),
    ("on-change", "signal:", "unknown signal"),
    ("on-change", "signal:FOO", "unknown signal"),
    ("on-change", "signal:HUPP", "unknown signal; did you mean HUP?"),
    ("on-exit", "stop", "must be one of wait, exit, restart"),
    ("on-exit", "exits", "did you mean exit?"),
    ("stop-signal", "", "unknown signal"),
    ("stop-signal", "FOO", "unknown signal (`kill -l` lists them)"),
    ("stop-signal", "0", "unknown signal"),
    ("stop-signal", "65", "unknown signal"),
    ("stop-signal", "SIGTRM", "did you mean TERM?"),
    ("stop-signal", "RTMIN+31", "unknown signal"),
    ("events", "fd:", "the number of an open descriptor"),
    ("events", "fd:x", "the number of an open descriptor"),
    ("events", "fd:-1", "the number of an open descriptor"),
    ("color", "yes", "must be one of auto, always, never"),
];

fn place(config_file: &str) -> Place {
    Place::with(&[("sub/", ""), ("file", ""), ("vars", "A=b"), ("reloadrun.toml", config_file)])
}

#[test]
fn every_good_value_means_the_same_as_flag_and_as_key_and_the_flag_wins() {
    for (key, value, meaning, other) in GOOD {
        let flag = format!("--{key}={value}");
        let as_flag = place("").resolve("", &[&flag]);
        assert_eq!(shown(&as_flag, key), meaning, "{flag}");
        let as_key = place(&format!("{key} = '{value}'")).resolve("", &[]);
        assert_eq!(shown(&as_key, key), meaning, "{key} = '{value}'");
        let other_key = format!("{key} = '{other}'");
        assert_ne!(shown(&place(&other_key).resolve("", &[]), key), meaning, "{other_key} must differ from {flag}");
        if key == "directory" {
            // The flag is a `cd`, and the key is relative to the file; so the key still holds.
            continue;
        }
        let both = place(&other_key).resolve("", &[&flag]);
        assert_eq!(shown(&both, key), meaning, "{flag} wins over {other_key}");
    }
}

#[test]
fn every_bad_value_is_one_mistake_that_names_the_flag_or_the_line_and_the_value() {
    for (key, value, sentence) in BAD {
        let as_flag = place("").try_resolve("", &[&format!("--{key}={value}")]).unwrap_err();
        let as_key = place(&format!("\n{key} = '{value}'")).try_resolve("", &[]).unwrap_err();
        let flag = match key {
            "watch" => "-w".to_owned(),
            "ignore" => "-i".to_owned(),
            key => format!("--{key} "),
        };
        for (mistakes, place) in [(as_flag, flag), (as_key, format!("reloadrun.toml:2: {key}"))] {
            let [mistake] = &mistakes[..] else { panic!("{key} = '{value}': one mistake, not {mistakes:?}") };
            assert!(mistake.contains(&place), "{place:?} is not in {mistake:?}");
            assert!(mistake.contains(sentence), "{sentence:?} is not in {mistake:?}");
            assert!(mistake.contains(value), "{value:?} is not in {mistake:?}");
        }
    }
}

#[test]
fn a_key_of_the_wrong_type_is_one_mistake_with_what_was_expected() {
    for (line, sentence) in [
        ("watch = 1", "watch must be a string or a list of strings, not a number"),
        ("watch = ['a', 1]", "watch must be a list of strings"),
        ("ignore = true", "ignore must be a string or a list of strings, not a boolean"),
        ("no-ignore = 'yes'", "no-ignore must be true or false, not a string"),
        ("no-follow = 'yes'", "no-follow must be true or false, not a string"),
        ("compare = true", "compare must be a string, not a boolean"),
        ("clear = 1", "clear must be true or false, not a number"),
        ("quiet = []", "quiet must be true or false, not a list"),
        ("verbose = 1979-05-27", "verbose must be true or false, not a date"),
        ("directory = 1", "directory must be a string, not a number"),
        ("backend = ['poll']", "backend must be a string, not a list"),
        ("interval = true", "interval must be a duration like \"500ms\" or a number of seconds, not a boolean"),
        ("debounce = ['1s']", "debounce must be a duration like \"500ms\" or a number of seconds, not a list"),
        ("stop-timeout = {}", "stop-timeout must be a duration like \"500ms\" or a number of seconds, not a table"),
        ("on-change = true", "on-change must be a string, not a boolean"),
        ("stop-group = true", "stop-group must be a string, not a boolean"),
        ("stop-group = ['main']", "stop-group must be a string, not a list"),
        ("on-exit = 1.5", "on-exit must be a string, not a number"),
        ("stop-signal = 1.5", "stop-signal must be a string or a whole number"),
        ("stop-signal = true", "stop-signal must be a string or a whole number, not a boolean"),
        ("[reloadrun]\ninterval = 1", "reloadrun: unknown key; the keys stand at the top of the file, without a table"),
        ("lockfile = false", "lockfile must be a string, not a boolean"),
        ("listen = 8000", "listen must be a string or a list of strings, not a number"),
        ("ready = 8000", "ready must be a string, not a number"),
        (
            "ready-timeout = true",
            "ready-timeout must be a duration like \"500ms\" or a number of seconds, not a boolean",
        ),
        ("browser = 3", "browser must be true, false or a string, not a number"),
        ("browser-watch = true", "browser-watch must be a string or a list of strings, not a boolean"),
        ("events = 3", "events must be a string, not a number"),
        ("color = true", "color must be a string, not a boolean"),
        ("command = 1", "command must be a list like [\"python\", \"app.py\"] or a shell line, not a number"),
        ("[watch]\nx = 1", "watch must be a string or a list of strings, not a table"),
        ("wacth = 'x'", "wacth: unknown key; did you mean watch?"),
        ("config = 'x'", "config: unknown key"),
        ("explain = 'x'", "explain: unknown key"),
        ("help = true", "help: unknown key"),
    ] {
        let mistakes = place(line).try_resolve("", &[]).unwrap_err();
        let [mistake] = &mistakes[..] else { panic!("{line}: one mistake, not {mistakes:?}") };
        assert!(
            mistake.contains("reloadrun.toml:1: ") && mistake.contains(sentence),
            "{sentence:?} is not in {mistake:?}"
        );
    }
}

#[test]
fn a_number_is_accepted_for_durations_and_signals() {
    for (line, key, meaning) in [
        ("interval = 2", "interval", "2s"),
        ("interval = 0.5", "interval", "500ms"),
        ("debounce = 0", "debounce", "0ns"),
        ("stop-timeout = 60", "stop-timeout", "60s"),
        ("stop-signal = 2", "stop-signal", "SIGINT"),
        ("stop-signal = 0xF", "stop-signal", "SIGTERM"),
        ("interval = 0x10", "interval", "16s"),
        ("interval = 0o17", "interval", "15s"),
        ("interval = 0b11", "interval", "3s"),
        ("interval = 1_0", "interval", "10s"),
    ] {
        assert_eq!(shown(&place(line).resolve("", &[]), key), meaning, "{line}");
    }
    for line in [
        "interval = 0",
        "interval = -1",
        "interval = inf",
        "interval = nan",
        "stop-signal = 0",
        "deadline = -1",
        "deadline = inf",
    ] {
        assert_eq!(place(line).try_resolve("", &[]).unwrap_err().len(), 1, "{line}");
    }
}

#[test]
fn a_list_in_the_file_means_the_same_as_a_repeated_flag() {
    for (line, flags) in [
        ("watch = ['*.py', 'a;b']", ["-w", "*.py", "-w", "a;b"]),
        ("watch = '*.py;a;b'", ["--watch", "*.py", "--watch", "a;b"]),
    ] {
        assert_eq!(shown(&place(line).resolve("", &[]), "watch"), "*.py a b");
        assert_eq!(shown(&place("watch = 'x'").resolve("", &flags), "watch"), "*.py a b");
    }
    assert_eq!(shown(&place("ignore = ['a', 'b']").resolve("", &["-w", "x"]), "ignore"), "a b", "-w hides no ignore");
    assert_eq!(shown(&place("watch = []").resolve("", &[]), "watch"), "");
    for (line, meaning) in
        [("browser = true", "127.0.0.1:35729"), ("browser = false", "none"), ("browser = '9000'", "127.0.0.1:9000")]
    {
        assert_eq!(shown(&place(line).resolve("", &[]), "browser"), meaning, "{line}");
    }
    assert_eq!(shown(&place("").resolve("", &["--browser", "--http", "1"]), "browser"), "127.0.0.1:35729");
    let same = place("browser = true").try_resolve("", &["--http", "0.0.0.0:35729"]);
    assert_eq!(
        same.unwrap_err(),
        ["--http and --browser would both listen at tcp:0.0.0.0:35729; give one of them another port"]
    );
    let held = place("").try_resolve("", &["--listen", "tcp:127.0.0.1:1", "--http", "1"]);
    assert!(held.unwrap_err()[0].starts_with("--http and --listen would both listen"));
    let two = ["--listen", "tcp:127.0.0.1:1", "--listen", "unix:b"];
    assert_eq!(shown(&place("listen = 'unix:x'").resolve("", &two), "listen"), "tcp:127.0.0.1:1 unix:b");
    assert_eq!(shown(&place("listen = ['unix:x', 'unix:b']").resolve("", &[]), "listen"), "unix:x unix:b");
    let twice = place("").try_resolve("", &["--listen", "tcp:127.0.0.1:1", "--listen", "tcp:127.0.0.1:1,name=x"]);
    assert_eq!(twice.unwrap_err(), ["--listen: tcp:127.0.0.1:1 is given twice"]);
}

/// Key, its flag, and the result of `shown` without and with it.
const FLAGS: [(&str, &str, &str, &str); 7] = [
    ("keys", "--keys", "false", "true"),
    ("overlap", "--overlap", "false", "true"),
    ("no-follow", "--no-follow", "false", "true"),
    ("no-ignore", "--no-ignore", "false", "true"),
    ("clear", "--clear", "false", "true"),
    ("quiet", "-q", "Normal", "Quiet"),
    ("verbose", "-v", "Normal", "Verbose"),
];

#[test]
fn a_flag_without_value_is_true_or_false_as_a_key() {
    for (key, flag, without, with) in FLAGS {
        // Without a probe there is no --overlap.
        let place = |line: &str| place(&format!("ready = 'notify'\n{line}"));
        assert_eq!(shown(&place("").resolve("", &[]), key), without);
        assert_eq!(shown(&place("").resolve("", &[flag]), key), with);
        assert_eq!(shown(&place("").resolve("", &[&format!("--{key}")]), key), with);
        assert_eq!(shown(&place(&format!("{key} = true")).resolve("", &[]), key), with);
        assert_eq!(shown(&place(&format!("{key} = false")).resolve("", &[]), key), without);
        assert_eq!(shown(&place(&format!("{key} = false")).resolve("", &[flag]), key), with);
    }
}

#[test]
fn quiet_and_verbose_exclude_each_other_but_a_flag_wins_over_the_other_key() {
    assert_eq!(place("quiet = true").resolve("", &["-v"]).verbosity, Verbosity::Verbose);
    assert_eq!(place("verbose = true").resolve("", &["-q"]).verbosity, Verbosity::Quiet);
    for (file, flags, sentence) in [
        ("", &["-q", "-v"][..], "--quiet and --verbose cannot be used together"),
        ("quiet = true\nverbose = true", &["-q", "-v"], "--quiet and --verbose cannot be used together"),
        ("quiet = true\nverbose = true", &[], "reloadrun.toml:2: verbose and quiet cannot be used together"),
    ] {
        assert_eq!(place(file).try_resolve("", flags).unwrap_err(), [sentence]);
    }
}

/// They count under `reloadrun ci` alone.
const OF_A_SMOKE_RUN: [&str; 4] = ["smoke", "prove-reload", "deadline", "report"];

#[test]
fn the_keys_of_a_smoke_run_count_under_ci_alone_and_what_is_typed_wins() {
    let file = "ready = 'tcp:localhost:1'\non-exit = 'wait'\nkeys = true\njitter = 9\nsmoke = 'a'\ndeadline = 60\nreport = ['json:out/a.json']\nprove-reload = 'app.py'\n";
    let place = Place::with(&[("reloadrun.toml", file), ("app.py", ""), ("b/other.py", "")]);
    let ci = |below: &str, words: &[&str]| {
        let words = ["reloadrun", "ci"].iter().chain(words).chain(&["--", "true"]).map(|word| word.into());
        let Parsed::Args(args) = parse(words) else { panic!("these words are right") };
        resolve(&args, &place.caller(below), true)
    };
    let plain = place.resolve("", &[]);
    assert_eq!((plain.smoke, plain.on_exit, plain.keys), (None, OnExit::Wait, true));
    let config = ci("b", &[]).unwrap();
    assert_eq!((config.on_exit, config.keys), (OnExit::Exit, false));
    assert_eq!(config.jitter, Duration::ZERO, "it is no fleet");
    let smoke = config.smoke.unwrap();
    assert_eq!((smoke.check.as_str(), smoke.deadline), ("a", Duration::from_secs(60)));
    assert_eq!(smoke.prove_reload, [place.root.join("app.py")]);
    assert_eq!(smoke.reports[0].path, place.root.join("out/a.json"), "below the config file");
    let typed = ["--smoke", "b", "--deadline", "5", "--prove-reload", "other.py", "--report", "junit:x.xml"];
    let smoke = ci("b", &typed).unwrap().smoke.unwrap();
    assert_eq!((smoke.check.as_str(), smoke.deadline), ("b", Duration::from_secs(5)));
    assert_eq!(smoke.prove_reload, [place.root.join("b/other.py")]);
    assert_eq!(smoke.reports[0].path, place.root.join("b/x.xml"), "where it was typed");
    let smoke = place.resolve("", &["--smoke", "b"]).smoke.unwrap();
    assert_eq!((smoke.deadline, smoke.reports.len(), smoke.prove_reload.len()), (Duration::from_secs(600), 0, 0));
    let mistakes = ci("b", &["--deadline", "x", "--report", "y"]).unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
}

#[test]
fn every_key_has_a_line_in_these_tables() {
    let others = ["command"].into_iter().chain(OF_A_SMOKE_RUN).map(str::to_owned);
    let good: BTreeSet<String> = GOOD.iter().chain(&FLAGS).map(|line| line.0.to_owned()).chain(others).collect();
    assert_eq!(good, keys().into_iter().collect());
    // Any text is the name of a file.
    let bad: BTreeSet<String> = BAD.iter().map(|line| line.0.to_owned()).collect();
    let with_values: BTreeSet<String> =
        GOOD.iter().map(|line| line.0.to_owned()).filter(|key| key != "lockfile" && key != "pidfile").collect();
    assert_eq!(bad, with_values);
}

#[test]
fn a_wrong_action_gets_a_suggestion_that_is_one() {
    for (value, meant) in [
        ("signal", "signal:HUP"),
        ("signal:", ""),
        ("SIGNAL:USR1", "signal:USR1"),
        ("sginal:INT", "signal:INT"),
        ("HUP", "signal:HUP"),
        ("run=make all", "run:make all"),
        ("run make", "run:make"),
        ("Restart", "restart"),
        ("que", "queue"),
    ] {
        let mistakes = place("").try_resolve("", &["--on-change", value]).unwrap_err();
        let expected = if meant.is_empty() { "unknown signal".to_owned() } else { format!("did you mean {meant}?") };
        assert!(mistakes[0].contains(&expected), "{mistakes:?}");
    }
}

#[test]
fn an_empty_path_is_told_by_the_name_of_its_option() {
    for key in ["config", "env-file", "lockfile", "pidfile", "events", "directory"] {
        let mistakes = place("").try_resolve("", &[&format!("--{key}=")]).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(&format!("--{key} '': expected a ")), "{mistakes:?}");
    }
}

#[test]
fn the_last_of_two_flags_counts() {
    let config = Place::with(&[])
        .resolve("", &["--interval", "2s", "--interval", "3s", "--on-exit", "exit", "--on-exit", "wait"]);
    assert_eq!((config.interval, config.on_exit), (Duration::from_secs(3), OnExit::Wait));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let some = place("interval = 'x'\non-exit = 'y'\nwatch = ['[', '{']");
    assert_eq!(some.try_resolve("", &["--color", "z", "--debounce", "w"]).unwrap_err().len(), 6);
    assert!(
        some.try_resolve("", &["--interval", "1s", "--on-exit", "wait", "-w", "*"]).is_ok(),
        "a flag hides the key"
    );
    for (file, places) in [
        ("clear = 1\ninterval = 'x'\non-exit = 'y'", &["1: clear", "2: interval", "3: on-exit"][..]),
        ("overlap = true", &["1: overlap needs --ready"]),
        // Whether these fit together cannot be told.
        ("overlap = true\nready = 1", &["2: ready"]),
        ("ready = 'unix:a'\nlisten = 'unix:a'", &["1: ready unix:"]),
    ] {
        let mistakes = place(file).try_resolve("", &[]).unwrap_err();
        assert_eq!(mistakes.len(), places.len(), "{mistakes:?}");
        for (mistake, place) in mistakes.iter().zip(places) {
            assert!(mistake.starts_with(&format!("reloadrun.toml:{place}")), "{mistake}");
        }
    }
    let typed = place("overlap = true").try_resolve("", &["--overlap"]).unwrap_err();
    assert!(typed[0].starts_with("--overlap needs"), "{typed:?}");
}

#[test]
fn without_flags_and_file_the_defaults_are_those_of_the_help() {
    let place = Place::with(&[]);
    let config = place.resolve("", &[]);
    for (key, meaning) in [
        ("watch", ""),
        ("ignore", ""),
        ("no-ignore", "false"),
        ("directory", "root"),
        ("backend", "Auto"),
        ("interval", "1s"),
        ("debounce", "0ns"),
        ("jitter", "0ns"),
        ("compare", "Time"),
        ("no-follow", "false"),
        ("discover", "Add"),
        ("discover-root", ""),
        ("on-change", "restart"),
        ("prepare", "none"),
        ("pidfile", "none"),
        ("on-exit", "Wait"),
        ("stop-signal", "SIGTERM"),
        ("stop-group", "All"),
        ("stop-timeout", "5s"),
        ("keys", "false"),
        ("name", "None"),
        ("listen", ""),
        ("ready", "none"),
        ("ready-timeout", "60s"),
        ("http", "none"),
        ("browser", "none"),
        ("browser-watch", ""),
        ("lockfile", "none"),
        ("events", "None"),
        ("clear", "false"),
        ("color", "Auto"),
        ("quiet", "Normal"),
    ] {
        assert_eq!(shown(&config, key), meaning, "{key}");
    }
    assert_eq!(config.config_file, place.root.join("reloadrun.toml"), "watched before it exists");
    assert_eq!((config.on_change, config.color), (OnChange::Restart, Color::Auto));
}

#[test]
fn as_init_and_in_continuous_integration_the_default_of_on_exit_is_exit() {
    let place = Place::with(&[]);
    let with_key = Place::with(&[("reloadrun.toml", "on-exit = 'restart'")]);
    for (is_init, is_ci, default) in [
        (false, false, OnExit::Wait),
        (true, false, OnExit::Exit),
        (false, true, OnExit::Exit),
        (true, true, OnExit::Exit),
    ] {
        let on_exit = |place: &Place, words: &[&str]| {
            let environment = environment(if is_ci { &[("CI", "true")] } else { &[] });
            let caller = Caller { is_init, environment, ..place.caller("") };
            resolve(&args(words), &caller, true).unwrap().on_exit
        };
        assert_eq!(on_exit(&place, &[]), default);
        assert_eq!(on_exit(&place, &["--on-exit", "wait"]), OnExit::Wait);
        assert_eq!(on_exit(&with_key, &[]), OnExit::Restart);
    }
}

#[test]
fn the_config_file_is_the_nearest_one_upwards() {
    let place = Place::with(&[
        ("reloadrun.toml", "interval = 2"),
        ("a/b/c/", ""),
        ("a/near/reloadrun.toml", "interval = 3"),
        ("a/near/deep/", ""),
        // A directory, so it is passed over.
        ("a/odd/reloadrun.toml/", ""),
        ("elsewhere/mine.toml", "interval = 4"),
    ]);
    for (below, words, seconds, file) in [
        ("", &[][..], 2, "reloadrun.toml"),
        ("a/b/c", &[], 2, "reloadrun.toml"),
        ("a/near", &[], 3, "a/near/reloadrun.toml"),
        ("a/near/deep", &[], 3, "a/near/reloadrun.toml"),
        ("a/odd", &[], 2, "reloadrun.toml"),
        ("", &["-C", "a/near/deep"], 3, "a/near/reloadrun.toml"),
        ("a/near/deep", &["-C", "../.."], 2, "reloadrun.toml"),
        ("a/near", &["-c", "../../elsewhere/mine.toml"], 4, "elsewhere/mine.toml"),
        ("a/near", &["-C", "../b", "-c", "../../elsewhere/mine.toml"], 4, "elsewhere/mine.toml"),
    ] {
        let config = place.resolve(below, words);
        assert_eq!(config.interval, Duration::from_secs(seconds), "in {below:?} with {words:?}");
        assert_eq!(config.config_file, place.root.join(file), "in {below:?} with {words:?}");
    }
    for (given, sentence) in [("missing.toml", "no such file"), ("a", "not a file")] {
        assert_eq!(place.try_resolve("", &["-c", given]).unwrap_err(), [format!("--config {given}: {sentence}")]);
    }
}

fn base(config: &Config) -> &Path {
    &config.watch.first().expect("a pattern").base
}

#[test]
fn relative_patterns_begin_at_the_config_file_or_for_flags_at_the_current_directory() {
    let place = Place::with(&[
        ("reloadrun.toml", "watch = 'src/*.rs'\nignore = 'tmp/x'\ncommand = ['make']"),
        ("sub/deep/", ""),
        ("other/", ""),
    ]);
    let root = |name: &str| if name.is_empty() { place.root.clone() } else { place.root.join(name) };
    for (words, directory, watch) in [
        // The command of the file runs in the directory of the file; a command of the command line in the current one.
        (&["--"][..], "", "src"),
        (&["--", "true"], "sub", "src"),
        (&["-w", "lib/*.rs", "--"], "", "sub/lib"),
        (&["-w", "lib/*.rs", "--", "true"], "sub", "sub/lib"),
        (&["-w", "../lib/*.rs", "--", "true"], "sub", "lib"),
        // -C means the same as `cd`.
        (&["-C", "deep", "--"], "", "src"),
        (&["-C", "deep", "--", "true"], "sub/deep", "src"),
        (&["-C", "deep", "-w", "lib/*.rs", "--", "true"], "sub/deep", "sub/deep/lib"),
        (&["-C", "../other", "--", "true"], "other", "src"),
    ] {
        let config = place.resolve("sub", words);
        assert_eq!(config.directory, root(directory), "{words:?}");
        assert_eq!(base(&config), root(watch), "{words:?}");
    }
    let config = place.resolve("sub", &[]);
    assert_eq!(config.ignore[0].base, root("tmp/x"));
    assert_eq!(place.resolve("sub", &["-i", "tmp/x"]).ignore[0].base, root("sub/tmp/x"));
    assert!(matches!(place.resolve("sub", &["-w", ".env"]).watch[0].shape, Shape::Literal));
    assert_eq!(base(&place.resolve("sub", &["-w", "/etc/app/*.toml"])), Path::new("/etc/app"));
}

#[test]
fn the_directory_key_is_relative_to_the_file_and_all_patterns_begin_there() {
    let place = Place::with(&[
        ("reloadrun.toml", "directory = 'app'\nwatch = '*.py'\ncommand = 'x'"),
        ("app/", ""),
        ("sub/", ""),
    ]);
    for words in [&["--"][..], &["--", "true"], &["-w", "*.py", "--", "true"]] {
        let config = place.resolve("sub", words);
        assert_eq!(
            (config.directory.as_path(), base(&config)),
            (&*place.root.join("app"), &*place.root.join("app")),
            "{words:?}"
        );
    }
    assert_eq!(place.resolve("", &["-C", "sub"]).directory, place.root.join("app"), "-C means the same as `cd`");
}

#[test]
fn lockfile_and_events_are_relative_to_the_file_or_flag_that_names_them() {
    let place = Place::with(&[
        ("reloadrun.toml", "lockfile = 'it.lock'\nevents = 'events.jsonl'"),
        ("sub/", ""),
        ("other/", ""),
    ]);
    let files = |words: &[&str]| {
        let config = place.resolve("sub", words);
        let Some(EventsTarget::File(events)) = config.events else { panic!("a file") };
        (config.lockfile.unwrap(), events)
    };
    assert_eq!(files(&[]), (place.root.join("it.lock"), place.root.join("events.jsonl")));
    let flags = ["--lockfile", "it.lock", "--events", "events.jsonl", "-C", "../other"];
    assert_eq!(files(&flags), (place.root.join("other/it.lock"), place.root.join("other/events.jsonl")));
}

#[test]
fn a_symlink_in_the_path_of_the_directory_is_resolved() {
    let place = Place::with(&[("true/", "")]);
    std::os::unix::fs::symlink("true", place.root.join("link")).unwrap();
    let real = place.root.join("true");
    for (below, words) in [
        ("link", &["-w", "*.py", "--lockfile", "it.lock"][..]),
        ("", &["-C", "link", "-w", "*.py", "--lockfile", "it.lock"]),
    ] {
        let config = place.resolve(below, words);
        assert_eq!((config.directory.as_path(), base(&config)), (&*real, &*real), "{words:?}");
        assert_eq!(config.lockfile, Some(real.join("it.lock")), "{words:?}");
        assert_eq!(config.config_file, real.join("reloadrun.toml"), "{words:?}");
    }
}

#[test]
fn a_command_is_needed_and_the_one_of_the_command_line_wins() {
    let none = Place::with(&[]);
    let mistakes = none.try_resolve("", &["--"]).unwrap_err();
    assert!(mistakes.len() == 1 && mistakes[0].starts_with("no command given; write it after --"), "{mistakes:?}");
    assert_eq!(place("command = []").try_resolve("", &["--"]).unwrap_err(), mistakes);
    assert!(resolve(&args(&["--"]), &none.caller(""), false).is_ok(), "--explain needs none");
    for (line, words, meaning) in [
        ("command = ['python', 'app.py']", &["--"][..], r#"["python", "app.py"]"#),
        ("command = 'a | b'", &["--"], r#"["/bin/sh", "-c", "a | b"]"#),
        ("command = ['python']", &["--", "make", "-w", "x"], r#"["make", "-w", "x"]"#),
        ("", &["--", "-x"], r#"["-x"]"#),
        ("", &["--", "--"], r#"["--"]"#),
    ] {
        assert_eq!(shown(&place(line).resolve("", words), "command"), meaning, "{line} {words:?}");
    }
}

#[test]
fn a_config_file_that_cannot_be_read_is_a_mistake() {
    let place = Place::with(&[]);
    fs::write(place.root.join("reloadrun.toml"), b"watch = '\xff'").unwrap();
    let mistakes = place.try_resolve("", &[]).unwrap_err();
    assert!(mistakes.len() == 1 && mistakes[0].contains("reloadrun.toml"), "{mistakes:?}");
}

#[test]
fn ten_thousand_patterns_are_accepted_and_one_more_is_not() {
    let place = Place::with(&[]);
    let patterns = |count: usize| (0..count).map(|number| format!("*.{number}")).collect::<Vec<_>>().join(";");
    assert_eq!(place.resolve("", &["-w", &patterns(6000), "-i", &patterns(4000)]).watch.len(), 6000);
    let mistakes = place.try_resolve("", &["-w", &patterns(6000), "-i", &patterns(4001)]).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].starts_with("-i: 10001 patterns are too many (the limit is 10000, watch and ignore together)"),
        "{mistakes:?}"
    );
    let place = Place::with(&[("reloadrun.toml", &format!("watch = '{}'\n", patterns(100_000)))]);
    let mistakes = place.try_resolve("", &[]).unwrap_err();
    assert!(mistakes[0].contains("reloadrun.toml:1: watch: 100000 patterns are too many"), "{mistakes:?}");
}

#[test]
fn a_config_file_of_more_than_a_mebibyte_is_refused() {
    let text = "#".repeat(1024 * 1024 - 1) + "\n";
    let place = Place::with(&[("reloadrun.toml", &text), ("large.toml", &format!("{text}#"))]);
    place.resolve("", &[]);
    for words in [&["-c", "large.toml"][..], &[]] {
        if words.is_empty() {
            fs::rename(place.root.join("large.toml"), place.root.join("reloadrun.toml")).unwrap();
        }
        let mistakes = place.try_resolve("", words).unwrap_err();
        assert!(mistakes[0].contains("larger than 1 MiB"), "{mistakes:?}");
    }
}

#[test]
fn a_socket_that_is_held_proves_nothing_by_taking_connections() {
    for (listen, ready, refused) in [
        ("tcp:127.0.0.1:8000", "tcp:localhost:8000", true),
        ("tcp:0.0.0.0:8000", "tcp:127.0.0.1:8000", true),
        ("unix:a.sock", "unix:./a.sock", true),
        ("tcp:127.0.0.1:8000", "fd:3", true),
        ("tcp:127.0.0.1:8000", "http://127.0.0.1:8000/", false),
        ("tcp:127.0.0.1:8000", "tcp:127.0.0.1:8001", false),
        ("tcp:127.0.0.1:8000", "fd:4", false),
    ] {
        let resolved = place("").try_resolve("", &["--listen", listen, "--ready", ready]);
        assert_eq!(resolved.is_err(), refused, "{listen} {ready}: {resolved:?}");
    }
}

#[test]
fn two_generations_at_a_time_need_a_probe_that_can_tell_them_apart() {
    for (flags, part) in [
        (&["--overlap"][..], "--overlap needs --ready notify, exec:COMMAND or fd:N"),
        (&["--overlap", "--ready", "http://localhost:80/"], "both generations answer at this address"),
        (&["--overlap", "--ready", "tcp:localhost:80"], "both generations answer at this address"),
        (&["--overlap", "--ready", "unix:a"], "both generations answer at this address"),
        (
            &["--overlap", "--ready", "notify", "--on-change", "signal:HUP"],
            "with --on-change signal:SIGHUP there is no next one",
        ),
        (&["--overlap", "--ready", "notify", "--pidfile", "a.pid"], "would write their pid into the same file"),
    ] {
        let mistakes = place("").try_resolve("", flags).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].contains(part), "{flags:?}: {mistakes:?}");
    }
    for ready in ["notify", "exec:true", "fd:9"] {
        assert!(place("").resolve("", &["--overlap", "--ready", ready]).overlap);
    }
}
