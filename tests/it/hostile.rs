//! Hostile environments: full disk, no processes, no descriptors, no /proc, no directory, no program file, many
//! generations.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ends::{left_out, pid_of, wrapped};
use crate::support::session::is_alive;
use crate::support::{Sandbox, Session};

/// Starts reloadrun through another program, with its events; `None` if that program does not work here.
fn start_in(sandbox: &Sandbox, surroundings: &[&str], arguments: &[&str]) -> Option<Session> {
    let probe = wrapped(surroundings, &sandbox.command(["--version"]), sandbox).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let mut inner = sandbox.command(["--events", sandbox.events().to_str().expect("plain")]);
    inner.args(arguments);
    Some(Session::start(wrapped(surroundings, &inner, sandbox), sandbox))
}

/// Asserts that no command of such a session is left.
fn assert_gone(started: &[&Value]) {
    for event in started {
        assert!(!is_alive(pid_of(event)), "{event}");
    }
}

#[test]
fn events_that_do_not_fit_on_a_full_disk_are_written_when_there_is_space() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let disk = sandbox.beside().join("disk");
    fs::create_dir(&disk).expect("a fresh name");
    let disk = disk.display();
    // The disk is full to the last page; the command of the third generation frees it.
    let shell = format!(
        "mount -t tmpfs -o size=8k none '{disk}' && head -c 65536 /dev/zero > '{disk}/filler' 2>/dev/null; exec \"$@\""
    );
    let namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &shell, "sh"];
    let command = format!(
        "[ $RELOADRUN_GENERATION = 3 ] && rm '{disk}/filler' && sleep 0.5 && until grep -q '\"generation\":3.*watching\\|watching.*\"generation\":3' '{disk}/events'; do sleep 0.05; done && cp '{disk}/events' '{}'; exec sleep 600",
        sandbox.events().display()
    );
    let events = format!("{disk}/events");
    let arguments = ["--events", &events, "--interval", "100ms", "-w", "app.txt", "--", "sh", "-c", command.as_str()];
    let probe = wrapped(&namespace, &sandbox.command(["--version"]), &sandbox).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return left_out("events on a full disk: nothing can be mounted here");
    }
    let session = Session::start(wrapped(&namespace, &sandbox.command(arguments), &sandbox), &sandbox);
    let said = |text: &str| session.stderr().contains(text);
    session.wait_until("the first start", || said("running sh"));
    for generation in 2..=3 {
        sandbox.write("app.txt", format!("{generation}"));
        session.wait_until("a restart", || said(&format!("generation {generation} runs")));
    }
    session.wait_until("all events", || session.events().len() >= 8);
    assert_eq!(session.events()[0]["event"], "started");
    assert_eq!(session.stderr().matches("no room for the events").count(), 1, "{}", session.account());
    session.stop().assert_code(143);
}

#[test]
fn when_no_process_can_be_created_it_is_reported_and_tried_again() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    // The limit counts the processes of a user; this user has no others. Root is not limited.
    let user = (40_000 + std::process::id() % 20_000).to_string();
    for directory in [sandbox.root(), sandbox.beside(), &sandbox.runtime()] {
        let _ = std::os::unix::fs::chown(directory, user.parse().ok(), None);
    }
    let user = format!("--reuid={user}");
    let poor = ["setpriv", &user, "--clear-groups", "prlimit", "--nproc=3"];
    let arguments = ["--interval", "100ms", "-w", "app.txt", "--", "sh", "-c", "sleep 600 & sleep 600 & wait"];
    let Some(mut session) = start_in(&sandbox, &poor, &arguments) else {
        return left_out("the limit of processes: no other user can be used here");
    };
    // Supervisor, child and its first thread: the limit does not allow the second thread.
    let degraded = session.wait("degraded");
    assert_eq!(degraded["kind"], "child_died", "{degraded}");
    let ended = session.stop();
    ended.assert_code(143);
    assert!(ended.stderr.contains("ulimit -u"), "{ended:#?}");
}

#[test]
fn without_a_single_descriptor_left_it_ends_with_125() {
    let sandbox = Sandbox::new();
    for limit in ["4", "8", "10"] {
        let poor = ["sh", "-c", "ulimit -n $0; exec \"$@\"", limit];
        let inner = sandbox.command(["--on-exit", "exit", "--", "true"]);
        let ended = Session::start(wrapped(&poor, &inner, &sandbox), &sandbox).wait_end();
        ended.assert_code(125);
        assert!(ended.stderr.contains("open files"), "{ended:#?}");
    }
}

#[test]
fn without_proc_it_restarts_and_ends_and_reports_what_it_cannot_see() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let hidden = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        "mount -t tmpfs none /proc && exec \"$@\"",
        "sh",
    ];
    let arguments = ["-w", "app.txt", "--", "sh", "-c", "sleep 600 & sleep 600 & wait"];
    let Some(mut session) = start_in(&sandbox, &hidden, &arguments) else {
        return left_out("a machine without /proc: nothing can be mounted here");
    };
    let degraded = session.wait("degraded");
    assert_eq!(degraded["kind"], "no_proc", "{degraded}");
    let first = session.wait_armed(1);
    sandbox.write("app.txt", "two");
    let second = session.wait_armed(2);
    assert_gone(&[&first]);
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.count("degraded"), 1, "{ended:#?}");
    assert_gone(&[&second]);
}

#[test]
fn in_a_bare_container_it_needs_only_a_directory_for_its_lockfile() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    // A read-only root directory, a user without home and name, no standard input, no runtime directory.
    let here = sandbox.beside().display().to_string();
    let shell = format!(
        "mount --bind '{here}' '{here}' && mount -o remount,ro / 2>/dev/null || mount -o remount,bind,ro / || exit 1
        cd '{here}/root' && unset HOME USER LOGNAME XDG_RUNTIME_DIR && exec setpriv --reuid=54321 --regid=54321 --clear-groups \"$@\" <&-"
    );
    let _ = fs::set_permissions(sandbox.beside(), std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let temporary = format!("TMPDIR={}", sandbox.runtime().display());
    let _ = fs::set_permissions(sandbox.runtime(), std::os::unix::fs::PermissionsExt::from_mode(0o1777));
    let bare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &shell, "sh", "env", &temporary];
    let command = "echo \"$RELOADRUN_LOCKFILE\"; touch /denied 2>/dev/null && echo writable; exec sleep 600";
    let Some(mut session) = start_in(&sandbox, &bare, &["-w", "app.txt", "--", "sh", "-c", command]) else {
        return left_out("a bare container: nothing can be mounted here, or no other user can be used");
    };
    session.wait_armed(1);
    sandbox.write("app.txt", "two");
    session.wait_armed(2);
    let ended = session.stop();
    ended.assert_code(143);
    let runtime = sandbox.runtime().display().to_string();
    assert!(ended.stdout.lines().all(|line| line.starts_with(&runtime)), "{ended:#?}");
    assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
}

#[test]
fn a_working_directory_may_be_deleted_and_created_again() {
    let sandbox = Sandbox::new();
    let place = sandbox.path("place");
    sandbox.write("place/app.txt", "one");
    let mut session = sandbox.start([
        "-C",
        "place",
        "--interval",
        "100ms",
        "-w",
        "app.txt",
        "--",
        "sh",
        "-c",
        "cat app.txt; exec sleep 600",
    ]);
    session.wait_armed(1);
    fs::remove_dir_all(&place).expect("the test owns it");
    let exited = session.wait("exited");
    assert_eq!(exited["code"], 126, "{}", session.account());
    assert!(exited["status"].as_str().is_some_and(|text| text.contains("its directory")), "{exited}");
    sandbox.write("place/app.txt", "two");
    session.wait_until("the new content", || session.stdout().ends_with("two"));
    session.stop().assert_code(143);
}

#[test]
fn restarts_work_after_the_binary_of_reloadrun_was_deleted_or_replaced() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let program = sandbox.beside().join("copy-of-reloadrun");
    fs::copy(env!("CARGO_BIN_EXE_reloadrun"), &program).expect("there is room");
    let inner = sandbox.command(["--events", sandbox.events().to_str().expect("plain")]);
    let mut copy = std::process::Command::new(&program);
    copy.args(inner.get_args()).args(["-w", "app.txt", "--", "sleep", "600"]).current_dir(sandbox.root());
    copy.env("XDG_RUNTIME_DIR", sandbox.runtime()).env(crate::support::sandbox::MARK, "1").env_remove("CI");
    let mut session = Session::start(copy, &sandbox);
    session.wait_armed(1);
    fs::remove_file(&program).expect("the test owns it");
    sandbox.write("app.txt", "two");
    session.wait_armed(2);
    fs::write(&program, "no program at all").expect("the test owns it");
    sandbox.write("app.txt", "three");
    session.wait_armed(3);
    session.stop().assert_code(143);
}

/// Descriptors, threads, resident KiB and children of a process.
fn growth(pid: i32) -> [usize; 4] {
    let count = |name: &str| fs::read_dir(format!("/proc/{pid}/{name}")).map_or(0, Iterator::count);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    [count("fd"), count("task"), resident.unwrap_or(0), children.split_whitespace().count()]
}

/// The same, as soon as only the present child is left. Older children have sent their last report, but the kernel
/// needs time to remove their watches, so several may still be exiting on a busy machine.
fn settled_growth(session: &Session) -> [usize; 4] {
    session.wait_until("the end of the children before", || growth(session.pid())[3] == 1);
    growth(session.pid())
}

#[test]
fn a_thousand_generations_leak_nothing_in_the_supervisor() {
    const GENERATIONS: u64 = 1000;
    let sandbox = Sandbox::new();
    // Another old file from time to time, so that the restarts are not delayed as a series.
    let files: Vec<_> = (0..=GENERATIONS / 20).map(|number| sandbox.write(format!("{number}.txt"), "begin")).collect();
    let mut session = sandbox.start(["-w", "*.txt", "--", "sleep", "600"]);
    session.wait_armed(1);
    let mut events = fs::File::open(sandbox.events()).expect("a generation is armed");
    let mut armed = 0;
    let mut early = [0; 4];
    for generation in 2..=GENERATIONS {
        fs::write(&files[generation as usize / 20], generation.to_string()).expect("the test owns it");
        let deadline = Instant::now() + Duration::from_secs(60);
        while armed < generation {
            let mut more = String::new();
            events.read_to_string(&mut more).expect("whole lines come at once");
            armed += more.matches("\"event\":\"watching\"").count() as u64;
            assert!(Instant::now() < deadline, "generation {generation} did not come\n{}", session.account());
            std::thread::sleep(Duration::from_millis(1));
        }
        if generation == 50 {
            early = settled_growth(&session);
        }
    }
    let late = settled_growth(&session);
    let (before, after) = (format!("{early:?}"), format!("{late:?}"));
    assert!(late[0] <= early[0] + 1 && late[1] == early[1], "descriptors or threads: {before}, {after}");
    assert!(late[2] <= early[2] + 1024, "resident KiB: {before}, {after}");
    assert_eq!(late[3], 1, "children: {before}, {after}");
    eprintln!("descriptors, threads, resident KiB, children at generation 50 and {GENERATIONS}: {before}, {after}");
    session.stop().assert_code(143);
}

#[test]
fn a_standard_error_that_is_closed_or_has_no_reader_changes_nothing() {
    for shell in ["exec \"$@\" 2>&-", "exec \"$@\" 2> >(true)"] {
        let sandbox = Sandbox::new();
        sandbox.write("app.txt", "one");
        let silent = ["bash", "-c", shell, "bash"];
        let arguments = ["-w", "app.txt", "--", "sh", "-c", "echo $RELOADRUN_GENERATION; exec sleep 600"];
        let Some(mut session) = start_in(&sandbox, &silent, &arguments) else {
            return left_out("a closed standard error: bash is not installed");
        };
        session.wait_armed(1);
        session.wait_until("the first command", || session.stdout() == "1\n");
        sandbox.write("app.txt", "two");
        session.wait_armed(2);
        session.wait_until("the second command", || session.stdout() == "1\n2\n");
        let ended = session.stop();
        ended.assert_code(143);
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn removing_the_directory_of_a_given_lockfile_ends_it_like_removing_the_lockfile() {
    let sandbox = Sandbox::new();
    let place = sandbox.beside().join("locks");
    fs::create_dir(&place).expect("a fresh name");
    let lockfile = place.join("it.lock").display().to_string();
    let mut session =
        sandbox.start(["--interval", "100ms", "--lockfile", &lockfile, "-w", "*.txt", "--", "sleep", "600"]);
    session.wait_armed(1);
    fs::remove_dir_all(&place).expect("the test owns it");
    let ended = session.wait_end();
    ended.assert_code(0);
    assert!(ended.events.iter().any(|event| event["reason"] == "the lockfile was removed"), "{ended:#?}");
}
