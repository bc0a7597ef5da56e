//! The heartbeat: the supervisor touches its lockfile once an interval, the child feels the pulse.
//!
//! Either's death shows at once on the pipes between them; this is the second line, for a supervisor that
//! hangs, and for anyone outside who wants to look, or to end it all by removing the file.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::escape::escaped_json;
use crate::generation::Generation;
use crate::os::fs::FileId;
use crate::os::lock::{Felt, LockedFile, Memory, Refusal, random, remove_dead};
use crate::os::tree::Process;
use crate::os::{Errno, reason};

/// The supervisor's side: holds the lock, touches the file, removes it in the end.
#[derive(Debug)]
pub struct Heartbeat {
    file: Kept,
    /// When the private file was first missed in a directory that is still there.
    missed: bool,
}

/// What is touched.
#[derive(Debug)]
enum Kept {
    /// A file that can be found by its path.
    Named {
        file: LockedFile,
        path: PathBuf,
        /// Of a private one: the directory that it was made in.
        directory: Option<FileId>,
    },
    /// Memory that only we and our children know: there is no place for a file.
    Nameless(Memory),
}

/// What a beat found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// The file is there and was touched.
    Steady,
    /// The path names it no more: somebody wants us to end.
    Removed,
    /// The path names a private one no more, since this beat. The next beat tells whether its directory goes as well.
    Missed,
    /// It could not be touched.
    Failed(Errno),
}

/// The lockfile's one line.
#[derive(Serialize)]
struct Content<'a> {
    pid: u32,
    generation: Generation,
    command: &'a str,
    started: String,
}

impl Heartbeat {
    /// Creates and locks the file at `path`, or a private one in `$XDG_RUNTIME_DIR` or the temporary directory. Where
    /// neither takes a file, the heartbeat goes on in memory.
    ///
    /// # Errors
    /// A given path that is in use, is no regular file, or cannot be created: wrong use. No memory for a private one: our
    /// own failure.
    pub fn begin(path: Option<&Path>) -> Result<Heartbeat> {
        let file = match path {
            Some(path) => {
                let file =
                    LockedFile::create(path, is_ours).map_err(|refusal| Error::usage(sentence(path, refusal)))?;
                Kept::Named { file, path: path.to_owned(), directory: None }
            }
            None => match private_file(private_directories()) {
                Some(named) => named,
                None => Kept::Nameless(Memory::new().map_err(|errno| {
                    Error::own(format!(
                        "no private lockfile can be had ({}); choose a place with --lockfile PATH",
                        reason(errno)
                    ))
                })?),
            },
        };
        Ok(Heartbeat { file, missed: false })
    }

    /// Removes the private files that others left here when they were killed. Not needed to go on, so it has time until
    /// the command runs.
    pub fn tidy(&self) {
        let Kept::Named { path, directory: Some(_), .. } = &self.file else { return };
        let entries = path.parent().map(std::fs::read_dir).into_iter().flatten().flatten().flatten();
        let private = entries.filter(|entry| is_private_name(&entry.file_name().to_string_lossy()));
        remove_dead(private.map(|entry| entry.path()).filter(|other| other != path), is_ours);
    }

    /// Where the file is, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.file {
            Kept::Named { path, .. } => Some(path),
            Kept::Nameless(_) => None,
        }
    }

    /// Where the next child finds the file. It must not have our descriptor, which holds the lock.
    pub fn path_for_child(&self) -> Option<&Path> {
        match &self.file {
            Kept::Named { file, path, directory } => (directory.is_none() || file.is_at(path)).then_some(path),
            Kept::Nameless(_) => None,
        }
    }

    /// What the next child feels where it finds no file: then nobody can want the lock any more. `None` when no descriptor
    /// is left.
    pub fn descriptor_for_child(&self) -> Option<OwnedFd> {
        match &self.file {
            Kept::Named { file, .. } => file.duplicate().ok(),
            Kept::Nameless(memory) => memory.duplicate().ok(),
        }
    }

    /// Writes what runs into the file.
    ///
    /// # Errors
    /// The system's, of a full disk above all: lock and beat go on without the content.
    pub fn describe(&self, generation: Generation, command: &str) -> std::io::Result<()> {
        let Kept::Named { file, .. } = &self.file else { return Ok(()) };
        let started = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
        let content = Content { pid: std::process::id(), generation, command, started };
        let line = serde_json::to_string(&content).map_err(std::io::Error::other)? + "\n";
        // Somebody will show it on a terminal.
        file.write(&escaped_json(line))
    }

    /// One beat.
    pub fn beat(&mut self) -> Beat {
        let touched = match &self.file {
            Kept::Named { file, path, directory } => {
                if !file.is_at(path) {
                    let is_there = |id: &FileId| path.parent().and_then(FileId::of) == Some(*id);
                    match directory {
                        None => return Beat::Removed,
                        // Twice in a row: whoever removes a directory with all in it (logind at logout, `rm -r`) takes the
                        // file first.
                        Some(id) if is_there(id) && std::mem::replace(&mut self.missed, true) => return Beat::Removed,
                        Some(id) if is_there(id) => {
                            // The child may have to wait for the next one.
                            let _ = file.touch();
                            return Beat::Missed;
                        }
                        // Removed with its directory: nobody meant us.
                        Some(_) => {}
                    }
                }
                file.touch()
            }
            Kept::Nameless(memory) => memory.touch(),
        };
        self.missed = false;
        match touched {
            Ok(()) => Beat::Steady,
            Err(errno) => Beat::Failed(errno),
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if let Kept::Named { file, path, .. } = &self.file {
            file.remove(path);
        }
    }
}

/// Where a private file may go, the best place first.
fn private_directories() -> impl Iterator<Item = PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    runtime.into_iter().chain([std::env::temp_dir()])
}

/// A private file in the first directory that takes one. Its name cannot be guessed: in a directory that all may write to,
/// nobody can be there first.
fn private_file(directories: impl Iterator<Item = PathBuf>) -> Option<Kept> {
    directories.into_iter().find_map(|directory| {
        let name = format!("reloadrun-{}-{:032x}.lock", std::process::id(), random()?);
        let path = directory.join(name);
        let file = LockedFile::create(&path, is_ours).ok()?;
        let directory = Some(FileId::of(&directory)?);
        Some(Kept::Named { file, path, directory })
    })
}

/// `reloadrun-123-` and 32 hexadecimal digits, `.lock`: nobody else calls a file so.
fn is_private_name(name: &str) -> bool {
    let middle = name.strip_prefix("reloadrun-").and_then(|rest| rest.strip_suffix(".lock"));
    let is_hexadecimal =
        |secret: &str| secret.len() == 32 && secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_number = |pid: &str| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    middle
        .and_then(|middle| middle.split_once('-'))
        .is_some_and(|(pid, secret)| is_number(pid) && is_hexadecimal(secret))
}

/// Whether a first line is that of a lockfile.
fn is_ours(line: &str) -> bool {
    let content: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    content.get("pid").is_some() && content.get("generation").is_some()
}

fn sentence(path: &Path, refusal: Refusal) -> String {
    let shown = path.display();
    match refusal {
        Refusal::InUse(content) => {
            let holder: serde_json::Value = serde_json::from_str(&content).unwrap_or_default();
            match holder.get("pid") {
                Some(pid) => format!(
                    "the lockfile {shown} is in use by another reloadrun (pid {pid}); stop that one first, or choose another file"
                ),
                None => format!("the lockfile {shown} is in use by another process; choose another file"),
            }
        }
        Refusal::NotAFile => {
            format!("the lockfile {shown} is a symlink or no regular file; choose another file, or remove it")
        }
        Refusal::NotOurs => format!("{shown} is no lockfile but a file with something else in it; choose another name"),
        Refusal::System(error) => format!("cannot create the lockfile {shown}: {}", reason(error)),
    }
}

/// The child's side: counts its own looks at the file that found no beat since the look before.
///
/// Counting looks, and not time, is what makes it safe: a suspended laptop, a Ctrl-Z, a clock that is set, a
/// machine under load stop the counting as well as the beating.
#[derive(Debug)]
pub struct Pulse {
    felt: Option<Felt>,
    supervisor: i32,
    last: Option<i64>,
    missed: u32,
    limit: u32,
}

impl Pulse {
    /// The beats that may be missed last about this long, and are never fewer than [`Pulse::LEAST`].
    const PATIENCE: Duration = Duration::from_secs(5);
    /// A single late beat is nothing.
    const LEAST: u32 = 5;

    /// Feels for the beat of the supervisor once an interval, in the file at `path`, or in what is open.
    pub fn of(path: Option<&Path>, open: Option<OwnedFd>, supervisor: i32, interval: Duration) -> Pulse {
        let looks = Pulse::PATIENCE.as_nanos().div_ceil(interval.as_nanos().max(1));
        let limit = u32::try_from(looks).unwrap_or(u32::MAX).max(Pulse::LEAST);
        // Whoever wants this file after the supervisor's death waits until we are done.
        let felt = path.and_then(Felt::at).or_else(|| open.map(Felt::of));
        Pulse { felt, supervisor, last: None, missed: 0, limit }
    }

    /// Looks once. False when the supervisor's heart stands still.
    pub fn look(&mut self) -> bool {
        // Without a file there is nothing to feel; the supervisor's death shows on the pipes all the same.
        let Some(felt) = &self.felt else { return true };
        let beat = felt.beat();
        // A debugger or a Ctrl-Z of the supervisor alone: it is well, it does not run.
        let stopped = Process::of(self.supervisor).is_some_and(|process| process.is_stopped());
        self.count(beat, stopped)
    }

    fn count(&mut self, beat: Option<i64>, stopped: bool) -> bool {
        if beat.is_some() && beat != self.last {
            self.last = beat;
            self.missed = 0;
        } else if !stopped {
            self.missed += 1;
        }
        self.missed < self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::{Beat, Heartbeat, Kept, Memory, Pulse, is_private_name, private_file};
    use crate::generation::Generation;
    use std::time::Duration;

    fn pulse(interval_ms: u64) -> Pulse {
        Pulse::of(None, None, 1, Duration::from_millis(interval_ms))
    }

    #[test]
    fn a_beat_that_comes_is_alive_whatever_its_time_says() {
        let mut pulse = pulse(1000);
        for beat in [5, 6, 3, 100, 99, 1_000_000, 0] {
            assert!(pulse.count(Some(beat), false), "a clock set back or forth is no death");
        }
    }

    #[test]
    fn five_seconds_of_looks_without_a_beat_are_a_death() {
        for (interval, looks) in [(1000, 5), (100, 50), (10_000, 5)] {
            let mut pulse = pulse(interval);
            assert!(pulse.count(Some(1), false));
            for look in 1..looks {
                assert!(pulse.count(Some(1), false), "look {look} of {looks}");
            }
            assert!(!pulse.count(Some(1), false));
        }
    }

    #[test]
    fn a_stopped_supervisor_is_not_a_dead_one() {
        let mut pulse = pulse(1000);
        for _ in 0..1000 {
            assert!(pulse.count(Some(1), true));
        }
    }

    #[test]
    fn a_missing_file_is_no_beat() {
        let mut pulse = pulse(1000);
        assert!((0..5).map(|_| pulse.count(None, false)).any(|alive| !alive));
    }

    #[test]
    fn the_file_is_private_tells_who_runs_and_goes_with_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("it.lock");
        let mut heartbeat = Heartbeat::begin(Some(&path)).unwrap();
        heartbeat.describe(Generation::FIRST, "sleep 1").unwrap();
        let content: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(content["pid"], std::process::id());
        assert_eq!((content["generation"].as_u64(), content["command"].as_str()), (Some(1), Some("sleep 1")));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = Heartbeat::begin(Some(&path)).unwrap_err();
        assert!(
            error.to_string().contains(&format!("in use by another reloadrun (pid {})", std::process::id())),
            "{error}"
        );
        assert_eq!(heartbeat.beat(), Beat::Steady);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(heartbeat.beat(), Beat::Removed);
        std::fs::write(&path, "somebody else's").unwrap();
        assert_eq!(heartbeat.beat(), Beat::Removed);
        drop(heartbeat);
        assert!(path.exists(), "another's file is not ours to remove");
    }

    #[test]
    fn a_private_file_has_a_name_that_only_we_give() {
        for (name, ours) in [
            ("reloadrun-12-0123456789abcdef0123456789abcdef.lock", true),
            ("reloadrun-12-0123456789ABCDEF0123456789abcdef.lock", false),
            ("reloadrun-12-0123456789abcdef0123456789abcde.lock", false),
            ("reloadrun--0123456789abcdef0123456789abcdef.lock", false),
            ("reloadrun-0123456789abcdef0123456789abcdef.lock", false),
            ("reloadrun-2024.lock", false),
            ("reloadrun-1-2.lock", false),
        ] {
            assert_eq!(is_private_name(name), ours, "{name}");
        }
    }

    #[test]
    fn a_private_file_goes_to_the_first_directory_that_takes_one_and_no_two_have_one_name() {
        let directory = tempfile::tempdir().unwrap();
        let places = || ["/proc/nowhere".into(), directory.path().to_owned()].into_iter();
        let made: Vec<_> = [places(), places()].map(|places| private_file(places).expect("a file")).into();
        let names: std::collections::BTreeSet<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((names.len(), made.len()), (2, 2));
        assert!(names.iter().all(|name| is_private_name(name.to_str().unwrap())), "{names:?}");
        assert!(private_file(["/proc/nowhere".into()].into_iter()).is_none());
    }

    #[test]
    fn a_private_file_that_goes_with_its_directory_is_no_switch() {
        let top = tempfile::tempdir().unwrap();
        let directory = top.path().join("user");
        let begin = || {
            let _ = std::fs::create_dir(&directory);
            let file = private_file([directory.clone()].into_iter()).expect("a file");
            Heartbeat { file, missed: false }
        };
        let mut heartbeat = begin();
        let mut pulse = Pulse::of(heartbeat.path_for_child(), None, 1, Duration::from_secs(1));
        std::fs::remove_dir_all(&directory).unwrap();
        for _ in 0..8 {
            assert_eq!(heartbeat.beat(), Beat::Steady);
            std::thread::sleep(Duration::from_millis(20)); // The clock of files is some milliseconds coarse.
            assert!(pulse.look(), "the child feels a file without a name as well");
        }
        // Another directory of that name, of the next login.
        std::fs::create_dir(&directory).unwrap();
        assert_eq!(heartbeat.beat(), Beat::Steady);
        assert!(heartbeat.path_for_child().is_none() && heartbeat.descriptor_for_child().is_some());
        // The file first, as `rm -r` does it.
        let mut heartbeat = begin();
        std::fs::remove_file(heartbeat.path().unwrap()).unwrap();
        assert_eq!(heartbeat.beat(), Beat::Missed);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!([heartbeat.beat(), heartbeat.beat()], [Beat::Steady, Beat::Steady]);
        // The file alone is the switch.
        let mut heartbeat = begin();
        std::fs::remove_file(heartbeat.path().unwrap()).unwrap();
        assert_eq!([heartbeat.beat(), heartbeat.beat()], [Beat::Missed, Beat::Removed]);
    }

    #[test]
    fn a_heartbeat_in_memory_is_felt() {
        let mut heartbeat = Heartbeat { file: Kept::Nameless(Memory::new().unwrap()), missed: false };
        let mut pulse = Pulse::of(None, heartbeat.descriptor_for_child(), 1, Duration::from_secs(1));
        let mut last = None;
        for _ in 0..8 {
            assert_eq!(heartbeat.beat(), Beat::Steady);
            std::thread::sleep(Duration::from_millis(20)); // The clock of files is some milliseconds coarse.
            assert!(pulse.look());
            assert_ne!(std::mem::replace(&mut last, pulse.last), pulse.last, "it moves");
        }
        assert_eq!(heartbeat.path(), None);
        assert!((0..5).map(|_| pulse.look()).any(|alive| !alive), "a heart that stands still is noticed");
    }

    #[test]
    fn a_lockfile_left_by_the_dead_is_replaced_and_a_symlink_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("it.lock");
        std::fs::write(&path, r#"{"pid":1,"generation":1}"#).unwrap();
        drop(Heartbeat::begin(Some(&path)).unwrap());
        assert!(!path.exists());
        std::fs::write(&path, "print('precious')").unwrap();
        let error = Heartbeat::begin(Some(&path)).unwrap_err();
        assert!(error.to_string().contains("is no lockfile"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "print('precious')");
        std::fs::remove_file(&path).unwrap();
        let target = directory.path().join("target");
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let error = Heartbeat::begin(Some(&path)).unwrap_err();
        assert!(error.to_string().contains("is a symlink"), "{error}");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    }
}
