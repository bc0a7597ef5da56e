//! Descriptors: pipes, waiting on several, and writing without ever being held up.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::time::TimeSpec;

/// A pipe, (reading end, writing end), both close-on-exec.
///
/// # Errors
/// EMFILE or ENFILE.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC)
}

/// Waits until one of the descriptors can be read (or its other end is gone), or until the instant has come.
/// Says for each whether it is ready. An interrupted wait is an early return with nothing ready.
///
/// # Errors
/// The system's; none is expected.
pub fn wait_readable<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    until: Option<Instant>,
) -> Result<[bool; N], Errno> {
    let mut polled = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
    // ppoll(2) and not poll(2), whose whole milliseconds are too coarse for the quiet time after a save.
    let left = until.map(|until| TimeSpec::from_duration(until.saturating_duration_since(Instant::now())));
    match ppoll(&mut polled, left, None) {
        Ok(_) => Ok(polled.map(|entry| entry.revents().is_some_and(|events| !events.is_empty()))),
        Err(Errno::EINTR) => Ok([false; N]),
        Err(errno) => Err(errno),
    }
}

/// Reads what is there into `buffer`; `Ok(0)` is the end of the stream.
///
/// # Errors
/// The system's; `WouldBlock` when nothing is there.
pub fn read_some(descriptor: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match nix::unistd::read(descriptor, buffer) {
            Ok(count) => return Ok(count),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Reads a stream to its end.
///
/// # Errors
/// The system's.
pub fn read_to_end(descriptor: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::from(descriptor).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a stream to its end, but no longer than until the instant.
///
/// # Errors
/// The system's; `TimedOut` when the end has not come by then.
pub fn read_until_end(descriptor: OwnedFd, until: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if !wait_readable([descriptor.as_fd()], Some(until))?[0] {
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            continue;
        }
        match read_some(&descriptor, &mut buffer)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Writes all of it, waiting where it must.
///
/// # Errors
/// EPIPE when nobody reads any more.
pub fn write_all(descriptor: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match nix::unistd::write(descriptor, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A descriptor to write to, waiting where it must.
#[derive(Debug)]
pub struct Writer<'a>(pub &'a OwnedFd);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// At most this much is written in one go: a pipe that polls as writable has room for it (POSIX PIPE_BUF).
const PIPE_BUF: usize = 4096;

/// What became of an attempt to write without waiting.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// So many bytes went out.
    Some(usize),
    /// Nobody takes anything just now (a full pipe, a terminal held by Ctrl-S).
    NotNow,
    /// There is no room on the disk just now.
    NoRoom,
    /// Nobody ever will (closed, broken pipe).
    Never,
}

/// Writes at most 4096 bytes if that can be done at once. The descriptor may be shared with the command, so it
/// must not be made non-blocking; it is asked first instead.
pub fn write_if_ready(descriptor: BorrowedFd<'_>, bytes: &[u8]) -> Written {
    let mut polled = [PollFd::new(descriptor, PollFlags::POLLOUT)];
    match poll(&mut polled, PollTimeout::ZERO) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Written::NotNow,
        Err(_) => return Written::Never,
    }
    let events = polled[0].revents().unwrap_or(PollFlags::empty());
    if events.contains(PollFlags::POLLNVAL) {
        return Written::Never;
    }
    if !events.contains(PollFlags::POLLOUT) {
        return if events.contains(PollFlags::POLLERR) { Written::Never } else { Written::NotNow };
    }
    match nix::unistd::write(descriptor, &bytes[..bytes.len().min(PIPE_BUF)]) {
        Ok(count) => Written::Some(count),
        Err(Errno::EINTR | Errno::EAGAIN) => Written::NotNow,
        Err(Errno::ENOSPC | Errno::EDQUOT) => Written::NoRoom,
        Err(_) => Written::Never,
    }
}

/// Takes over a descriptor that the caller of reloadrun opened (`--events fd:3`), and keeps it from the command.
///
/// # Errors
/// EBADF when there is no such descriptor.
pub fn adopt(number: RawFd) -> Result<OwnedFd, Errno> {
    if number < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: only borrowed for this one question, which the kernel answers with EBADF where it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_GETFD)?;
    if let Some(own) = reopened(number) {
        return Ok(own);
    }
    // Out of the way of the low numbers, unless the limit of open files leaves nothing else.
    let copied =
        fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(10)).or_else(|_| fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(3)));
    copied.map(|copy| {
        // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
        unsafe { OwnedFd::from_raw_fd(copy) }
    })
}

/// A terminal or a pipe opened once more, non-blocking: that it polls as writable is no promise, and the open file
/// that the command shares must stay as it is. `None` for anything else, and where /proc is hidden.
fn reopened(number: RawFd) -> Option<OwnedFd> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    let path = format!("/proc/self/fd/{number}");
    let kind = std::fs::metadata(&path).ok()?.file_type();
    if !kind.is_fifo() && !kind.is_char_device() {
        return None;
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    File::options().write(true).custom_flags(flags).open(path).ok().map(OwnedFd::from)
}

/// A descriptor of our own for standard error, so that a caller who closes 2 later does not matter.
///
/// # Errors
/// EBADF when standard error is closed.
pub fn standard_error() -> Result<OwnedFd, Errno> {
    adopt(libc::STDERR_FILENO)
}

/// Opens /dev/null on those of 0, 1 and 2 that are closed, so that no file of ours lands there and the command
/// does not write its output into a lockfile. The Rust runtime does so too, on the platforms it knows.
pub fn ensure_standard_three() {
    for number in 0..=2 {
        // SAFETY: only asked whether it is open.
        let open = fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_GETFD).is_ok();
        if !open && let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
            // The lowest free number is this one: it stays open for the life of the process.
            std::mem::forget(null);
        }
    }
}

/// Closes every descriptor but 0, 1, 2 and `kept`: a new child must hold nothing of the supervisor's, above all
/// not its lock.
///
/// The owners of the closed descriptors must never be used or dropped again: for a forked child that leaves
/// by `_exit` only.
pub fn close_all_but(kept: &[&OwnedFd]) {
    let mut kept: Vec<u32> = kept.iter().map(|fd| u32::try_from(fd.as_raw_fd()).unwrap_or(0)).collect();
    kept.sort_unstable();
    let mut from = 3;
    for number in kept.into_iter().chain([u32::MAX]) {
        if number > from {
            close_range(from, number - 1, 0);
        }
        from = number.saturating_add(1);
    }
}

/// Marks every descriptor from 3 up close-on-exec; async-signal-safe.
pub(super) fn close_on_exec_from_3() {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
}

fn close_range(first: u32, last: u32, flags: u32) {
    // SAFETY: close_range(2) takes three integers; what the descriptors mean is the callers' promise above.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } == 0;
    if done {
        return;
    }
    // Before Linux 5.9: one by one, as far as a descriptor can reach.
    // SAFETY: integers only.
    let limit = u32::try_from(unsafe { libc::sysconf(libc::_SC_OPEN_MAX) }).unwrap_or(1024).min(65_536);
    for number in first..=last.min(limit) {
        let Ok(number) = i32::try_from(number) else { return };
        // SAFETY: integers only; an unopened number answers EBADF.
        unsafe {
            if flags == 0 {
                libc::close(number);
            } else {
                libc::fcntl(number, libc::F_SETFD, FdFlag::FD_CLOEXEC.bits());
            }
        }
    }
}

/// Whether this process can open so many files more.
///
/// # Errors
/// It cannot: how many it may have open altogether.
pub fn room_for(count: usize) -> Result<(), u64> {
    let opened: io::Result<Vec<File>> = (0..count).map(|_| File::open("/dev/null")).collect();
    if opened.is_err_and(|error| error.raw_os_error() == Some(libc::EMFILE)) {
        // SAFETY: integers only.
        let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
        return Err(u64::try_from(limit).unwrap_or(0));
    }
    Ok(())
}

/// A doorbell between threads: one rings, another finds its descriptor readable.
#[derive(Debug)]
pub struct Bell {
    event: nix::sys::eventfd::EventFd,
}

impl Bell {
    /// A silent one.
    ///
    /// # Errors
    /// EMFILE or ENFILE.
    pub fn new() -> Result<Bell, Errno> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        Ok(Bell { event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)? })
    }

    /// Rings. Ringing twice before anyone listens is ringing once.
    pub fn ring(&self) {
        // The counter can only be full when it already rings.
        let _ = self.event.write(1);
    }

    /// Silences it.
    pub fn hush(&self) {
        let _ = self.event.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
