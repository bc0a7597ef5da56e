//! Between fork and exec: the filter is installed in the new process, and its listener comes to a thread of the process
//! that started it. The listener is not sent (sendmsg would have to be let through, and every copy of a socket closed):
//! it is taken out of the new process by `pidfd_getfd`, while that waits for the answer.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

use super::listener::Listener;
use super::program::program;

/// The answer of a thread comes in microseconds. Without one the new process must end: nobody would serve its calls.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why a command cannot be traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untraceable {
    /// There is no table of system calls for this machine.
    Architecture,
    /// The kernel did not take the filter. EBUSY: somebody else listens already. EINVAL, ENOSYS: it has no user
    /// notification. EPERM, EACCES: it is forbidden.
    Filter(Errno),
    /// The listener could not be handed over.
    HandOver(Errno),
    /// The process ended before it came to its filter.
    NeverBegun,
    /// The memory of a traced process cannot be read.
    Memory,
    /// No call arrived in time.
    Silence,
}

/// What a process needs to put itself under the filter, made ready before it is forked.
#[derive(Debug)]
pub struct Installation {
    program: Vec<libc::sock_filter>,
    near: OwnedFd,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Performed {
    /// The process is traced from here on.
    Traced,
    /// It is as it was; it goes on untraced, and [`Receiver::receive`] says why.
    Untraced,
    /// It must not go on: it has lost something (set-uid programs would have no effect, or its calls would not be
    /// served). It has to be started again, without the filter.
    StartAgain,
}

/// The other end: takes the listener out of the new process.
#[derive(Debug)]
pub struct Receiver {
    far: OwnedFd,
}

/// A listener that was received.
#[derive(Debug)]
pub struct Received {
    /// Where the calls arrive.
    pub listener: Listener,
    /// Whether the process had to give up the right to gain rights: set-uid programs that it starts stay without theirs.
    pub no_new_privileges: bool,
}

/// What the new process says: its pid, and the number of its listener or an error below zero.
type Message = [i32; 3];

/// Makes both ends ready.
///
/// # Errors
/// There is no table for this machine, or no descriptor is left.
pub fn prepare() -> Result<(Installation, Receiver), Untraceable> {
    if super::calls::Arch::HERE.is_empty() {
        return Err(Untraceable::Architecture);
    }
    let (near, far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(Untraceable::HandOver)?;
    let within = TimeVal::new(ANSWER_WITHIN.as_secs().cast_signed(), 0);
    setsockopt(&near, ReceiveTimeout, &within).map_err(Untraceable::HandOver)?;
    Ok((Installation { program: program(), near }, Receiver { far }))
}

impl Installation {
    /// Puts this process under the filter and waits until somebody serves it. For a new process, right before its exec;
    /// another thread of the process that forked it must be in [`Receiver::receive`].
    ///
    /// Async-signal-safe, and fit for a process that shares its memory with the one that started it.
    pub fn perform(&self) -> Performed {
        let (installed, no_new_privileges) = install(&self.program);
        let number = installed.unwrap_or_else(|errno| -(errno as i32));
        let message: Message = [std::process::id().cast_signed(), number, i32::from(no_new_privileges)];
        // SAFETY: send(2) reads the message, whose size this is.
        let sent = unsafe {
            libc::send(self.near.as_raw_fd(), message.as_ptr().cast(), size_of::<Message>(), libc::MSG_NOSIGNAL)
        };
        match installed {
            Err(_) if no_new_privileges => Performed::StartAgain,
            Err(_) => Performed::Untraced,
            Ok(_) if sent > 0 && self.is_served() => Performed::Traced,
            Ok(_) => Performed::StartAgain,
        }
    }

    fn is_served(&self) -> bool {
        let mut answer = 0_u8;
        loop {
            // SAFETY: recv(2) writes at most one byte, for which there is room.
            let count = unsafe { libc::recv(self.near.as_raw_fd(), std::ptr::from_mut(&mut answer).cast(), 1, 0) };
            if count >= 0 || Errno::last() != Errno::EINTR {
                return count == 1 && answer == SERVED;
            }
        }
    }
}

const SERVED: u8 = 1;
const NOT_SERVED: u8 = 0;

/// The listener's number, and whether the process had to give up gaining rights. Async-signal-safe.
fn install(program: &[libc::sock_filter]) -> (Result<RawFd, Errno>, bool) {
    let description = libc::sock_fprog {
        // It has some hundred instructions (a test holds them against the kernel's limit).
        len: program.len() as libc::c_ushort,
        filter: program.as_ptr().cast_mut(),
    };
    // A call that was received is then not interrupted by signals, or a handler that is slow would make calls of a
    // program with a busy timer start again for ever (5.19).
    let mut flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let mut no_new_privileges = false;
    loop {
        // SAFETY: seccomp(2) reads the program through the description; both live until it returns.
        let result = Errno::result(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const description)
        });
        match result {
            Ok(number) => return (i32::try_from(number).map_err(|_| Errno::EBADF), no_new_privileges),
            Err(Errno::EACCES) if !no_new_privileges => {
                no_new_privileges = true;
                // SAFETY: prctl(2) with integers only.
                unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            }
            Err(Errno::EINVAL) if flags & libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV != 0 => {
                flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
            }
            Err(errno) => return (Err(errno), no_new_privileges),
        }
    }
}

impl Receiver {
    /// Waits for the new process, takes its listener and lets it go on. The [`Installation`] has to be dropped by the
    /// process that made it when the new process has started or could not: that ends the wait if nothing came.
    ///
    /// Before the new process goes on, `hold` is called with the listener, so that a second process can hold it open in
    /// case this one dies.
    ///
    /// # Errors
    /// The process runs untraced, or has to be started again; why.
    pub fn receive(self, hold: impl FnOnce(&Listener)) -> Result<Received, Untraceable> {
        let mut message: Message = [0; 3];
        let count = loop {
            // SAFETY: recv(2) writes at most the size of the message.
            let count =
                unsafe { libc::recv(self.far.as_raw_fd(), message.as_mut_ptr().cast(), size_of::<Message>(), 0) };
            match Errno::result(count) {
                Err(Errno::EINTR) => {}
                other => break other.map_err(Untraceable::HandOver)?,
            }
        };
        if count.cast_unsigned() < size_of::<Message>() {
            return Err(Untraceable::NeverBegun);
        }
        let [pid, number, no_new_privileges] = message;
        if number < 0 {
            return Err(Untraceable::Filter(Errno::from_raw(-number)));
        }
        let taken = take(pid, number).map(Listener::new);
        if let Ok(listener) = &taken {
            hold(listener);
        }
        let answer = [if taken.is_ok() { SERVED } else { NOT_SERVED }];
        let _ = nix::sys::socket::send(self.far.as_raw_fd(), &answer, nix::sys::socket::MsgFlags::MSG_NOSIGNAL);
        let listener = taken.map_err(Untraceable::HandOver)?;
        Ok(Received { listener, no_new_privileges: no_new_privileges != 0 })
    }
}

/// A copy of a descriptor of another process, close-on-exec.
///
/// # Errors
/// EPERM where that process may not be traced, EBADF, ESRCH; ENOSYS before Linux 5.6.
fn take(pid: i32, number: RawFd) -> Result<OwnedFd, Errno> {
    let process = super::super::pidfd::open(pid)?;
    // SAFETY: pidfd_getfd(2) reads integers, the first of which is an open descriptor.
    let copy = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_fd().as_raw_fd(), number, 0) })?;
    let copy = i32::try_from(copy).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
