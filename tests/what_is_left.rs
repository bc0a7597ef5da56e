//! The end of the suite: no process and no file of any test is left. Cargo runs test binaries in the order of their
//! names, so this one comes last.

use std::fs;
use std::time::{Duration, Instant};

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
    // What was killed a moment ago may still be going.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut left = marked_processes();
    while !left.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
        left = marked_processes();
    }
    assert!(left.is_empty(), "left running:\n{}", left.join("\n"));
}

#[test]
fn no_file_of_any_test_is_left() {
    let entries = fs::read_dir(std::env::temp_dir()).expect("there is a temporary directory").flatten();
    let left: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
