//! `probe headless FILE`: a process whose main thread has ended, as after pthread_exit(3), while another thread runs
//! and ignores TERM. The kernel shows it as a zombie. It prints its pid, and waits until FILE is removed.

use std::env::ArgsOs;
use std::path::PathBuf;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};

use super::Ended;

/// The process ends after this time at the latest.
const LONGEST: u32 = 900;

/// Ends the main thread; the other thread waits for the removal of the file.
pub fn run(mut words: ArgsOs) -> Ended {
    // SAFETY: SIG_IGN runs no handler of this program.
    let _ = unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) };
    nix::unistd::alarm::set(LONGEST);
    let path = PathBuf::from(words.next().ok_or("headless needs a FILE")?);
    std::thread::spawn(move || {
        let main = format!("/proc/self/task/{}/stat", std::process::id());
        let is_dead = || std::fs::read_to_string(&main).is_ok_and(|stat| stat.contains(") Z "));
        while !is_dead() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let whole = path.with_extension("new");
        let _ = std::fs::write(&whole, std::process::id().to_string()).and_then(|()| std::fs::rename(&whole, &path));
        while path.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::process::exit(0)
    });
    // SAFETY: exit(2), unlike exit(3), ends only the calling thread; no thread joins it, and its stack stays mapped.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Ok(())
}
