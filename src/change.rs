//! What changed: plain data, shared by everyone above.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What tells one state of a file from another. Two stamps are compared with `!=`, never with `>`:
/// a restored older file (`cp -p`, `rsync -t`, `git stash`) is a change like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Size in bytes.
    pub size: u64,
    /// Inode number of the file itself (symlinks are followed).
    pub inode: u64,
    /// When the inode was made, nanoseconds since the epoch; 0 where the file system does not say. The number of a
    /// deleted file is given to the next one at once.
    pub born_ns: i64,
}

impl Stamp {
    /// Whether another stamp differs in nothing but the time at which the inode was made.
    pub fn is_twin(&self, other: &Stamp) -> bool {
        self != other && Stamp { born_ns: other.born_ns, ..*self } == *other
    }

    /// Nobody knows how the file was: it differs from every state, absence included.
    pub const UNKNOWN: Stamp = Stamp { mtime_ns: i64::MIN, size: u64::MAX, inode: 0, born_ns: 0 };
}

/// One look at a path: its stamp (`None` = no such file), and when its inode last changed.
///
/// `ctime_ns` is kept apart because it is no reason to restart (`chmod` moves it), but it is the one
/// time that nothing can set back, so it alone can tell what happened in an unwatched moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The file's stamp, or `None` where there is no regular file.
    pub stamp: Option<Stamp>,
    /// Inode change time, nanoseconds since the epoch; 0 where there is no file.
    pub ctime_ns: i64,
}

impl Look {
    /// What one sees where there is no file.
    pub const ABSENT: Look = Look { stamp: None, ctime_ns: 0 };
}

/// A path as people read it from a directory: relative in it and near it (`../shared/lib.py`), whole elsewhere.
pub fn seen_from(directory: &Path, path: &Path) -> PathBuf {
    let shared = directory.components().zip(path.components()).take_while(|(own, other)| own == other).count();
    let up = directory.components().count() - shared;
    // `..` alone says little, and the root of the file system is nobody's neighbourhood.
    if shared == path.components().count() || up > 3 || (up > 0 && shared < 2) {
        return path.to_owned();
    }
    let steps = std::iter::repeat_n(Component::ParentDir, up);
    let relative: PathBuf = steps.chain(path.components().skip(shared)).collect();
    let is_shorter = relative.as_os_str().len() < path.as_os_str().len();
    if is_shorter { relative } else { path.to_owned() }
}

/// What happened to a file since its generation started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was not there before.
    Created,
    /// It was there, and is different now.
    Modified,
    /// It was there, and is gone.
    Deleted,
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChangeKind::Created => "created",
            ChangeKind::Modified => "changed",
            ChangeKind::Deleted => "deleted",
        })
    }
}

/// One changed file, and the rule by which it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Absolute path, as the watch patterns reach it (a symlink keeps its visible name).
    #[serde(with = "path")]
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
    /// The rule that made it count, in the user's words (`-w '*.py'`).
    pub rule: String,
    /// Whether this is the config file itself: then nothing less than a restart will do.
    pub config: bool,
    /// Whether somebody still had it open for writing when its time was up: its end will be one more change.
    pub open: bool,
    /// How the file was last seen, so that the next generation does not count it once more.
    pub seen: Look,
}

impl Change {
    /// A file that came where nobody saw it.
    pub fn unseen(path: PathBuf) -> Change {
        let (kind, rule) = (ChangeKind::Created, String::new());
        Change { path, kind, rule, config: false, open: false, seen: Look::ABSENT }
    }
}

/// Everything behind one restart, ordered by path, each path once. Several share one: a branch that is checked out may be
/// tens of thousands of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    changes: Arc<Vec<Change>>,
}

impl ChangeSet {
    /// A set of these changes; of several for one path the last one stays.
    pub fn new(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut changes: Vec<Change> = changes.into_iter().collect();
        // Stable, so that of one path the last one comes last.
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        changes.dedup_by(|later, kept| {
            let same = later.path == kept.path;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        ChangeSet { changes: Arc::new(changes) }
    }

    /// The changes, ordered by path.
    pub fn iter(&self) -> std::slice::Iter<'_, Change> {
        self.changes.iter()
    }

    /// How many files changed.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether the config file is among them.
    pub fn has_config(&self) -> bool {
        self.changes.iter().any(|change| change.config)
    }

    /// The paths alone.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.changes.iter().map(|change| change.path.as_path())
    }

    /// The changes themselves.
    pub fn into_changes(self) -> Vec<Change> {
        Arc::unwrap_or_clone(self.changes)
    }

    /// The same in sets of at most so many.
    pub fn pieces(&self, size: usize) -> impl DoubleEndedIterator<Item = ChangeSet> {
        self.changes.chunks(size).map(|piece| ChangeSet { changes: Arc::new(piece.to_vec()) })
    }

    /// Adds another set; where both name a path, `later` wins.
    pub fn merge(self, later: ChangeSet) -> ChangeSet {
        if self.is_empty() {
            return later;
        }
        ChangeSet::new(self.into_changes().into_iter().chain(later.into_changes()))
    }
}

/// A path as a JSON string. A byte that is not UTF-8 becomes half a surrogate pair, `\\udc80` to `\\udcff`, as Python does it
/// (PEP 383): `os.fsencode(json.loads(...))` gives the bytes back.
pub fn json_string(path: &Path) -> String {
    let mut json = String::from("\"");
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        let valid = serde_json::Value::from(chunk.valid()).to_string();
        json.push_str(&valid[1..valid.len() - 1]);
        chunk.invalid().iter().for_each(|byte| json.push_str(&format!("\\udc{byte:02x}")));
    }
    json.push('"');
    json
}

/// A path between two processes: its bytes need not be UTF-8.
pub mod path {
    use std::borrow::Cow;
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Most paths are UTF-8, and a text takes a quarter of the room that a list of numbers takes.
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Wire<'a> {
        Text(Cow<'a, str>),
        Bytes(Vec<u8>),
    }

    /// For `#[serde(with = "..")]`.
    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        let wire = match path.to_str() {
            Some(text) => Wire::Text(text.into()),
            None => Wire::Bytes(path.as_os_str().as_bytes().to_owned()),
        };
        wire.serialize(serializer)
    }

    /// For `#[serde(with = "..")]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(match Wire::deserialize(deserializer)? {
            Wire::Text(text) => PathBuf::from(text.into_owned()),
            Wire::Bytes(bytes) => PathBuf::from(OsString::from_vec(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, ChangeKind, ChangeSet, Look, seen_from};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    fn change(path: &str, kind: ChangeKind) -> Change {
        Change { path: PathBuf::from(path), kind, rule: "r".into(), config: false, open: false, seen: Look::ABSENT }
    }

    #[test]
    fn a_path_stands_once_and_the_later_change_wins() {
        let first = ChangeSet::new([change("/b", ChangeKind::Created), change("/a", ChangeKind::Modified)]);
        let both = first.merge(ChangeSet::new([change("/b", ChangeKind::Deleted)]));
        let seen: Vec<_> = both.iter().map(|c| (c.path.to_str().unwrap(), c.kind)).collect();
        assert_eq!(seen, [("/a", ChangeKind::Modified), ("/b", ChangeKind::Deleted)]);
    }

    #[test]
    fn a_path_is_a_json_string_that_gives_its_bytes_back() {
        for (path, json) in [
            (&b"/a b/\xc3\xa9.py"[..], "\"/a b/\u{e9}.py\""),
            (b"/\"\\\n.py", r#""/\"\\\n.py""#),
            (b"/caf\xe9\xff.py", r#""/caf\udce9\udcff.py""#),
        ] {
            assert_eq!(super::json_string(std::path::Path::new(OsStr::from_bytes(path))), json);
        }
    }

    #[test]
    fn a_path_that_is_not_utf8_survives_the_pipe() {
        let path = PathBuf::from(OsStr::from_bytes(b"/x/\xff.py"));
        let set = ChangeSet::new([Change { path: path.clone(), ..change("", ChangeKind::Created) }]);
        let wire = serde_json::to_string(&set).unwrap();
        let back: ChangeSet = serde_json::from_str(&wire).unwrap();
        assert_eq!(back.paths().next(), Some(path.as_path()));
    }

    #[test]
    fn paths_in_a_directory_and_near_it_are_shown_relative() {
        for (path, expected) in [
            ("/home/me/app/src/a.py", "src/a.py"),
            ("/home/me/app", "/home/me/app"),
            ("/home/me/shared/lib.py", "../shared/lib.py"),
            ("/home/me/app2/a.py", "../app2/a.py"),
            ("/home/me/a.py", "../a.py"),
            ("/home/you/a.py", "/home/you/a.py"),
            ("/etc/app/app.toml", "/etc/app/app.toml"),
            ("/home/me", "/home/me"),
            ("/", "/"),
        ] {
            assert_eq!(seen_from(Path::new("/home/me/app"), Path::new(path)), Path::new(expected), "{path}");
        }
        assert_eq!(seen_from(Path::new("/"), Path::new("/etc/a")), Path::new("etc/a"));
        assert_eq!(seen_from(Path::new("/app"), Path::new("/etc/a")), Path::new("/etc/a"));
        assert_eq!(seen_from(Path::new("/a/b/c/d/e/f"), Path::new("/a/x")), Path::new("/a/x"));
    }
}
