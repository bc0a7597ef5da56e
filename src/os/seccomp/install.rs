//! Between fork and exec: the filter is installed in the new process, and its listener comes to a thread of the process
//! that started it. The listener is not sent (sendmsg would have to be let through, and every copy of a socket closed):
//! it is taken out of the new process by `pidfd_getfd`, while that waits for the answer.
//!
//! | new process                          | thread that receives                          |
//! |--------------------------------------|-----------------------------------------------|
//! | installs the filter, says its number |                                               |
//! |                                      | takes the listener, says `GO_ON`              |
//! | makes one call, of [`TRIAL`]         |                                               |
//! |                                      | reads its path, lets it go on, says `GO_ON`   |
//! | executes the program                 | serves the calls                              |
//!
//! The one call is a trial of the whole way: a version number would not tell of a sandbox, or of a kernel that only looks
//! like Linux. Where it fails, the command is started again without the filter.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::PollTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

use super::calls::Gap;
use super::found::Sighting;
use super::listener::{Arrival, Listener, Reader};
use super::program::program;

/// The answer of a thread comes in microseconds. Without one the new process must end: nobody would serve its calls.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What the new process asks for. It need not be there.
const TRIAL: &std::ffi::CStr = c"/reloadrun-trial";

/// So long the call of the trial may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(1);

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
    insists: bool,
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
    Ok((Installation { program: program(), near, insists: false }, Receiver { far }))
}

impl Installation {
    /// A program that cannot be traced is not to be started at all.
    pub fn insisting(self) -> Installation {
        Installation { insists: true, ..self }
    }

    /// Whether that is so.
    pub fn insists(&self) -> bool {
        self.insists
    }

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
            Ok(listener) if sent > 0 && self.may_go_on() => {
                // SAFETY: the descriptor is this process's own, and its number is not used again. Now the other end holds the
                // only one: when that gives up, the call below fails instead of waiting for ever. Then access(2) of a
                // constant path.
                unsafe {
                    libc::close(listener);
                    libc::access(TRIAL.as_ptr(), libc::F_OK);
                }
                if self.may_go_on() { Performed::Traced } else { Performed::StartAgain }
            }
            Ok(_) => Performed::StartAgain,
        }
    }

    fn may_go_on(&self) -> bool {
        let mut answer = 0_u8;
        loop {
            // SAFETY: recv(2) writes at most one byte, for which there is room.
            let count = unsafe { libc::recv(self.near.as_raw_fd(), std::ptr::from_mut(&mut answer).cast(), 1, 0) };
            if count >= 0 || Errno::last() != Errno::EINTR {
                return count == 1 && answer == GO_ON;
            }
        }
    }
}

const GO_ON: u8 = 1;
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
        let listener = take(pid, number).map_err(Untraceable::HandOver).and_then(|descriptor| {
            let listener = Listener::new(descriptor);
            self.answer(GO_ON);
            try_out(&listener)?;
            hold(&listener);
            Ok(listener)
        });
        self.answer(if listener.is_ok() { GO_ON } else { NOT_SERVED });
        Ok(Received { listener: listener?, no_new_privileges: no_new_privileges != 0 })
    }

    fn answer(&self, answer: u8) {
        let _ = nix::sys::socket::send(self.far.as_raw_fd(), &[answer], nix::sys::socket::MsgFlags::MSG_NOSIGNAL);
    }
}

/// Takes in the call of the trial.
fn try_out(listener: &Listener) -> Result<(), Untraceable> {
    if !listener.tells_the_end() {
        return Err(Untraceable::Filter(Errno::ENOSYS));
    }
    let until = Instant::now() + ARRIVES_WITHIN;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match listener.next(PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
            Arrival::Call(call) => {
                let seen = Reader::new().read(&call).into_iter().find_map(|sighting| match sighting {
                    Sighting::File { path, .. } => (path.as_os_str().as_bytes() == TRIAL.to_bytes()).then_some(Ok(())),
                    Sighting::Gap { gap: Gap::Unreadable, .. } => Some(Err(Untraceable::Memory)),
                    Sighting::Gap { .. } => None,
                });
                listener.answer(call.id);
                return seen.unwrap_or(Err(Untraceable::Silence));
            }
            Arrival::Nothing if left > Duration::ZERO => {}
            Arrival::Nothing | Arrival::End => return Err(Untraceable::Silence),
        }
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

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, Pid, fork};

    use super::*;
    use crate::os::seccomp::found::Found;

    /// Runs this in a new process, whose exit code it says.
    fn in_new_process(run: impl FnOnce() -> i32) -> Pid {
        // SAFETY: the new process allocates, which glibc allows after a fork in any thread (its fork takes the allocator's
        // locks), and makes system calls.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                let code = run();
                // SAFETY: ends this process at once.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// What becomes of a process that puts itself under this, and of the one that receives.
    fn handed_over(
        receive: impl FnOnce(Receiver) -> Result<Received, Untraceable> + Send,
    ) -> (WaitStatus, Option<Untraceable>) {
        let (installation, receiver) = prepare().unwrap();
        std::thread::scope(|scope| {
            let receiving = scope.spawn(|| match receive(receiver) {
                Ok(received) => {
                    received.listener.serve(&Found::new().unwrap(), None);
                    None
                }
                Err(why) => Some(why),
            });
            let process = in_new_process(|| installation.perform() as i32);
            drop(installation);
            (waitpid(process, None).unwrap(), receiving.join().unwrap())
        })
    }

    /// Where seccomp cannot be used at all, this says so instead of passing.
    #[test]
    fn a_process_is_traced_here() {
        let (status, why) = handed_over(|receiver| receiver.receive(|_| ()));
        assert_eq!(
            (why, status.pid().map(|pid| status == WaitStatus::Exited(pid, Performed::Traced as i32))),
            (None, Some(true))
        );
    }

    #[test]
    fn a_process_whose_trial_fails_is_started_again_without_the_filter() {
        // The call of the trial is taken in, but never answered: the listener is closed.
        let (status, why) = handed_over(|receiver| {
            let mut message: Message = [0; 3];
            // SAFETY: recv(2) writes at most the size of the message.
            unsafe { libc::recv(receiver.far.as_raw_fd(), message.as_mut_ptr().cast(), size_of::<Message>(), 0) };
            let listener = take(message[0], message[1]).map(Listener::new).unwrap();
            receiver.answer(GO_ON);
            assert!(matches!(listener.next(PollTimeout::from(10_000_u16)), Arrival::Call(_)));
            drop(listener);
            receiver.answer(NOT_SERVED);
            Err(Untraceable::Silence)
        });
        let pid = status.pid().unwrap();
        assert_eq!((status, why), (WaitStatus::Exited(pid, Performed::StartAgain as i32), Some(Untraceable::Silence)));
    }

    #[test]
    fn under_another_listener_it_is_found_out_that_it_cannot_work() {
        // In a process that is traced itself, as an agent's sandbox or a reloadrun around this one would have it.
        let (installation, receiver) = prepare().unwrap();
        let (process, found) = std::thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let received = receiver.receive(|_| ()).unwrap();
                let found = Found::new().unwrap();
                received.listener.serve(&found, None);
                found.take()
            });
            let process = in_new_process(|| match installation.perform() {
                Performed::Traced if inner() == Err(Errno::EBUSY) => 0,
                Performed::Traced => 2,
                _ => 1,
            });
            drop(installation);
            (process, serving.join().unwrap())
        });
        assert_eq!(waitpid(process, None).unwrap(), WaitStatus::Exited(process, 0));
        assert_eq!(found, [], "it named no file");
    }

    /// What a second filter comes to in this process.
    fn inner() -> Result<(), Errno> {
        let (installation, receiver) = prepare().map_err(|_| Errno::EINVAL)?;
        let performed = installation.perform();
        drop(installation);
        match receiver.receive(|_| ()) {
            Err(Untraceable::Filter(errno)) if performed == Performed::Untraced => Err(errno),
            _ => Ok(()),
        }
    }
}
