//! The watcher between two threads: one looks, the other freezes what is known at the end of the child.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use crate::watch::Watcher;

/// So long the end of a child waits for the watcher's present look. Without it the next child has to begin anew.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Between two tries. The look is nearly always over already.
const PAUSE: Duration = Duration::from_micros(50);

/// The watcher, locked while somebody looks.
#[derive(Clone)]
pub struct SharedWatcher {
    watcher: Arc<Mutex<Watcher>>,
    frozen: Arc<AtomicBool>,
}

/// What a child leaves.
pub struct Frozen {
    /// Whether the next child may go on with it.
    pub whole: bool,
    /// See [`Carried::heard_ns`](crate::protocol::Carried::heard_ns).
    pub heard_ns: i64,
}

impl SharedWatcher {
    /// Nobody looks yet.
    pub fn new(watcher: Watcher) -> SharedWatcher {
        SharedWatcher { watcher: Arc::new(Mutex::new(watcher)), frozen: Arc::default() }
    }

    /// For one look; `None` once the child leaves.
    pub fn look(&self) -> Option<MutexGuard<'_, Watcher>> {
        // A mutex is not fair: a thread that looks again and again would keep the other one out.
        let frozen = || self.frozen.load(Ordering::Relaxed);
        if frozen() {
            return None;
        }
        Some(self.watcher.lock().expect("a panic ends the process")).filter(|_| !frozen())
    }

    /// The child leaves: nobody looks any more.
    pub fn freeze(&self) -> Frozen {
        self.frozen.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + LAST_LOOK;
        loop {
            match self.watcher.try_lock() {
                Ok(mut watcher) => return Frozen { whole: watcher.leave(), heard_ns: watcher.heard_ns() },
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(_) => return Frozen { whole: false, heard_ns: 0 },
            }
        }
    }
}
