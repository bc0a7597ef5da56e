//! What the watched files come to, told after the command has taken them in: it is the same wherever the same files have the same
//! contents, so that a fleet can be asked whether everyone has the same version.
//!
//! A thread of low priority reads them, and nobody waits for it. It covers what the patterns name, the config file and the env
//! files, by their names as seen from the directory of the command.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

use tracing::debug;
use twox_hash::XxHash3_64;

use super::frozen::SharedWatcher;
use super::inbox::Voice;
use crate::change::{Stamp, seen_from};
use crate::config::Config;
use crate::os;
use crate::os::fs::look;
use crate::protocol::Report;
use crate::watch::content;

/// Of more files, or of more bytes, there is no digest: a whole tree is no configuration.
const MOST_FILES: usize = 500;
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// Reads the files and reports what they come to, unless they change meanwhile: then there will be another occasion.
pub fn tell(config: &Config, watcher: &SharedWatcher, voice: &Voice) {
    if config.watch.is_empty() {
        return;
    }
    let (watcher, voice) = (watcher.clone(), voice.clone());
    let (directory, sources) = (config.directory.clone(), config.sources().cloned().collect::<Vec<_>>());
    let work = move || {
        os::process::lower_priority();
        let counted = watcher.look().and_then(|watcher| watcher.counted(MOST_FILES));
        let Some(counted) = counted else { return };
        let sources = sources.into_iter().filter_map(|path| Some((look(&path).stamp?, path)));
        let files: BTreeMap<PathBuf, Stamp> =
            counted.into_iter().chain(sources.map(|(stamp, path)| (path, stamp))).collect();
        let digest = digest(&directory, &files);
        debug!(?digest, "the watched files have been read");
        if let Some(digest) = digest {
            voice.report(Report::Digest { digest, files: files.len() });
        }
    };
    // Without the thread there is no digest.
    drop(std::thread::Builder::new().name("digest".into()).spawn(work));
}

fn digest(directory: &Path, files: &BTreeMap<PathBuf, Stamp>) -> Option<String> {
    if files.values().fold(0, |sum: u64, stamp| sum.saturating_add(stamp.size)) > MOST_BYTES {
        return None;
    }
    let mut hasher = XxHash3_64::new();
    for (path, stamp) in files {
        let name = seen_from(directory, path);
        let bytes = name.as_os_str().as_encoded_bytes();
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
        let content = match content(path, *stamp) {
            Some(content) => content.get(),
            // It may not be read: all that can be said is that it is there.
            None if look(path).stamp == Some(*stamp) => 0,
            None => return None,
        };
        hasher.write(&content.to_le_bytes());
    }
    Some(format!("{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::{MOST_BYTES, digest};
    use crate::os::fs::look;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    /// Of these files below the directory, as they are.
    fn of(directory: &Path, names: &[&str]) -> Option<String> {
        let path = |name: &&str| directory.join(name);
        let files: BTreeMap<_, _> =
            names.iter().map(path).map(|path| (path.clone(), look(&path).stamp.unwrap())).collect();
        digest(directory, &files)
    }

    #[test]
    fn the_same_contents_under_the_same_names_have_the_same_digest_and_no_others() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |directory: &Path, name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        for directory in [one.path(), other.path()] {
            write(directory, "a.toml", "a = 1");
            write(directory, "b.toml", "b = 1");
        }
        let both = ["a.toml", "b.toml"];
        let first = of(one.path(), &both);
        assert!(first.is_some());
        assert_eq!(first, of(other.path(), &both));
        write(one.path(), "a.toml", "a = 2");
        assert_ne!(of(one.path(), &both), first);
        write(one.path(), "a.toml", "b = 1");
        write(one.path(), "b.toml", "a = 1");
        assert_ne!(of(one.path(), &both), first, "the contents are swapped");
        assert_ne!(of(other.path(), &["a.toml"]), first);
        fs::rename(other.path().join("b.toml"), other.path().join("c.toml")).unwrap();
        assert_ne!(of(other.path(), &["a.toml", "c.toml"]), first, "another name");
        fs::write(other.path().join("d"), vec![0; usize::try_from(MOST_BYTES).unwrap()]).unwrap();
        assert_eq!(of(other.path(), &["a.toml", "d"]), None, "too much");
    }

    #[test]
    fn a_file_that_changes_meanwhile_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, "one").unwrap();
        let before = look(&path).stamp.unwrap();
        fs::write(&path, "three").unwrap();
        assert_eq!(digest(directory.path(), &BTreeMap::from([(path, before)])), None);
    }
}
