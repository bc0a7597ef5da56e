//! The process tree, read from /proc.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::libc;

use super::pidfd;
use super::process::own_pid;
use super::signals::Signal;
use super::user;

/// A process that is running, stopped, or a zombie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// The process ID.
    pub pid: i32,
    /// The process ID of its parent.
    pub parent: i32,
    /// The process group ID.
    pub group: i32,
    /// The session ID.
    pub session: i32,
    /// The state: `R`, `S`, `D`, `T` (stopped), `t` (traced), `Z` (zombie).
    pub state: char,
    /// Start time in clock ticks since boot. Pid and start time together identify the process.
    pub started: u64,
}

/// A process as a sentence names it, by one of its threads: `python3 (pid 123)`.
pub fn name_of_thread(thread: i32) -> String {
    let status = contents(Path::new(&format!("/proc/{thread}/status"))).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match (field("Name:"), field("Tgid:")) {
        (Some(name), Some(pid)) => format!("{name} (pid {pid})"),
        // It has ended.
        _ => format!("process {thread}"),
    }
}

impl Process {
    /// Reads one process; `None` when it has ended, or /proc hides it.
    pub fn of(pid: i32) -> Option<Process> {
        Process::with_threads(pid).map(|(process, _)| process)
    }

    /// The same, and the number of its threads.
    fn with_threads(pid: i32) -> Option<(Process, u32)> {
        let stat = stat(&format!("/proc/{pid}/stat"))?;
        let mut fields = stat.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        let threads = fields.nth(13)?.parse().ok()?;
        let started = fields.nth(1)?.parse().ok()?;
        // If only the main thread has ended (pthread_exit), ps shows a zombie, but the process is still running.
        let state = if state == 'Z' && threads > 1 { state_of_a_thread(pid) } else { state };
        Some((Process { pid, parent, group, session, state, started }, threads))
    }

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
        match pidfd::open(self.pid) {
            Ok(descriptor) => {
                // The pidfd was opened by pid. The start time confirms that it is the right process.
                self.confirm()?;
                match pidfd::send(&descriptor, number) {
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

    /// When it was started, by the wall clock; to the second, because the boot is known no better.
    pub fn since(&self) -> Option<SystemTime> {
        // SAFETY: integers only.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        let ticks = u64::try_from(ticks).ok().filter(|ticks| *ticks > 0)?;
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let boot: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(boot + self.started / ticks))
    }

    /// The name, as `ps -o comm` shows it; empty when the process has ended.
    pub fn name(&self) -> String {
        let name = fs::read(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned()
    }

    /// The name of its user: `root`, or `user 1001` if there is no name.
    pub fn owner(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let real = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
        let Some(real) = real else { return "another user".to_owned() };
        let name = real.parse().ok().and_then(user::name);
        name.unwrap_or_else(|| format!("user {real}"))
    }

    /// The number of its context switches. If it is the same later, the process has not run in between.
    pub fn switches(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let counts = status.lines().filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
        Some(counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum())
    }

    /// Whether it is a zombie.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Whether it is a zombie, or on its way there: it exits, or a signal that kills it is on its way.
    pub fn is_ending(&self) -> bool {
        /// include/linux/sched.h
        const PF_EXITING: u64 = 0x4;
        const KILL: u64 = 1 << (libc::SIGKILL - 1);
        let flags = |stat: String| stat.split_ascii_whitespace().nth(6)?.parse().ok();
        let flags = stat(&format!("/proc/{}/stat", self.pid)).and_then(flags).unwrap_or(PF_EXITING);
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        // The kernel turns any signal that kills into a pending KILL of each thread.
        let pending = status.lines().filter_map(|line| line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:")));
        let mut pending = pending.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        self.is_dead() || flags & PF_EXITING != 0 || pending.any(|mask| mask & KILL != 0)
    }

    /// Whether it is stopped by a job-control signal or by a debugger.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// A descriptor that becomes readable when this process ends. `None` before Linux 5.3, or when it has ended.
pub fn end_of(pid: i32) -> Option<OwnedFd> {
    pidfd::open(pid).ok()
}

/// The state of a thread of this process that has not ended.
fn state_of_a_thread(pid: i32) -> char {
    let mut states = threads_of(pid)
        .into_iter()
        .filter_map(|task| stat(&format!("/proc/{pid}/task/{task}/stat"))?.trim_start().chars().next());
    states.find(|state| !matches!(state, 'Z' | 'X')).unwrap_or('Z')
}

/// What a `stat` in /proc says behind the name: the state, the parent, and so on. The name in parentheses may contain
/// parentheses and blanks.
fn stat(path: &str) -> Option<String> {
    let mut stat = contents(Path::new(path))?;
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    String::from_utf8(stat.split_off(after_name)).ok()
}

/// The contents of a file in /proc. Its size is not known before, and `fs::read` would begin with many small reads.
fn contents(path: &Path) -> Option<Vec<u8>> {
    let mut file = fs::File::open(path).ok()?;
    let mut contents = vec![0; 1024];
    let mut length = 0;
    loop {
        match file.read(&mut contents[length..]).ok()? {
            0 => break,
            count => length += count,
        }
        if length == contents.len() {
            contents.resize(2 * length, 0);
        }
    }
    contents.truncate(length);
    Some(contents)
}

/// Whether /proc is missing, so that processes cannot be read.
pub fn is_hidden() -> bool {
    Process::of(own_pid()).is_none()
}

/// Every descendant of `root` that is not a zombie, parents before their children; without `root`.
///
/// The tree may fork meanwhile, so the result may be incomplete. A caller that waits for an empty tree must call again.
pub fn descendants(root: i32) -> Vec<Process> {
    descendants_but(root, &[])
}

/// The same without these processes and their descendants.
pub fn descendants_but(root: i32, without: &[i32]) -> Vec<Process> {
    let found = with_the_dead(root, without);
    found.into_iter().filter(|process| !process.is_dead()).collect()
}

/// The same, including zombies.
pub fn with_the_dead(root: i32, without: &[i32]) -> Vec<Process> {
    by_children_files(root, without).unwrap_or_else(|| by_scan(root, without))
}

/// Reads `/proc/PID/task/*/children` (CONFIG_PROC_CHILDREN). The cost grows with the tree, not with the machine.
fn by_children_files(root: i32, without: &[i32]) -> Option<Vec<Process>> {
    let mut found = Vec::new();
    let mut parents = vec![(root, threads_of(root))];
    let mut known = false;
    while let Some((parent, tasks)) = parents.pop() {
        for task in tasks {
            let Some(children) = contents(Path::new(&format!("/proc/{parent}/task/{task}/children"))) else { continue };
            let children = String::from_utf8_lossy(&children);
            known = true;
            let pids = children.split_ascii_whitespace().filter_map(|word| word.parse().ok());
            for pid in pids.filter(|pid| !without.contains(pid)) {
                let process = Process::with_threads(pid);
                let is_single = process.is_some_and(|(_, threads)| threads == 1);
                found.extend(process.map(|(process, _)| process));
                parents.push((pid, if is_single { vec![pid] } else { threads_of(pid) }));
            }
        }
    }
    known.then_some(found)
}

/// The threads of a process.
fn threads_of(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// Reads every process of the machine and selects the tree.
fn by_scan(root: i32, without: &[i32]) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Process::of)) {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let theirs = children.remove(&parent).unwrap_or_default();
        for process in theirs.into_iter().filter(|process| !without.contains(&process.pid)) {
            found.push(process);
            parents.push(process.pid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Process, by_children_files, by_scan};
    use crate::os::signals::Signal;
    use nix::errno::Errno;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn both_methods_of_reading_the_tree_find_the_same_children() {
        let mut children: Vec<_> =
            (0..3).map(|_| std::process::Command::new("sleep").arg("60").spawn().unwrap()).collect();
        let own = i32::try_from(std::process::id()).unwrap();
        let pids: Vec<i32> = children.iter().map(|child| i32::try_from(child.id()).unwrap()).collect();
        let holds_all = |found: &[Process]| pids.iter().all(|pid| found.iter().any(|process| process.pid == *pid));
        let scanned = by_scan(own, &[]);
        let listed = by_children_files(own, &[]);
        let without_first = super::descendants_but(own, &pids[..1]);
        assert!(!without_first.iter().any(|process| process.pid == pids[0]));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(holds_all(&scanned), "{scanned:?} lacks one of {pids:?}");
        if let Some(listed) = listed {
            assert!(holds_all(&listed), "{listed:?} lacks one of {pids:?}");
        }
    }

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
    fn a_process_that_was_killed_is_ending_at_once_although_it_is_not_dead_yet() {
        for _ in 0..20 {
            let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
            let process = Process::of(i32::try_from(sleeper.id()).unwrap()).unwrap();
            assert!(!process.is_ending());
            process.signal(Signal::KILL).unwrap();
            assert!(process.is_ending());
            sleeper.wait().unwrap();
            assert!(process.is_ending());
        }
    }

    #[test]
    fn real_time_signals_are_delivered_too() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(i32::try_from(sleeper.id()).unwrap()).unwrap();
        process.signal("RTMIN+1".parse().unwrap()).unwrap();
        assert_eq!(sleeper.wait().unwrap().signal(), Some(35));
    }
}
