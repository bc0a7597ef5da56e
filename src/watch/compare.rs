//! Whether a file is still the one that the command has read: by its stamp, by what was told of it, by its bytes.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tracing::debug;

use super::Watcher;
use super::backend::Entry;
use super::handover;
use crate::change::{Look, Stamp};
use crate::os;
use crate::os::fs::Silence;
use crate::settle::Settler;

impl Watcher {
    /// Whether a file was written since the start, although it may look as it did then.
    pub(super) fn is_rewritten(&mut self, path: &Path, what: Entry) -> bool {
        let Some(known) = self.snapshot.get(path) else { return false };
        let looks_same = os::fs::look(path).stamp == Some(known);
        self.told.is_write(path, what, looks_same, Instant::now())
    }

    /// Whether a file is as it was at the start, and was nothing else in between. If it was (a symlink turned there and
    /// back, files swapped twice), the command may have read that, and nothing makes it undone; or it was written, and
    /// its old time was set again. A file that came and went was a temporary one.
    pub(super) fn is_as_it_was(&self, path: &Path, look: Look, settler: &Settler) -> bool {
        let same = self.is_same(path, self.snapshot.get(path), look.stamp);
        if same && look.stamp.is_some() && (settler.saw_whole(path) || settler.saw_content(path)) {
            self.snapshot.set(path, Some(Stamp::UNKNOWN));
            return false;
        }
        same
    }

    /// Whether two stamps stand for the same state of a file. On an overlay, the first open for writing copies a file from
    /// a lower layer, and so gives it another time of birth.
    fn is_same(&self, path: &Path, then: Option<Stamp>, now: Option<Stamp>) -> bool {
        let (Some(one), Some(other)) = (then, now) else { return then == now };
        let copied_up = || {
            let directory = path.parent().unwrap_or(path);
            matches!(os::fs::silence(directory), Some(Silence::Below(_))) && !self.told.was_made(path)
        };
        one == other || (one.is_twin(&other) && copied_up())
    }

    /// Whether a file has the same bytes as at the start, and that is what matters. Then its new stamp is noted.
    pub(super) fn has_same_content(&mut self, path: &Path, look: Look) -> bool {
        if !self.contents.matter() {
            return false;
        }
        let (Some(stamp), Some(at_start)) = (look.stamp, self.snapshot.lock().digest(path)) else { return false };
        if self.contents.of(path, look) != Some(at_start) {
            return false;
        }
        debug!(path = %path.display(), "has the same content");
        self.snapshot.lock().set_with_digest(path, stamp, at_start);
        true
    }

    /// A change was taken for the new state; what was learnt of its content is kept.
    pub(super) fn keep_content(&mut self, path: &Path, look: Look) {
        if let (Some(stamp), Some(digest)) = (look.stamp, self.contents.take(path, look)) {
            self.snapshot.lock().set_with_digest(path, stamp, digest);
        }
    }

    /// Everything is armed, and nothing is urgent: takes over what the child before has left, where that is of use. Gives
    /// back the files that came in the moment between that child and this one, where `in_series` asks for them.
    pub fn take_over(&mut self, inherited: Option<OwnedFd>, in_series: bool) -> Vec<PathBuf> {
        let wanted = in_series || self.contents.matter();
        let left = inherited.filter(|_| wanted).and_then(|from| handover::receive(&from));
        if let Some(before) = left.and_then(|bytes| handover::understand(&bytes)) {
            if in_series {
                self.start.came =
                    self.differing(&before).into_iter().filter(|path| before.get(path).is_none()).collect();
            }
            self.snapshot.lock().take_digests(&before);
        }
        self.learn_contents();
        std::mem::take(&mut self.start.came)
    }

    /// Has the digests made that are missing.
    pub(super) fn learn_contents(&mut self) {
        if self.contents.matter() {
            self.contents.make_missing(&self.snapshot);
        }
    }
}
