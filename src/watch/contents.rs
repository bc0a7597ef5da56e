//! `--compare content`: what has the same bytes as at the start of the generation restarts nothing.
//!
//! The digests of the start are made after it, by a thread of low priority that nobody waits for, and are left to the next
//! child. A file that has none yet counts as changed.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hasher;
use std::io::Read;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

use tracing::debug;
use twox_hash::XxHash3_64;

use super::snapshot::{Digest, Shared};
use crate::change::{Look, Stamp};
use crate::config::Compare;
use crate::os;

/// Files larger than this always count as changed.
const LARGEST: u64 = 64 * 1024 * 1024;

/// So much is read at once.
const CHUNK: usize = 128 * 1024;

/// What is known of contents.
#[derive(Debug)]
pub struct Contents {
    matter: bool,
    /// Of the files that were compared: the digest of what was seen.
    seen: HashMap<PathBuf, (Look, Option<Digest>)>,
    /// Wakes the thread that makes the digests.
    waker: Option<Sender<()>>,
}

impl Contents {
    /// Nothing is known yet.
    pub fn new(compare: Compare) -> Contents {
        Contents { matter: compare == Compare::Content, seen: HashMap::new(), waker: None }
    }

    /// Whether they are compared at all.
    pub fn matter(&self) -> bool {
        self.matter
    }

    /// The digest of a file as it looks now.
    pub fn of(&mut self, path: &Path, look: Look) -> Option<Digest> {
        if let Some((known, digest)) = self.seen.get(path)
            && *known == look
        {
            return *digest;
        }
        let digest = digest(path, look.stamp?);
        self.seen.insert(path.to_owned(), (look, digest));
        digest
    }

    /// What was learnt of a file that looks like this, once.
    pub fn take(&mut self, path: &Path, look: Look) -> Option<Digest> {
        self.seen.remove(path).filter(|(seen, _)| *seen == look)?.1
    }

    /// Has the digests made that are missing, by a thread that nobody waits for.
    pub fn make_missing(&mut self, snapshot: &Shared) {
        if let Some(waker) = &self.waker {
            // The thread ends with the process.
            let _ = waker.send(());
            return;
        }
        let (waker, wakes) = channel();
        let snapshot = snapshot.clone();
        let work = move || {
            os::process::lower_priority();
            while wakes.recv().is_ok() {
                // However many have asked, once is enough.
                while wakes.try_recv().is_ok() {}
                make_digests(&snapshot);
            }
        };
        // Without the thread there are no digests, and everything counts as changed.
        if std::thread::Builder::new().name("contents".into()).spawn(work).is_ok() {
            let _ = waker.send(());
            self.waker = Some(waker);
        }
    }
}

/// Makes the digests that are missing, one directory after the other.
fn make_digests(snapshot: &Shared) {
    let mut made = 0;
    let mut last: Option<PathBuf> = None;
    loop {
        let next = snapshot.lock().without_digests(last.as_deref());
        let Some((directory, files)) = next else { break };
        for (name, stamp) in files {
            let path = directory.join(&*name);
            if let Some(digest) = digest(&path, stamp) {
                made += usize::from(snapshot.lock().add_digest(&path, stamp, digest));
            }
        }
        last = Some(directory);
    }
    debug!(made, "the contents are known");
}

/// The digest of a file, if it looks like this before and after; `None` when it does not, cannot be read or is too large.
pub fn digest(path: &Path, stamp: Stamp) -> Option<Digest> {
    let looks_so = || os::fs::look(path).stamp == Some(stamp);
    if stamp.size > LARGEST || !looks_so() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let mut hasher = XxHash3_64::new();
    let mut chunk = vec![0; CHUNK.min(usize::try_from(stamp.size).unwrap_or(CHUNK) + 1)];
    loop {
        match file.read(&mut chunk).ok()? {
            0 => break,
            count => hasher.write(&chunk[..count]),
        }
    }
    // Zero stands for itself and for one; the others are as they come.
    looks_so().then(|| NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN))
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, digest, make_digests};
    use crate::os;
    use crate::watch::snapshot::Shared;
    use std::fs;

    #[test]
    fn the_same_bytes_have_the_same_digest_and_others_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let of = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            digest(&path, os::fs::look(&path).stamp.unwrap()).unwrap()
        };
        let large = vec![7; 1_000_000];
        assert_eq!(of(&large), of(&large));
        assert_ne!(of(&large), of(&large[1..]));
        assert_ne!(of(b""), of(b"\0"));
    }

    #[test]
    fn a_file_that_is_too_large_or_no_longer_looks_so_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        assert_eq!(digest(&path, os::fs::look(&path).stamp.unwrap()), None);
        let before = os::fs::look(&path).stamp.unwrap();
        fs::write(&path, "small").unwrap();
        assert_eq!(digest(&path, before), None);
    }

    #[test]
    fn the_missing_ones_are_made_and_only_for_files_that_look_as_they_did() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let snapshot = Shared::default();
        for name in ["a/x", "a/y", "b/x", "b/y"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
            snapshot.set(&path, os::fs::look(&path).stamp);
        }
        fs::write(root.join("a/y"), "changed since").unwrap();
        make_digests(&snapshot);
        let known = |name: &str| snapshot.lock().digest(&root.join(name)).is_some();
        assert_eq!(["a/x", "a/y", "b/x", "b/y"].map(known), [true, false, true, true]);
        // Another stamp is another content, until somebody has looked.
        snapshot.set(&root.join("a/x"), None);
        assert!(!known("a/x"));
    }
}
