//! The operating system: all of nix, all of libc, all `unsafe`, each behind a safe function that says what
//! it guarantees. Linux only: subreapers, signalfd and inotify have no twin elsewhere.
//!
//! Nothing here decides anything.

pub mod clock;
pub mod directory;
pub mod fd;
pub mod fs;
pub mod inotify;
pub mod lock;
mod pidfd;
pub mod process;
pub mod signals;
pub mod spawn;
pub mod tether;
pub mod tree;
pub mod tty;
pub mod user;
pub mod way;

pub use nix::errno::Errno;

/// Why the system refused something, in lower-case words without a number. The one place for such words.
pub fn reason(error: impl Into<std::io::Error>) -> String {
    let error = error.into();
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string().to_lowercase(),
    }
}
