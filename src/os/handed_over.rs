//! Descriptors that go to the command under a number of our choice, beside those that the caller handed over.
//!
//! They are inheritable and under their numbers in every process of ours from then on, like the caller's own, so that
//! nothing has to be moved between fork and exec and no descriptor of ours can ever have one of these numbers.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::fd::{handed_over, note_as_handed_over};

/// The first number that can be given (sd_listen_fds(3): SD_LISTEN_FDS_START).
pub const FIRST: RawFd = 3;

/// Which of these numbers the caller has handed over a descriptor under.
pub fn of_caller(numbers: impl IntoIterator<Item = RawFd>) -> Vec<RawFd> {
    let callers = handed_over();
    numbers.into_iter().filter(|number| callers.contains(number)).collect()
}

/// Gives descriptors the numbers from 3 up, in this order. To be called before reloadrun opens anything that stays open.
///
/// # Errors
/// EBUSY when one of the numbers is in use, EMFILE when there are too many.
pub fn hand_over(descriptors: Vec<OwnedFd>) -> Result<(), Errno> {
    let above = FIRST + RawFd::try_from(descriptors.len()).map_err(|_| Errno::EMFILE)?;
    // Out of the way first: one of them may have a number that another is to get.
    let moved: Vec<OwnedFd> =
        descriptors.iter().map(|descriptor| copy_above(descriptor.as_fd(), above)).collect::<Result<_, _>>()?;
    drop(descriptors);
    for (descriptor, number) in moved.iter().zip(FIRST..) {
        if is_open(number) {
            return Err(Errno::EBUSY);
        }
        place(descriptor.as_fd(), number)?;
    }
    Ok(())
}

/// Keeps a number free for [`lend`]: no descriptor of ours will have it. The command gets /dev/null there.
///
/// # Errors
/// EBUSY when it is in use, the system's otherwise.
pub fn reserve(number: RawFd) -> Result<(), Errno> {
    if is_open(number) {
        return Err(Errno::EBUSY);
    }
    place(nothing()?.as_fd(), number)
}

/// Puts this descriptor under a reserved number, for a command that starts after this.
///
/// # Errors
/// The system's; none is expected.
pub fn lend(descriptor: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    place(descriptor, number)
}

/// Takes it back: the command has its own by now.
///
/// # Errors
/// The system's; none is expected.
pub fn take_back(number: RawFd) -> Result<(), Errno> {
    place(nothing()?.as_fd(), number)
}

/// Puts a descriptor where a process that is forked from this one can [`adopt`](super::fd::adopt) it, above all numbers that are
/// given to a command.
///
/// # Errors
/// The system's; none is expected.
pub fn offer(descriptor: BorrowedFd<'_>) -> Result<RawFd, Errno> {
    let high = [900, 200, 60].into_iter().find_map(|least| copy_above(descriptor, least).ok());
    let number = high.ok_or(Errno::EMFILE)?.into_raw_fd();
    note_as_handed_over(number);
    Ok(number)
}

fn nothing() -> Result<OwnedFd, Errno> {
    let opened = File::options().read(true).write(true).open("/dev/null");
    opened.map(OwnedFd::from).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

fn copy_above(descriptor: BorrowedFd<'_>, least: RawFd) -> Result<OwnedFd, Errno> {
    let copy = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(least))?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn is_open(number: RawFd) -> bool {
    // SAFETY: only borrowed for this one question, which the kernel answers with EBADF where it is not open.
    fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_GETFD).is_ok()
}

/// Inheritable under this number, for the life of the process.
fn place(descriptor: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    if descriptor.as_raw_fd() != number {
        // SAFETY: dup2(2) takes two integers. The number is free, or one of those placed here, which nobody owns.
        Errno::result(unsafe { libc::dup2(descriptor.as_raw_fd(), number) })?;
    }
    note_as_handed_over(number);
    Ok(())
}
