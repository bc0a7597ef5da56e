//! Signals to processes by pidfd. The kernel may reuse a pid as soon as its process was reaped; a pidfd always refers to
//! the same process.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use super::signals::Signal;
use super::tree::Process;

impl Process {
    /// Sends a signal to this process, and never to a later one with the same pid.
    ///
    /// # Errors
    /// ESRCH when it has ended, EPERM when this user may not signal it.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        self.send(signal.number())
    }

    /// Whether it exists and this user may not signal it: sudo or another set-uid program has changed its user.
    pub fn is_out_of_reach(&self) -> bool {
        self.send(0) == Err(Errno::EPERM)
    }

    fn send(&self, number: i32) -> Result<(), Errno> {
        match open(self.pid) {
            Ok(descriptor) => {
                // The pidfd was opened by pid. The start time confirms that it is the right process.
                self.confirm()?;
                match send(&descriptor, number) {
                    // Before Linux 5.1, or forbidden by a seccomp filter.
                    Err(Errno::ENOSYS | Errno::EPERM) => {}
                    sent => return sent,
                }
            }
            Err(Errno::ESRCH) => return Err(Errno::ESRCH),
            // Before Linux 5.3, or forbidden by a seccomp filter, or no descriptor is left.
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

fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open(2) reads two integers.
    let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let number = i32::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just created this descriptor, close-on-exec; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn send(descriptor: &OwnedFd, number: i32) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) takes an open descriptor, integers, and a null pointer, which means as by kill(2).
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
    fn a_process_that_reuses_a_pid_is_not_signalled() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(i32::try_from(sleeper.id()).unwrap()).unwrap();
        let earlier = Process { started: process.started - 1, ..process };
        assert_eq!(earlier.signal(Signal::KILL), Err(Errno::ESRCH));
        assert!(!earlier.is_out_of_reach());
        // An earlier KILL would show up as the signal that ended it.
        process.signal(Signal::TERM).unwrap();
        assert_eq!(sleeper.wait().unwrap().signal(), Some(Signal::TERM.number()));
        assert_eq!(process.signal(Signal::KILL), Err(Errno::ESRCH));
    }

    #[test]
    fn real_time_signals_are_delivered_too() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(i32::try_from(sleeper.id()).unwrap()).unwrap();
        process.signal("RTMIN+1".parse().unwrap()).unwrap();
        assert_eq!(sleeper.wait().unwrap().signal(), Some(35));
    }
}
