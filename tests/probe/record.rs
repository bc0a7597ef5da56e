//! `probe record LOG SLOW_STOP_MS DIR...`: a command that reads its files once, at its start, and records what it read.
//!
//! First it reads the clock. Then it reads every `*.txt` below the directories and appends one
//! line of JSON to LOG in one write(2): `pid`, `generation`, `t` (CLOCK_MONOTONIC, nanoseconds), `files` (a hash by
//! path), and tells that it is ready where READY_FD is set. Then it waits for TERM, and takes SLOW_STOP_MS to exit. With ONCE,
//! it does not wait.

use std::env::ArgsOs;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::time::{ClockId, clock_gettime};

use super::Ended;
use super::contents::contents;

/// Records, then waits until a signal ends it.
pub fn run(mut words: ArgsOs) -> Ended {
    // The time comes first, before the arguments are read.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(|errno| errno.to_string())?;
    let mut terms = SigSet::empty();
    terms.add(Signal::SIGTERM);
    terms.thread_block().map_err(|errno| errno.to_string())?;
    let log = words.next().ok_or("record needs a LOG")?;
    let slow = words.next().and_then(|word| word.to_str()?.parse().ok()).ok_or("record needs SLOW_STOP_MS")?;
    let roots: Vec<PathBuf> = words.map(PathBuf::from).collect();
    let line = serde_json::json!({
        "pid": std::process::id(),
        "generation": std::env::var("RELOADRUN_GENERATION").unwrap_or_default(),
        "t": now.tv_sec() * 1_000_000_000 + now.tv_nsec(),
        "files": contents(&roots),
    });
    let opened = OpenOptions::new().append(true).create(true).open(&log);
    let written = opened.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.map_err(|error| format!("cannot append to {}: {error}", log.display()))?;
    super::tell_ready()?;
    if std::env::var_os("ONCE").is_some() {
        std::thread::sleep(Duration::from_millis(slow));
        return Ok(());
    }
    terms.wait().map_err(|errno| errno.to_string())?;
    std::thread::sleep(Duration::from_millis(slow));
    Ok(())
}
