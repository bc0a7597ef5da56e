//! Processes: forking the child, collecting the dead. See [`super::spawn`] for the start of the command.

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{ForkResult, Pid, fork, getpgrp, setpgid};

use super::signals::Signal;
use crate::exit_code::{CommandStatus, ExitCode};

/// Runs `body` in a new process and gives back its pid. The new process leaves with the code that `body`
/// returns, without unwinding into the caller's frames and without running anything of the caller's.
///
/// The caller must have a single thread: in the new process only the calling thread goes on, and a lock held by
/// another (the allocator's) would stay held for ever. Checked in debug builds.
///
/// # Errors
/// EAGAIN at the limit of processes, ENOMEM.
pub fn fork_child(body: impl FnOnce() -> ExitCode) -> Result<i32, Errno> {
    debug_assert_eq!(threads(), 1, "fork from a process with several threads");
    // SAFETY: a single thread (above) means that no lock is held by anyone else, so the child may go on as an
    // ordinary program; it never returns into the parent's frames.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => {
            // A panic does not come back here: it ends the process (see `run.rs`).
            leave_at_once(body())
        }
    }
}

/// Ends this process. Neither destructors nor atexit handlers run: in a forked process they belong to the parent.
pub fn leave_at_once(code: ExitCode) -> ! {
    // SAFETY: _exit(2) may be called at any time.
    unsafe { libc::_exit(i32::from(code.number())) }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// From now on every orphaned descendant (set aside by setsid or a double fork) becomes a child of this process
/// instead of init's.
///
/// # Errors
/// EINVAL under QEMU's user-mode emulation; never on Linux 3.4 and later.
pub fn become_subreaper() -> Result<(), Errno> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// Leaves the caller's process group for one of its own, so that what the terminal sends does not come here.
pub fn lead_own_group() {
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
}

/// When the parent ends, this process is continued if it is stopped: it could not see the end of a pipe.
pub fn continue_at_parents_end() {
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGCONT);
}

/// When the parent ends, this process gets TERM. The parent must have a single thread, or start this one from its main thread.
pub fn end_at_parents_end() {
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM);
}

/// When the parent ends, the kernel kills this process.
pub fn end_with_parent() {
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
}

/// Kills a child and waits until it has ended: a killed process that waits for nothing but the network ends at once.
pub fn put_to_end(child: i32) {
    let child = Pid::from_raw(child);
    let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
    while nix::sys::wait::waitpid(child, None) == Err(Errno::EINTR) {}
}

/// The pid of the parent: another one than before when that has ended.
pub fn parent_pid() -> i32 {
    Pid::parent().as_raw()
}

/// The pid of this process.
pub fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

/// Whether there is a process with this number here, a zombie too.
pub fn exists(pid: i32) -> bool {
    nix::sys::signal::kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// The number of a process group that began outside of this pid namespace (`unshare --pid --fork`): it has none here.
/// Such a group cannot be joined, only be left.
pub const FOREIGN_GROUP: i32 = 0;

/// The process group of this process; [`FOREIGN_GROUP`] if it has no number here.
pub fn own_group() -> i32 {
    getpgrp().as_raw()
}

/// The name that `ps -o comm` and `top` show, 15 bytes at most.
pub fn show_as(name: &std::ffi::CStr) {
    let _ = nix::sys::prctl::set_name(name);
}

/// Lets everybody else go first; for the calling thread alone.
pub fn lower_priority() {
    // SAFETY: three plain numbers, no memory. On Linux the "process" 0 is the calling thread (setpriority(2)).
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) };
}

/// Whether this process is the init of its pid namespace: the entry point of a container.
pub fn is_init() -> bool {
    std::process::id() == 1
}

/// What a look for dead children found.
#[derive(Debug, PartialEq, Eq)]
pub enum Harvest {
    /// This one ended so.
    Ended(i32, CommandStatus),
    /// There are children, and all are alive.
    AllAlive,
    /// There is no child, and as a subreaper that means: no descendant.
    NoneLeft,
}

/// Collects one dead child, without waiting.
pub fn reap() -> Harvest {
    let mut raw = 0;
    loop {
        // SAFETY: waitpid(2) writes one integer. nix's wrapper fails on a death by real-time signal.
        match Errno::result(unsafe { libc::waitpid(-1, &mut raw, libc::WNOHANG) }) {
            Ok(0) => return Harvest::AllAlive,
            Ok(dead) => return Harvest::Ended(dead, status(raw)),
            Err(Errno::EINTR) => {}
            Err(_) => return Harvest::NoneLeft,
        }
    }
}

/// Whether this child was stopped since the last time somebody asked.
pub fn was_stopped(child: i32) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
    matches!(waitid(Id::Pid(Pid::from_raw(child)), flags), Ok(WaitStatus::Stopped(..)))
}

/// Whether this child was stopped and then continued since the last time somebody asked.
pub fn was_continued(child: i32) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WCONTINUED | WaitPidFlag::WNOHANG;
    matches!(waitid(Id::Pid(Pid::from_raw(child)), flags), Ok(WaitStatus::Continued(_)))
}

fn status(raw: i32) -> CommandStatus {
    if libc::WIFSIGNALED(raw) {
        let signal = libc::WTERMSIG(raw);
        let name = Signal::from_number(signal).map_or_else(|| format!("signal {signal}"), |known| known.to_string());
        CommandStatus::Signaled { signal, name, core: libc::WCOREDUMP(raw) }
    } else {
        CommandStatus::Exited(u8::try_from(libc::WEXITSTATUS(raw)).unwrap_or(u8::MAX))
    }
}
