//! Signals by a descriptor that cannot be mistaken for another process. A number is given away again as soon as its
//! process was collected; a pidfd never means another one.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// Opens the process that has this number now.
///
/// # Errors
/// ESRCH when there is none; ENOSYS before Linux 5.3.
pub(super) fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open(2) reads two integers.
    let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let number = i32::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends a signal, or with 0 asks whether that would be allowed.
///
/// # Errors
/// ESRCH when it is gone, EPERM when it may not be signalled; ENOSYS before Linux 5.1.
pub(super) fn send(descriptor: &OwnedFd, number: i32) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) takes a descriptor, which is open, integers, and a null that asks for plain kill(2).
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor.as_raw_fd(), number, no_info, 0) };
    Errno::result(sent).map(drop)
}
