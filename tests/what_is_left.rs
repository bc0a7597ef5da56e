//! The last check of the suite: no process and no file of any test is left. Cargo runs test binaries in alphabetical
//! order, so this one comes last.

use std::fs;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// As in `tests/it/support/sandbox.rs`.
const MARK: &[u8] = b"RELOADRUN_TEST=1";
const PREFIX: &str = "reloadrun-test-";

fn marked_processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries
        .filter(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == MARK)
        })
        .map(|entry| {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            format!("{} {}", entry.file_name().display(), String::from_utf8_lossy(&words).replace('\0', " "))
        })
        .collect()
}

#[test]
fn no_process_of_any_test_is_left() {
    // A process that was just killed may still exist.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut left = marked_processes();
    while !left.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
        left = marked_processes();
    }
    assert!(left.is_empty(), "left running:\n{}", left.join("\n"));
}

/// The start time of cargo, which runs all tests. Older files come from an interrupted run.
fn began() -> SystemTime {
    let stat = fs::read_to_string(format!("/proc/{}/stat", parent_id())).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    // The 22nd field, in hundredths of a second since boot (proc(5)).
    let ticks = after_name.split_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0);
    let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = machine.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(booted) + Duration::from_millis(10 * ticks)
}

#[test]
fn no_file_of_any_test_is_left() {
    let began = began();
    let is_of_this_run = |path: &Path| {
        let made = fs::metadata(path).and_then(|metadata| metadata.created().or_else(|_| metadata.modified()));
        // The boot time has a resolution of a second.
        made.is_ok_and(|made| made + Duration::from_secs(2) >= began)
    };
    let entries = fs::read_dir(std::env::temp_dir()).expect("there is a temporary directory").flatten();
    let left: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)))
        .filter(|path| is_of_this_run(path))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
