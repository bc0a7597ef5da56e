//! The output for people, and the events for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::session::{is_alive, signal};
use crate::support::terminal::pty;
use crate::support::{Sandbox, Session};

fn run(sandbox: &Sandbox, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        sandbox.command(arguments).stdin(Stdio::null()).output().expect("reloadrun starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// A sandbox with `app.txt`, and a session that watches it and runs a command which says `hello`.
fn running(arguments: &[&str]) -> (Sandbox, Session) {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let command = ["-w", "app.txt", "--", "sh", "-c", "echo hello; exec sleep 600"];
    let mut session = sandbox.start(arguments.iter().chain(&command));
    session.wait_armed(1);
    session.wait_until("the command", || session.stdout() == "hello\n");
    (sandbox, session)
}

/// Saves `app.txt` and waits until the next command runs and all watches are set up.
fn restart(sandbox: &Sandbox, session: &mut Session, generation: u64) {
    sandbox.write("app.txt", format!("for generation {generation}"));
    session.wait_armed(generation);
    session.wait_until("the command", || session.stdout() == "hello\n".repeat(generation as usize));
}

#[test]
fn there_is_one_line_at_the_start_and_one_for_each_restart_on_standard_error_only() {
    let (sandbox, mut session) = running(&[]);
    restart(&sandbox, &mut session, 2);
    restart(&sandbox, &mut session, 3);
    let ended = session.stop();
    assert_eq!(ended.stdout, "hello\n".repeat(3));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].starts_with("reloadrun: watching 'app.txt': 1 file in 1 directory (inotify); running sh -c 'echo hello; exec sleep 600' (pid "), "{lines:#?}");
    for (line, generation) in lines[1..].iter().zip(2..) {
        assert!(line.starts_with("reloadrun: app.txt changed (-w 'app.txt'); stopped in "), "{line}");
        assert!(line.contains(&format!("generation {generation} runs after ")) && line.contains("(pid "), "{line}");
    }
}

#[test]
fn quiet_prints_only_errors() {
    let (sandbox, mut session) = running(&["-q"]);
    restart(&sandbox, &mut session, 2);
    assert_eq!(session.stderr(), "");
    sandbox.write("reloadrun.toml", "intervall = 1\n");
    session.wait("config_rejected");
    session.wait_armed(3);
    signal(session.child_pid(), "KILL");
    session.wait("degraded");
    session.wait_armed(4);
    let ended = session.stop();
    ended.assert_code(143);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].contains("intervall: unknown key"), "{lines:#?}");
    assert!(lines[1].contains("the last good one stays"), "{lines:#?}");
    assert!(lines[2].contains("the child of generation 3 is gone"), "{lines:#?}");
}

#[test]
fn verbose_prints_each_decision_once() {
    let (sandbox, mut session) = running(&["-v", "--interval", "100ms"]);
    let said = |what: &str| session.stderr().matches(what).count();
    for _ in 0..3 {
        sandbox.write("notes.md", "one");
        session
            .wait_until("a decision", || said("reloadrun: notes.md does not count (no watch pattern matches)\n") > 0);
    }
    // Nothing may be printed during some heartbeats, so the test must sleep.
    std::thread::sleep(std::time::Duration::from_millis(500));
    restart(&sandbox, &mut session, 2);
    let ended = session.stop();
    let patterns = [
        "watching 'app.txt': 1 file in ",
        "notes.md does not count (no watch pattern matches)",
        "app.txt changed and counts (-w 'app.txt')",
        "stopping with SIGTERM (change)",
        "stopped in ",
        "app.txt changed (-w 'app.txt'); stopped in ",
        "watching 'app.txt': 1 file in ",
        "stopping with SIGTERM (request)",
        "stopped in ",
        "ending with 143: SIGTERM",
    ];
    // Under load a save may be seen when it is half done, and then once more. The digest comes when it is made.
    let varies = |line: &&str| line.contains(" is as it was") || line.contains("the digest of what is watched");
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !varies(line)).collect();
    assert_eq!(lines.len(), patterns.len(), "{lines:#?}");
    for (line, pattern) in lines.iter().zip(patterns) {
        assert!(line.starts_with(&format!("reloadrun: {pattern}")), "{pattern:?} is not the start of {line:?}");
    }
    assert_eq!(ended.stdout, "hello\n".repeat(2));
}

#[test]
fn the_internal_log_is_filtered_by_a_variable_and_escaped() {
    let sandbox = Sandbox::new();
    let log = |filter: &str| {
        let arguments = ["--on-exit", "exit", "-w", "app.txt", "--", "sh", "-c", "exit 4", "a\x1b[31m\nb"];
        let mut command = sandbox.command(arguments);
        let Output { status, stdout, stderr } =
            command.env("RELOADRUN_LOG", filter).stdin(Stdio::null()).output().expect("reloadrun starts");
        assert!(stdout.is_empty());
        (status.code(), String::from_utf8(stderr).expect("text"))
    };
    for (filter, inner) in [("", false), ("debug", true), ("info", false), ("reloadrun::supervisor=trace", true)] {
        let (code, said) = log(filter);
        assert_eq!(code, Some(4));
        assert_eq!(said.contains("reloadrun: DEBUG reloadrun::supervisor"), inner, "{filter}: {said}");
        assert!(said.lines().all(|line| line.starts_with("reloadrun: ")) && !said.contains('\x1b'), "{filter}: {said}");
    }
    let (code, said) = log("degub");
    assert_eq!(code, Some(2));
    assert!(said.starts_with("reloadrun: RELOADRUN_LOG=degub: expected a level (error, warn, "), "{said}");
}

#[test]
fn a_path_with_special_characters_is_one_line() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["-w", "*.txt", "--", "sleep", "600"]);
    session.wait_armed(1);
    let odd = sandbox.write("a\n\x1b[31mb.txt", "new");
    let changed = session.wait("changed");
    assert_eq!(changed["changes"][0]["path"], odd.to_str().expect("UTF-8"), "programs get the path as it is");
    session.wait_started(2);
    let ended = session.stop();
    assert!(ended.stderr.lines().all(|line| line.starts_with("reloadrun: ")), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\x1b') && ended.stderr.contains("[31mb.txt created"), "{}", ended.stderr);
}

/// The output of reloadrun when standard error is a terminal.
fn said_to_a_terminal(sandbox: &Sandbox, arguments: &[&str], touch: impl FnOnce(&mut Command)) -> String {
    let (master, slave) = pty().expect("a terminal is available");
    let mut command = sandbox.command(arguments);
    command.args(["--on-exit", "exit", "--", "no-such-program-anywhere"]).env("TERM", "xterm");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(slave);
    touch(&mut command);
    let status = command.status().expect("reloadrun starts");
    assert_eq!(status.code(), Some(127));
    // This closes the last slave descriptor; the written text can still be read from the master.
    drop(command);
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = nix::unistd::read(master.as_fd(), &mut buffer) {
        said.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(said).expect("text")
}

#[test]
fn colour_is_used_at_a_terminal_or_on_request() {
    let sandbox = Sandbox::new();
    let colour = "\x1b[33mreloadrun:\x1b[0m ";
    let plain = "reloadrun: ";
    for (arguments, variable, begin) in [
        (&[][..], None, colour),
        (&["--color", "auto"], None, colour),
        (&[], Some(("NO_COLOR", "1")), plain),
        (&[], Some(("NO_COLOR", "")), colour),
        (&[], Some(("TERM", "dumb")), plain),
        (&["--color", "never"], None, plain),
        (&["--color", "always"], Some(("NO_COLOR", "1")), colour),
    ] {
        let said = said_to_a_terminal(&sandbox, arguments, |command| {
            if let Some((name, value)) = variable {
                command.env(name, value);
            }
        });
        assert!(
            said.contains(begin) && (begin == colour || !said.contains('\x1b')),
            "{arguments:?} {variable:?}: {said:?}"
        );
    }
    for (arguments, colourful) in [(&[][..], false), (&["--color", "always"], true), (&["--color", "never"], false)] {
        let arguments = [arguments, &["--on-exit", "exit", "--", "no-such-program-anywhere"]].concat();
        let (_, _, stderr) = run(&sandbox, &arguments);
        assert_eq!(stderr.contains(colour), colourful, "{arguments:?}: {stderr:?}");
        assert_eq!(stderr.contains('\x1b'), colourful, "{arguments:?}: {stderr:?}");
    }
}

#[test]
fn an_explanation_names_the_rule_and_runs_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write(".gitignore", "# made by the build\nbuild/\n*.tmp\n");
    sandbox.write("conf/app.toml", "");
    let by_line = |line: &str| format!("'{line}' in .gitignore");
    let (build, tmp) = (by_line("build/"), by_line("*.tmp"));
    let cases: [(&[&str], &str, i32, &str); 14] = [
        (&[], "app.py", 0, "everything that is not ignored"),
        (&["-w", "*.py"], "app.py", 0, "-w '*.py'"),
        (&["-w", "*.py"], "deep/er/app.py", 0, "-w '*.py'"),
        (&["-w", "*.py"], "app.rs", 1, "no watch pattern matches"),
        (&["-w", "*.py", "-i", "test_*"], "test_app.py", 1, "-i 'test_*'"),
        (&[], "build/app.py", 1, &build),
        (&[], "deep/x.tmp", 1, &tmp),
        (&["-w", "*.tmp"], "x.tmp", 1, &tmp),
        (&["-w", "x.tmp"], "x.tmp", 0, "-w 'x.tmp'"),
        (&["--no-ignore"], "x.tmp", 0, "everything that is not ignored"),
        (&[], "node_modules/x/index.js", 1, "'node_modules/' in the built-in ignore list"),
        (&[], "reloadrun.toml", 0, "the config file"),
        (&["--lockfile", "it.lock"], "it.lock", 1, "reloadrun or the command writes it"),
        (&["-C", "conf", "-w", "*.toml"], "conf/app.toml", 0, "-w '*.toml'"),
    ];
    for (arguments, path, code, rule) in cases {
        let (effect, absolute) = (["leads to a restart", "does nothing"][code as usize], sandbox.path(path));
        for path in [path, absolute.to_str().expect("plain")] {
            // With a command, as after editing the last command line.
            for command in [&[][..], &["--", "sh", "-c", "touch ../marker"]] {
                let arguments = [arguments, &["--explain", path], command].concat();
                let said = format!("a change of {path} {effect}: {rule}\n");
                let (ended, answer, beside) = run(&sandbox, &arguments);
                assert_eq!((ended, answer), (Some(code), said), "{arguments:?}");
                // With patterns, no run would know more.
                let is_all = arguments.contains(&"-w");
                assert_eq!(beside.lines().count(), usize::from(!is_all), "{beside}");
                assert!(is_all || beside.starts_with("reloadrun: no run was asked: "), "{beside}");
            }
        }
    }
    assert!(!sandbox.beside().join("marker").exists());
    assert_eq!(fs::read_dir(sandbox.runtime()).expect("it exists").count(), 0, "no lockfile either");
    let (code, said, _) = run(&sandbox, &["--on-change", "signal:HUP", "--explain", "app.py"]);
    assert_eq!(
        (code, &*said),
        (Some(0), "a change of app.py leads to SIGHUP to the command: everything that is not ignored\n")
    );
}

#[test]
fn an_explanation_agrees_with_what_happens() {
    let sandbox = Sandbox::new();
    sandbox.write(".gitignore", "*.tmp\n");
    let mut session = sandbox.start(["-w", "*.txt;*.tmp", "--", "sleep", "600"]);
    session.wait_armed(1);
    for name in ["b.tmp", "c.rs", "a.txt"] {
        sandbox.write(name, "new");
    }
    let changed = session.wait("changed");
    let paths: Vec<_> = changed["changes"].as_array().expect("a list").iter().map(|change| &change["path"]).collect();
    assert_eq!(paths, [sandbox.path("a.txt").to_str().expect("plain")]);
    session.stop();
    for (name, code) in [("b.tmp", 1), ("c.rs", 1), ("a.txt", 0)] {
        assert_eq!(run(&sandbox, &["-w", "*.txt;*.tmp", "--explain", name]).0, Some(code), "{name}");
    }
}

#[test]
fn help_and_version_are_on_standard_output() {
    let sandbox = Sandbox::new();
    for (word, part) in [
        ("-h", "--stop-timeout <DURATION>"),
        ("--help", "Every option is also a key of reloadrun.toml"),
        ("-V", concat!("reloadrun ", env!("CARGO_PKG_VERSION"), "\n")),
        ("--version", concat!("reloadrun ", env!("CARGO_PKG_VERSION"), "\n")),
    ] {
        let (code, stdout, stderr) = run(&sandbox, &[word]);
        assert_eq!((code, &*stderr), (Some(0), ""), "{word}");
        assert!(stdout.contains(part), "{part:?} is not in {stdout}");
    }
    let (short, long) = (run(&sandbox, &["-h"]).1, run(&sandbox, &["--help"]).1);
    assert!(short.len() < long.len());
    for option in [
        "--watch",
        "--ignore",
        "--no-ignore",
        "--directory",
        "--config",
        "--backend",
        "--interval",
        "--debounce",
        "--compare",
        "--no-follow",
        "--discover",
        "--discover-root",
        "--on-change",
        "--on-exit",
        "--stop-signal",
        "--stop-group",
        "--stop-timeout",
        "--lockfile",
        "--events",
        "--explain",
        "--clear",
        "--color",
        "--quiet",
        "--verbose",
    ] {
        assert!(short.contains(option) && long.contains(option), "{option} has no help");
    }
}

/// The keys of an event besides those in every event.
fn keys(event: &str) -> &'static [&'static str] {
    match event {
        "config_loaded" => &["path"],
        "config_rejected" => &["path", "mistakes"],
        "started" => &["pid", "command", "changes", "reason", "stop_ms", "restart_ms"],
        "watching" => &["patterns", "root", "directories", "files", "backend", "polled"],
        "discovered" => &["files", "elsewhere", "written", "narrows"],
        "changed" => &["changes", "action"],
        "stopping" => &["signal", "reason"],
        "stopped" => &["took_ms", "killed"],
        "exited" => &["code", "status", "ran_ms"],
        "waiting" => &["for", "delay_ms"],
        "digest" => &["digest", "files"],
        "degraded" => &["kind", "message"],
        "finished" => &["code", "reason"],
        other => panic!("unknown event {other}"),
    }
}

fn keys_of(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn assert_documented(events: &[Value]) {
    let (mut last_ns, mut last_generation) = (0, 0);
    for event in events {
        let name = event["event"].as_str().expect("every event has a name");
        let mut expected: BTreeSet<&str> =
            ["event", "generation", "monotonic_ns", "time"].into_iter().chain(keys(name).iter().copied()).collect();
        if event["signal"].is_string() {
            expected.insert("signal");
        }
        assert_eq!(keys_of(event), expected, "{event}");
        for change in event["changes"].as_array().into_iter().flatten() {
            assert_eq!(keys_of(change), ["path", "kind", "rule"].into(), "{event}");
            assert!(["created", "modified", "deleted"].contains(&change["kind"].as_str().expect("a text")), "{event}");
        }
        let (ns, generation) =
            (event["monotonic_ns"].as_u64().expect("a number"), event["generation"].as_u64().expect("a number"));
        assert!(ns >= last_ns && generation >= last_generation && generation >= 1, "out of order: {event}");
        (last_ns, last_generation) = (ns, generation);
        let time = humantime::parse_rfc3339(event["time"].as_str().expect("a text")).expect("RFC 3339");
        assert!(time.elapsed().is_ok_and(|age| age.as_secs() < 600), "{event}");
    }
}

#[test]
fn the_event_stream_has_all_events_with_the_documented_keys() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "watch = 'app.txt'\n");
    sandbox.write("app.txt", "one");
    let script = "[ -e ../end ] && kill -USR1 $$; exec sleep 600";
    let mut session = sandbox.start(["--", "sh", "-c", script]);
    session.wait_armed(1);
    sandbox.write("reloadrun.toml", "watch = 3\n");
    session.wait("config_rejected");
    session.wait_armed(2);
    signal(session.child_pid(), "KILL");
    assert_eq!(session.wait("degraded")["kind"], "child_died");
    session.wait_armed(3);
    fs::write(sandbox.beside().join("end"), "").expect("the test owns it");
    sandbox.write("app.txt", "two");
    let exited = session.wait("exited");
    assert_eq!(
        (&exited["code"], &exited["signal"], &exited["status"]),
        (&138.into(), &"SIGUSR1".into(), &"was killed by SIGUSR1".into())
    );
    session.wait("waiting");
    let ended = session.stop();
    ended.assert_code(143);
    assert_documented(&ended.events);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &ended.events {
        *seen.entry(event["event"].as_str().expect("a name")).or_default() += 1;
    }
    let all = [
        "changed",
        "config_loaded",
        "config_rejected",
        "degraded",
        "exited",
        "finished",
        "started",
        "stopped",
        "stopping",
        "waiting",
        "watching",
    ];
    // The digest of a generation that is soon over may not come.
    seen.remove("digest");
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), all);
    assert_eq!((seen["started"], seen["finished"]), (4, 1));
    let finished = ended.events.last().expect("there are events");
    assert_eq!(
        (&finished["event"], &finished["code"], &finished["reason"]),
        (&"finished".into(), &143.into(), &"SIGTERM".into())
    );
}

#[test]
fn events_can_go_to_standard_error_between_the_lines_for_people() {
    let sandbox = Sandbox::new();
    let command = ["--on-exit", "exit", "--", "sh", "-c", "exit 4"];
    let (code, stdout, stderr) = run(&sandbox, &[&["--events", "-"], &command[..]].concat());
    assert_eq!((code, &*stdout), (Some(4), ""));
    let (people, programs): (Vec<&str>, Vec<&str>) = stderr.lines().partition(|line| line.starts_with("reloadrun: "));
    assert!(people.iter().any(|line| line.contains("the command exited with 4")), "{stderr}");
    let events: Vec<Value> = programs.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_documented(&events);
    assert_eq!(events.last().expect("there are events")["event"], "finished");
    let (_, _, stderr) = run(&sandbox, &[&["-q", "--events", "-"], &command[..]].concat());
    assert!(stderr.lines().all(|line| line.starts_with('{')), "{stderr}");
}

#[test]
fn events_can_go_to_a_descriptor_that_the_command_does_not_get() {
    let sandbox = Sandbox::new();
    let inner = sandbox.command([
        "--events",
        "fd:3",
        "--on-exit",
        "exit",
        "--",
        "sh",
        "-c",
        "if (: >&3) 2>/dev/null; then exit 9; fi; exit 4",
    ]);
    let mut outer = super::ends::wrapped(&["sh", "-c", "exec \"$@\" 3>../events.3", "sh"], &inner, &sandbox);
    let output = outer.output().expect("a shell starts");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let text = fs::read_to_string(sandbox.beside().join("events.3")).expect("the shell made it");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_documented(&events);
    assert_eq!(events.last().expect("there are events")["code"], 4);
}

#[test]
fn events_are_appended_to_a_file() {
    let sandbox = Sandbox::new();
    let file = sandbox.beside().join("all.jsonl");
    for _ in 0..2 {
        let (code, _, _) =
            run(&sandbox, &["--events", file.to_str().expect("plain"), "--on-exit", "exit", "--", "true"]);
        assert_eq!(code, Some(0));
    }
    let text = fs::read_to_string(file).expect("it was made");
    assert_eq!(text.lines().filter(|line| line.contains("\"finished\"")).count(), 2, "{text}");
}

#[test]
fn a_reader_of_events_that_closes_does_not_end_reloadrun() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let events = sandbox.events();
    let mut command =
        sandbox.command(["-v", "--events", events.to_str().expect("plain"), "-w", "app.txt", "--", "sleep", "600"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("reloadrun starts");
    let mut stderr = child.stderr.take().expect("piped");
    let mut first = [0];
    stderr.read_exact(&mut first).expect("it says something");
    drop(stderr);
    let seen = || fs::read_to_string(&events).unwrap_or_default();
    let wait = |what: &str, generation: u64| {
        let part = format!("\"event\":\"{what}\",");
        let deadline = std::time::Instant::now() + crate::support::session::DEADLINE;
        while !seen()
            .lines()
            .any(|line| line.contains(&part) && line.contains(&format!("\"generation\":{generation},")))
        {
            assert!(std::time::Instant::now() < deadline, "no {what}:\n{}", seen());
            std::thread::sleep(std::time::Duration::from_millis(4));
        }
    };
    wait("watching", 1);
    sandbox.write("app.txt", "two");
    wait("watching", 2);
    let pid = i32::try_from(child.id()).expect("pids are small");
    assert!(is_alive(pid));
    signal(pid, "TERM");
    assert_eq!(child.wait().expect("the test owns it").code(), Some(143));
}
