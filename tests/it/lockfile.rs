//! The lockfile: its content, its heartbeat, and what happens when it is removed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ends::{left_out, pid_of, wrapped};
use crate::support::session::{is_alive, signal};
use crate::support::{Sandbox, Session};

/// A lockfile of this name beside the root.
fn lockfile(sandbox: &Sandbox) -> (PathBuf, String) {
    let path = sandbox.beside().join("it.lock");
    let text = path.to_str().expect("plain").to_owned();
    (path, text)
}

fn content(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("the lockfile is there");
    assert_eq!((text.lines().count(), text.ends_with('\n')), (1, true), "one line: {text:?}");
    serde_json::from_str(&text).expect("it is JSON")
}

fn mtime(path: &Path) -> (i64, i64) {
    let metadata = fs::metadata(path).expect("the lockfile is there");
    (metadata.mtime(), metadata.mtime_nsec())
}

#[test]
fn the_lockfile_is_private_and_names_the_pid_and_the_command_in_one_line() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let (path, text) = lockfile(&sandbox);
    let mut session = sandbox.start(["--lockfile", &text, "-w", "app.txt", "--", "sleep", "600"]);
    session.wait_armed(1);
    let first = content(&path);
    assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);
    assert_eq!(
        (&first["pid"], &first["generation"], &first["command"]),
        (&session.pid().into(), &1.into(), &"sleep 600".into())
    );
    let started = humantime::parse_rfc3339(first["started"].as_str().expect("a time")).expect("RFC 3339");
    assert!(started.elapsed().is_ok_and(|age| age < crate::support::session::DEADLINE));
    assert_eq!(first.as_object().map(serde_json::Map::len), Some(4), "{first}");
    sandbox.write("app.txt", "two");
    session.wait_started(2);
    let second = content(&path);
    assert_eq!((&second["pid"], &second["generation"]), (&first["pid"], &2.into()));
    assert!(second["started"].as_str() > first["started"].as_str());
    session.stop().assert_code(143);
    assert!(!path.exists(), "it is removed with its owner");
}

#[test]
fn without_a_name_it_is_a_private_file_in_the_runtime_directory() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--", "sleep", "600"]);
    session.wait_started(1);
    let files = sandbox.private_files();
    let [file] = &files[..] else { panic!("one file: {files:?}") };
    assert_eq!(content(file)["pid"], session.pid());
    assert_eq!(fs::metadata(file).expect("it exists").permissions().mode() & 0o777, 0o600);
    session.stop().assert_code(143);
    assert!(!file.exists());
}

#[test]
fn the_lockfile_is_touched_once_an_interval() {
    let sandbox = Sandbox::new();
    let (path, text) = lockfile(&sandbox);
    let mut session = sandbox.start(["--lockfile", &text, "--interval", "100ms", "--", "sleep", "600"]);
    session.wait_started(1);
    let mut beats = vec![mtime(&path)];
    while beats.len() < 6 {
        let last = *beats.last().expect("not empty");
        session.wait_until("the next beat", || mtime(&path) != last);
        beats.push(mtime(&path));
    }
    assert!(beats.is_sorted(), "{beats:?}");
    let nanoseconds = |(seconds, rest): (i64, i64)| seconds * 1_000_000_000 + rest;
    // There are at least four intervals between the second and the last beat, so it is not touched too often. (File
    // times have a resolution of some milliseconds.)
    let took = nanoseconds(beats[5]) - nanoseconds(beats[1]);
    assert!(took >= 4 * 90_000_000, "four beats within {took} ns");
    assert_eq!(session.starts(), 1);
    session.stop().assert_code(143);
}

#[test]
fn removing_the_lockfile_ends_everything_with_0() {
    for name in [Some("it.lock"), None] {
        let sandbox = Sandbox::new();
        let (_, text) = lockfile(&sandbox);
        let arguments = if name.is_some() { vec!["--lockfile", &text] } else { vec![] };
        let mut session = sandbox.start(arguments.into_iter().chain(["--interval", "100ms", "--", "sleep", "600"]));
        let pid = pid_of(&session.wait_started(1));
        let file = match name {
            Some(name) => sandbox.beside().join(name),
            None => sandbox.private_files().pop().expect("a lockfile"),
        };
        fs::remove_file(&file).expect("it exists");
        let ended = session.wait_end();
        ended.assert_code(0);
        assert!(!is_alive(pid), "the command is gone");
        let finished = ended.events.last().expect("there are events");
        assert_eq!((&finished["code"], &finished["reason"]), (&0.into(), &"the lockfile was removed".into()));
        assert!(!file.exists(), "it is not created again");
    }
}

#[test]
fn removing_the_lockfile_also_ends_a_waiting_reloadrun() {
    let sandbox = Sandbox::new();
    let (path, text) = lockfile(&sandbox);
    let mut session = sandbox.start(["--lockfile", &text, "--interval", "100ms", "--", "sh", "-c", "exit 9"]);
    session.wait("waiting");
    fs::remove_file(&path).expect("it exists");
    session.wait_end().assert_code(0);
}

#[test]
fn a_symlink_in_its_place_ends_everything_and_its_target_is_not_touched() {
    let sandbox = Sandbox::new();
    let (path, text) = lockfile(&sandbox);
    let target = sandbox.beside().join("target");
    fs::write(&target, "precious").expect("the test owns it");
    let mut session = sandbox.start(["--lockfile", &text, "--interval", "100ms", "--", "sleep", "600"]);
    let pid = pid_of(&session.wait_started(1));
    let before = mtime(&target);
    symlink(&target, sandbox.beside().join("new")).expect("a fresh name");
    fs::rename(sandbox.beside().join("new"), &path).expect("the test owns it");
    let ended = session.wait_end();
    ended.assert_code(0);
    assert!(!is_alive(pid));
    assert_eq!((fs::read_to_string(&target).expect("it exists"), mtime(&target)), ("precious".to_owned(), before));
    assert!(path.is_symlink(), "a symlink in its place is not removed");
}

#[test]
fn another_file_in_its_place_ends_everything_and_stays() {
    let sandbox = Sandbox::new();
    let (path, text) = lockfile(&sandbox);
    let mut session = sandbox.start(["--lockfile", &text, "--interval", "100ms", "--", "sleep", "600"]);
    session.wait_started(1);
    let new = sandbox.beside().join("new");
    fs::write(&new, "other content").expect("the test owns it");
    fs::rename(new, &path).expect("the test owns it");
    session.wait_end().assert_code(0);
    assert_eq!(fs::read_to_string(&path).expect("it exists"), "other content");
}

#[test]
fn the_lockfile_of_a_killed_reloadrun_is_replaced() {
    let sandbox = Sandbox::new();
    let (path, text) = lockfile(&sandbox);
    fs::write(&path, "{\"pid\":1,\"generation\":7,\"command\":\"a very long command that is not ours\"}\nand more\n")
        .expect("the test owns it");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("the test owns it");
    let mut session = sandbox.start(["--lockfile", &text, "--", "sleep", "600"]);
    session.wait_started(1);
    assert_eq!(content(&path)["pid"], session.pid());
    assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);
    session.stop().assert_code(143);
}

#[test]
fn after_kill_9_of_the_supervisor_everything_is_gone_and_the_next_start_works() {
    let sandbox = Sandbox::new();
    let (path, text) = lockfile(&sandbox);
    // The command ignores TERM, has a grace period of an hour and a daemon; none of this may matter.
    let script = "trap '' TERM; setsid sh -c 'echo $$ > ../far; exec sleep 600' & exec sleep 600";
    let mut session = sandbox.start(["--lockfile", &text, "--stop-timeout", "1h", "--", "sh", "-c", script]);
    let command = pid_of(&session.wait_armed(1));
    let far = sandbox.beside().join("far");
    session.wait_until("the far process", || fs::read_to_string(&far).is_ok_and(|text| text.ends_with('\n')));
    let far: i32 = fs::read_to_string(far).expect("noted").trim().parse().expect("a pid");
    let child = session.child_pid();
    signal(session.pid(), "KILL");
    session.wait_until("the end of child and command", || ![child, command, far].into_iter().any(is_alive));
    let ended = session.wait_end();
    assert_eq!(ended.code(), None, "it was killed");
    assert!(ended.stderr.contains("reloadrun: the supervisor is gone; ending the command\n"), "{}", ended.stderr);
    assert!(path.exists(), "no process was left to remove it");
    let mut next = sandbox.start(["--lockfile", &text, "--", "sleep", "600"]);
    next.wait_started(1);
    assert_eq!(content(&path)["pid"], next.pid());
    next.stop().assert_code(143);
    assert!(!path.exists());
}

#[test]
fn on_a_full_disk_it_runs_and_restarts_and_reports_it_once() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let disk = sandbox.beside().join("disk");
    fs::create_dir(&disk).expect("a fresh name");
    // The mount is private to this process and its children, and ends with them. tmpfs rounds its size up to whole
    // pages, so the only page is filled.
    let shell = format!(
        "mount -t tmpfs -o size=4k none '{}' && head -c 65536 /dev/zero > '{0}/filler' 2>/dev/null; [ -s '{0}/filler' ] && exec \"$@\"",
        disk.display()
    );
    let namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &shell, "sh"];
    if !wrapped(&namespace, &sandbox.command(["--version"]), &sandbox)
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return left_out("a lockfile on a full disk: nothing can be mounted here");
    }
    let (events, lockfile) = (sandbox.events(), disk.join("it.lock"));
    let (events, lockfile) = (events.to_str().expect("plain"), lockfile.to_str().expect("plain"));
    let inner = sandbox.command([
        "--events",
        events,
        "--lockfile",
        lockfile,
        "--interval",
        "100ms",
        "-w",
        "app.txt",
        "--",
        "sh",
        "-c",
        "stat -c 'size %s' \"$RELOADRUN_LOCKFILE\"; exec sleep 600",
    ]);
    let mut session = Session::start(wrapped(&namespace, &inner, &sandbox), &sandbox);
    let degraded = session.wait("degraded");
    assert!(
        degraded["message"]
            .as_str()
            .is_some_and(|text| text.contains(lockfile) && text.contains("no space left on device")),
        "{degraded}"
    );
    for (generation, content) in [(1, "one"), (2, "two"), (3, "three")] {
        if generation > 1 {
            sandbox.write("app.txt", content);
        }
        session.wait_armed(generation);
        // The disk is full, so the file stays empty.
        session.wait_until("the size", || session.stdout() == "size 0\n".repeat(generation as usize));
    }
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(
        (ended.count("degraded"), ended.stderr.matches("cannot write to the lockfile").count()),
        (1, 1),
        "{ended:#?}"
    );
}

#[test]
fn the_command_gets_lockfile_generation_and_changes_in_its_environment() {
    let sandbox = Sandbox::new();
    sandbox.write("a.txt", "one");
    let (_, text) = lockfile(&sandbox);
    // The number is checked too: if a variable is set twice, some programs read the first value and others the last.
    let script = "tr '\\0' '\\n' < /proc/$$/environ | grep -c '^RELOADRUN_[LGC]'
        echo \"$RELOADRUN_LOCKFILE|$RELOADRUN_GENERATION|$RELOADRUN_CHANGED\"; exec sleep 600";
    let mut session = sandbox.start_with(["--lockfile", &text, "-w", "*.txt", "--", "sh", "-c", script], |command| {
        // For example from an outer reloadrun.
        command.env("RELOADRUN_GENERATION", "99").env("RELOADRUN_CHANGED", "[\"/x\"]").env("RELOADRUN_LOCKFILE", "/x");
        command.env("RELOADRUN_CONTROL", "/x");
    });
    session.wait_armed(1);
    let mut expected = format!("4\n{text}|1|[]\n");
    session.wait_until("the first environment", || session.stdout() == expected);
    sandbox.write("a.txt", "two");
    session.wait_armed(2);
    expected += &format!("4\n{text}|2|[\"{}\"]\n", sandbox.path("a.txt").display());
    session.wait_until("the second environment", || session.stdout() == expected);
    let odd = sandbox.write("b \"quoted\".txt", "new");
    session.wait_armed(3);
    expected += &format!("4\n{text}|3|{}\n", serde_json::json!([odd.to_str().expect("plain")]));
    session.wait_until("the third environment", || session.stdout() == expected);
    session.stop().assert_code(143);
}

#[test]
fn the_command_gets_the_path_of_a_private_lockfile_too() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--", "sh", "-c", "cat \"$RELOADRUN_LOCKFILE\"; exec sleep 600"]);
    session.wait_started(1);
    session.wait_until("the content", || session.stdout().ends_with('\n'));
    let content: Value = serde_json::from_str(&session.stdout()).expect("JSON");
    assert_eq!(content["pid"], session.pid());
    session.stop().assert_code(143);
}

#[test]
fn a_lockfile_in_a_watched_directory_does_not_restart() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let mut session =
        sandbox.start(["--lockfile", "it.lock", "--no-ignore", "--interval", "20ms", "-w", "**", "--", "sleep", "600"]);
    session.wait_armed(1);
    let lock = sandbox.path("it.lock");
    for _ in 0..5 {
        let last = mtime(&lock);
        session.wait_until("a beat", || mtime(&lock) != last);
    }
    sandbox.write("app.txt", "two");
    let changed = session.wait("changed");
    assert_eq!(changed["changes"].as_array().map(Vec::len), Some(1), "{changed}");
    session.wait_started(2);
    session.stop().assert_code(143);
}

#[test]
fn without_a_directory_for_a_private_lockfile_it_runs_silently() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let script = "echo \"${RELOADRUN_LOCKFILE-unset} $RELOADRUN_GENERATION\"; exec sleep 600";
    let arguments = ["--interval", "20ms", "-w", "app.txt", "--", "sh", "-c", script];
    let mut session = sandbox.start_with(arguments, |command| {
        command.env("XDG_RUNTIME_DIR", "/proc/nowhere").env("TMPDIR", "/proc/nowhere").env("RELOADRUN_LOCKFILE", "/x");
    });
    session.wait_armed(1);
    sandbox.write("app.txt", "two");
    session.wait_armed(2);
    // The test must sleep: a child that sees no beat would end after five seconds of looks.
    std::thread::sleep(std::time::Duration::from_secs(7));
    sandbox.write("app.txt", "three");
    session.wait_armed(3);
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.stdout, "unset 1\nunset 2\nunset 3\n");
    assert!(!ended.stderr.contains("lockfile") && ended.count("degraded") == 0, "{ended:#?}");
}

#[test]
fn without_a_lockfile_a_dead_or_stopped_supervisor_still_ends_the_command() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start_with(["--", "sleep", "600"], |command| {
        command.env("XDG_RUNTIME_DIR", "/proc/nowhere").env("TMPDIR", "/proc/nowhere");
    });
    let command = pid_of(&session.wait_armed(1));
    let child = session.child_pid();
    signal(session.pid(), "KILL");
    session.wait_until("the end of child and command", || ![child, command].into_iter().any(is_alive));
    session.wait_end();
}

#[test]
fn a_given_lockfile_that_cannot_be_created_is_an_error() {
    let sandbox = Sandbox::new();
    let output = sandbox.command(["--lockfile", "/proc/nowhere/it.lock", "--", "true"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot create the lockfile /proc/nowhere/it.lock"));
}

#[test]
fn removing_the_directory_of_a_private_lockfile_does_not_end_it() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let script = "echo \"${RELOADRUN_LOCKFILE-unset}\"; exec sleep 600";
    let mut session = sandbox.start(["--interval", "50ms", "-w", "app.txt", "--", "sh", "-c", script]);
    session.wait_armed(1);
    session.wait_until("the environment", || session.stdout().ends_with('\n'));
    let first = session.stdout();
    assert!(Path::new(first.trim()).exists(), "{first}");
    fs::remove_dir_all(sandbox.runtime()).expect("the test owns it");
    // The test must sleep: a child that sees no beat would end after five seconds of looks.
    std::thread::sleep(std::time::Duration::from_secs(7));
    sandbox.write("app.txt", "two");
    session.wait_armed(2);
    // The next login creates the directory again.
    fs::create_dir(sandbox.runtime()).expect("the test owns it");
    sandbox.write("app.txt", "three");
    session.wait_armed(3);
    session.wait_until("the third command", || session.stdout().lines().count() == 3);
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.stdout, format!("{first}unset\nunset\n"), "{ended:#?}");
    assert_eq!((ended.count("started"), ended.count("degraded")), (3, 0), "{ended:#?}");
}

#[test]
fn a_private_lockfile_cannot_be_created_beforehand_by_another_user() {
    let sandbox = Sandbox::new();
    // All names that older versions used, also as directories and symlinks.
    for pid in 1..60_000 {
        let path = sandbox.runtime().join(format!("reloadrun-{pid}.lock"));
        if pid % 3 == 0 {
            fs::create_dir(path).expect("the test owns it")
        } else {
            symlink("/nowhere", path).expect("the test owns it")
        }
    }
    let mut session = sandbox.start(["--", "sh", "-c", "echo $RELOADRUN_LOCKFILE; exec sleep 600"]);
    session.wait_armed(1);
    session.wait_until("the environment", || session.stdout().ends_with('\n'));
    assert!(Path::new(session.stdout().trim()).starts_with(sandbox.runtime()), "{}", session.stdout());
    session.stop().assert_code(143);
}
