//! The heartbeat: the supervisor touches its lockfile once an interval, and the child checks it (the *pulse*).
//!
//! The death of either process closes the pipes between them and is noticed at once. The heartbeat covers a supervisor
//! that hangs. From outside, the file shows what runs, and removing it stops reloadrun.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::escape::escaped_json;
use crate::generation::Generation;
use crate::os::fs::FileId;
use crate::os::lock::{Felt, LockedFile, Memory, Refusal, random, remove_dead};
use crate::os::tree::Process;
use crate::os::{Errno, reason};

/// The supervisor's side: holds the lock, touches the file, removes it at the end.
#[derive(Debug)]
pub struct Heartbeat {
    file: Kept,
    /// Whether the last beat found the private file missing in a directory that still exists.
    missed: bool,
}

/// The file that is touched.
#[derive(Debug)]
enum Kept {
    /// A file that can be found by its path.
    Named {
        file: LockedFile,
        path: PathBuf,
        /// The directory in which a private file was created; `None` for a file chosen by the user.
        directory: Option<FileId>,
    },
    /// A memfd, where no directory accepts a file. It is shared with the children only.
    Nameless(Memory),
}

/// The result of one beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// The file exists and was touched.
    Steady,
    /// The file was removed or replaced: the user wants reloadrun to end.
    Removed,
    /// This is the first beat that does not find the private file. At the next beat it is known whether its directory
    /// was removed as well.
    Missed,
    /// The file could not be touched.
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
    /// Creates and locks the file at `path`, or a private one in `$XDG_RUNTIME_DIR` or the temporary directory. If both
    /// refuse a file, the heartbeat uses memory.
    ///
    /// # Errors
    /// `Usage` if the given path is in use, is not a regular file or cannot be created. `Own` if there is not even
    /// memory for a private heartbeat.
    pub fn begin(path: Option<&Path>, environment: &Environment) -> Result<Heartbeat> {
        let file = match path {
            Some(path) => {
                let file =
                    LockedFile::create(path, is_ours).map_err(|refusal| Error::usage(sentence(path, refusal)))?;
                Kept::Named { file, path: path.to_owned(), directory: None }
            }
            None => match private_file(private_directories(environment)) {
                Some(named) => named,
                None => Kept::Nameless(Memory::new().map_err(|errno| {
                    Error::own(format!(
                        "cannot create a private lockfile ({}); choose a path with --lockfile PATH",
                        reason(errno)
                    ))
                })?),
            },
        };
        Ok(Heartbeat { file, missed: false })
    }

    /// Removes private files that other supervisors left in this directory when they were killed. Not urgent, so it is
    /// called after the command was started.
    pub fn tidy(&self) {
        let Kept::Named { path, directory: Some(_), .. } = &self.file else { return };
        let entries = path.parent().map(std::fs::read_dir).into_iter().flatten().flatten().flatten();
        let private = entries.filter(|entry| is_private_name(&entry.file_name().to_string_lossy()));
        remove_dead(private.map(|entry| entry.path()).filter(|other| other != path), is_ours);
    }

    /// The path of the file; `None` for a heartbeat in memory.
    pub fn path(&self) -> Option<&Path> {
        match &self.file {
            Kept::Named { path, .. } => Some(path),
            Kept::Nameless(_) => None,
        }
    }

    /// The path at which the next child opens the file; `None` for a private file that is no longer there. The child
    /// must open it itself: a copy of our descriptor would share the lock.
    pub fn path_for_child(&self) -> Option<&Path> {
        match &self.file {
            Kept::Named { file, path, directory } => (directory.is_none() || file.is_at(path)).then_some(path),
            Kept::Nameless(_) => None,
        }
    }

    /// A descriptor for the next child where there is no file to open; then sharing the lock does no harm. `None` when
    /// no descriptor is left.
    pub fn descriptor_for_child(&self) -> Option<OwnedFd> {
        match &self.file {
            Kept::Named { file, .. } => file.duplicate().ok(),
            Kept::Nameless(memory) => memory.duplicate().ok(),
        }
    }

    /// Writes one line about the running command into the file.
    ///
    /// # Errors
    /// The system's, usually a full disk. The lock and the heartbeat work without the content.
    pub fn describe(&self, generation: Generation, command: &str) -> std::io::Result<()> {
        let Kept::Named { file, .. } = &self.file else { return Ok(()) };
        let started = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
        let content = Content { pid: std::process::id(), generation, command, started };
        let line = serde_json::to_string(&content).map_err(std::io::Error::other)? + "\n";
        // The content may be printed on a terminal.
        file.write(&escaped_json(line))
    }

    /// Touches the file once, if it is still there.
    pub fn beat(&mut self) -> Beat {
        let touched = match &self.file {
            Kept::Named { file, path, directory } => {
                if !file.is_at(path) {
                    let is_there = |id: &FileId| path.parent().and_then(FileId::of) == Some(*id);
                    match directory {
                        None => return Beat::Removed,
                        // Only at the second beat in a row: `rm -r` and logind (at logout) remove the file first and
                        // its directory a moment later.
                        Some(id) if is_there(id) && std::mem::replace(&mut self.missed, true) => return Beat::Removed,
                        Some(id) if is_there(id) => {
                            // If this fails, the child misses one beat.
                            let _ = file.touch();
                            return Beat::Missed;
                        }
                        // Removed with its directory: not meant for reloadrun.
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

/// Directories for a private file, the best one first.
fn private_directories(environment: &Environment) -> impl Iterator<Item = PathBuf> {
    environment.runtime_directory().into_iter().chain([environment.temporary_directory()])
}

/// Creates a private file in the first directory that accepts one. Its name is random, so that other users cannot
/// create it beforehand in a directory like `/tmp`.
fn private_file(directories: impl Iterator<Item = PathBuf>) -> Option<Kept> {
    directories.into_iter().find_map(|directory| {
        let name = format!("reloadrun-{}-{:032x}.lock", std::process::id(), random()?);
        let path = directory.join(name);
        let file = LockedFile::create(&path, is_ours).ok()?;
        let directory = Some(FileId::of(&directory)?);
        Some(Kept::Named { file, path, directory })
    })
}

/// Whether a file name is that of a private lockfile: `reloadrun-PID-`, 32 hexadecimal digits, `.lock`.
fn is_private_name(name: &str) -> bool {
    let middle = name.strip_prefix("reloadrun-").and_then(|rest| rest.strip_suffix(".lock"));
    let is_hexadecimal =
        |secret: &str| secret.len() == 32 && secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_number = |pid: &str| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    middle
        .and_then(|middle| middle.split_once('-'))
        .is_some_and(|(pid, secret)| is_number(pid) && is_hexadecimal(secret))
}

/// Whether this is the first line of a lockfile.
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
                    "the lockfile {shown} is in use by another reloadrun (pid {pid}); stop it first, or choose another file"
                ),
                None => format!("the lockfile {shown} is in use by another process; choose another file"),
            }
        }
        Refusal::NotAFile => {
            format!("the lockfile {shown} is a symlink or not a regular file; remove it, or choose another file")
        }
        Refusal::NotOurs => format!("the lockfile {shown} exists and is not a reloadrun lockfile; choose another name"),
        Refusal::System(error) => format!("cannot create the lockfile {shown}: {}", reason(error)),
    }
}

/// The child's side, the pulse: looks at the file once an interval and counts the looks that found no new beat.
///
/// It counts looks instead of time, because what delays the beats also delays the looks: a suspended laptop, a Ctrl-Z,
/// a machine under load. A clock that is set has no influence either.
#[derive(Debug)]
pub struct Pulse {
    felt: Option<Felt>,
    supervisor: i32,
    last: Option<i64>,
    missed: u32,
    limit: u32,
}

impl Pulse {
    /// How long beats may be missing, but at least [`Pulse::LEAST`] of them.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// The fewest missed beats that count as a dead supervisor; a few late ones are normal.
    const LEAST: u32 = 5;

    /// For a supervisor with this pid that touches the file at `path`, or the open file, once an interval.
    pub fn of(path: Option<&Path>, open: Option<OwnedFd>, supervisor: i32, interval: Duration) -> Pulse {
        let looks = Pulse::PATIENCE.as_nanos().div_ceil(interval.as_nanos().max(1));
        let limit = u32::try_from(looks).unwrap_or(u32::MAX).max(Pulse::LEAST);
        // The shared lock makes the next owner of this file wait until this child has ended (see `os::lock`).
        let felt = path.and_then(Felt::at).or_else(|| open.map(Felt::of));
        Pulse { felt, supervisor, last: None, missed: 0, limit }
    }

    /// Looks once. False when too many beats are missing.
    pub fn look(&mut self) -> bool {
        // Without a file there is no heartbeat; the pipes still show the supervisor's death.
        let Some(felt) = &self.felt else { return true };
        let (beat, supervisor) = (felt.beat(), self.supervisor);
        // A debugger, or a SIGSTOP to the supervisor alone: it is stopped, not dead.
        self.count(beat, || Process::of(supervisor).is_some_and(|process| process.is_stopped()))
    }

    fn count(&mut self, beat: Option<i64>, is_stopped: impl FnOnce() -> bool) -> bool {
        if beat.is_some() && beat != self.last {
            self.last = beat;
            self.missed = 0;
        } else if !is_stopped() {
            self.missed += 1;
        }
        self.missed < self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::{Beat, Heartbeat, Kept, Memory, Pulse, is_private_name, private_file};
    use crate::environment::Environment;
    use crate::generation::Generation;
    use std::time::Duration;

    fn pulse(interval_ms: u64) -> Pulse {
        Pulse::of(None, None, 1, Duration::from_millis(interval_ms))
    }

    #[test]
    fn any_new_time_is_a_beat_also_an_earlier_one() {
        let mut pulse = pulse(1000);
        for beat in [5, 6, 3, 100, 99, 1_000_000, 0] {
            assert!(pulse.count(Some(beat), || false), "a clock that was set does not look like a dead supervisor");
        }
    }

    #[test]
    fn five_seconds_of_looks_without_a_beat_mean_a_dead_supervisor() {
        for (interval, looks) in [(1000, 5), (100, 50), (10_000, 5)] {
            let mut pulse = pulse(interval);
            assert!(pulse.count(Some(1), || false));
            for look in 1..looks {
                assert!(pulse.count(Some(1), || false), "look {look} of {looks}");
            }
            assert!(!pulse.count(Some(1), || false));
        }
    }

    #[test]
    fn a_stopped_supervisor_does_not_count_as_dead() {
        let mut pulse = pulse(1000);
        for _ in 0..1000 {
            assert!(pulse.count(Some(1), || true));
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_counts_as_a_missed_beat() {
        let mut pulse = pulse(1000);
        assert!((0..5).map(|_| pulse.count(None, || false)).any(|alive| !alive));
    }

    #[test]
    fn the_file_has_mode_600_names_what_runs_and_is_not_removed_if_it_was_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("it.lock");
        let mut heartbeat = Heartbeat::begin(Some(&path), &Environment::default()).unwrap();
        heartbeat.describe(Generation::FIRST, "sleep 1").unwrap();
        let content: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(content["pid"], std::process::id());
        assert_eq!((content["generation"].as_u64(), content["command"].as_str()), (Some(1), Some("sleep 1")));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = Heartbeat::begin(Some(&path), &Environment::default()).unwrap_err();
        assert!(
            error.to_string().contains(&format!("in use by another reloadrun (pid {})", std::process::id())),
            "{error}"
        );
        assert_eq!(heartbeat.beat(), Beat::Steady);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(heartbeat.beat(), Beat::Removed);
        std::fs::write(&path, "other content").unwrap();
        assert_eq!(heartbeat.beat(), Beat::Removed);
        drop(heartbeat);
        assert!(path.exists(), "a file that replaced it must stay");
    }

    #[test]
    fn only_the_exact_form_of_a_private_name_is_recognised() {
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
    fn a_private_file_is_created_in_the_first_directory_that_accepts_one_under_a_new_name() {
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
    fn removing_a_private_file_with_its_directory_does_not_stop_reloadrun() {
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
            std::thread::sleep(Duration::from_millis(20)); // The clock of file times has a resolution of some milliseconds.
            assert!(pulse.look(), "the child sees the beats of a removed file");
        }
        // The next login creates the directory again.
        std::fs::create_dir(&directory).unwrap();
        assert_eq!(heartbeat.beat(), Beat::Steady);
        assert!(heartbeat.path_for_child().is_none() && heartbeat.descriptor_for_child().is_some());
        // First the file and then the directory, as `rm -r` does.
        let mut heartbeat = begin();
        std::fs::remove_file(heartbeat.path().unwrap()).unwrap();
        assert_eq!(heartbeat.beat(), Beat::Missed);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!([heartbeat.beat(), heartbeat.beat()], [Beat::Steady, Beat::Steady]);
        // Removing the file alone stops reloadrun.
        let mut heartbeat = begin();
        std::fs::remove_file(heartbeat.path().unwrap()).unwrap();
        assert_eq!([heartbeat.beat(), heartbeat.beat()], [Beat::Missed, Beat::Removed]);
    }

    #[test]
    fn the_pulse_sees_a_heartbeat_in_memory() {
        let mut heartbeat = Heartbeat { file: Kept::Nameless(Memory::new().unwrap()), missed: false };
        let mut pulse = Pulse::of(None, heartbeat.descriptor_for_child(), 1, Duration::from_secs(1));
        let mut last = None;
        for _ in 0..8 {
            assert_eq!(heartbeat.beat(), Beat::Steady);
            std::thread::sleep(Duration::from_millis(20)); // The clock of file times has a resolution of some milliseconds.
            assert!(pulse.look());
            assert_ne!(std::mem::replace(&mut last, pulse.last), pulse.last, "each beat has a new time");
        }
        assert_eq!(heartbeat.path(), None);
        assert!((0..5).map(|_| pulse.look()).any(|alive| !alive), "missing beats are noticed");
    }

    #[test]
    fn a_leftover_lockfile_is_replaced_but_another_file_and_a_symlink_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("it.lock");
        std::fs::write(&path, r#"{"pid":1,"generation":1}"#).unwrap();
        drop(Heartbeat::begin(Some(&path), &Environment::default()).unwrap());
        assert!(!path.exists());
        std::fs::write(&path, "print('precious')").unwrap();
        let error = Heartbeat::begin(Some(&path), &Environment::default()).unwrap_err();
        assert!(error.to_string().contains("is not a reloadrun lockfile"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "print('precious')");
        std::fs::remove_file(&path).unwrap();
        let target = directory.path().join("target");
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let error = Heartbeat::begin(Some(&path), &Environment::default()).unwrap_err();
        assert!(error.to_string().contains("is a symlink"), "{error}");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    }
}
