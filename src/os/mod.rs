//! The operating system: all of nix, all of libc, all `unsafe`, each behind a safe function that says what
//! it guarantees. Linux only: subreapers, signalfd and inotify have no twin elsewhere.
//!
//! Nothing here decides anything.

pub mod clock;
pub mod fd;
pub mod fs;
pub mod inotify;
pub mod lock;
pub mod process;
pub mod signals;
pub mod tree;
pub mod tty;

pub use nix::errno::Errno;
