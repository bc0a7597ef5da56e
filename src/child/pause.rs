//! The pause: while it lasts, changes are collected, and the main thread learns nothing of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::watch::Door;

/// Whether there is a pause; shared by the two threads.
#[derive(Debug, Clone)]
pub struct Pause {
    on: Arc<AtomicBool>,
    door: Door,
}

impl Pause {
    /// `on` from the start or not. The watcher behind the door learns when that changes.
    pub fn new(on: bool, door: Door) -> Pause {
        Pause { on: Arc::new(AtomicBool::new(on)), door }
    }

    /// Begins or ends it.
    pub fn set(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
        self.door.knock();
    }

    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }
}
