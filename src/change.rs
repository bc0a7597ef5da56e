//! Changes of files, as plain data for all higher ranks.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Identifies one state of a file. Two stamps are compared with `!=`, never with `>`: restoring an older file
/// (`cp -p`, `rsync -t`, `git stash`) is a change like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Size in bytes.
    pub size: u64,
    /// Inode number of the file itself (symlinks are followed).
    pub inode: u64,
    /// Birth time of the inode, nanoseconds since the epoch; 0 where the file system does not report it. It is needed
    /// because a file system may reuse the inode number of a deleted file at once.
    pub born_ns: i64,
}

impl Stamp {
    /// Whether the other stamp differs only in the birth time of the inode.
    pub fn is_twin(&self, other: &Stamp) -> bool {
        self != other && Stamp { born_ns: other.born_ns, ..*self } == *other
    }

    /// An unknown state. It differs from every state, also from a missing file.
    pub const UNKNOWN: Stamp = Stamp { mtime_ns: i64::MIN, size: u64::MAX, inode: 0, born_ns: 0 };
}

/// The result of one look at a path: its stamp (`None` = no such file), and when its inode last changed.
///
/// `ctime_ns` is not a part of the stamp because a new ctime alone is not a reason to restart (`chmod` changes it). But
/// no program can set it back, so it shows whether a file was touched while it was not watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The file's stamp, or `None` where there is no regular file.
    pub stamp: Option<Stamp>,
    /// Inode change time, nanoseconds since the epoch; 0 where there is no file.
    pub ctime_ns: i64,
}

impl Look {
    /// The look at a path without a file.
    pub const ABSENT: Look = Look { stamp: None, ctime_ns: 0 };
}

/// A path for display: relative if it is in `directory` or near it (`../shared/lib.py`), else absolute.
pub fn seen_from(directory: &Path, path: &Path) -> PathBuf {
    let shared = directory.components().zip(path.components()).take_while(|(own, other)| own == other).count();
    let up = directory.components().count() - shared;
    // Not `..` alone, and not by way of the root directory.
    if shared == path.components().count() || up > 3 || (up > 0 && shared < 2) {
        return path.to_owned();
    }
    let steps = std::iter::repeat_n(Component::ParentDir, up);
    let relative: PathBuf = steps.chain(path.components().skip(shared)).collect();
    let is_shorter = relative.as_os_str().len() < path.as_os_str().len();
    if is_shorter { relative } else { path.to_owned() }
}

/// What happened to a file since its generation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The file did not exist before.
    Created,
    /// The file existed and is different now.
    Modified,
    /// The file existed and does not any more.
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

/// One changed file, and the rule that makes it count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Absolute path, as the watch patterns name it (symlinks are kept).
    #[serde(with = "path")]
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
    /// The rule that made it count, as the user wrote it (`-w '*.py'`).
    pub rule: String,
    /// Whether this is the config file. It always causes a restart, also with `--on-change signal:NAME`.
    pub config: bool,
    /// Whether it was still open for writing when the wait for it ended. Closing it will be another change.
    pub open: bool,
    /// The last look at the file, so that the next generation does not count the same change again.
    pub seen: Look,
}

impl Change {
    /// A file that was created while it was not watched.
    pub fn unseen(path: PathBuf) -> Change {
        let (kind, rule) = (ChangeKind::Created, String::new());
        Change { path, kind, rule, config: false, open: false, seen: Look::ABSENT }
    }
}

/// All changes that cause one restart, ordered by path, each path once. Cloning is cheap: a `git checkout` may change
/// tens of thousands of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    changes: Arc<Vec<Change>>,
}

impl ChangeSet {
    /// Builds a set; of several changes to one path the last one stays.
    pub fn new(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut changes: Vec<Change> = changes.into_iter().collect();
        // The sort is stable, so the last change to a path stays last.
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

    /// The number of changed files.
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

    /// The others than those of the config file and the env files.
    pub fn without_config(&self) -> ChangeSet {
        ChangeSet::new(self.iter().filter(|change| !change.config).cloned())
    }

    /// The paths alone.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.changes.iter().map(|change| change.path.as_path())
    }

    /// The changes themselves.
    pub fn into_changes(self) -> Vec<Change> {
        Arc::unwrap_or_clone(self.changes)
    }

    /// Splits the set into sets of at most `size` changes.
    pub fn pieces(&self, size: usize) -> impl DoubleEndedIterator<Item = ChangeSet> {
        self.changes.chunks(size).map(|piece| ChangeSet { changes: Arc::new(piece.to_vec()) })
    }

    /// Adds another set; for a path in both, `later` wins.
    pub fn merge(self, later: ChangeSet) -> ChangeSet {
        if self.is_empty() {
            return later;
        }
        ChangeSet::new(self.into_changes().into_iter().chain(later.into_changes()))
    }
}

/// A path as a JSON string. A byte that is not UTF-8 becomes a lone surrogate, `\\udc80` to `\\udcff`, as in Python
/// (PEP 383): `os.fsencode(json.loads(...))` returns the original bytes.
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

/// A path between two processes, as its bytes: they need not be UTF-8. For `#[serde(with = "..")]`.
pub mod path {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Its bytes.
    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(serializer)
    }

    /// From its bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Vec::deserialize(deserializer).map(|bytes| OsString::from_vec(bytes).into())
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
    fn each_path_is_in_a_set_once_and_the_later_change_wins() {
        let first = ChangeSet::new([change("/b", ChangeKind::Created), change("/a", ChangeKind::Modified)]);
        let both = first.merge(ChangeSet::new([change("/b", ChangeKind::Deleted)]));
        let seen: Vec<_> = both.iter().map(|c| (c.path.to_str().unwrap(), c.kind)).collect();
        assert_eq!(seen, [("/a", ChangeKind::Modified), ("/b", ChangeKind::Deleted)]);
    }

    #[test]
    fn a_path_is_written_as_a_json_string_without_losing_bytes() {
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
        let wire = postcard::to_stdvec(&set).unwrap();
        let back: ChangeSet = postcard::from_bytes(&wire).unwrap();
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
