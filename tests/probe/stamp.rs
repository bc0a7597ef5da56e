//! `probe stamp FILE [WATCHED]`: a command that first reads the clock.
//!
//! It appends one line, `MONOTONIC_NS PID LENGTH`, to FILE (which may be a FIFO) in one write(2), and sleeps. LENGTH
//! is the length of WATCHED, or -1: it shows whether this command started after a save or in the middle of it.

use std::env::ArgsOs;
use std::fs::{self, OpenOptions};
use std::io::{Cursor, Write};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::pause;

use super::Ended;

/// Three numbers of at most 20 characters, two blanks, the end of the line.
const LINE: usize = 64;

/// Stamps, then sleeps until a signal ends it.
pub fn run(mut words: ArgsOs) -> Ended {
    // The time comes first, before the arguments are read.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(|errno| errno.to_string())?;
    let file = words.next().ok_or("stamp needs a FILE")?;
    let length = words.next().and_then(|path| fs::metadata(path).ok()).map_or(-1, |watched| i128::from(watched.len()));
    let mut line = Cursor::new([0; LINE]);
    let nanoseconds = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
    let written = writeln!(line, "{nanoseconds} {} {length}", std::process::id()).and_then(|()| {
        let end = usize::try_from(line.position()).unwrap_or(LINE);
        OpenOptions::new().append(true).create(true).open(&file)?.write_all(&line.get_ref()[..end])
    });
    written.map_err(|error| format!("cannot append to {}: {error}", file.display()))?;
    // The floor program cannot end its command when it is killed itself.
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| errno.to_string())?;
    loop {
        pause();
    }
}
