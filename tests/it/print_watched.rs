//! `--print-watched`: what a command reads, writes, lists and misses.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::ends::{left_out, wrapped};
use super::out_of_reach::{as_user, with_root_inside};
use crate::support::Sandbox;

type Lines = BTreeMap<String, Value>;

/// The lines by path, and the last one.
fn read(output: &Output) -> (Lines, Value) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut lines: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}"))).collect();
    let end = lines.pop().expect("there is a last line");
    let by_path = lines.into_iter().map(|line| (line["path"].as_str().expect("a path").to_owned(), line));
    (by_path.collect(), end)
}

/// Runs a shell script.
fn trace(sandbox: &Sandbox, options: &[&str], script: &str) -> (Lines, Value, Output) {
    let mut command = sandbox.command(["--print-watched=json"]);
    command.args(options).args(["--", "sh", "-c", script]).stdin(Stdio::null());
    let output = command.output().expect("it can be started");
    let (lines, end) = read(&output);
    (lines, end, output)
}

#[test]
fn each_path_has_its_role_and_says_what_a_change_of_it_does() {
    let sandbox = Sandbox::new();
    sandbox.write("read.txt", "x");
    sandbox.write("asked.txt", "x");
    sandbox.write("real.txt", "x");
    sandbox.write("updated.txt", "x");
    sandbox.write("conf.d/one.conf", "x");
    fs::write(sandbox.beside().join("outside.txt"), "x").unwrap();
    symlink("real.txt", sandbox.path("link.txt")).unwrap();
    sandbox.script("tool", "cat read.txt link.txt ../outside.txt conf.d/*.conf");
    let script = "./tool; test -e asked.txt; test -e absent.txt; test -e node_modules/x; echo > out.txt; echo >> updated.txt; \
        cat updated.txt; echo > tmp; mv tmp made.txt; mkdir -p conf.d";
    let (paths, end, output) = trace(&sandbox, &[], script);
    assert_eq!(output.status.code(), Some(0));
    let at = |name: &str| &paths[sandbox.path(name).to_str().unwrap()];
    for (name, role, verdict, restarts) in [
        ("tool", "executed", "counts", true),
        ("read.txt", "read", "counts", true),
        ("link.txt", "read", "counts", true),
        ("real.txt", "read", "counts", true),
        ("asked.txt", "asked", "counts", true),
        ("absent.txt", "missed", "counts", true),
        ("node_modules/x", "missed", "not_missed", false),
        ("out.txt", "written", "own", false),
        ("updated.txt", "written", "own", false),
        ("tmp", "written", "own", false),
        ("made.txt", "written", "own", false),
        ("conf.d/one.conf", "read", "counts", true),
        ("conf.d", "listed", "counts", true),
        ("../outside.txt", "read", "counts", true),
    ] {
        let line = match name.strip_prefix("../") {
            Some(name) => &paths[sandbox.beside().join(name).to_str().unwrap()],
            None => at(name),
        };
        assert_eq!(
            (&line["role"], &line["verdict"], &line["restarts"]),
            (&role.into(), &verdict.into(), &restarts.into()),
            "{name}: {line}"
        );
    }
    assert_eq!(at("link.txt")["target"], sandbox.path("real.txt").to_str().unwrap());
    assert_eq!(at("conf.d")["new_extensions"], serde_json::json!(["conf"]));
    assert_eq!(at("out.txt")["writes"], 1);
    assert_eq!(paths["/bin/sh"]["role"], "executed", "the interpreter of a script is opened by the kernel");
    assert_eq!(paths["/bin/sh"]["verdict"], "installed");
    assert!(!paths.keys().any(|path| path.starts_with("/dev/") || path.starts_with("/proc/")));
    assert_eq!(end["complete"], true);
}

#[test]
fn patterns_say_what_a_change_does_and_the_trace_says_what_they_leave_out() {
    let sandbox = Sandbox::new();
    sandbox.write("a.py", "");
    sandbox.write("a.toml", "");
    let (paths, ..) = trace(&sandbox, &["-w", "*.py"], "cat a.py a.toml");
    let at = |name: &str| &paths[sandbox.path(name).to_str().unwrap()];
    assert_eq!((&at("a.py")["restarts"], &at("a.toml")["restarts"]), (&true.into(), &false.into()));
    assert_eq!(at("a.toml")["verdict"], "counts");
}

#[test]
fn the_exit_code_and_standard_output_are_those_of_the_command() {
    let sandbox = Sandbox::new();
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137)] {
        let (.., output) = trace(&sandbox, &[], &format!("echo out; {script}"));
        assert_eq!(output.status.code(), Some(code), "{script}");
        assert_eq!(output.stdout, b"out\n");
    }
    let output = sandbox.command(["--print-watched", "--", "no-such-program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    let output = sandbox.command(["--print-watched=xml", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn as_text_it_has_a_line_for_each_path() {
    let sandbox = Sandbox::new();
    sandbox.write("read.txt", "x");
    let output =
        sandbox.command(["--print-watched", "--", "sh", "-c", "cat read.txt; echo > out.txt"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    for line in [
        "reloadrun: read     read.txt: a change restarts: everything that is not ignored\n",
        "reloadrun: written  out.txt: a change does nothing: the command writes it\n",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    assert!(said.lines().all(|line| line.starts_with("reloadrun: ")), "{said}");
}

#[test]
fn what_the_command_leaves_running_is_ended_and_a_term_ends_all() {
    let sandbox = Sandbox::new();
    let (.., output) = trace(&sandbox, &["--stop-timeout", "200ms"], "setsid sleep 600 & exit 5");
    assert_eq!(output.status.code(), Some(5));
    let mut running = sandbox
        .command(["--print-watched=json", "--", "sh", "-c", "echo > begun; exec sleep 600"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !sandbox.path("begun").exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(running.try_wait().unwrap(), None);
    }
    let status = std::process::Command::new("kill").arg(running.id().to_string()).status().unwrap();
    assert!(status.success());
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/begun\""), "{output:?}");
}

#[test]
fn inside_of_itself_it_says_why_it_cannot_work_and_runs_nothing() {
    let sandbox = Sandbox::new();
    let inner = format!("{} --print-watched -- touch ran", env!("CARGO_BIN_EXE_reloadrun"));
    let output = sandbox.command(["--print-watched", "--", "sh", "-c", &inner]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("reloadrun: the command cannot be traced: something else traces its system calls"), "{said}");
    assert_eq!(output.status.code(), Some(125));
    assert!(!sandbox.path("ran").exists());
}

#[test]
fn io_uring_and_another_root_make_it_incomplete() {
    let sandbox = Sandbox::new();
    let script = "python3 -c 'import ctypes; ctypes.CDLL(None).syscall(425, 0, 0)'";
    let (_, end, _) = trace(&sandbox, &[], script);
    assert_eq!((&end["complete"], &end["gaps"]), (&false.into(), &serde_json::json!(["io_uring"])));
}

#[test]
fn an_ordinary_user_is_told_that_a_set_uid_program_had_no_effect() {
    let Some((sandbox, program)) = with_root_inside() else {
        return left_out("tracing a set-uid program: none can be had here");
    };
    let script = format!("cat app.txt; {program} rooted /nowhere/at/all");
    let inner = sandbox.command(["--print-watched=json", "--", "sh", "-c", &script]);
    let [user, groups] = as_user();
    let output = wrapped(&["setpriv", &user, &groups], &inner, &sandbox).output().expect("it can be started");
    let (_, end) = read_json(&output);
    assert_eq!(end["without_rights"], serde_json::json!([program]), "{output:?}");
    // As root, it has its rights.
    let inner =
        sandbox.command(["--print-watched=json", "--", "sh", "-c", &script]).output().expect("it can be started");
    let (lines, end) = read_json(&inner);
    assert_eq!((&end["without_rights"], &end["complete"]), (&serde_json::json!([]), &true.into()));
    assert_eq!(lines[sandbox.path("app.txt").to_str().unwrap()]["role"], "read");
}

/// As in a container, where root may not look into the processes of others.
#[test]
fn a_process_that_drops_its_rights_makes_it_incomplete_where_it_cannot_be_read() {
    let Some((sandbox, _)) = with_root_inside() else {
        return left_out("tracing a process of another user: there is none");
    };
    let [user, groups] = as_user();
    let script = format!("cat app.txt; exec setpriv {user} {groups} cat app.txt");
    let inner = sandbox.command(["--print-watched=json", "--", "sh", "-c", &script]);
    let without = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    let output = wrapped(&without, &inner, &sandbox).output().expect("it can be started");
    let (lines, end) = read_json(&output);
    assert_eq!(output.stdout, b"oneone", "the command is not harmed");
    assert_eq!((&end["complete"], &end["gaps"]), (&false.into(), &serde_json::json!(["unreadable"])), "{output:?}");
    assert_eq!(lines[sandbox.path("app.txt").to_str().unwrap()]["role"], "read");
}

/// The JSON among what the command says itself.
fn read_json(output: &Output) -> (Lines, Value) {
    let said = String::from_utf8_lossy(&output.stderr);
    let json: Vec<&str> = said.lines().filter(|line| line.starts_with('{')).collect();
    read(&Output { stderr: json.join("\n").into_bytes(), ..output.clone() })
}

#[test]
fn a_chroot_moves_the_paths_of_a_process() {
    let sandbox = Sandbox::new();
    sandbox.write("jail/data.txt", "x");
    let script = "python3 -c 'import os; os.chroot(\"jail\"); os.stat(\"/data.txt\")'";
    let (lines, end, output) = trace(&sandbox, &[], script);
    if !output.status.success() {
        return left_out("tracing a chroot: only root may make one");
    }
    assert_eq!(lines[sandbox.path("jail/data.txt").to_str().unwrap()]["role"], "asked");
    assert_eq!(end["complete"], true);
}

/// The process may end before the thread that has answered its last call has told of it.
#[test]
fn the_last_call_before_the_end_is_not_lost() {
    let sandbox = Sandbox::new();
    for round in 0..25 {
        let (lines, ..) = trace(&sandbox, &[], "echo > last.txt");
        assert!(lines.contains_key(sandbox.path("last.txt").to_str().unwrap()), "in round {round}: {lines:#?}");
    }
}
