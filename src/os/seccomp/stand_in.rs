//! Who serves the calls while the loop cannot. To read a path, the loop may need a page of the command's memory that lies on
//! a file system which the command itself serves (a program that runs from its own mount). Then the loop waits for the
//! command; and if the command opens a file for that, it waits for the loop. So a second thread lets the calls go on unread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// It is looked so often whether the loop goes on, as long as there are calls,
const LOOK: Duration = Duration::from_millis(250);

/// and after so many looks in vain the loop is stuck. One alone shows only that this machine was stopped for a while.
const LOOKS: u32 = 4;

/// What the loop does, for the one who stands in.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Odd while a call is read.
    steps: AtomicU64,
    /// Nobody looks, because there were no calls.
    asleep: AtomicBool,
    ended: Mutex<bool>,
    bell: Condvar,
}

impl Pace {
    /// Reads a call. It may take for ever.
    pub fn reading<T>(&self, read: impl FnOnce() -> T) -> T {
        self.steps.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            let _ended = self.lock();
            self.asleep.store(false, Ordering::SeqCst);
            self.bell.notify_all();
        }
        let result = read();
        self.steps.fetch_add(1, Ordering::SeqCst);
        result
    }

    /// The loop has ended.
    pub fn end(&self) {
        *self.lock() = true;
        self.bell.notify_all();
    }

    /// Calls this as long as the loop is stuck, until the loop ends.
    pub fn stand_in(&self, mut serve: impl FnMut()) {
        while self.waits_for_trouble() {
            let stuck_at = self.steps.load(Ordering::SeqCst);
            while self.steps.load(Ordering::SeqCst) == stuck_at && !*self.lock() {
                serve();
            }
        }
    }

    /// Returns when the loop is stuck; false when it has ended.
    fn waits_for_trouble(&self) -> bool {
        let mut ended = self.lock();
        let (mut seen, mut looks) = (None, 0);
        while !*ended {
            let steps = self.steps.load(Ordering::SeqCst);
            looks = if seen == Some(steps) { looks + 1 } else { 0 };
            if looks >= LOOKS && !steps.is_multiple_of(2) {
                return true;
            }
            if looks > 0 && steps.is_multiple_of(2) {
                self.asleep.store(true, Ordering::SeqCst);
                // A call that came before that did not see it.
                if self.steps.load(Ordering::SeqCst) == steps {
                    let is_asleep = |ended: &mut bool| !*ended && self.asleep.load(Ordering::SeqCst);
                    ended = self.bell.wait_while(ended, is_asleep).unwrap_or_else(PoisonError::into_inner);
                }
                self.asleep.store(false, Ordering::SeqCst);
            } else {
                ended = self.bell.wait_timeout(ended, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            }
            seen = Some(steps);
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn somebody_stands_in_for_a_loop_that_is_stuck_and_only_then() {
        let pace = Pace::default();
        let (served, calls) = channel();
        std::thread::scope(|scope| {
            let pace = &pace;
            scope.spawn(move || {
                pace.stand_in(|| {
                    let _ = served.send(());
                    std::thread::sleep(Duration::from_millis(1));
                });
            });
            for round in 0..2 {
                // Calls that are read, and then none: it falls asleep.
                for _ in 0..10 {
                    pace.reading(|| ());
                }
                while !pace.asleep.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                assert!(calls.try_recv().is_err(), "nobody was needed in round {round}");
                let (unstuck, waits) = channel::<()>();
                let stuck = scope.spawn(move || pace.reading(|| waits.recv().is_ok()));
                calls.recv_timeout(Duration::from_secs(60)).unwrap();
                unstuck.send(()).unwrap();
                assert!(stuck.join().unwrap());
                while calls.recv_timeout(Duration::from_millis(100)).is_ok() {}
            }
            pace.end();
        });
    }
}
