//! Sessions for tests of watching: the same test on every backend, checks of what the command has read and of the
//! changes behind a restart, and fences.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

use super::{Sandbox, Session};

/// Defines each test three times, once for a backend.
macro_rules! on_every_backend {
    ($($(#[$doc:meta])* fn $name:ident($backend:ident) $body:block)*) => {
        $(
            mod $name {
                use super::*;
                $(#[$doc])*
                fn test($backend: &str) $body
                #[test]
                fn inotify() { test("inotify") }
                #[test]
                fn notify() { test("notify") }
                #[test]
                fn poll() { test("poll") }
            }
        )*
    };
}
pub(crate) use on_every_backend;

/// A command that prints one line at its start: its generation, and the content of the files, with a bar after each.
/// The files are its arguments; a missing file counts as empty. Then it sleeps.
const READER: &str = r#"line="$RELOADRUN_GENERATION "
for file; do line="$line$(cat "$file" 2>/dev/null)|"; done
echo "$line"
exec sleep 600"#;

/// The arguments of every session here.
fn fixed(backend: &str) -> [&str; 4] {
    ["--backend", backend, "--interval", "100ms"]
}

/// Watches with these arguments; the command sleeps.
pub fn watch(sandbox: &Sandbox, backend: &str, arguments: &[&str]) -> Session {
    let command = ["--", "sleep", "600"];
    let mut session = sandbox.start(fixed(backend).iter().chain(arguments).chain(&command));
    session.wait_armed(1);
    session
}

/// Watches with these arguments; the command prints the content of these files at its start (see [`assert_run`]).
pub fn watch_reading(sandbox: &Sandbox, backend: &str, arguments: &[&str], files: &[&str]) -> Session {
    let command = ["--", "sh", "-c", READER, "sh"];
    let mut session = sandbox.start(fixed(backend).iter().chain(arguments).chain(&command).chain(files));
    session.wait_armed(1);
    line_read(&session, 1);
    session
}

/// Watches with these arguments and reports changes without a restart: one generation sees them all.
pub fn watch_without_restarts(sandbox: &Sandbox, backend: &str, arguments: &[&str]) -> Session {
    let command = ["--on-change", "signal:USR1", "--", "sh", "-c", "trap '' USR1; exec sleep 600"];
    let mut session = sandbox.start(fixed(backend).iter().chain(arguments).chain(&command));
    session.wait_armed(1);
    session
}

/// The file names in a `started` or `changed` event.
pub fn names(event: &Value) -> Vec<String> {
    paths(event).iter().map(|path| path.rsplit('/').next().expect("a path has a last part").to_owned()).collect()
}

/// The whole paths in a `started` or `changed` event.
pub fn paths(event: &Value) -> Vec<String> {
    let changes = event["changes"].as_array().expect("it has changes");
    changes.iter().map(|change| change["path"].as_str().expect("a path is a text").to_owned()).collect()
}

/// Asserts that the next generation starts because of exactly these files.
pub fn assert_restart(session: &mut Session, generation: u64, expected: &[&str]) {
    let started = session.wait_armed(generation);
    assert_eq!(names(&started), expected, "{}", session.account());
}

/// Asserts that the next generation starts because of exactly these files, and has read this content.
pub fn assert_run(session: &mut Session, generation: u64, expected: &[&str], read: &[&str]) {
    assert_restart(session, generation, expected);
    let line = format!("{}|", read.join("|"));
    assert_eq!(line_read(session, generation), line, "{}", session.account());
}

/// The content that the command of a generation has printed. Not every generation runs long enough to print it.
pub fn line_read(session: &Session, generation: u64) -> String {
    let start = format!("{generation} ");
    let find = || {
        session
            .stdout()
            .split_inclusive('\n')
            .find_map(|line| Some(line.strip_prefix(&start)?.strip_suffix('\n')?.to_owned()))
    };
    session.wait_until("what the command read", || find().is_some());
    find().unwrap_or_default()
}

/// A fence: saves a file that counts. If only this file caused the next start, earlier edits had no effect.
pub fn assert_fence(sandbox: &Sandbox, session: &mut Session, generation: u64) {
    sandbox.write("fence.py", format!("fence of generation {generation}"));
    assert_restart(session, generation, &["fence.py"]);
}

/// Waits until all restarts are over and the command has read this content; returns its generation. `fence*.py` must
/// count.
///
/// A fence that is saved between two generations may not be reported by any of them. Then another fence is saved.
pub fn assert_converges(sandbox: &Sandbox, session: &mut Session, read: &[&str]) -> u64 {
    loop {
        let before = session.starts() as u64;
        let fence = format!("fence{}.py", sandbox.root().read_dir().unwrap().count());
        sandbox.write(&fence, "");
        let by_fence = |event: &&Value| event["event"] == "started" && names(event).contains(&fence);
        let generation = |event: &Value| event["generation"].as_u64().expect("every event has one");
        let said_by = |line: &str| line.split(' ').next().and_then(|first| first.parse::<u64>().ok());
        let has_read = || session.stdout().lines().filter_map(said_by).any(|generation| generation > before);
        session.wait_until("the fence", || session.events().iter().any(|event| by_fence(&event)) || has_read());
        let Some(last) = session.events().iter().find(by_fence).map(generation) else { continue };
        assert_eq!(line_read(session, last), format!("{}|", read.join("|")), "{}", session.account());
        let armed = |event: &Value| event["event"] == "watching" && generation(event) == last;
        session.wait_until("the watch of the last generation", || session.events().iter().any(armed));
        return last;
    }
}

/// Sets the modification time of a file.
pub fn set_time(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Runs a program in the root to its end, which must be successful.
pub fn run(sandbox: &Sandbox, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(sandbox.root()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a program is installed; if not, prints what is left out.
pub fn is_installed(program: &str, what: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        crate::ends::left_out(&format!("{what}: {program} is not installed"));
    }
    found
}
