//! Signals to processes by pidfd. The kernel may reuse a pid as soon as its process was reaped; a pidfd always refers
//! to the same process.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// Opens the process that has this pid now.
///
/// # Errors
/// ESRCH when there is none; ENOSYS before Linux 5.3.
pub(super) fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open(2) reads two integers.
    let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let number = i32::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just created this descriptor, close-on-exec; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends a signal, or with 0 asks whether that would be allowed.
///
/// # Errors
/// ESRCH when it is gone, EPERM when it may not be signalled; ENOSYS before Linux 5.1.
pub(super) fn send(descriptor: &OwnedFd, number: i32) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) takes an open descriptor, integers, and a null pointer, which means as by kill(2).
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor.as_raw_fd(), number, no_info, 0) };
    Errno::result(sent).map(drop)
}
