//! Reads one ignore file, up to a limit, and recognises by its stamp that it has not changed.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rules::Rules;

/// The most bytes read from an ignore file.
pub const MOST_BYTES: usize = 1 << 20;

/// Identifies a state of a file. A different stamp means that it was written, replaced or made readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    inode: (u64, u64),
    size: u64,
    mode: u32,
    changed_ns: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            mode: metadata.mode(),
            changed_ns: changed_ns(metadata),
        }
    }

    /// The stamp of the file at a path, through symlinks; `None` if there is no file.
    pub fn at(path: &Path) -> Option<Stamp> {
        fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
    }
}

fn changed_ns(metadata: &Metadata) -> i64 {
    metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec())
}

/// The ctime of a file, nanoseconds since the epoch; `None` if there is no file.
pub fn changed_at(path: &Path) -> Option<i64> {
    fs::symlink_metadata(path).ok().map(|metadata| changed_ns(&metadata))
}

/// An ignore file that exists.
#[derive(Debug)]
pub struct IgnoreFile {
    /// The path by which it was found.
    pub path: PathBuf,
    /// Its rules; none if it cannot be read.
    pub rules: Rules,
    /// Its stamp when it was read.
    pub stamp: Option<Stamp>,
}

/// Why an ignore file is not used, or only in part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// It is a symlink, which git does not follow either.
    IsLink(PathBuf),
    /// It has more than [`MOST_BYTES`], or too many rules or globs: only the first of them are used.
    TooLarge(PathBuf),
    /// It cannot be read.
    Unreadable(PathBuf, ErrorKind),
}

/// The result of looking for an ignore file.
#[derive(Debug, Default)]
pub struct Found {
    /// The file, if it exists.
    pub file: Option<Arc<IgnoreFile>>,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

/// Reads an ignore file, unless it has the same stamp as the `known` one.
///
/// `follow` says whether it may be a symlink. Git does not follow a `.gitignore` that is one.
pub fn read(path: &Path, follow: bool, fold: bool, known: Option<&Arc<IgnoreFile>>) -> Found {
    let metadata = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let Ok(metadata) = metadata else { return Found::default() };
    if metadata.is_symlink() {
        return Found { file: None, flaw: Some(Flaw::IsLink(path.to_owned())) };
    }
    if !metadata.is_file() {
        return Found::default();
    }
    let stamp = Some(Stamp::of(&metadata));
    if let Some(known) = known.filter(|known| known.stamp == stamp && known.rules.folds() == fold) {
        return Found { file: Some(Arc::clone(known)), flaw: None };
    }
    let (rules, flaw) = match content(path) {
        Ok((content, whole)) => {
            let rules = Rules::of(content, fold);
            let flaw = (!whole || !rules.is_whole()).then(|| Flaw::TooLarge(path.to_owned()));
            (rules, flaw)
        }
        // It was removed since.
        Err(error) if error.kind() == ErrorKind::NotFound => return Found::default(),
        Err(error) => (Rules::of(Vec::new(), fold), Some(Flaw::Unreadable(path.to_owned(), error.kind()))),
    };
    Found { file: Some(Arc::new(IgnoreFile { path: path.to_owned(), rules, stamp })), flaw }
}

/// The content of a file up to the limit, and whether that is all. A line that is cut off is dropped.
fn content(path: &Path) -> std::io::Result<(Vec<u8>, bool)> {
    let mut content = Vec::new();
    File::open(path)?.take(MOST_BYTES as u64 + 1).read_to_end(&mut content)?;
    let whole = content.len() <= MOST_BYTES;
    if !whole {
        let end = content[..MOST_BYTES].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        content.truncate(end);
    }
    Ok((content, whole))
}
