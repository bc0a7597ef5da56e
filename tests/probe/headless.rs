//! `probe headless FILE`: a process whose main thread has ended, as after pthread_exit(3); another thread lives, deaf to
//! TERM. The kernel shows it as a zombie. It writes its pid down, and waits until FILE is removed.

use std::env::ArgsOs;
use std::path::PathBuf;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};

use super::Ended;

/// Nothing of this lives longer.
const LONGEST: u32 = 900;

/// Ends its main thread; the other waits for the end of its file.
pub fn run(mut words: ArgsOs) -> Ended {
    // SAFETY: SIG_IGN runs no code of ours.
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
    // SAFETY: exit(2), and not exit(3), ends the calling thread alone; nothing waits for it, and its stack stays.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Ok(())
}
