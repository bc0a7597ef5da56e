//! Polling: no notices at all. Every directory is refused with [`Refusal::Poll`], so that the watcher looks at it
//! once an interval, by the same comparison that follows an overflow.

use std::path::Path;
use std::time::Instant;

use super::backend::{Backend, Notice, Refusal};
use crate::os::fd::wait_readable;

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

    fn next(&mut self, until: Option<Instant>) -> Vec<Notice> {
        // An error is an early return, like an interruption.
        let _ = wait_readable([], until);
        Vec::new()
    }
}
