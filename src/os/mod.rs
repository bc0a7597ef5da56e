//! The operating system: all use of nix and libc and all `unsafe` code, each behind a safe function that documents its
//! guarantees. Linux only: other systems have no equivalent of subreapers, signalfd and inotify.
//!
//! This module makes no decisions.

pub mod clock;
pub mod directory;
pub mod fd;
pub mod fs;
pub mod handed_over;
pub mod hosts;
pub mod inotify;
pub mod lease;
pub mod listeners;
pub mod local;
pub mod lock;
pub mod map;
pub mod memory;
pub mod notify;
mod pidfd;
pub mod process;
pub mod seccomp;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod tether;
pub mod tree;
pub mod tty;
pub mod user;
pub mod way;

pub use nix::errno::Errno;

/// The number of an error of the system. [`Errno::UnknownErrno`] if the error has none.
pub fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// The system's error message in lower case, without the error number. All messages use this function.
pub fn reason(error: impl Into<std::io::Error>) -> String {
    let error = error.into();
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string().to_lowercase(),
    }
}
