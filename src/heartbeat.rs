//! The heartbeat: the supervisor touches its lockfile once an interval, the child feels the pulse.
//!
//! Either's death shows at once on the pipes between them; this is the second line, for a supervisor that
//! hangs, and for anyone outside who wants to look, or to end it all by removing the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::generation::Generation;
use crate::os::lock::{LockedFile, Refusal, Share, remove_dead};
use crate::os::reason;
use crate::os::tree::Process;

/// The supervisor's side: holds the lock, touches the file, removes it in the end.
#[derive(Debug)]
pub struct Heartbeat {
    file: LockedFile,
    path: PathBuf,
    private: bool,
}

/// What a beat found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// The file is there and was touched.
    Steady,
    /// The path names it no more: somebody wants us to end.
    Removed,
    /// It could not be touched; the reason.
    Failed(String),
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
    /// Creates and locks the file at `path`, or a private one in `$XDG_RUNTIME_DIR` or the temporary directory.
    ///
    /// # Errors
    /// A given path that is in use, is no regular file, or cannot be created: wrong use. No private file
    /// possible: our own failure.
    pub fn begin(path: Option<&Path>) -> Result<Heartbeat> {
        match path {
            Some(path) => Heartbeat::at(path).map_err(|refusal| Error::usage(sentence(path, refusal))),
            None => Heartbeat::private(),
        }
    }

    fn at(path: &Path) -> std::result::Result<Heartbeat, Refusal> {
        let file = LockedFile::create(path, is_ours)?;
        Ok(Heartbeat { file, path: path.to_owned(), private: false })
    }

    fn private() -> Result<Heartbeat> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let pid = std::process::id();
        let mut problem = None;
        for directory in runtime.into_iter().chain([std::env::temp_dir()]) {
            // The second name is for a directory that all may write to, where somebody sits on the first.
            for name in
                [format!("reloadrun-{pid}.lock"), format!("reloadrun-{pid}-{}.lock", std::process::id() ^ 0x5eed)]
            {
                let path = directory.join(name);
                match Heartbeat::at(&path) {
                    Ok(mut heartbeat) => {
                        heartbeat.private = true;
                        return Ok(heartbeat);
                    }
                    Err(refusal) => problem = Some(sentence(&path, refusal)),
                }
            }
        }
        let problem = problem.unwrap_or_default();
        Err(Error::own(format!("{problem}; choose a place for it with --lockfile PATH")))
    }

    /// Removes the private files that others left here when they were killed. Not needed to go on, so it has time until
    /// the command runs.
    pub fn tidy(&self) {
        let Some(directory) = self.path.parent().filter(|_| self.private) else { return };
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let private = entries.filter(|entry| is_private_name(&entry.file_name().to_string_lossy()));
        remove_dead(private.map(|entry| entry.path()).filter(|path| *path != self.path), is_ours);
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what runs into the file.
    ///
    /// # Errors
    /// The system's, of a full disk above all: lock and beat go on without the content.
    pub fn describe(&self, generation: Generation, command: &str) -> std::io::Result<()> {
        let started = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
        let content = Content { pid: std::process::id(), generation, command, started };
        let line = serde_json::to_string(&content).map_err(std::io::Error::other)? + "\n";
        self.file.write(&line)
    }

    /// One beat.
    pub fn beat(&self) -> Beat {
        if !self.file.is_at(&self.path) {
            return Beat::Removed;
        }
        match self.file.touch() {
            Ok(()) => Beat::Steady,
            Err(errno) => Beat::Failed(errno.desc().to_lowercase()),
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.file.remove(&self.path);
    }
}

/// `reloadrun-123.lock`, `reloadrun-123-456.lock`.
fn is_private_name(name: &str) -> bool {
    let middle = name.strip_prefix("reloadrun-").and_then(|rest| rest.strip_suffix(".lock"));
    middle.is_some_and(|middle| middle.split('-').all(|part| part.parse::<u32>().is_ok()))
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
        Refusal::System(error) => format!("cannot create the lockfile {shown}: {}", reason(&error)),
    }
}

/// The child's side: counts its own looks at the file that found no beat since the look before.
///
/// Counting looks, and not time, is what makes it safe: a suspended laptop, a Ctrl-Z, a clock that is set, a
/// machine under load stop the counting as well as the beating.
#[derive(Debug)]
pub struct Pulse {
    _share: Option<Share>,
    path: PathBuf,
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

    /// Feels for the beat of the supervisor in the file at `path`, once an interval.
    pub fn of(path: &Path, supervisor: i32, interval: Duration) -> Pulse {
        let looks = Pulse::PATIENCE.as_nanos().div_ceil(interval.as_nanos().max(1));
        let limit = u32::try_from(looks).unwrap_or(u32::MAX).max(Pulse::LEAST);
        // Whoever wants this file after the supervisor's death waits until we are done.
        Pulse { _share: Share::of(path), path: path.to_owned(), supervisor, last: None, missed: 0, limit }
    }

    /// Looks once. False when the supervisor's heart stands still.
    pub fn look(&mut self) -> bool {
        let beat = crate::os::fs::look(&self.path).stamp.map(|stamp| stamp.mtime_ns);
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
    use super::{Beat, Heartbeat, Pulse};
    use crate::generation::Generation;
    use std::path::Path;
    use std::time::Duration;

    fn pulse(interval_ms: u64) -> Pulse {
        Pulse::of(Path::new("/nowhere"), 1, Duration::from_millis(interval_ms))
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
        let heartbeat = Heartbeat::begin(Some(&path)).unwrap();
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
