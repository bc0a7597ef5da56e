//! Whether tracing works here: tried once, from the filter to the path that arrives. A version number would not tell
//! of another listener, of a sandbox that forbids it, or of a kernel that only looks like Linux.

use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::PollTimeout;
use nix::unistd::{ForkResult, Pid, fork};

use super::calls::Gap;
use super::found::Sighting;
use super::install::{Installation, Performed, Received, Untraceable, prepare};
use super::listener::{Arrival, Reader};

/// All of it takes some milliseconds.
const WITHIN: Duration = Duration::from_secs(1);

/// How often it looks whether it has been too long.
const LOOK: u16 = 50;

/// What the process of the trial asks for. It need not be there.
const PATH: &std::ffi::CStr = c"/reloadrun-trial";

/// Traces a process that makes one call.
///
/// # Errors
/// Why a command could not be traced.
pub fn trial() -> Result<(), Untraceable> {
    let (installation, receiver) = prepare()?;
    let (process, received) = std::thread::scope(|scope| {
        // It answers while the process waits for it.
        let received = scope.spawn(|| receiver.receive(|_| ()));
        let process = begin(&installation);
        drop(installation);
        (process, received.join().unwrap_or(Err(Untraceable::NeverBegun)))
    });
    let process = process.map_err(Untraceable::HandOver)?;
    let seen = received.and_then(|received| watch(&received));
    let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL);
    let _ = nix::sys::wait::waitpid(process, None);
    seen
}

fn begin(installation: &Installation) -> Result<Pid, Errno> {
    // SAFETY: other threads may hold locks, so the new process makes only async-signal-safe calls.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            if installation.perform() == Performed::Traced {
                // SAFETY: access(2) of a constant path.
                unsafe { libc::access(PATH.as_ptr(), libc::F_OK) };
            }
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(0) }
        }
    }
}

fn watch(received: &Received) -> Result<(), Untraceable> {
    let until = Instant::now() + WITHIN;
    let mut reader = Reader::new();
    let mut seen = Err(Untraceable::Silence);
    while Instant::now() < until {
        match received.listener.next(PollTimeout::from(LOOK)) {
            Arrival::Call(call) => {
                for sighting in reader.read(&call) {
                    match sighting {
                        Sighting::File { path, .. } if path.as_os_str().as_bytes() == PATH.to_bytes() => seen = Ok(()),
                        Sighting::Gap { gap: Gap::Unreadable, .. } => seen = Err(Untraceable::Memory),
                        _ => {}
                    }
                }
                received.listener.answer(call.id);
            }
            Arrival::Nothing => {}
            // Before Linux 5.9 this is never told, and the loop of a run would not end.
            Arrival::End => return seen,
        }
    }
    Err(Untraceable::Silence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::seccomp::found::Found;

    /// Where seccomp cannot be used at all, this says so instead of passing.
    #[test]
    fn tracing_works_here_and_is_found_out_fast() {
        let begin = Instant::now();
        assert_eq!(trial(), Ok(()));
        assert!(begin.elapsed() < WITHIN, "{:?}", begin.elapsed());
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
            // SAFETY: the new process allocates, which glibc allows after a fork in any thread (its fork takes the
            // allocator's locks), and makes system calls.
            let process = match unsafe { fork() }.unwrap() {
                ForkResult::Parent { child } => child,
                ForkResult::Child => {
                    let code = match installation.perform() {
                        Performed::Traced => match inner() {
                            Err(Errno::EBUSY) => 0,
                            _ => 2,
                        },
                        _ => 1,
                    };
                    // SAFETY: ends this process at once.
                    unsafe { libc::_exit(code) }
                }
            };
            drop(installation);
            (process, serving.join().unwrap())
        });
        let status = nix::sys::wait::waitpid(process, None).unwrap();
        assert_eq!(status, nix::sys::wait::WaitStatus::Exited(process, 0));
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
