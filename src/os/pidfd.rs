//! Signals to a process that cannot be mistaken for another. A number is given away again as soon as its process was
//! collected; a pidfd never means anybody else.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use super::signals::Signal;
use super::tree::Process;

impl Process {
    /// Sends a signal to this very process, and never to one that was given its number later.
    ///
    /// # Errors
    /// ESRCH when it is gone, EPERM when it may not be signalled.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        self.send(signal.number())
    }

    /// Whether it is there and may not be signalled: sudo, or another set-uid program, has made it somebody else's.
    pub fn is_out_of_reach(&self) -> bool {
        self.send(0) == Err(Errno::EPERM)
    }

    fn send(&self, number: i32) -> Result<(), Errno> {
        match open(self.pid) {
            Ok(descriptor) => {
                // It was opened by number. That it is the one we mean, its start tells.
                self.confirm()?;
                match send(&descriptor, number) {
                    // Before Linux 5.1, and where a filter of system calls forbids it.
                    Err(Errno::ENOSYS | Errno::EPERM) => {}
                    sent => return sent,
                }
            }
            Err(Errno::ESRCH) => return Err(Errno::ESRCH),
            // Before Linux 5.3, where a filter forbids it, and where no descriptor is left.
            Err(_) => {}
        }
        self.confirm()?;
        // SAFETY: kill(2) reads two integers.
        Errno::result(unsafe { libc::kill(self.pid, number) }).map(drop)
    }

    fn confirm(&self) -> Result<(), Errno> {
        let same = Process::of(self.pid).is_some_and(|now| now.started == self.started);
        if same { Ok(()) } else { Err(Errno::ESRCH) }
    }
}

pub(super) fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open(2) reads two integers.
    let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let number = i32::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn send(descriptor: &OwnedFd, number: i32) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) takes a descriptor, which is open, integers, and a null that asks for plain kill(2).
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor.as_raw_fd(), number, no_info, 0) };
    Errno::result(sent).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::signals::Signal;
    use super::super::tree::Process;
    use nix::errno::Errno;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn a_process_that_was_given_the_number_of_another_is_not_signalled() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(i32::try_from(sleeper.id()).unwrap()).unwrap();
        let earlier = Process { started: process.started - 1, ..process };
        assert_eq!(earlier.signal(Signal::KILL), Err(Errno::ESRCH));
        assert!(!earlier.is_out_of_reach());
        // Of a KILL before it, it would have died.
        process.signal(Signal::TERM).unwrap();
        assert_eq!(sleeper.wait().unwrap().signal(), Some(Signal::TERM.number()));
        assert_eq!(process.signal(Signal::KILL), Err(Errno::ESRCH));
    }

    #[test]
    fn real_time_signals_arrive_too() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(i32::try_from(sleeper.id()).unwrap()).unwrap();
        process.signal("RTMIN+1".parse().unwrap()).unwrap();
        assert_eq!(sleeper.wait().unwrap().signal(), Some(35));
    }
}
