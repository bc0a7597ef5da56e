//! Polling: no notices at all. Every directory is refused with [`Refusal::Poll`], so that the watcher looks at it
//! once an interval, by the same comparison that follows an overflow.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::backend::{Backend, Notice, Refusal};

/// A source that never says anything.
#[derive(Debug)]
pub struct PollBackend;

impl Backend for PollBackend {
    fn name(&self) -> &'static str {
        "poll"
    }

    fn tells_close(&self) -> bool {
        false
    }

    fn add(&mut self, directory: &Path) -> Result<(), Refusal> {
        if directory.is_dir() { Err(Refusal::Poll) } else { Err(Refusal::Gone) }
    }

    fn forget(&mut self, _directory: &Path) {}

    fn holds(&self, _directory: &Path) -> bool {
        false
    }

    fn at_or_below(&self, _directory: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    fn count(&self) -> usize {
        0
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn drain(&mut self) -> Vec<Notice> {
        Vec::new()
    }
}
