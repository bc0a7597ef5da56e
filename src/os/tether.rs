//! A dead man's switch: the kernel kills a tethered process or process group when this process ends, in any way.
//!
//! PR_SET_PDEATHSIG works for a direct child only. A tether also works for a process group, and for any process that is
//! named later. It is a pipe with signal-driven I/O (fcntl(2): O_ASYNC, F_SETOWN), which may send any signal instead of
//! SIGIO, also KILL (F_SETSIG). Only this process has both ends. When it ends, the kernel closes them, and closing the
//! first end sends the signal of the other.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::libc;

use super::fd::{self, F_SETSIG, control};

/// Kills the process or group that it holds when this process ends, or when it is dropped.
#[derive(Debug)]
pub struct Tether {
    ends: [OwnedFd; 2],
}

impl Tether {
    /// Creates a tether that holds nothing yet.
    ///
    /// # Errors
    /// No descriptor is left, or the system does not support signals by descriptors.
    pub fn new() -> Result<Tether, Errno> {
        let (reader, writer) = fd::pipe()?;
        let tether = Tether { ends: [reader, writer] };
        for end in &tether.ends {
            control(end, F_SETSIG, libc::SIGKILL)?;
            // F_SETFL keeps the access mode of a descriptor, and a new pipe has no other flag.
            control(end, libc::F_SETFL, libc::O_ASYNC)?;
        }
        Ok(tether)
    }

    /// Holds a process group. The kernel stores the group itself, not its number, so a later group with the same number
    /// is not killed. Async-signal-safe.
    ///
    /// # Errors
    /// ESRCH when there is no such group.
    pub fn hold_group(&self, group: i32) -> Result<(), Errno> {
        self.hold(-group)
    }

    /// Holds one process, with the same guarantee. Async-signal-safe.
    ///
    /// # Errors
    /// ESRCH when there is no such process.
    pub fn hold_process(&self, pid: i32) -> Result<(), Errno> {
        self.hold(pid)
    }

    /// Drops the tether without killing anything.
    pub fn release(self) {
        // Zero removes the owner; that cannot fail.
        let _ = self.hold(0);
    }

    fn hold(&self, owner: i32) -> Result<(), Errno> {
        self.ends.iter().try_for_each(|end| control(end, libc::F_SETOWN, owner))
    }
}

#[cfg(test)]
mod tests {
    use super::Tether;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command};

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").process_group(0).spawn().unwrap()
    }

    fn pid(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    #[test]
    fn dropping_a_tether_kills_what_it_holds_and_releasing_it_does_not() {
        let (mut grouped, mut single, mut free) = (sleeper(), sleeper(), sleeper());
        let tethers = [Tether::new().unwrap(), Tether::new().unwrap(), Tether::new().unwrap()];
        tethers[0].hold_group(pid(&grouped)).unwrap();
        tethers[1].hold_process(pid(&single)).unwrap();
        tethers[2].hold_group(pid(&free)).unwrap();
        assert!([&mut grouped, &mut single, &mut free].into_iter().all(|one| one.try_wait().unwrap().is_none()));
        let [first, second, third] = tethers;
        drop((first, second));
        third.release();
        assert_eq!(grouped.wait().unwrap().signal(), Some(9));
        assert_eq!(single.wait().unwrap().signal(), Some(9));
        assert!(free.try_wait().unwrap().is_none());
        free.kill().unwrap();
        free.wait().unwrap();
    }

    #[test]
    fn a_process_group_that_has_ended_cannot_be_held() {
        let mut gone = sleeper();
        gone.kill().unwrap();
        gone.wait().unwrap();
        assert!(Tether::new().unwrap().hold_group(pid(&gone)).is_err());
    }
}
