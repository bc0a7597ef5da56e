//! Commands with process trees: no descendant of any kind is left before the next command starts, at the end, and after
//! reloadrun was killed. All processes of the probe `tree` hold one lock, which also shows processes that /proc may
//! hide.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use super::ends::pid_of;
use crate::support::session::{is_alive, signal};
use crate::support::{Sandbox, Session, apps};

/// All members of the probe; those with a number have one.
const KINDS: [&str; 12] = [
    "child",
    "shell",
    "group",
    "session",
    "daemon",
    "many:200",
    "deaf",
    "forker",
    "stopped",
    "namespace",
    "port",
    "far-port",
];

/// A tree in a sandbox.
struct Tree {
    sandbox: Sandbox,
    port: u16,
    members: Vec<String>,
}

impl Tree {
    fn of(members: &[&str]) -> Tree {
        let sandbox = Sandbox::new();
        sandbox.write("app.txt", "one");
        fs::create_dir(sandbox.beside().join("probe")).expect("a fresh name");
        Tree { sandbox, port: apps::free_port(), members: members.iter().map(|one| (*one).to_owned()).collect() }
    }

    fn start(&self, arguments: &[&str]) -> Session {
        let (directory, port) = (self.probe().display().to_string(), self.port.to_string());
        let mut all: Vec<&str> = arguments.to_vec();
        all.extend(["-w", "app.txt", "--", env!("CARGO_BIN_EXE_probe"), "tree", &directory, &port, "0"]);
        all.extend(self.members.iter().map(String::as_str));
        self.sandbox.start(all)
    }

    fn probe(&self) -> PathBuf {
        self.sandbox.beside().join("probe")
    }

    fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.probe().join("records")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until this many trees were complete and the last one is complete.
    fn wait_up(&self, session: &Session, count: usize) {
        session.wait_until("the tree", || {
            let records = self.records();
            let ups =
                records.iter().filter(|one| one["what"] == "up" && one["more"]["members"] == one["more"]["expected"]);
            ups.count() == count
        });
    }

    /// Asserts that no command started before the previous tree was gone, and none found its port in use.
    fn assert_one_at_a_time(&self) {
        for record in self.records() {
            assert!(record["more"]["overlap"] != true && record["what"] != "busy", "{:?}: {record}", self.members);
        }
    }

    /// Whether no process of any tree is left.
    fn is_gone(&self) -> bool {
        File::open(self.probe().join("members")).is_ok_and(|file| file.try_lock().is_ok())
    }

    /// Pids of the processes that hold the lock.
    fn pids(&self) -> Vec<i32> {
        let members = self.probe().join("members");
        let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == members)
        })
        .collect()
    }
}

/// The number of descriptors of a process with signal-driven I/O: two for each tether.
fn tethers(pid: i32) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let flags = texts.filter_map(|text| {
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?.trim().to_owned();
        u32::from_str_radix(&flags, 8).ok()
    });
    // O_ASYNC has the same value on x86 and ARM.
    flags.filter(|flags| flags & 0o20000 != 0).count() / 2
}

#[test]
fn every_kind_of_descendant_is_gone_before_the_next_command_starts_and_at_the_end() {
    for kind in KINDS {
        let tree = Tree::of(&[kind]);
        let mut session = tree.start(&["--stop-timeout", "300ms"]);
        session.wait_armed(1);
        tree.wait_up(&session, 1);
        let first = tree.pids();
        assert!(first.len() >= 2, "{kind}: {first:?}");
        tree.sandbox.write("app.txt", "two");
        let stopped = session.wait("stopped");
        assert!(stopped["took_ms"].as_f64() < Some(1300.0), "{kind}: the grace and a second: {stopped}");
        session.wait_started(2);
        assert!(!first.iter().any(|pid| is_alive(*pid)), "{kind}: {first:?}");
        tree.wait_up(&session, 2);
        tree.assert_one_at_a_time();
        let second = tree.pids();
        session.stop().assert_code(143);
        assert!(tree.is_gone() && !second.iter().any(|pid| is_alive(*pid)), "{kind}: {second:?}");
    }
}

#[test]
fn every_kind_of_descendant_is_gone_when_supervisor_or_child_is_killed() {
    for kind in KINDS {
        let tree = Tree::of(&[kind]);
        let mut session = tree.start(&["--stop-timeout", "1h"]);
        session.wait_armed(1);
        tree.wait_up(&session, 1);
        signal(session.child_pid(), "KILL");
        session.wait_started(2);
        tree.wait_up(&session, 2);
        tree.assert_one_at_a_time();
        let child = session.child_pid();
        signal(session.pid(), "KILL");
        session.wait_until("the end of the tree and the child", || tree.is_gone() && !is_alive(child));
        session.wait_end();
    }
}

#[test]
fn the_commands_process_group_dies_with_supervisor_and_child_at_any_moment() {
    for kind in ["child", "shell", "deaf", "forker", "stopped", "port"] {
        let tree = Tree::of(&[kind]);
        let mut session = tree.start(&["--interval", "1h"]);
        session.wait_started(1);
        tree.wait_up(&session, 1);
        let child = session.child_pid();
        signal(session.pid(), "KILL");
        signal(child, "KILL");
        session.wait_until(kind, || tree.is_gone());
        session.wait_end();
    }
}

#[test]
fn a_process_that_left_the_group_dies_with_supervisor_and_child_once_it_was_seen() {
    for (kind, strays) in [("group", 1), ("session", 1), ("daemon", 1), ("far-port", 1), ("many:8", 1)] {
        let tree = Tree::of(&[kind]);
        let mut session = tree.start(&["--interval", "50ms"]);
        session.wait_started(1);
        tree.wait_up(&session, 1);
        let child = session.child_pid();
        session.wait_until("the tethers", || tethers(child) == 1 + strays);
        signal(session.pid(), "KILL");
        signal(child, "KILL");
        session.wait_until(kind, || tree.is_gone());
        session.wait_end();
    }
}

#[test]
fn a_stopped_child_is_continued_when_its_supervisor_is_killed_or_asked_to_end() {
    for (name, code) in [("KILL", None), ("TERM", Some(143))] {
        let tree = Tree::of(&["session", "deaf"]);
        // A hung child gets an hour to answer, so only a continued one can answer in time.
        let timeout = if code.is_some() { "100ms" } else { "1h" };
        let mut session = tree.start(&["--stop-timeout", timeout]);
        session.wait_armed(1);
        tree.wait_up(&session, 1);
        let child = session.child_pid();
        signal(child, "STOP");
        session.signal(name);
        session.wait_until("the end of the tree and the child", || tree.is_gone() && !is_alive(child));
        let ended = session.wait_end();
        assert_eq!(ended.code(), code, "{ended:#?}");
        assert!(!ended.stderr.contains("does not answer"), "{}", ended.stderr);
    }
}

#[test]
fn a_stopped_command_is_restarted() {
    let tree = Tree::of(&["session"]);
    let mut session = tree.start(&["--stop-timeout", "1h"]);
    let pid = pid_of(&session.wait_armed(1));
    tree.wait_up(&session, 1);
    signal(pid, "STOP");
    tree.sandbox.write("app.txt", "two");
    session.wait_started(2);
    tree.wait_up(&session, 2);
    tree.assert_one_at_a_time();
    session.stop().assert_code(143);
}

#[test]
fn the_next_run_with_the_lockfile_of_a_killed_one_waits_for_its_command() {
    let tree = Tree::of(&["deaf", "session", "port"]);
    let lockfile = tree.sandbox.beside().join("it.lock").display().to_string();
    let mut first = tree.start(&["--lockfile", &lockfile, "--stop-timeout", "1h"]);
    first.wait_armed(1);
    tree.wait_up(&first, 1);
    first.signal("KILL");
    first.wait_end();
    // The first tree ignores TERM, so it takes more than half a second to be killed.
    let second = tree.start(&["--lockfile", &lockfile, "--stop-timeout", "100ms"]);
    tree.wait_up(&second, 2);
    tree.assert_one_at_a_time();
    second.stop().assert_code(143);
    assert!(tree.is_gone());
}

#[test]
fn a_child_whose_supervisor_is_gone_does_not_spin_until_its_command_has_ended() {
    let tree = Tree::of(&["deaf"]);
    let mut session = tree.start(&[]);
    session.wait_armed(1);
    tree.wait_up(&session, 1);
    let child = session.child_pid();
    session.signal("KILL");
    session.wait_end();
    // A process that waits for a processor counts as running too, so this does not depend on the load.
    let (mut running, mut waiting) = (0, 0);
    while is_alive(child) {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        match stat.rsplit(") ").next().and_then(|rest| rest.chars().next()) {
            Some('R') => running += 1,
            _ => waiting += 1,
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(tree.is_gone());
    // The process that ignores TERM is killed after 600 ms.
    assert!(running < waiting, "{running} times running, {waiting} times waiting");
}

#[test]
fn a_grandchild_that_keeps_stdout_open_does_not_delay_the_end() {
    let sandbox = Sandbox::new();
    let script = "setsid sh -c 'echo ready; exec sleep 50' & while ! [ -s ../ready ]; do echo > ../ready; done; exit 4";
    let mut command = sandbox.command(["--on-exit", "exit", "-q", "--", "sh", "-c", script]);
    // Reads until the last process has closed the stream.
    let began = std::time::Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("reloadrun starts");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(began.elapsed().as_secs() < 40, "it waited for the sleep");
}

#[test]
fn the_next_start_removes_private_lockfiles_of_killed_supervisors_and_keeps_those_in_use() {
    let sandbox = Sandbox::new();
    let files = || {
        let name = |path: PathBuf| path.file_name().expect("it has a name").to_string_lossy().into_owned();
        sandbox.private_files().into_iter().map(name).collect::<Vec<String>>()
    };
    for _ in 0..3 {
        let mut dead = sandbox.start(["--", "sleep", "600"]);
        let command = pid_of(&dead.wait_started(1));
        dead.signal("KILL");
        dead.wait_until("the end of the command", || !is_alive(command));
        dead.wait_end();
    }
    let secret = "0123456789abcdef0123456789abcdef";
    let write = |name: &str, text: &str, mode: u32| {
        let path = sandbox.runtime().join(name);
        fs::write(&path, text).expect("the test owns it");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("the test owns it");
    };
    // Files of the user, also empty ones, with similar names.
    let content = "{\"pid\":1,\"generation\":1}\n";
    let others = [
        "reloadrun-2024.lock".to_owned(),
        "reloadrun-7-8.lock".to_owned(),
        "reloadrun-x.lock".to_owned(),
        "reloadrun-1.lock.txt".to_owned(),
        format!("reloadrun-{secret}.lock"),
        format!("reloadrun-7-{secret}.lock"),
        format!("reloadrun-8-{secret}.lock"),
    ];
    for (name, text) in others.iter().zip(["", "", "", "", content, "not ours", content]) {
        // Like reloadrun's own, except the last one, which has another mode.
        write(name, text, if name.starts_with("reloadrun-8") { 0o644 } else { 0o600 });
    }
    // From a supervisor that was killed before it could write.
    write(&format!("reloadrun-9-{secret}.lock"), "", 0o600);
    let mut living = sandbox.start(["--", "sleep", "600"]);
    living.wait_started(1);
    let mut next = sandbox.start(["--", "sleep", "600"]);
    next.wait_started(1);
    let is_of = |name: &str, pid: i32| name.starts_with(&format!("reloadrun-{pid}-"));
    next.wait_until("the end of the dead files", || {
        let files = files();
        let of_living = |name: &&String| is_of(name, living.pid()) || is_of(name, next.pid());
        files.len() == others.len() + 2 && files.iter().filter(of_living).count() == 2
    });
    next.stop().assert_code(143);
    living.stop().assert_code(143);
    let mut others = others.to_vec();
    others.sort();
    assert_eq!(files(), others);
}
