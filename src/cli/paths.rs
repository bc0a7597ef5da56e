//! Paths as they are written and as they are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::os::reason;
use crate::pattern::normalized;

/// The canonical path of a directory that must exist. `shown`: as it was written, `place`: where.
///
/// # Errors
/// Why it is none, in a sentence.
pub fn existing_directory(path: &Path, shown: &OsString, place: &str) -> Result<PathBuf, String> {
    let shown = Path::new(shown).display();
    if shown.to_string().is_empty() {
        return Err(format!("{place} '': expected a directory"));
    }
    match std::fs::read_dir(path).and_then(|_| std::fs::canonicalize(path)) {
        Ok(path) => Ok(path),
        Err(error) => Err(match error.kind() {
            std::io::ErrorKind::NotFound => format!("{place} {shown}: no such directory"),
            std::io::ErrorKind::NotADirectory => format!("{place} {shown}: not a directory"),
            std::io::ErrorKind::PermissionDenied => format!("{place} {shown}: permission denied"),
            _ => format!("{place} {shown}: {}", reason(error)),
        }),
    }
}

/// The canonical path of a directory, if it exists.
pub fn canonical(directory: &Path) -> PathBuf {
    std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

/// The canonical path of a file that need not exist. Symlinks are resolved in its directory, but not in the last
/// component: if that is a symlink, the symlink itself is meant.
pub fn canonical_name(path: &Path) -> PathBuf {
    let path = normalized(path);
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => path,
    }
}
