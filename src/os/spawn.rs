//! Starting a program in a process of its own.
//!
//! The new process is a *clone* that shares our memory until it executes the program (CLONE_VM), and the thread that
//! starts it waits that long (CLONE_VFORK). Nothing is copied, whatever the size of this process. But our other threads
//! continue to run in the same memory:
//!
//! - The clone has its own stack. It allocates nothing and takes no lock, because another thread may hold any lock.
//! - It shares the thread-local storage of the waiting thread, and so `errno`.
//! - None of our signal handlers may run in it, because a handler would act on the memory of this process. All signals are
//!   blocked before the clone exists, and the clone resets handlers before it unblocks signals.
//!
//! If the system refuses CLONE_VFORK, the same steps run in a plain fork, and a pipe reports the exec.

use std::ffi::{CString, NulError, OsStr, OsString, c_int, c_void};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

use super::fd;
use super::process::{FOREIGN_GROUP, own_pid, was_continued};
use super::seccomp::{Installation, Performed};
use super::signals::{self, Dispositions, Resets, Signal};
use super::tether::Tether;

/// The variable in which a program expects its own pid, as sd_listen_fds(3) does.
pub const LISTEN_PID: &str = "LISTEN_PID";

/// Everything that an exec needs, prepared in advance.
#[derive(Debug)]
pub struct Executable {
    program: CString,
    arguments: Vec<CString>,
    /// `/bin/sh PROGRAM ARGUMENTS`, for a script without `#!`, as in every shell.
    shell_arguments: Vec<CString>,
    environment: Vec<CString>,
    names_own_pid: bool,
    directory: CString,
    tracing: Option<Installation>,
}

impl Executable {
    /// Executes `program` as `command` in `directory`. With `names_own_pid`, `LISTEN_PID` is added to the environment.
    ///
    /// # Errors
    /// One of these contains a NUL byte.
    pub fn new(
        program: &Path,
        command: &[OsString],
        directory: &Path,
        environment: &[(OsString, OsString)],
        names_own_pid: bool,
    ) -> Result<Executable, NulError> {
        let arguments = command.iter().map(|word| c_string(word)).collect::<Result<Vec<_>, _>>()?;
        let program = c_string(program.as_os_str())?;
        let mut shell_arguments = vec![c"sh".to_owned(), program.clone()];
        shell_arguments.extend(arguments.iter().skip(1).cloned());
        let entry = |(key, value): &(OsString, OsString)| CString::new([key.as_bytes(), value.as_bytes()].join(&b'='));
        let environment = environment.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let directory = c_string(directory.as_os_str())?;
        Ok(Executable { program, arguments, shell_arguments, environment, names_own_pid, directory, tracing: None })
    }

    /// Has it traced. The thread that receives the listener must be there before the program is started, and `self` must be
    /// dropped afterwards.
    pub fn trace(&mut self, installation: Installation) {
        self.tracing = Some(installation);
    }

    fn insists_on_trace(&self) -> bool {
        self.tracing.as_ref().is_some_and(Installation::insists)
    }

    /// The file that is executed.
    pub fn program(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.program.as_bytes()))
    }

    /// Where it runs.
    pub fn directory(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.directory.as_bytes()))
    }
}

fn c_string(text: &OsStr) -> Result<CString, NulError> {
    CString::new(text.as_bytes())
}

/// The process group of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// One of its own, which it leads.
    Own,
    /// An existing one: the terminal's foreground group, so that Ctrl-C, Ctrl-Z and reading work.
    Join(i32),
}

/// Why a program could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What failed.
    pub step: Step,
    /// The system's reason.
    pub errno: Errno,
}

/// A step on the way to a running program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The system creates a new process.
    Clone,
    /// The clone enters its process group.
    Group,
    /// The tether is tied to the group.
    Tether,
    /// The kernel will kill the clone when the thread that started it ends.
    Parent,
    /// It sets a timer that continues it if something stops it before the exec.
    Alarm,
    /// It enters its directory.
    Directory,
    /// It marks our descriptors close-on-exec.
    Descriptors,
    /// It writes its pid into its environment.
    OwnPid,
    /// It comes under the filter that reports which files it names.
    Trace,
    /// It restores the dispositions and the mask of our caller.
    Signals,
    /// It executes the program.
    Program,
}

type Action = fn(&mut Start) -> Result<(), Errno>;

/// Everything that the clone does, in this order. The first error ends it and becomes the [`Failure`].
///
/// A step only makes system calls on prepared memory (see the head of this file). Add a new step before
/// [`Step::Signals`], so that the time in which a signal can end or stop the clone stays short.
const STEPS: [(Step, Action); 10] = [
    (Step::Group, enter_group),
    (Step::Tether, tie),
    (Step::Parent, end_with_parent),
    (Step::Alarm, set_alarm),
    (Step::Directory, enter_directory),
    (Step::Descriptors, keep_descriptors),
    (Step::OwnPid, name_own_pid),
    (Step::Trace, come_under_filter),
    (Step::Signals, restore_signals),
    (Step::Program, execute),
];

/// How the clone is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In our memory; the calling thread waits.
    Shared,
    /// In a copy of our memory, as fork(2) makes it.
    Forked,
}

impl Kind {
    fn flags(self) -> c_int {
        match self {
            Kind::Shared => libc::SIGCHLD | libc::CLONE_VM | libc::CLONE_VFORK,
            Kind::Forked => libc::SIGCHLD,
        }
    }
}

/// Starts the program: in its group, with the caller's signal dispositions and mask, in its directory, holding the
/// descriptors that the caller handed over and none of ours. It is killed when the calling thread ends; its group, if it
/// leads one, when the tether goes.
///
/// # Errors
/// The first step that failed. No process is left then.
pub fn spawn(
    executable: &Executable,
    group: Group,
    tether: Option<&Tether>,
    dispositions: &Dispositions,
) -> Result<i32, Failure> {
    match spawn_with(&STEPS, executable, group, tether, dispositions) {
        // It would have lost something. So it is started again, and runs untraced.
        Err(Failure { step: Step::Trace, .. }) if !executable.insists_on_trace() => {
            let untraced: Vec<_> = STEPS.into_iter().filter(|(step, _)| *step != Step::Trace).collect();
            spawn_with(&untraced, executable, group, tether, dispositions)
        }
        spawned => spawned,
    }
}

fn spawn_with(
    steps: &[(Step, Action)],
    executable: &Executable,
    group: Group,
    tether: Option<&Tether>,
    dispositions: &Dispositions,
) -> Result<i32, Failure> {
    match spawn_by(Kind::Shared, steps, executable, group, tether, dispositions) {
        // A system call filter, or a sandbox that emulates Linux. It may allow a plain fork.
        Err(Failure { step: Step::Clone, errno: Errno::EPERM | Errno::EINVAL | Errno::ENOSYS }) => {
            spawn_by(Kind::Forked, steps, executable, group, tether, dispositions)
        }
        spawned => spawned,
    }
}

fn spawn_by(
    kind: Kind,
    steps: &[(Step, Action)],
    executable: &Executable,
    group: Group,
    tether: Option<&Tether>,
    dispositions: &Dispositions,
) -> Result<i32, Failure> {
    let no_clone = |errno| Failure { step: Step::Clone, errno };
    let area = Area::new().map_err(no_clone)?;
    let executed = match kind {
        Kind::Shared => None,
        Kind::Forked => Some(fd::pipe().map_err(no_clone)?),
    };
    let mut start = Start {
        steps,
        failed: area.failed(),
        group,
        tether,
        parent: own_pid(),
        directory: &executable.directory,
        handed_over: fd::handed_over(),
        program: &executable.program,
        arguments: pointers(&executable.arguments),
        shell_arguments: pointers(&executable.shell_arguments),
        environment: pointers(&executable.environment),
        names_own_pid: executable.names_own_pid,
        tracing: executable.tracing.as_ref(),
        own_pid: [0; OWN_PID],
        resets: Resets::none(),
    };
    if start.names_own_pid {
        // Room for one entry more.
        start.environment.push(null());
    }
    let began = Instant::now();
    let pid = clone_patiently(kind, &area, &mut start, dispositions).map_err(no_clone)?;
    if let Some((end, writer)) = executed {
        // Close-on-exec: the stream ends when the clone executes the program, or ends.
        drop(writer);
        let _ = fd::read_to_end(end);
    }
    if let Some(failure) = area.failure(steps) {
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
        return Err(failure);
    }
    if began.elapsed() >= ALARM && was_continued(pid) {
        // The clone was stopped, and the alarm continued it. The stop was meant for the program.
        let _ = signals::send(pid, Signal::STOP);
    }
    Ok(pid)
}

/// Retries after EAGAIN: the system may count the processes of the last generation for a moment longer.
fn clone_patiently(kind: Kind, area: &Area, start: &mut Start, dispositions: &Dispositions) -> Result<i32, Errno> {
    for pause in [5, 20, 80, 320] {
        match clone(kind, area, start, dispositions) {
            Err(Errno::EAGAIN) => std::thread::sleep(Duration::from_millis(pause)),
            other => return other,
        }
    }
    clone(kind, area, start, dispositions)
}

fn clone(kind: Kind, area: &Area, start: &mut Start, dispositions: &Dispositions) -> Result<i32, Errno> {
    let _blocked = signals::block_all();
    // Not earlier: a handler that is installed in between would run in the clone.
    start.resets = dispositions.resets();
    let start = std::ptr::from_mut(start).cast();
    // SAFETY: the stack is ours alone, and outlives the clone or its exec: a clone in our memory ends or executes the
    // program before this call returns, and a forked one has a copy. `start` does so too. `run` keeps to system calls.
    Errno::result(unsafe { libc::clone(run, area.stack(), kind.flags(), start) })
}

/// The clone, from its first instruction on.
extern "C" fn run(start: *mut c_void) -> c_int {
    // SAFETY: `clone` passes a valid `Start`, which nobody else uses: the thread that owns it waits, or it is a copy.
    let start = unsafe { &mut *start.cast::<Start>() };
    for (index, (_, action)) in (1..).zip(start.steps) {
        if let Err(errno) = action(start) {
            start.failed[1].store(errno as i32, Ordering::Relaxed);
            start.failed[0].store(index, Ordering::Release);
            break;
        }
    }
    // SAFETY: ends the clone at once, without anything of the process whose memory it shares.
    unsafe { libc::_exit(127) }
}

/// `LISTEN_PID=`, ten digits, NUL.
const OWN_PID: usize = LISTEN_PID.len() + 12;

/// What the clone works with.
struct Start<'a> {
    steps: &'a [(Step, Action)],
    /// The number of the step that failed, from 1, and its errno.
    failed: &'a [AtomicI32; 2],
    group: Group,
    tether: Option<&'a Tether>,
    parent: i32,
    directory: &'a CString,
    handed_over: Vec<RawFd>,
    program: &'a CString,
    /// These three end with null.
    arguments: Vec<*const libc::c_char>,
    shell_arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    names_own_pid: bool,
    tracing: Option<&'a Installation>,
    own_pid: [u8; OWN_PID],
    resets: Resets,
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([null()]).collect()
}

fn enter_group(start: &mut Start) -> Result<(), Errno> {
    let group = match start.group {
        Group::Own => 0,
        // It is in that group from its birth.
        Group::Join(FOREIGN_GROUP) => return Ok(()),
        Group::Join(group) => group,
    };
    // SAFETY: integers only. A group that is gone leaves the clone in ours, where it was born.
    unsafe { libc::setpgid(0, group) };
    Ok(())
}

/// The clone does this, not the parent, so the program never runs without it.
fn tie(start: &mut Start) -> Result<(), Errno> {
    if let (Some(tether), Group::Own) = (start.tether, start.group) {
        let _ = tether.hold_group(own_pid());
    }
    Ok(())
}

fn end_with_parent(start: &mut Start) -> Result<(), Errno> {
    // SAFETY: integers only.
    let parent = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::getppid()
    };
    // A different parent means that ours ended before the call took effect.
    if parent == start.parent { Ok(()) } else { Err(Errno::ESRCH) }
}

/// How long a clone stays stopped if something stops it before the exec (SIGSTOP, Ctrl-Z).
const ALARM: Duration = Duration::from_millis(500);

/// A stopped clone blocks the thread that started it; only SIGKILL reaches that thread. The timer makes the kernel continue
/// the clone after [`ALARM`], and the parent then stops the program. An exec deletes the timer.
fn set_alarm(_: &mut Start) -> Result<(), Errno> {
    // SAFETY: all fields are integers and pointers, for which zero is valid.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGCONT;
    let mut timer: c_int = 0;
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let once = libc::timespec { tv_sec: 0, tv_nsec: ALARM.subsec_nanos().into() };
    let when = libc::itimerspec { it_interval: never, it_value: once };
    // SAFETY: the kernel reads `event` and `when`, and writes one integer. Not by timer_create(3), which allocates.
    unsafe {
        if libc::syscall(libc::SYS_timer_create, libc::CLOCK_MONOTONIC, &event, &mut timer) == 0 {
            libc::syscall(libc::SYS_timer_settime, timer, 0, &when, null_mut::<libc::itimerspec>());
        }
    }
    // Without such timers, a stop lasts until somebody continues the clone.
    Ok(())
}

fn enter_directory(start: &mut Start) -> Result<(), Errno> {
    // SAFETY: a NUL-terminated string.
    Errno::result(unsafe { libc::chdir(start.directory.as_ptr()) }).map(drop)
}

fn keep_descriptors(start: &mut Start) -> Result<(), Errno> {
    fd::close_on_exec_all_but(&start.handed_over);
    Ok(())
}

fn name_own_pid(start: &mut Start) -> Result<(), Errno> {
    if start.names_own_pid {
        let entry = write_own_pid(&mut start.own_pid, own_pid().unsigned_abs());
        if let [.., place, _] = start.environment.as_mut_slice() {
            *place = entry;
        }
    }
    Ok(())
}

/// Writes `LISTEN_PID=` and a pid, NUL-terminated. The formatting of the standard library may panic.
fn write_own_pid(buffer: &mut [u8; OWN_PID], mut pid: u32) -> *const libc::c_char {
    let (name, digits) = buffer.split_at_mut(LISTEN_PID.len());
    name.copy_from_slice(LISTEN_PID.as_bytes());
    let count = pid.checked_ilog10().map_or(1, |power| power as usize + 1);
    digits[0] = b'=';
    for digit in digits[1..=count].iter_mut().rev() {
        *digit = b'0' + (pid % 10) as u8;
        pid /= 10;
    }
    digits[count + 1] = 0;
    buffer.as_ptr().cast()
}

/// After this, only the exec names a file. A program that cannot be traced begins all the same, unless it would lose
/// something by that, or is started only to be traced.
fn come_under_filter(start: &mut Start) -> Result<(), Errno> {
    match start.tracing.map(Installation::perform) {
        Some(Performed::StartAgain) => Err(Errno::ECANCELED),
        Some(Performed::Untraced) if start.tracing.is_some_and(Installation::insists) => Err(Errno::ECANCELED),
        Some(Performed::Traced | Performed::Untraced) | None => Ok(()),
    }
}

fn restore_signals(start: &mut Start) -> Result<(), Errno> {
    start.resets.apply();
    Ok(())
}

fn execute(start: &mut Start) -> Result<(), Errno> {
    let Start { program, arguments, shell_arguments, environment, .. } = start;
    // SAFETY: every pointer is to a NUL-terminated string, every vector ends with null, and all of them outlive
    // the call; execve(2) comes back only when it failed.
    unsafe {
        libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        if Errno::last_raw() == libc::ENOEXEC {
            libc::execve(c"/bin/sh".as_ptr(), shell_arguments.as_ptr(), environment.as_ptr());
        }
    }
    Err(Errno::last())
}

/// The clone's stack, with a guard below it, and the place where the clone reports a failure. It is shared memory, so a
/// forked clone can report too.
struct Area {
    base: *mut c_void,
}

impl Area {
    /// The steps need a few hundred bytes, or a few thousand without optimization.
    const STACK: usize = 64 * 1024;
    const GUARD: usize = 64 * 1024;
    /// Keeps the stack aligned as every architecture wants it.
    const REPORT: usize = 64;

    fn new() -> Result<Area, Errno> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(null_mut(), Area::GUARD + Area::STACK, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let area = Area { base };
        // SAFETY: the lower part of the mapping above; a multiple of every page size.
        Errno::result(unsafe { libc::mprotect(base, Area::GUARD, libc::PROT_NONE) })?;
        Ok(area)
    }

    /// The highest address: stacks grow downwards, except on PA-RISC.
    fn stack(&self) -> *mut c_void {
        self.base.wrapping_byte_add(Area::GUARD + Area::STACK - Area::REPORT)
    }

    fn failed(&self) -> &[AtomicI32; 2] {
        // SAFETY: within the mapping, aligned, zero at first, above the stack, and only used as atomics.
        unsafe { &*self.stack().cast() }
    }

    fn failure(&self, steps: &[(Step, Action)]) -> Option<Failure> {
        let [step, errno] = self.failed();
        let index = usize::try_from(step.load(Ordering::Acquire)).ok()?.checked_sub(1)?;
        let (step, _) = steps.get(index)?;
        Some(Failure { step: *step, errno: Errno::from_raw(errno.load(Ordering::Relaxed)) })
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the whole mapping; no clone uses it any more.
        unsafe { libc::munmap(self.base, Area::GUARD + Area::STACK) };
    }
}

#[cfg(test)]
#[path = "spawn_tests.rs"]
mod tests;
