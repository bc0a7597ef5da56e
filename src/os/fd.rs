//! Descriptors: pipes, waiting for several of them, and writing without blocking.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::time::TimeSpec;

/// From fcntl(2); the same number on every architecture. The libc crate does not define it everywhere.
pub(super) const F_SETSIG: i32 = 10;

/// Creates a pipe: (reading end, writing end), both close-on-exec.
///
/// # Errors
/// EMFILE or ENFILE.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC)
}

/// Waits until one of the descriptors is readable (or its other end is closed), or until the instant. Returns for each
/// whether it is ready. If a signal interrupts the wait, it returns early with none ready.
///
/// # Errors
/// Those of ppoll(2); none is expected.
pub fn wait_readable<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    until: Option<Instant>,
) -> Result<[bool; N], Errno> {
    wait_ready(descriptors.map(|descriptor| (descriptor, Wanted::ToRead)), until)
}

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It is readable, or the other end is closed.
    ToRead,
    /// It is writable, or the other end is closed.
    ToWrite,
    /// One of both.
    ToReadOrWrite,
    /// The other end is closed in both directions.
    Closed,
}

/// The same as [`wait_readable`], for reading and for writing.
///
/// # Errors
/// Those of ppoll(2); none is expected.
pub fn wait_ready<const N: usize>(
    descriptors: [(BorrowedFd<'_>, Wanted); N],
    until: Option<Instant>,
) -> Result<[bool; N], Errno> {
    let mut polled = descriptors.map(|(descriptor, wanted)| poll_fd(descriptor, wanted));
    match ppoll(&mut polled, until.map(time_left), None) {
        Ok(_) => Ok(polled.map(|entry| entry.revents().is_some_and(|events| !events.is_empty()))),
        Err(Errno::EINTR) => Ok([false; N]),
        Err(errno) => Err(errno),
    }
}

/// fcntl(2) for commands that nix does not know.
pub(super) fn control(descriptor: &impl AsFd, command: i32, argument: i32) -> Result<(), Errno> {
    // SAFETY: fcntl(2) with integers only, on a borrowed and therefore open descriptor.
    Errno::result(unsafe { libc::fcntl(descriptor.as_fd().as_raw_fd(), command, argument) }).map(drop)
}

/// Waits until one of these is ready, however many there are, or until the instant has come. Returns whether one may be
/// ready. An interrupted wait is an early return.
///
/// # Errors
/// Those of ppoll(2); none is expected.
pub fn wait_for_any(descriptors: &[(BorrowedFd<'_>, Wanted)], until: Instant) -> Result<bool, Errno> {
    let mut polled: Vec<PollFd> = descriptors.iter().map(|&(descriptor, wanted)| poll_fd(descriptor, wanted)).collect();
    match ppoll(&mut polled, Some(time_left(until)), None) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(errno),
    }
}

fn poll_fd(descriptor: BorrowedFd<'_>, wanted: Wanted) -> PollFd<'_> {
    PollFd::new(
        descriptor,
        match wanted {
            Wanted::ToRead => PollFlags::POLLIN,
            Wanted::ToWrite => PollFlags::POLLOUT,
            Wanted::ToReadOrWrite => PollFlags::POLLIN | PollFlags::POLLOUT,
            // It is always reported.
            Wanted::Closed => PollFlags::empty(),
        },
    )
}

/// For ppoll(2) and not poll(2), whose whole milliseconds are too coarse for the quiet time after a save.
fn time_left(until: Instant) -> TimeSpec {
    TimeSpec::from_duration(until.saturating_duration_since(Instant::now()))
}

/// Reads available bytes into `buffer`; `Ok(0)` is the end of the stream.
///
/// # Errors
/// Those of read(2); `WouldBlock` when a non-blocking descriptor has no data.
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

/// Writes to a non-blocking descriptor and returns how many bytes were accepted.
///
/// # Errors
/// EAGAIN when it is full, EPIPE when the reading end is closed.
pub fn write_some(descriptor: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match nix::unistd::write(descriptor, bytes) {
            Err(Errno::EINTR) => {}
            written => return written,
        }
    }
}

/// The most bytes written at once: a pipe that polls as writable has room for them (POSIX PIPE_BUF).
const PIPE_BUF: usize = 4096;

/// The result of an attempt to write without blocking.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// This many bytes were written.
    Some(usize),
    /// It would block now (a full pipe, a terminal stopped by Ctrl-S).
    NotNow,
    /// The disk is full, or a quota or size limit is reached.
    NoRoom,
    /// It will never be possible (closed descriptor, broken pipe).
    Never,
}

/// Writes at most 4096 bytes if that is possible without blocking.
///
/// The descriptor should come from [`adopt`] or [`open_to_append`], which make it non-blocking. A blocking one (where
/// neither the file nor /dev/tty could be opened again) may be shared with the command, so it must not be made
/// non-blocking. It is polled first, and a terminal gets one byte at a time, because a writable terminal guarantees
/// room for one byte only.
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
        // EFBIG: the limit of `ulimit -f`, reported as an error because SIGXFSZ is ignored.
        Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => Written::NoRoom,
        Err(_) => Written::Never,
    }
}

/// Writes as much as is accepted until the instant.
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

/// A socket cannot be opened again by path, but it can be written to without blocking.
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

/// Makes writing to a full pipe fail with EAGAIN instead of blocking. Only for ends that no other process shares.
///
/// # Errors
/// Those of fcntl(2); none is expected.
pub fn make_non_blocking(descriptor: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Whether standard output is a pipe whose reading end is closed. A socket does not count: journald may be restarted.
pub fn output_is_unread() -> bool {
    is_unread(std::io::stdout().as_fd())
}

/// The same for standard error.
pub fn error_is_unread() -> bool {
    is_unread(std::io::stderr().as_fd())
}

fn is_unread(descriptor: BorrowedFd<'_>) -> bool {
    let is_pipe = nix::sys::stat::fstat(descriptor).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO);
    // No events are requested: POLLERR is always reported, and means that the reading end is closed.
    let mut polled = [PollFd::new(descriptor, PollFlags::empty())];
    is_pipe
        && poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

/// Opens a file for appending, non-blocking; it may be a FIFO or a terminal.
///
/// # Errors
/// The system's.
pub fn open_to_append(path: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    // For reading too, because opening a FIFO for writing alone fails without a reader. O_NOCTTY: otherwise a terminal
    // could become the controlling terminal of our session.
    options.append(true).read(true).create(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.read(false).open(path),
        opened => opened,
    }
    .map(OwnedFd::from)
}

/// The descriptors from 3 up that reloadrun inherited from its caller, in ascending order. They belong to the command.
/// They stay open under their numbers in all processes of reloadrun, so that none of its own descriptors gets one of
/// these numbers.
static HANDED_OVER: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Notes the inherited descriptors; must be called before reloadrun opens any descriptor.
pub fn note_handed_over() {
    let listed = std::fs::read_dir("/proc/self/fd").map(|entries| {
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<RawFd>>()
    });
    // The descriptor of the listing is closed by now. A close-on-exec descriptor cannot have been inherited.
    let is_callers = |number: &RawFd| *number > 2 && flags_of(*number).is_ok_and(|flags| flags.is_empty());
    let mut found: Vec<RawFd> =
        listed.unwrap_or_else(|_| (3..highest()).collect()).into_iter().filter(is_callers).collect();
    found.sort_unstable();
    *HANDED_OVER.lock().expect("a panic ends the process") = found;
}

/// Adds a descriptor to the inherited ones: the command gets it under the same number.
pub(super) fn note_as_handed_over(number: RawFd) {
    let mut all = HANDED_OVER.lock().expect("a panic ends the process");
    all.push(number);
    all.sort_unstable();
    all.dedup();
}

/// The inherited descriptors that were not adopted, in ascending order.
pub(super) fn handed_over() -> Vec<RawFd> {
    HANDED_OVER.lock().expect("a panic ends the process").clone()
}

fn flags_of(number: RawFd) -> Result<FdFlag, Errno> {
    // SAFETY: borrowed for this one call only; the kernel answers EBADF if the number is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_GETFD).map(FdFlag::from_bits_retain)
}

/// The limit for probing descriptors one by one where /proc does not list them.
fn highest() -> RawFd {
    // SAFETY: integers only.
    i32::try_from(unsafe { libc::sysconf(libc::_SC_OPEN_MAX) }).unwrap_or(1024).clamp(0, 65_536)
}

/// Takes over a descriptor that the caller of reloadrun opened (`--events fd:3`). Unless it is 0, 1 or 2, the command
/// does not inherit it any more.
///
/// # Errors
/// EBADF when it was not inherited, also if the number is open as one of reloadrun's own descriptors.
pub fn adopt(number: RawFd) -> Result<OwnedFd, Errno> {
    if number < 0 || (number > 2 && !handed_over().contains(&number)) {
        return Err(Errno::EBADF);
    }
    let own = duplicate(number)?;
    if number > 2 {
        // SAFETY: integers only; the number is open, by the list above.
        unsafe { libc::fcntl(number, libc::F_SETFD, FdFlag::FD_CLOEXEC.bits()) };
        HANDED_OVER.lock().expect("a panic ends the process").retain(|&other| other != number);
    }
    Ok(own)
}

/// A new descriptor for the same open file, or for the same terminal or pipe opened again.
fn duplicate(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: borrowed for this one call only; the kernel answers EBADF if the number is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_GETFD)?;
    if let Some(own) = reopened(borrowed) {
        return Ok(own);
    }
    // A number from 10 up leaves the low numbers free; a lower one only if the limit of open files requires it.
    let copied =
        fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(10)).or_else(|_| fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(3)));
    copied.map(|copy| {
        // SAFETY: the kernel has just created this descriptor; nothing else owns it.
        unsafe { OwnedFd::from_raw_fd(copy) }
    })
}

/// Opens a terminal or a pipe again, non-blocking: a write can block even if it polled as writable, and the open file
/// that the command shares must not be changed. `None` for anything else, or if it cannot be opened.
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
    // After `su` the terminal belongs to another user, but a process can always open the terminal of its session as
    // /dev/tty.
    let own = open("/dev/tty").ok()?;
    (terminal_device(own.as_fd())? == terminal_device(descriptor)?).then_some(own)
}

/// The device number of a terminal, independent of the name by which it was opened.
fn terminal_device(descriptor: BorrowedFd<'_>) -> Option<u32> {
    let mut device: libc::c_uint = 0;
    // SAFETY: TIOCGDEV writes one unsigned integer (ioctl_tty(2)).
    let asked = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::TIOCGDEV, &mut device) };
    (asked == 0).then_some(device)
}

/// A descriptor of our own for standard error, which stays valid if descriptor 2 is closed later.
///
/// # Errors
/// EBADF when standard error is closed.
pub fn standard_error() -> Result<OwnedFd, Errno> {
    adopt(libc::STDERR_FILENO)
}

/// Opens /dev/null as 0, 1 and 2 where they are closed. Otherwise a file of reloadrun would get such a number, and the
/// command could write its output into the lockfile. The Rust runtime does the same on some platforms.
pub fn ensure_standard_three() {
    for number in 0..=2 {
        // SAFETY: borrowed for this one call only, which checks whether the number is open.
        let open = fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_GETFD).is_ok();
        if !open && let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
            // The lowest free number is this one: it stays open for the life of the process.
            std::mem::forget(null);
        }
    }
}

/// Makes standard input empty, for this process and those that it starts.
///
/// # Errors
/// No descriptor is left.
pub fn have_no_input() -> Result<(), Errno> {
    let null = File::open("/dev/null").map_err(|error| super::errno(&error))?;
    nix::unistd::dup2_stdin(null)
}

/// Makes these standard output and standard error, for this process and those that it starts.
///
/// # Errors
/// The system's; none is expected.
pub fn write_output_to(stdout: &OwnedFd, stderr: &OwnedFd) -> Result<(), Errno> {
    nix::unistd::dup2_stdout(stdout)?;
    nix::unistd::dup2_stderr(stderr)
}

/// Whether standard output and standard error are one open file, so that what is written to both stays in order.
pub fn outputs_are_one() -> bool {
    let of = |descriptor: BorrowedFd<'_>| nix::sys::stat::fstat(descriptor).map(|stat| (stat.st_dev, stat.st_ino));
    of(std::io::stdout().as_fd()).is_ok_and(|one| Ok(one) == of(std::io::stderr().as_fd()))
}

/// Leaves standard input and output to the command.
///
/// # Errors
/// No descriptor is left.
pub fn leave_standard_streams() -> Result<(), Errno> {
    let null = File::options().read(true).write(true).open("/dev/null").map_err(|error| super::errno(&error))?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)
}

/// Whether something may come from standard input: it is a terminal, a file or a pipe, and not /dev/null.
pub fn may_have_input() -> bool {
    let kind = nix::sys::stat::fstat(std::io::stdin()).map(|stat| stat.st_mode & libc::S_IFMT);
    kind.is_ok_and(|kind| kind != libc::S_IFCHR) || std::io::stdin().is_terminal()
}

/// Closes every descriptor but 0, 1, 2, `kept` and the inherited ones: a new child must not share descriptors of the
/// supervisor, in particular not its lock.
///
/// The owners of the closed descriptors must never be used or dropped again: for a forked child that leaves
/// by `_exit` only.
pub fn close_all_but(kept: &[&OwnedFd]) {
    let mut kept: Vec<RawFd> = kept.iter().map(|fd| fd.as_raw_fd()).chain(handed_over()).collect();
    kept.sort_unstable();
    for_all_but(&kept, 0);
}

/// Closes the inherited ones too: for a process that has nothing to do with the command. The same care is needed.
pub fn close_everything_but(kept: &[&OwnedFd]) {
    let mut kept: Vec<RawFd> = kept.iter().map(|fd| fd.as_raw_fd()).collect();
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
    // SAFETY: close_range(2) takes three integers; the callers guarantee that the closed descriptors are not used
    // again.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } == 0;
    if done {
        return;
    }
    // Before Linux 5.9: one by one, up to the limit.
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

/// Checks that this process can open `count` more files.
///
/// # Errors
/// The limit of open files, if it would be exceeded.
pub fn room_for(count: usize) -> Result<(), u64> {
    let opened: io::Result<Vec<File>> = (0..count).map(|_| File::open("/dev/null")).collect();
    if opened.is_err_and(|error| error.raw_os_error() == Some(libc::EMFILE)) {
        // SAFETY: integers only.
        let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
        return Err(u64::try_from(limit).unwrap_or(0));
    }
    Ok(())
}

/// A wake-up between threads: after `ring` in one thread, the descriptor is readable in another.
#[derive(Debug)]
pub struct Bell {
    event: nix::sys::eventfd::EventFd,
}

impl Bell {
    /// Creates a bell that has not rung.
    ///
    /// # Errors
    /// EMFILE or ENFILE.
    pub fn new() -> Result<Bell, Errno> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        Ok(Bell { event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)? })
    }

    /// Makes the descriptor readable. Ringing twice before `hush` has the effect of ringing once.
    pub fn ring(&self) {
        // A write fails only when the counter is full, and then the descriptor is readable already.
        let _ = self.event.write(1);
    }

    /// Makes the descriptor unreadable until the next `ring`.
    pub fn hush(&self) {
        let _ = self.event.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
