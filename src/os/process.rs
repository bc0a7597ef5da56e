//! Processes: forking the child, executing the command, collecting the dead.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{AccessFlags, ForkResult, Pid, access, fork, getpgrp, setpgid};

use super::fd;
use super::signals::{Dispositions, Signal};
use super::tether::Tether;
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
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(ExitCode::OWN_FAILURE);
            // SAFETY: ends the process at once; atexit handlers belong to the parent.
            unsafe { libc::_exit(i32::from(code.number())) }
        }
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// From now on every orphaned descendant (set aside by setsid or a double fork) becomes a child of this process
/// instead of init's.
///
/// # Errors
/// Never on Linux 3.4 and later.
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

/// The pid of the parent: another one than before when that has ended.
pub fn parent_pid() -> i32 {
    Pid::parent().as_raw()
}

/// The pid of this process.
pub fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
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

fn status(raw: i32) -> CommandStatus {
    if libc::WIFSIGNALED(raw) {
        let signal = libc::WTERMSIG(raw);
        let name = Signal::from_number(signal).map_or_else(|| format!("signal {signal}"), |known| known.to_string());
        CommandStatus::Signaled { signal, name, core: libc::WCOREDUMP(raw) }
    } else {
        CommandStatus::Exited(u8::try_from(libc::WEXITSTATUS(raw)).unwrap_or(u8::MAX))
    }
}

/// Everything that an exec needs, made ready beforehand: between fork and exec nothing may be allocated.
#[derive(Debug)]
pub struct Executable {
    program: CString,
    arguments: Vec<CString>,
    /// For a script without `#!`, as every shell does it: `/bin/sh PROGRAM ARGUMENTS`.
    shell_arguments: Vec<CString>,
    environment: Vec<CString>,
    /// Which entry of the environment is the command's own pid, known only after the fork.
    own_pid: Option<usize>,
    directory: CString,
}

/// The variable with the command's own pid, see [`Executable::find`].
pub const LISTEN_PID: &str = "LISTEN_PID";

impl Executable {
    /// Finds the program as the shell would: a name with a slash from `directory`, any other in the `PATH` of
    /// the environment. If it is `activated` by sockets, `LISTEN_PID` will be its own pid, as sd_listen_fds(3) expects.
    ///
    /// # Errors
    /// The status of a command that could not begin, with the reason in a sentence.
    pub fn find(
        command: &[OsString],
        directory: &Path,
        environment: &[(OsString, OsString)],
        activated: bool,
    ) -> Result<Executable, CommandStatus> {
        let name = command.first().map(OsString::as_os_str).unwrap_or_default();
        let program = search(name, directory, environment)?;
        let unusable =
            |_| CommandStatus::CannotRun("a NUL byte stands in the command, its directory or environment".into());
        let arguments = command.iter().map(|word| c_string(word)).collect::<Result<Vec<_>, _>>().map_err(unusable)?;
        let program = c_string(program.as_os_str()).map_err(unusable)?;
        let mut shell_arguments = vec![c"sh".to_owned(), program.clone()];
        shell_arguments.extend(arguments.iter().skip(1).cloned());
        let mut environment = environment
            .iter()
            .map(|(key, value)| {
                let mut entry = key.clone();
                entry.push("=");
                entry.push(value);
                c_string(&entry)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(unusable)?;
        let own_pid = activated.then_some(environment.len());
        // Its place; what stands there is written after the fork.
        environment.extend(activated.then(CString::default));
        let directory = c_string(directory.as_os_str()).map_err(unusable)?;
        Ok(Executable { program, arguments, shell_arguments, environment, own_pid, directory })
    }
}

fn c_string(text: &OsStr) -> Result<CString, std::ffi::NulError> {
    CString::new(text.as_bytes())
}

fn search(name: &OsStr, directory: &Path, environment: &[(OsString, OsString)]) -> Result<PathBuf, CommandStatus> {
    if name.is_empty() {
        return Err(CommandStatus::NotFound("its name is empty".into()));
    }
    let shown = Path::new(name).display();
    if name.as_bytes().contains(&b'/') {
        let path = directory.join(name);
        return match runnable(&path) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Err(CommandStatus::NotFound(format!("there is no {shown}"))),
            Err(errno) => Err(CommandStatus::CannotRun(format!("{shown}: {}", reason(errno)))),
        };
    }
    let default = OsString::from("/usr/local/bin:/usr/bin:/bin");
    let path = environment.iter().find(|(key, _)| key == "PATH").map_or(&default, |(_, value)| value);
    let mut refused = None;
    for entry in path.as_bytes().split(|&byte| byte == b':') {
        let entry = if entry.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(entry)) };
        match runnable(&directory.join(entry).join(name)) {
            Ok(()) => return Ok(entry.join(name)),
            Err(Errno::EACCES) => refused = Some(entry.join(name)),
            Err(_) => {}
        }
    }
    match refused {
        Some(path) => Err(CommandStatus::CannotRun(format!("{} is not executable", path.display()))),
        None => Err(CommandStatus::NotFound(format!("there is no program {shown} in PATH"))),
    }
}

/// Whether this file can be executed by us.
pub fn is_runnable(path: &Path) -> bool {
    runnable(path).is_ok()
}

/// Whether a command of this name would be found from this directory.
pub fn is_program(name: &str, directory: &Path) -> bool {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    search(OsStr::new(name), directory, &environment).is_ok()
}

fn runnable(path: &Path) -> Result<(), Errno> {
    let metadata = std::fs::metadata(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::EACCES => "it is not executable (chmod +x)".into(),
        Errno::EISDIR => "it is a directory".into(),
        Errno::ENOENT => "the interpreter named in its first line does not exist".into(),
        Errno::ENOEXEC => "it is no program for this machine".into(),
        Errno::E2BIG => "its arguments and environment are too long".into(),
        Errno::EAGAIN => "the limit of processes is reached (ulimit -u)".into(),
        Errno::ENOMEM => "there is no memory for another process".into(),
        Errno::EMFILE | Errno::ENFILE => "the limit of open files is reached (ulimit -n)".into(),
        errno => super::reason(errno),
    }
}

/// In which process group the command lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// One of its own, which it leads.
    Own,
    /// An existing one: the terminal's foreground group, so that Ctrl-C, Ctrl-Z and reading work.
    Join(i32),
}

/// Starts the command: in its group, with the caller's signal dispositions and mask, in its directory, holding the
/// descriptors that the caller handed over and none of ours. It is killed when the calling thread ends; its group, if it leads one, when the tether
/// goes.
///
/// # Errors
/// The status of a command that could not begin.
pub fn execute(
    executable: &Executable,
    group: Group,
    tether: Option<&Tether>,
    dispositions: &Dispositions,
) -> Result<i32, CommandStatus> {
    let cannot = |errno: Errno| CommandStatus::CannotRun(reason(errno));
    let (failure, report) = fd::pipe().map_err(cannot)?;
    let parent = Pid::this();
    let handed_over = fd::handed_over();
    let mut vectors =
        [pointers(&executable.arguments), pointers(&executable.shell_arguments), pointers(&executable.environment)];
    // SAFETY: other threads may hold locks, so the child makes only async-signal-safe calls (system calls on memory
    // made ready above) until it execs or leaves.
    match unsafe { fork_patiently() }.map_err(cannot)? {
        ForkResult::Child => {
            let mut buffer = [0; LISTEN_PID.len() + 12];
            if let Some(index) = executable.own_pid {
                // The vector has an entry for each of the environment.
                vectors[2][index] = write_own_pid(&mut buffer);
            }
            let failed = become_command(executable, &vectors, group, tether, dispositions, &handed_over, parent);
            // SAFETY: write(2) of eight bytes of the stack, then the end of the process.
            unsafe {
                libc::write(report.as_raw_fd(), std::ptr::from_ref(&failed).cast(), size_of_val(&failed));
                libc::_exit(i32::from(ExitCode::NOT_FOUND.number()))
            }
        }
        ForkResult::Parent { child } => {
            drop(report);
            // Set from both sides, as job-control shells do: whoever comes first.
            enter(child, group);
            outcome(executable, child, failure)
        }
    }
}

/// fork(2); the processes of the generation before may be counted for a moment longer, so a limit is met with patience.
///
/// # Safety
/// As that of fork(2).
unsafe fn fork_patiently() -> Result<ForkResult, Errno> {
    for pause in [5, 20, 80, 320] {
        // SAFETY: the caller's.
        match unsafe { fork() } {
            Err(Errno::EAGAIN) => std::thread::sleep(std::time::Duration::from_millis(pause)),
            other => return other,
        }
    }
    // SAFETY: the caller's.
    unsafe { fork() }
}

/// Where the way from fork to exec ended, as it goes through a pipe.
type Failed = [i32; 2];
const IN_DIRECTORY: i32 = 1;
const IN_PROGRAM: i32 = 2;

fn outcome(executable: &Executable, child: Pid, failure: OwnedFd) -> Result<i32, CommandStatus> {
    let bytes: io::Result<[u8; 8]> =
        fd::read_to_end(failure).and_then(|bytes| bytes.try_into().map_err(|_| io::ErrorKind::UnexpectedEof.into()));
    let Ok([a, b, c, d, rest @ ..]) = bytes else { return Ok(child.as_raw()) };
    let (step, errno) = (i32::from_ne_bytes([a, b, c, d]), Errno::from_raw(i32::from_ne_bytes(rest)));
    let _ = nix::sys::wait::waitpid(child, None);
    Err(CommandStatus::CannotRun(if step == IN_DIRECTORY {
        format!("its directory {}: {}", executable.directory.to_string_lossy(), super::reason(errno))
    } else {
        format!("{}: {}", executable.program.to_string_lossy(), reason(errno))
    }))
}

/// Puts a process into its group; async-signal-safe.
fn enter(process: Pid, group: Group) {
    let _ = match group {
        Group::Own => setpgid(process, Pid::from_raw(0)),
        // It is there from its birth.
        Group::Join(FOREIGN_GROUP) => Ok(()),
        Group::Join(group) => setpgid(process, Pid::from_raw(group)),
    };
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Writes `LISTEN_PID=` and the pid of this process, NUL-terminated. Async-signal-safe.
fn write_own_pid(buffer: &mut [u8; LISTEN_PID.len() + 12]) -> *const libc::c_char {
    let (name, digits) = buffer.split_at_mut(LISTEN_PID.len());
    name.copy_from_slice(LISTEN_PID.as_bytes());
    let mut pid = std::process::id();
    let count = pid.checked_ilog10().map_or(1, |power| power as usize + 1);
    digits[0] = b'=';
    for digit in digits[1..=count].iter_mut().rev() {
        *digit = b'0' + (pid % 10) as u8;
        pid /= 10;
    }
    digits[count + 1] = 0;
    buffer.as_ptr().cast()
}

/// The path from fork to exec; async-signal-safe throughout. Comes back only with the error of what failed.
fn become_command(
    executable: &Executable,
    [arguments, shell_arguments, environment]: &[Vec<*const libc::c_char>; 3],
    group: Group,
    tether: Option<&Tether>,
    dispositions: &Dispositions,
    handed_over: &[RawFd],
    parent: Pid,
) -> Failed {
    enter(Pid::from_raw(0), group);
    if let (Some(tether), Group::Own) = (tether, group) {
        // Here, and not by the parent: the command cannot begin without it.
        let _ = tether.hold_group(Pid::this().as_raw());
    }
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    if Pid::parent() != parent {
        // It died before the line above could take effect.
        return [IN_PROGRAM, Errno::ESRCH as i32];
    }
    dispositions.restore();
    fd::close_on_exec_all_but(handed_over);
    // SAFETY: every pointer is to a NUL-terminated string, every vector ends with null, and all of them outlive
    // the call; execve(2) comes back only when it failed.
    unsafe {
        if libc::chdir(executable.directory.as_ptr()) != 0 {
            return [IN_DIRECTORY, Errno::last_raw()];
        }
        libc::execve(executable.program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        if Errno::last_raw() == libc::ENOEXEC {
            libc::execve(c"/bin/sh".as_ptr(), shell_arguments.as_ptr(), environment.as_ptr());
        }
    }
    [IN_PROGRAM, Errno::last_raw()]
}

/// A command as one line, quoted where a shell would need it.
pub fn quoted(command: &[OsString]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(byte);
    let words = command.iter().map(|word| {
        if !word.is_empty() && word.as_bytes().iter().all(plain) {
            word.to_string_lossy().into_owned()
        } else {
            format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
