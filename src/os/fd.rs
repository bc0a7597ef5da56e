//! Descriptors: pipes, waiting on several, and writing without ever being held up.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
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
    wait_ready(descriptors.map(|descriptor| (descriptor, Wanted::ToRead)), until)
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Something can be read, or the other end is gone.
    ToRead,
    /// Something can be written, or the other end is gone.
    ToWrite,
}

/// The same as [`wait_readable`], for reading and for writing.
///
/// # Errors
/// The system's; none is expected.
pub fn wait_ready<const N: usize>(
    descriptors: [(BorrowedFd<'_>, Wanted); N],
    until: Option<Instant>,
) -> Result<[bool; N], Errno> {
    let mut polled = descriptors.map(|(descriptor, wanted)| match wanted {
        Wanted::ToRead => PollFd::new(descriptor, PollFlags::POLLIN),
        Wanted::ToWrite => PollFd::new(descriptor, PollFlags::POLLOUT),
    });
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

/// Writes what is taken at once, to a descriptor that does not block.
///
/// # Errors
/// EAGAIN when nothing is taken just now, EPIPE when nobody reads any more.
pub fn write_some(descriptor: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match nix::unistd::write(descriptor, bytes) {
            Err(Errno::EINTR) => {}
            written => return written,
        }
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

/// Writes at most 4096 bytes if that can be done at once.
///
/// The descriptor should be one of [`adopt`] or [`open_to_append`], which do not block. Where it is not (neither the
/// file nor /dev/tty could be opened anew), it may be shared with the command and must not be made non-blocking. Then
/// it is asked first, and a terminal gets one byte at a time: that it polls as writable promises no more.
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
    let most = if descriptor.is_terminal() && !is_non_blocking(descriptor) { 1 } else { PIPE_BUF };
    match send_or_write(descriptor, &bytes[..bytes.len().min(most)]) {
        Ok(count) => Written::Some(count),
        Err(Errno::EINTR | Errno::EAGAIN) => Written::NotNow,
        // EFBIG: the limit of `ulimit -f`, for as long as SIGXFSZ is ignored.
        Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => Written::NoRoom,
        Err(_) => Written::Never,
    }
}

/// Writes as much as is taken until the instant has come.
pub fn write_until(descriptor: BorrowedFd<'_>, mut bytes: &[u8], until: Instant) {
    while !bytes.is_empty() {
        match write_if_ready(descriptor, bytes) {
            Written::Some(count) => bytes = &bytes[count..],
            Written::NotNow if Instant::now() < until => {
                let _ = wait_ready([(descriptor, Wanted::ToWrite)], Some(until));
            }
            Written::NotNow | Written::NoRoom | Written::Never => return,
        }
    }
}

/// A socket cannot be opened anew, but it can be written to without waiting.
fn send_or_write(descriptor: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: send(2) reads as many bytes as the slice has.
    let sent = unsafe { libc::send(descriptor.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    match Errno::result(sent) {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(Errno::ENOTSOCK) => nix::unistd::write(descriptor, bytes),
        Err(errno) => Err(errno),
    }
}

fn is_non_blocking(descriptor: BorrowedFd<'_>) -> bool {
    fcntl(descriptor, FcntlArg::F_GETFL).is_ok_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK))
}

/// Makes writing to a pipe of our own fail with EAGAIN instead of waiting. For ends that are shared with nobody.
///
/// # Errors
/// The system's; none is expected.
pub fn make_non_blocking(descriptor: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Whether standard output is a pipe that nobody reads any more. A socket does not count: journald leaves and comes
/// back.
pub fn output_is_unread() -> bool {
    is_unread(std::io::stdout().as_fd())
}

/// The same of standard error.
pub fn error_is_unread() -> bool {
    is_unread(std::io::stderr().as_fd())
}

fn is_unread(descriptor: BorrowedFd<'_>) -> bool {
    let is_pipe = nix::sys::stat::fstat(descriptor).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO);
    // Asked for nothing: that its reader has gone is told all the same.
    let mut polled = [PollFd::new(descriptor, PollFlags::empty())];
    is_pipe
        && poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

/// Opens a file to append to, which may be a FIFO or a terminal and never makes a writer wait.
///
/// # Errors
/// The system's.
pub fn open_to_append(path: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    // For reading too: a FIFO opened for writing alone needs a reader first. And without O_NOCTTY a terminal could
    // become that of our session.
    options.append(true).read(true).create(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.read(false).open(path),
        opened => opened,
    }
    .map(OwnedFd::from)
}

/// The descriptors from 3 up that the caller of reloadrun handed over, in ascending order. They are the command's: they
/// stay open, under their numbers, in every process of ours, so that no descriptor of ours can ever have one of these.
static HANDED_OVER: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Notes what the caller handed over; to be called before reloadrun opens anything.
pub fn note_handed_over() {
    let listed = std::fs::read_dir("/proc/self/fd").map(|entries| {
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<RawFd>>()
    });
    // The descriptor that listed them is closed by now; what is close-on-exec cannot have come through our own exec.
    let is_callers = |number: &RawFd| *number > 2 && flags_of(*number).is_ok_and(|flags| flags.is_empty());
    let mut found: Vec<RawFd> =
        listed.unwrap_or_else(|_| (3..highest()).collect()).into_iter().filter(is_callers).collect();
    found.sort_unstable();
    *HANDED_OVER.lock().unwrap_or_else(PoisonError::into_inner) = found;
}

/// Adds a descriptor to those of the caller: it goes to the command, under its number.
pub(super) fn note_as_handed_over(number: RawFd) {
    let mut all = HANDED_OVER.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(number);
    all.sort_unstable();
    all.dedup();
}

/// What the caller handed over and nobody has adopted, in ascending order.
pub(super) fn handed_over() -> Vec<RawFd> {
    HANDED_OVER.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn flags_of(number: RawFd) -> Result<FdFlag, Errno> {
    // SAFETY: only borrowed for this one question, which the kernel answers with EBADF where it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_GETFD).map(FdFlag::from_bits_retain)
}

/// No descriptor is looked for beyond this where nothing lists them.
fn highest() -> RawFd {
    // SAFETY: integers only.
    i32::try_from(unsafe { libc::sysconf(libc::_SC_OPEN_MAX) }).unwrap_or(1024).clamp(0, 65_536)
}

/// Takes over a descriptor that the caller of reloadrun opened (`--events fd:3`), and keeps it from the command, unless
/// it is one of the standard three.
///
/// # Errors
/// EBADF when the caller handed over no such descriptor: it may be open all the same, as one of ours.
pub fn adopt(number: RawFd) -> Result<OwnedFd, Errno> {
    if number < 0 || (number > 2 && !handed_over().contains(&number)) {
        return Err(Errno::EBADF);
    }
    let own = duplicate(number)?;
    if number > 2 {
        // SAFETY: integers only; the number is open, by the list above.
        unsafe { libc::fcntl(number, libc::F_SETFD, FdFlag::FD_CLOEXEC.bits()) };
        HANDED_OVER.lock().unwrap_or_else(PoisonError::into_inner).retain(|&other| other != number);
    }
    Ok(own)
}

/// A descriptor of our own for the same open file, or for the same terminal or pipe.
fn duplicate(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: only borrowed for this one question, which the kernel answers with EBADF where it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_GETFD)?;
    if let Some(own) = reopened(borrowed) {
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
/// that the command shares must stay as it is. `None` for anything else, and where it may not be opened.
fn reopened(descriptor: BorrowedFd<'_>) -> Option<OwnedFd> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let kind = std::fs::metadata(&path).ok()?.file_type();
    if !kind.is_fifo() && !kind.is_char_device() {
        return None;
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let open = |path: &str| File::options().write(true).custom_flags(flags).open(path).map(OwnedFd::from);
    if let Ok(own) = open(&path) {
        return Some(own);
    }
    // After `su` the terminal belongs to somebody else. By this name everybody may open the one of his session.
    let own = open("/dev/tty").ok()?;
    (terminal_device(own.as_fd())? == terminal_device(descriptor)?).then_some(own)
}

/// Which terminal this is, by whatever name it was opened.
fn terminal_device(descriptor: BorrowedFd<'_>) -> Option<u32> {
    let mut device: libc::c_uint = 0;
    // SAFETY: TIOCGDEV writes one unsigned integer (ioctl_tty(2)).
    let asked = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::TIOCGDEV, &mut device) };
    (asked == 0).then_some(device)
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

/// Closes every descriptor but 0, 1, 2, `kept` and what the caller handed over: a new child must hold nothing of the
/// supervisor's, above all not its lock.
///
/// The owners of the closed descriptors must never be used or dropped again: for a forked child that leaves
/// by `_exit` only.
pub fn close_all_but(kept: &[&OwnedFd]) {
    let mut kept: Vec<RawFd> = kept.iter().map(|fd| fd.as_raw_fd()).chain(handed_over()).collect();
    kept.sort_unstable();
    for_all_but(&kept, 0);
}

/// Marks every descriptor from 3 up close-on-exec but these, which are in ascending order; async-signal-safe.
pub(super) fn close_on_exec_all_but(kept: &[RawFd]) {
    for_all_but(kept, libc::CLOSE_RANGE_CLOEXEC);
}

fn for_all_but(kept: &[RawFd], flags: u32) {
    let mut from = 3;
    for number in kept.iter().map(|&number| u32::try_from(number).unwrap_or(0)).chain([u32::MAX]) {
        if number > from {
            close_range(from, number - 1, flags);
        }
        from = from.max(number.saturating_add(1));
    }
}

fn close_range(first: u32, last: u32, flags: u32) {
    // SAFETY: close_range(2) takes three integers; what the descriptors mean is the callers' promise above.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } == 0;
    if done {
        return;
    }
    // Before Linux 5.9: one by one, as far as a descriptor can reach.
    for number in first..=last.min(u32::try_from(highest()).unwrap_or(0)) {
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
