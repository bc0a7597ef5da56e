//! `probe rooted FILE`: a process that other users may not signal, like one of sudo. Its program belongs to root and is
//! set-uid; it sets its real user to root too. It prints its pid, and waits until FILE is removed.

use std::env::ArgsOs;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};

use super::Ended;

/// The process ends after this time at the latest.
const LONGEST: u32 = 900;

/// Waits for the removal of the file.
pub fn run(mut words: ArgsOs) -> Ended {
    // SAFETY: setuid(2) reads an integer.
    Errno::result(unsafe { libc::setuid(0) }).map_err(|errno| format!("the probe is not set-uid root: {errno}"))?;
    // A terminal can still send it signals.
    // SAFETY: SIG_IGN runs no handler of this program.
    let _ = unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) };
    nix::unistd::alarm::set(LONGEST);
    let path = PathBuf::from(words.next().ok_or("rooted needs a FILE")?);
    let whole = path.with_extension("new");
    let written = std::fs::write(&whole, std::process::id().to_string()).and_then(|()| std::fs::rename(&whole, &path));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    while path.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
