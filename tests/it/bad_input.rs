//! All mistakes of the user are reported before anything starts: on standard error, with exit code 2.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::ends::{left_out, wrapped};
use crate::support::{Ended, Sandbox, Session};

/// A file that the command creates; it must not exist if the command was not started.
const COMMAND: [&str; 4] = ["--", "sh", "-c", "touch ../marker"];

/// Starts reloadrun with wrong arguments and the marker command, and asserts that it prints the expected message and
/// starts nothing.
fn refuse<S: AsRef<OsStr>>(sandbox: &Sandbox, arguments: impl IntoIterator<Item = S>, expected: &[&str]) -> Ended {
    let mut command = sandbox.command([OsStr::new("--events"), sandbox.events().as_os_str()]);
    command.args(arguments).args(COMMAND);
    refused(sandbox, command, expected)
}

fn refused(sandbox: &Sandbox, command: Command, expected: &[&str]) -> Ended {
    let shown = format!("{command:?}");
    let ended = Session::start(command, sandbox).wait_end();
    assert_eq!(ended.code(), Some(2), "{shown}\n{ended:#?}");
    assert!(ended.stderr.starts_with("reloadrun: "), "{shown}\n{ended:#?}");
    for part in expected {
        assert!(ended.stderr.contains(part), "{part:?} is not in what {shown} says:\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked") && !ended.stderr.contains("Error"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "", "{shown}: standard output is the command's");
    assert!(ended.events.is_empty(), "{shown}\n{ended:#?}");
    assert!(!sandbox.beside().join("marker").exists(), "{shown}: the command was started");
    let left = fs::read_dir(sandbox.runtime()).expect("it was made").count();
    assert_eq!(left, 0, "{shown}: a lockfile was made");
    ended
}

#[test]
fn the_marker_command_creates_the_marker_when_it_is_started() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(COMMAND);
    session.wait("exited");
    assert!(sandbox.beside().join("marker").exists());
    session.stop();
}

#[test]
fn a_wrong_flag_or_value_is_named_with_what_was_expected() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["-w", ""], &["-w", "pattern is empty", "'*.py'"]),
        (&["-w", ";"], &["-w", "pattern is empty"]),
        (&["-i", ""], &["-i", "pattern is empty"]),
        (&["-w", "["], &["-w", "'['", "invalid pattern"]),
        (&["-w", "*.py;{a"], &["-w", "{a", "invalid pattern"]),
        (&["-w", "!*.py"], &["--ignore '*.py'"]),
        (&["--stop-signal", "FOO"], &["--stop-signal 'FOO'", "unknown signal", "kill -l"]),
        (&["--stop-signal", "TREM"], &["--stop-signal 'TREM'", "did you mean TERM"]),
        (&["--on-change", "signal:FOO"], &["--on-change 'signal:FOO'", "unknown signal"]),
        (&["--on-change", "reload"], &["--on-change 'reload'", "restart", "signal:HUP"]),
        (&["--interval", "0"], &["--interval '0'", "at least 10ms"]),
        (&["--interval", "soon"], &["--interval 'soon'", "expected a duration", "500ms"]),
        (&["--debounce", "2d"], &["--debounce '2d'", "at most one day"]),
        (&["--settle", "1s"], &["unexpected argument '--settle'", "the option is --debounce here"]),
        (&["--stop-timeout=-1s"], &["--stop-timeout '-1s'", "expected a duration"]),
        (&["--on-exit", "rstart"], &["--on-exit 'rstart'", "wait, exit, restart", "did you mean restart"]),
        (&["--backend", "kqueue"], &["--backend 'kqueue'", "auto, inotify, notify, poll"]),
        (&["--color", "sometimes"], &["--color 'sometimes'", "auto, always, never"]),
        (&["-q", "-v"], &["--quiet", "--verbose"]),
        (&["-C", "missing"], &["--directory missing", "no such directory"]),
        (&["-C", "file.txt"], &["--directory file.txt", "not a directory"]),
        (&["-c", "missing.toml"], &["--config missing.toml", "no such file"]),
        (&["-c", "."], &["--config .", "not a file"]),
        (&["--wacth", "*.py"], &["--wacth", "--watch"]),
        (&["--lockfile", "missing/it.lock"], &["lockfile", "missing/it.lock", "no such file or directory"]),
    ];
    let sandbox = Sandbox::new();
    sandbox.write("file.txt", "");
    for (arguments, expected) in cases {
        refuse(&sandbox, *arguments, expected);
    }
}

#[test]
fn a_target_of_events_that_cannot_be_opened_is_refused() {
    let sandbox = Sandbox::new();
    let cases: &[(&str, &[&str])] = &[
        ("fd:9", &["--events fd:9", "not open"]),
        ("fd:x", &["--events 'fd:x'", "fd:3"]),
        ("fd:-1", &["--events 'fd:-1'", "fd:3"]),
        ("missing/events.jsonl", &["--events", "missing/events.jsonl", "no such file or directory"]),
    ];
    for (target, expected) in cases {
        let mut command = sandbox.command(["--events", target]);
        command.args(COMMAND);
        refused(&sandbox, command, expected);
    }
}

#[test]
fn a_missing_command_is_refused_with_the_two_ways_to_give_one() {
    let sandbox = Sandbox::new();
    let expected = ["no command given", "after --", "reloadrun.toml"];
    refused(&sandbox, sandbox.command::<&str>([]), &expected);
    refused(&sandbox, sandbox.command(["-w", "*.py", "--"]), &expected);
}

#[test]
fn a_glob_that_the_shell_expanded_is_recognised() {
    let sandbox = Sandbox::new();
    sandbox.write("a.py", "");
    sandbox.write("b.py", "");
    let inner = sandbox.command(["-w"]);
    let program = inner.get_program().to_str().expect("the target directory has a plain name");
    let mut command = Command::new("sh");
    command.current_dir(sandbox.root()).args(["-c", &format!("exec '{program}' -w *.py -- sh -c 'touch ../marker'")]);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    refused(&sandbox, command, &["'b.py'", "quote the patterns", "-w '*.py'"]);
}

#[test]
fn an_unexpected_word_gets_the_tip_about_the_two_dashes() {
    let sandbox = Sandbox::new();
    let command = sandbox.command(["python", "app.py"]);
    refused(&sandbox, command, &["'python'", "the command comes after --"]);
    for (word, verb) in [("statsu", "status"), ("restrat", "restart"), ("Stop", "stop"), ("intit", "init")] {
        let expected = format!("tip: did you mean reloadrun {verb}? A command comes after --");
        refused(&sandbox, sandbox.command([word]), &[&expected]);
    }
}

#[test]
fn a_word_that_is_no_option_of_a_verb_gets_no_tip_for_a_run() {
    let sandbox = Sandbox::new();
    let ended = refused(&sandbox, sandbox.command(["init", "-x"]), &["unexpected argument '-x'"]);
    assert!(!ended.stderr.contains("tip:"), "{}", ended.stderr);
    refused(&sandbox, sandbox.command(["init", "x"]), &["init is a verb of reloadrun"]);
    refused(&sandbox, sandbox.command(["status", "-C", ""]), &["--directory '': expected a directory"]);
    refused(&sandbox, sandbox.command(["explain", ""]), &["explain '': expected a path"]);
    refused(&sandbox, sandbox.command(["--explain", ""]), &["--explain '': expected a path"]);
}

#[test]
fn a_directory_without_read_permission_is_refused() {
    let sandbox = Sandbox::new();
    let closed = sandbox.path("closed");
    fs::create_dir(&closed).expect("a fresh directory");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("the test owns it");
    let cases = [["-C", "closed"], ["-c", "closed/a.toml"], ["--env-file", "closed/.env"]];
    let places = ["--directory closed", "--config closed/a.toml", "--env-file closed/.env"];
    let cases = cases.iter().zip(places.map(|place| format!("{place}: permission denied")));
    if fs::read_dir(&closed).is_err() {
        for (words, expected) in cases {
            refuse(&sandbox, words, &[&expected]);
        }
    } else {
        // Root can read everything, so the test runs as `nobody`, who needs access to the sandbox and the program.
        for path in [sandbox.beside(), &sandbox.runtime()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the test owns it");
        }
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let mut probe = wrapped(&nobody, &sandbox.command(["--version"]), &sandbox);
        if probe.output().is_ok_and(|output| output.status.success()) {
            for (words, expected) in cases {
                let mut inner = sandbox.command(words);
                inner.args(COMMAND);
                refused(&sandbox, wrapped(&nobody, &inner, &sandbox), &[&expected]);
            }
        } else {
            left_out("a directory that may not be read: privileges cannot be dropped here");
        }
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).expect("the test owns it");
}

#[test]
fn all_mistakes_of_a_config_file_are_reported_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "watch = 3\n\nintervall = \"1s\"\nclear = \"yes\"\n");
    let ended = refuse(
        &sandbox,
        [] as [&str; 0],
        &[
            "reloadrun.toml:1: watch must be a string or a list of strings, not a number",
            "reloadrun.toml:3: intervall: unknown key; did you mean interval?",
            "reloadrun.toml:4: clear must be true or false, not a string",
        ],
    );
    assert_eq!(ended.stderr.lines().count(), 3, "one line each:\n{}", ended.stderr);
    assert!(ended.stderr.lines().all(|line| line.starts_with("reloadrun: ")), "{}", ended.stderr);
}

#[test]
fn all_invalid_values_of_a_config_file_are_reported_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "reloadrun.toml",
        "interval = 0\nstop-signal = \"TRM\"\non-exit = \"stop\"\nwatch = ['*.py', '[']\ndirectory = 'nowhere'\n",
    );
    let ended = refuse(
        &sandbox,
        [] as [&str; 0],
        &[
            "reloadrun.toml:1: interval '0': must be at least 10ms",
            "reloadrun.toml:2: stop-signal 'TRM': unknown signal; did you mean TERM",
            "reloadrun.toml:3: on-exit 'stop': must be one of wait, exit, restart",
            "reloadrun.toml:4: watch '['",
            "reloadrun.toml:5: directory nowhere: no such directory",
        ],
    );
    assert_eq!(ended.stderr.lines().count(), 5, "one line each:\n{}", ended.stderr);
}

#[test]
fn a_syntax_error_in_a_config_file_is_reported_with_its_line() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "watch = '*.py'\ninterval = = 3\n");
    refuse(&sandbox, [] as [&str; 0], &["reloadrun.toml:2: "]);
}

#[test]
fn a_lockfile_in_use_is_refused_with_the_pid_of_its_owner() {
    let sandbox = Sandbox::new();
    let lockfile = sandbox.beside().join("it.lock");
    let lockfile = lockfile.to_str().expect("plain");
    let mut holder = sandbox.start(["--lockfile", lockfile, "--", "sleep", "600"]);
    let started = holder.wait_started(1);
    let before = fs::read_to_string(lockfile).expect("the holder made it");
    // Not with `refuse`, because the owner uses the event stream.
    let output = sandbox.command(["--lockfile", lockfile]).args(COMMAND).output().expect("reloadrun starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for part in ["reloadrun: the lockfile", lockfile, "in use by another reloadrun", &format!("(pid {})", holder.pid())]
    {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
    assert_eq!((output.stdout.len(), stderr.lines().count()), (0, 1), "{stderr}");
    assert!(!sandbox.beside().join("marker").exists());
    assert_eq!(fs::read_to_string(lockfile).expect("it is still there"), before);
    assert_eq!(holder.starts(), 1);
    assert!(crate::support::session::is_alive(i32::try_from(started["pid"].as_i64().expect("a pid")).expect("small")));
    holder.stop().assert_code(143);
}

#[test]
fn a_lockfile_that_is_a_symlink_or_not_a_file_is_refused_and_not_changed() {
    let sandbox = Sandbox::new();
    sandbox.write("target", "precious");
    symlink("target", sandbox.path("link.lock")).expect("a fresh name");
    refuse(&sandbox, ["--lockfile", "link.lock"], &["link.lock", "is a symlink or not a regular file"]);
    assert_eq!(sandbox.read("target"), "precious");
    assert!(sandbox.path("link.lock").is_symlink());
    fs::create_dir(sandbox.path("directory.lock")).expect("a fresh name");
    refuse(&sandbox, ["--lockfile", "directory.lock"], &["directory.lock"]);
    assert!(Command::new("mkfifo").arg(sandbox.path("fifo.lock")).status().is_ok_and(|status| status.success()));
    refuse(&sandbox, ["--lockfile", "fifo.lock"], &["fifo.lock", "is a symlink or not a regular file"]);
}

#[test]
fn all_wrong_flags_are_reported_at_once() {
    let sandbox = Sandbox::new();
    let ended = refuse(
        &sandbox,
        ["--interval", "x", "--on-exit", "y", "-w", "["],
        &["--interval 'x'", "--on-exit 'y'", "-w '['"],
    );
    assert_eq!(ended.stderr.lines().count(), 3, "{}", ended.stderr);
}
