//! A clock that differs from the file system's, as with NFS, virtiofs and WSL: no change is lost, and none counts
//! twice. In these tests a preloaded library shifts reloadrun's clock; the kernel's file times are not shifted.

use std::process::Command;

use crate::ends::left_out;
use crate::support::watched::{assert_fence, assert_restart};
use crate::support::{Sandbox, Session};

/// Shifts the wall clock by a number of milliseconds.
const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, time);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) {
        long long now = time->tv_sec * 1000000000LL + time->tv_nsec + atoll(getenv("SHIFT_MS")) * 1000000;
        time->tv_sec = now / 1000000000;
        time->tv_nsec = now % 1000000000;
    }
    return result;
}
"#;

/// More directories than are watched before the start, so changes since then are recognised by file times.
const DIRECTORIES: usize = 400;

/// A session with a shifted clock; `None` without a compiler.
fn start(sandbox: &Sandbox, shift_ms: i64, arguments: &[&str]) -> Option<Session> {
    let (source, library) = (sandbox.beside().join("shift.c"), sandbox.beside().join("shift.so"));
    std::fs::write(&source, SHIFT).expect("the sandbox is writable");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").output();
    if !compiled.is_ok_and(|output| output.status.success()) {
        left_out("a clock that differs: no C compiler");
        return None;
    }
    for number in 0..DIRECTORIES {
        sandbox.write(format!("d{number}/x.py"), "x");
        sandbox.write(format!("d{number}/x.txt"), "x");
    }
    for name in ["a.py", "b.py", "a.txt"] {
        sandbox.write(name, "one");
    }
    // Longer than the difference that a slow clock can explain; the pause is the test.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let mut session = sandbox.start_with(arguments.iter().chain(&["--", "sleep", "600"]), |command| {
        command.env("LD_PRELOAD", &library).env("SHIFT_MS", shift_ms.to_string());
    });
    session.wait_armed(1);
    Some(session)
}

/// Two saves, and two in directories that are watched late, cause four restarts.
fn assert_one_restart_each(shift_ms: i64, arguments: &[&str]) {
    let sandbox = Sandbox::new();
    let Some(mut session) = start(&sandbox, shift_ms, arguments) else { return };
    let mut generation = 1;
    for name in ["a.py", "b.py", "d7/x.py", "d300/x.py"] {
        sandbox.write(name, "two");
        generation += 1;
        assert_restart(&mut session, generation, &[name.rsplit('/').next().expect("a name")]);
    }
    assert_fence(&sandbox, &mut session, generation + 1);
    let ended = session.stop();
    assert_eq!(ended.count("started") as u64, generation + 1, "{ended:#?}");
}

#[test]
fn each_save_is_one_restart_with_a_clock_that_is_behind() {
    assert_one_restart_each(-1500, &["-w", "*.py"]);
    assert_one_restart_each(-60_000, &["-w", "*.py"]);
}

#[test]
fn each_save_is_one_restart_with_a_clock_that_is_behind_where_changes_are_polled() {
    assert_one_restart_each(-1500, &["-w", "*.py", "--backend", "poll", "--interval", "100ms"]);
}

#[test]
fn each_save_is_one_restart_with_a_clock_that_is_ahead() {
    assert_one_restart_each(1500, &["-w", "*.py"]);
}

#[test]
fn a_save_before_its_watch_exists_is_not_lost_with_a_clock_that_is_ahead() {
    let sandbox = Sandbox::new();
    let Some(mut session) = start(&sandbox, 1500, &["-w", "*.txt"]) else { return };
    let mut generation = 1;
    for number in 0..6 {
        sandbox.write("a.txt", format!("number {number}"));
        generation += 1;
        session.wait_started(generation);
        // Most likely before this directory has a watch.
        sandbox.write("d399/x.txt", format!("number {number}"));
        let started = session.wait_armed(generation + 1);
        assert!(started["changes"].to_string().contains("d399/x.txt"), "{}", session.account());
        generation += 1;
    }
    session.stop();
}
