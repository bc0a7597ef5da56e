//! Everything that can be worse than it should be while reloadrun goes on: one variant and one sentence for each.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit_code::CommandStatus;
use crate::generation::Generation;

/// At most this many processes are described in a sentence; the rest are counted.
const MOST_NAMED: usize = 4;

/// Something that is not as good as it should be. [`fmt::Display`] gives the sentence for people, remedy included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Degraded {
    /// No more directories can be watched; the rest is polled.
    WatchLimit { limit: Option<Limit>, held: usize, interval: Duration },
    /// The user has no inotify instance left; everything is polled.
    InstanceLimit { limit: Option<Limit>, interval: Duration },
    /// The process has no descriptor left for an inotify instance; everything is polled.
    OpenFilesLimit { count: u64, interval: Duration },
    /// The backend cannot start for another reason; everything is polled.
    BackendRefused { reason: String, interval: Duration },
    /// A directory cannot be watched for another reason; it is polled.
    WatchRefused {
        #[serde(with = "crate::change::path")]
        directory: PathBuf,
        reason: String,
        interval: Duration,
    },
    /// The kernel dropped events.
    QueueOverflow,
    /// The file system sends no events.
    Polled {
        #[serde(with = "crate::change::path")]
        directory: PathBuf,
        file_system: String,
        interval: Duration,
    },
    /// The file system sends events only for changes made through it, not for changes in its lower layers.
    Layered {
        #[serde(with = "crate::change::path")]
        directory: PathBuf,
        file_system: String,
        interval: Duration,
    },
    /// A single file is mounted, so a file renamed over its source never arrives.
    MountedFile {
        #[serde(with = "crate::change::path")]
        path: PathBuf,
    },
    /// A watched file lies in a directory with `x` permission and without `r`.
    EnteredNotListed {
        #[serde(with = "crate::change::path")]
        directory: PathBuf,
        #[serde(with = "crate::change::path")]
        file: PathBuf,
        interval: Duration,
    },
    /// The permissions of a directory forbid reading it.
    UnreadableDirectory {
        #[serde(with = "crate::change::path")]
        directory: PathBuf,
    },
    /// A directory cannot be listed for another reason.
    UnlistedDirectory {
        #[serde(with = "crate::change::path")]
        directory: PathBuf,
        reason: String,
    },
    /// A symlink leads out of the watched tree to many files.
    LargeLink {
        #[serde(with = "crate::change::path")]
        link: PathBuf,
        #[serde(with = "crate::change::path")]
        target: PathBuf,
        files: usize,
        directories: usize,
    },
    /// Files change all the time, so changes pass without the quiet time of `--debounce`.
    NeverQuiet {
        #[serde(with = "crate::change::path")]
        path: PathBuf,
    },
    /// Git does not read a `.gitignore` that is a symlink, so neither do we.
    IgnoreFileIsLink {
        #[serde(with = "crate::change::path")]
        path: PathBuf,
    },
    /// Only the first part of an ignore file counts.
    IgnoreFileTooLarge {
        #[serde(with = "crate::change::path")]
        path: PathBuf,
        bytes: usize,
        rules: usize,
        globs: usize,
    },
    /// An ignore file cannot be read.
    IgnoreFileUnreadable {
        #[serde(with = "crate::change::path")]
        path: PathBuf,
        reason: String,
    },
    /// The same files lead to restarts again and again, soon after each start.
    RestartSeries {
        /// As the user would write them.
        files: Vec<String>,
        restarts: u32,
        /// A restart this soon after a start belongs to the series.
        within: Duration,
        /// Whether such restarts are delayed from now on.
        waits: bool,
        /// The longest delay.
        longest: Duration,
        /// The arguments that leave the files out.
        remedy: String,
    },
    /// A child is gone without a last word; the next one follows after the delay, if one has to.
    ChildDied { generation: Generation, loss: Loss, delay: Option<Duration> },
    /// A generation did not become ready beside the one that stays; how, to follow "generation 3".
    NotReplaced { generation: Generation, how: String, stays: Generation },
    /// No child can be started; the next attempt follows after the delay.
    ChildNotStarted { reason: String, delay: Duration },
    /// The lockfile does not tell what runs.
    LockfileNotWritten {
        #[serde(with = "crate::change::path")]
        path: PathBuf,
        reason: String,
    },
    /// The heartbeat cannot be shown.
    LockfileNotTouched { reason: String },
    /// The signal for a change may not be sent to the command.
    SignalRefused { signal: String, process: Named },
    /// The processes that are left may not be signalled.
    OutOfReach { processes: Vec<Named> },
    /// The command did not become ready in time; why, as far as it is known.
    NotReady { timeout: Duration, reason: String },
    /// The socket that answers is somebody else's: `process 4711 (python3)`.
    AnsweredByOther { place: String, who: String },
    /// Whose socket answers cannot be told; whether it counts as the command's all the same.
    OwnerUnknown { place: String, why: String, accepted: bool },
    /// Processes are blocked in the kernel.
    SurvivedKill { pids: Vec<i32> },
    /// Processes were left that `/proc` does not show.
    HiddenProcesses,
    /// Processes cannot be found by their parents.
    NoProc,
    /// Orphaned processes become children of init.
    NoSubreaper,
    /// The command is not traced.
    Untraced { why: String },
    /// The trace has missed something.
    TraceGap { why: String },
    /// A traced command cannot execute this set-uid program with its rights.
    NeedsRights {
        #[serde(with = "crate::change::path")]
        program: PathBuf,
        /// Whether the command is ended for it.
        starts_again: bool,
    },
    /// The process that answers for the run (`--http`) has ended, or cannot be started; how, to follow its name.
    OutletEnded { how: String, delay: Duration },
    /// The event file takes nothing. This is told on standard error alone.
    NoRoomForEvents { kept: usize },
}

/// A limit of the system, and the name under which it is raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Its value.
    pub count: u64,
    /// The name for sysctl(8).
    pub sysctl: String,
}

/// A process as a sentence names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The number to signal.
    pub pid: i32,
    /// As `ps -o comm` shows it; empty when the process is gone.
    pub name: String,
    /// `root`, `user 1001`.
    pub owner: String,
}

/// Why a child is gone without a last word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Its process ended.
    Ended(CommandStatus),
    /// It left in good order, and nothing here had asked for that.
    Left,
    /// It was told to leave and did not.
    NoAnswer,
}

/// What identifies one thing of a kind.
pub type Topic = (&'static str, OsString);

impl Degraded {
    /// The word for programs: `kind` in the event, listed in `docs/events.md`.
    pub fn kind(&self) -> &'static str {
        match self {
            Degraded::WatchLimit { .. } => "watch_limit",
            Degraded::InstanceLimit { .. } => "instance_limit",
            Degraded::OpenFilesLimit { .. } => "open_files_limit",
            Degraded::BackendRefused { .. } => "backend_refused",
            Degraded::WatchRefused { .. } => "watch_refused",
            Degraded::QueueOverflow => "queue_overflow",
            Degraded::Polled { .. } => "polled",
            Degraded::Layered { .. } => "layered",
            Degraded::MountedFile { .. } => "mounted_file",
            Degraded::EnteredNotListed { .. } => "entered_not_listed",
            Degraded::UnreadableDirectory { .. } => "unreadable_directory",
            Degraded::UnlistedDirectory { .. } => "unlisted_directory",
            Degraded::LargeLink { .. } => "large_link",
            Degraded::NeverQuiet { .. } => "never_quiet",
            Degraded::IgnoreFileIsLink { .. } => "ignore_file_is_link",
            Degraded::IgnoreFileTooLarge { .. } => "ignore_file_too_large",
            Degraded::IgnoreFileUnreadable { .. } => "ignore_file_unreadable",
            Degraded::RestartSeries { .. } => "restart_series",
            Degraded::ChildDied { .. } => "child_died",
            Degraded::NotReplaced { .. } => "not_replaced",
            Degraded::ChildNotStarted { .. } => "child_not_started",
            Degraded::LockfileNotWritten { .. } => "lockfile_not_written",
            Degraded::LockfileNotTouched { .. } => "lockfile_not_touched",
            Degraded::SignalRefused { .. } => "signal_refused",
            Degraded::OutOfReach { .. } => "out_of_reach",
            Degraded::NotReady { .. } => "not_ready",
            Degraded::AnsweredByOther { .. } => "answered_by_other",
            Degraded::OwnerUnknown { .. } => "owner_unknown",
            Degraded::SurvivedKill { .. } => "survived_kill",
            Degraded::HiddenProcesses => "hidden_processes",
            Degraded::NoProc => "no_proc",
            Degraded::NoSubreaper => "no_subreaper",
            Degraded::Untraced { .. } => "untraced",
            Degraded::TraceGap { .. } => "trace_gap",
            Degraded::NeedsRights { .. } => "needs_rights",
            Degraded::OutletEnded { .. } => "outlet_ended",
            Degraded::NoRoomForEvents { .. } => "no_room_for_events",
        }
    }

    /// One generation tells each topic once: the first unreadable directory stands for all of them, but each large
    /// symlink is told.
    pub fn topic(&self) -> Topic {
        let about = match self {
            Degraded::Polled { file_system, .. } | Degraded::Layered { file_system, .. } => file_system.into(),
            Degraded::MountedFile { path }
            | Degraded::EnteredNotListed { directory: path, .. }
            | Degraded::LargeLink { link: path, .. }
            | Degraded::IgnoreFileIsLink { path }
            | Degraded::IgnoreFileTooLarge { path, .. }
            | Degraded::IgnoreFileUnreadable { path, .. } => path.into(),
            Degraded::RestartSeries { remedy, .. } => remedy.into(),
            Degraded::OwnerUnknown { place, .. } => place.into(),
            _ => OsString::new(),
        };
        (self.kind(), about)
    }

    /// What identifies it over all generations, if the next one will find it again; then it is told once. `None` for
    /// what happened at one moment: it is told each time.
    pub fn lasts(&self) -> Option<Topic> {
        let about = match self {
            Degraded::QueueOverflow
            | Degraded::ChildDied { .. }
            | Degraded::NotReplaced { .. }
            | Degraded::ChildNotStarted { .. }
            | Degraded::LockfileNotTouched { .. }
            | Degraded::SignalRefused { .. }
            | Degraded::OutOfReach { .. }
            | Degraded::NotReady { .. }
            | Degraded::AnsweredByOther { .. }
            | Degraded::SurvivedKill { .. }
            | Degraded::OutletEnded { .. }
            | Degraded::HiddenProcesses => return None,
            Degraded::WatchRefused { directory, .. }
            | Degraded::Polled { directory, .. }
            | Degraded::Layered { directory, .. }
            | Degraded::UnreadableDirectory { directory }
            | Degraded::UnlistedDirectory { directory, .. } => directory.into(),
            Degraded::EnteredNotListed { file, .. } => file.into(),
            _ => return Some(self.topic()),
        };
        Some((self.kind(), about))
    }
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Degraded::WatchLimit { limit, held, interval } => write!(
                f,
                "this user's limit of {}watched directories is reached (reloadrun holds {held}); raise it with `sysctl {}=N`, or watch less with -w and -i; until then the rest is polled every {}",
                count(limit),
                sysctl(limit),
                shown(*interval)
            ),
            Degraded::InstanceLimit { limit, interval } => write!(
                f,
                "this user's limit of {}inotify instances is reached; raise it with `sysctl {}=N`; until then everything is polled every {}",
                count(limit),
                sysctl(limit),
                shown(*interval)
            ),
            Degraded::OpenFilesLimit { count, interval } => write!(
                f,
                "the limit of {count} open files leaves no room for an inotify instance; raise it with `ulimit -n N`; until then everything is polled every {}",
                shown(*interval)
            ),
            Degraded::BackendRefused { reason, interval } => {
                write!(f, "the system sends no file events ({reason}), so everything is polled every {} (--interval)", shown(*interval))
            }
            Degraded::WatchRefused { directory, reason, interval } => write!(
                f,
                "{} cannot be watched ({reason}), so it is polled every {} (--interval)",
                directory.display(),
                shown(*interval)
            ),
            Degraded::QueueOverflow => f.write_str(
                "the kernel's event queue overflowed; everything was rescanned, and no change was missed (fs.inotify.max_queued_events sets its size)",
            ),
            Degraded::Polled { directory, file_system, interval } => write!(
                f,
                "{} is on {file_system}, which sends no file events; it is polled every {} (--interval)",
                directory.display(),
                shown(*interval)
            ),
            Degraded::Layered { directory, file_system, interval } => write!(
                f,
                "{} is on {file_system}: changes made through it are noticed at once; changes made in its lower layers are found by polling every {} (--interval), less often in a large tree",
                directory.display(),
                shown(*interval)
            ),
            Degraded::MountedFile { path } => write!(
                f,
                "{} is a mount of its own (a subPath volume or a bind-mounted file): a new file that is renamed over its source never arrives here; mount the directory instead",
                path.display()
            ),
            Degraded::EnteredNotListed { directory, file, interval } => write!(
                f,
                "{} may be entered but not listed, so it sends no file events; {} is polled every {} (--interval)",
                directory.display(),
                file.display(),
                shown(*interval)
            ),
            Degraded::UnreadableDirectory { directory } => write!(
                f,
                "{} cannot be read, so changes in it are not noticed; make it readable, or leave it out with -i",
                directory.display()
            ),
            Degraded::UnlistedDirectory { directory, reason } => {
                write!(f, "{} cannot be listed ({reason}), so changes in it may not be noticed", directory.display())
            }
            Degraded::LargeLink { link, target, files, directories } => write!(
                f,
                "{} leads out of the tree to {}: {files} files in {directories} directories are watched there; --no-follow leaves such symlinks out, -i this one",
                link.display(),
                target.display()
            ),
            Degraded::NeverQuiet { path } => write!(
                f,
                "files keep changing ({} for one), so a change passes after 10 times --debounce without the quiet time; leave out with -i what is written all the time",
                path.display()
            ),
            Degraded::IgnoreFileIsLink { path } => {
                write!(f, "{} is a symlink, which git does not read; replace it with a file", path.display())
            }
            Degraded::IgnoreFileTooLarge { path, bytes, rules, globs } => write!(
                f,
                "{} is too large: only the first {bytes} bytes are used, with at most {rules} rules, {globs} of them with wildcards",
                path.display()
            ),
            Degraded::IgnoreFileUnreadable { path, reason } => write!(
                f,
                "{} cannot be read ({reason}), so its rules are not used; make it readable",
                path.display()
            ),
            Degraded::RestartSeries { files, restarts, within, waits, longest, remedy } => {
                let (files, them) = match &files[..] {
                    [one] => (one.clone(), "it"),
                    [one, two] => (format!("{one} and {two}"), "them"),
                    [first, rest @ ..] => (format!("{first} and {} more", rest.len()), "them"),
                    [] => ("files".to_owned(), "them"),
                };
                let further = if *waits { "further" } else { "after 60 of them," };
                write!(
                    f,
                    "{files} changed within {} of a start, {restarts} restarts in a row; {further} such restarts are delayed by up to {} each. If the command itself writes {them}, ignore {them}: {remedy}",
                    shown(*within),
                    shown(*longest)
                )
            }
            Degraded::ChildDied { generation, loss, delay } => {
                write!(f, "the child of generation {generation} is gone ({loss}); its command was ended")?;
                delay.map_or(Ok(()), |delay| write!(f, ", and the next child starts in {}", shown(delay)))
            }
            Degraded::NotReplaced { generation, how, stays } => {
                write!(f, "generation {generation} {how}; generation {stays} stays")
            }
            Degraded::ChildNotStarted { reason, delay } => {
                write!(f, "no child can be started: {reason}; trying again in {}", shown(*delay))
            }
            Degraded::LockfileNotWritten { path, reason } => write!(
                f,
                "cannot write to the lockfile {} ({reason}); it stays empty; the lock and the heartbeat still work",
                path.display()
            ),
            Degraded::LockfileNotTouched { reason } => write!(
                f,
                "the lockfile cannot be touched ({reason}), so the heartbeat stops and the child will end; choose another place with --lockfile"
            ),
            Degraded::SignalRefused { signal, process } => write!(
                f,
                "{signal} did not reach the command: this user may not signal process {process}; start reloadrun as its owner or as root"
            ),
            Degraded::OutOfReach { processes } => out_of_reach(processes, f),
            Degraded::NotReady { timeout, reason } => {
                write!(f, "not ready after {}: {reason}; the command runs on", shown(*timeout))
            }
            Degraded::AnsweredByOther { place, who } => {
                write!(f, "{place} answers, but it is {who}, not ours; the command is not ready by that")
            }
            Degraded::OwnerUnknown { place, why, accepted: true } => write!(
                f,
                "{place} answers, and whose socket it is cannot be told ({why}); it is taken for the command's, because nothing answered before the start"
            ),
            Degraded::OwnerUnknown { place, why, accepted: false } => write!(
                f,
                "{place} answers, but something answered there before the start already, and whose socket it is cannot be told ({why}); the command is not ready by that"
            ),
            Degraded::SurvivedKill { pids } => {
                let (who, were) = if pids.len() == 1 { ("process", "was") } else { ("processes", "were") };
                write!(f, "{who} {} survived SIGKILL (blocked in the kernel) and {were} left running", list(pids, ", "))
            }
            Degraded::HiddenProcesses => f.write_str("processes that /proc does not show were left running"),
            Degraded::NoProc => f.write_str(
                "there is no /proc here, so processes that leave the command's process group cannot be found; mount it",
            ),
            Degraded::NoSubreaper => f.write_str(
                "the system does not give orphaned processes to reloadrun, as under QEMU's emulation of another processor; what the command sets aside by a double fork may be left running",
            ),
            Degraded::Untraced { why } => write!(
                f,
                "the command cannot be traced: {why}; files elsewhere that it reads are not watched, and files that it writes may restart it (--discover off does not try)"
            ),
            Degraded::TraceGap { why } => {
                write!(f, "not every file that the command reads is known: {why}; nothing is left out because of it")
            }
            Degraded::NeedsRights { program, starts_again } => {
                let name = program.file_name().unwrap_or(program.as_os_str()).display();
                let again = if *starts_again { "; the command is started again" } else { ", from the next start on" };
                write!(f, "{name} needs its rights: discovery is off for this command{again} (--discover off does not try)")
            }
            Degraded::OutletEnded { how, delay } => write!(
                f,
                "the process of reloadrun that answers HTTP requests {how}; it is started again in {}, and the command runs on",
                shown(*delay)
            ),
            Degraded::NoRoomForEvents { kept } => write!(
                f,
                "there is no room for the events (a full disk, or ulimit -f); up to {} KiB of them wait until there is",
                kept / 1024
            ),
        }
    }
}

fn out_of_reach(processes: &[Named], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let named = list(&processes[..processes.len().min(MOST_NAMED)], ", ");
    let more = processes.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let pids: Vec<i32> = processes.iter().map(|process| process.pid).collect();
    let (who, they, them) =
        if processes.len() == 1 { ("process", "it runs", "it") } else { ("processes", "they run", "them") };
    write!(
        f,
        "{who} {named}{more} cannot be ended, because this user may not signal {them}; {they} on. End {them} yourself (sudo kill {}), or start reloadrun as root",
        list(&pids, " ")
    )
}

/// `4711 (postgres, owned by root)`.
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Named { pid, name, owner } = self;
        if name.is_empty() { pid.fmt(f) } else { write!(f, "{pid} ({name}, owned by {owner})") }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Ended(status) => write!(f, "it {status}"),
            Loss::Left => f.write_str("somebody else asked it to end, or it could not do its work"),
            Loss::NoAnswer => f.write_str("it did not answer"),
        }
    }
}

/// `128 `; empty where `/proc/sys` does not tell the number.
fn count(limit: &Option<Limit>) -> String {
    limit.as_ref().map(|limit| format!("{} ", limit.count)).unwrap_or_default()
}

fn sysctl(limit: &Option<Limit>) -> &str {
    limit.as_ref().map_or("fs.inotify.*", |limit| &limit.sysctl)
}

fn list(items: &[impl fmt::Display], separator: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

fn shown(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
#[path = "degraded_tests.rs"]
pub mod tests;
