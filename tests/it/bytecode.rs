//! A restart always runs the new Python code, however fast the edits come.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::support::watched::line_read;
use crate::support::{Sandbox, Session};

/// Prints the generation and the number of the module. Python may write compiled files.
const MAIN: &str =
    "import os, time, module\nprint(os.environ['RELOADRUN_GENERATION'], module.NUMBER, flush=True)\ntime.sleep(600)\n";

fn module(number: u32) -> String {
    format!("NUMBER = {number}\n")
}

fn start_python(sandbox: &Sandbox, patterns: &str) -> Session {
    sandbox.start_with(["-w", patterns, "--", "python3", "main.py"], |command| {
        command.env_remove("PYTHONDONTWRITEBYTECODE").env_remove("PYTHONPYCACHEPREFIX");
    })
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(now.tv_sec() * 1_000_000_000 + now.tv_nsec()).unwrap()
}

#[test]
fn two_hundred_edits_of_the_same_size_in_the_same_seconds_never_run_old_code() {
    let sandbox = Sandbox::new();
    sandbox.write("module.py", module(1000));
    sandbox.write("main.py", "import module, time\nprint(module.NUMBER, flush=True)\ntime.sleep(600)\n");
    let mut session = start_python(&sandbox, "*.py");
    session.wait_until("the first number", || session.stdout() == "1000\n");
    let mut printed = String::from("1000\n");
    for number in 1001..1201 {
        if number % 50 == 0 {
            // Two seconds without a change end the series of restarts, which would be delayed from the 61st on.
            std::thread::sleep(Duration::from_millis(2100));
        }
        sandbox.write("module.py", module(number));
        session.wait_started(u64::from(number) - 999);
        printed += &format!("{number}\n");
        session.wait_until("the new number", || session.stdout().len() >= printed.len());
        assert_eq!(session.stdout(), printed, "old code ran\n{}", session.account());
    }
    assert!(sandbox.path("__pycache__").is_dir(), "Python did write compiled files");
    session.stop();
}

#[test]
fn edits_a_tenth_of_a_second_apart_are_each_run_by_the_next_start() {
    let sandbox = Sandbox::new();
    sandbox.write("module.py", module(1000));
    sandbox.write("main.py", MAIN);
    let mut session = start_python(&sandbox, "*.py");
    session.wait_armed(1);
    assert_eq!(line_read(&session, 1), "1000");
    let mut saved = vec![(0, 1000)];
    for number in 1001..1201 {
        sandbox.write("module.py", module(number));
        saved.push((now_ns(), number));
        // The pauses of a person who edits, independent of the restarts.
        std::thread::sleep(Duration::from_millis(100));
    }
    session.wait_until("the last number", || session.stdout().ends_with(" 1200\n"));
    let ended = session.stop();
    for line in ended.stdout.lines() {
        let (generation, number) = line.split_once(' ').unwrap();
        let (generation, number): (u64, u32) = (generation.parse().unwrap(), number.parse().unwrap());
        // The change that caused a generation was reported before its command started.
        let told =
            ended.events.iter().find(|event| event["event"] == "changed" && event["generation"] == generation - 1);
        let told = told.map_or(0, |event| event["monotonic_ns"].as_u64().unwrap());
        let (_, least) = saved.iter().rev().find(|(at, _)| *at <= told).unwrap();
        assert!(number >= *least, "generation {generation} ran {number}, and {least} was saved\n{ended:#?}");
    }
    assert!(ended.count("started") <= 201);
}

#[test]
fn only_compiled_files_of_changed_sources_are_removed() {
    let sandbox = Sandbox::new();
    sandbox.write("module.py", module(1));
    sandbox.write("main.py", MAIN);
    let outside = sandbox.beside().join("outside");
    fs::create_dir_all(outside.join("__pycache__")).unwrap();
    for kept in
        ["outside/module.py", "outside/__pycache__/module.cpython-39.pyc", "outside/__pycache__/x.cpython-39.pyc"]
    {
        fs::write(sandbox.beside().join(kept), "kept").unwrap();
    }
    let kept = ["another.cpython-39.pyc", "module.txt", "module.cpython-39.pyc.bak", "module.more.cpython-39.pyc"];
    for name in kept {
        sandbox.write(format!("__pycache__/{name}"), "kept");
    }
    sandbox.write("module.cpython-39.pyc", "kept");
    sandbox.write("__pycache__/module.cpython-39.pyc", "of an older Python");
    // Symlinks to a compiled file outside, and to a directory of them.
    symlink(outside.join("__pycache__/module.cpython-39.pyc"), sandbox.path("__pycache__/module.cpython-38.pyc"))
        .unwrap();
    sandbox.write("pkg/x.py", "");
    symlink(outside.join("__pycache__"), sandbox.path("pkg/__pycache__")).unwrap();
    let mut session = start_python(&sandbox, "*.py");
    session.wait_armed(1);
    assert_eq!(line_read(&session, 1), "1");
    for number in 2..5 {
        sandbox.write("module.py", module(number));
        sandbox.write("pkg/x.py", number.to_string());
        session.wait_until("the new number", || session.stdout().ends_with(&format!(" {number}\n")));
    }
    session.stop();
    assert!(!sandbox.path("__pycache__/module.cpython-39.pyc").exists());
    for name in kept {
        assert_eq!(sandbox.read(format!("__pycache__/{name}")), "kept", "{name}");
    }
    assert_eq!(sandbox.read("module.cpython-39.pyc"), "kept");
    assert!(sandbox.path("__pycache__/module.cpython-38.pyc").is_symlink());
    assert_eq!(fs::read_dir(outside.join("__pycache__")).unwrap().count(), 2);
}

#[test]
fn a_compiled_file_beside_a_source_that_does_not_count_stays() {
    let sandbox = Sandbox::new();
    sandbox.write("module.py", module(1));
    sandbox.write("main.py", MAIN);
    let pyc = sandbox.write("__pycache__/module.cpython-39.pyc", "of an older Python");
    let session = start_python(&sandbox, "main.py");
    assert_eq!(line_read(&session, 1), "1");
    sandbox.write("module.py", module(2));
    sandbox.write("main.py", format!("{MAIN}# edited\n"));
    session.wait_until("the second generation", || session.stdout().contains("\n2 "));
    session.stop();
    assert!(pyc.exists());
}
