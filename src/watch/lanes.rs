//! Two settlers: what changes for the command, and what changes for browsers alone (`--browser-watch`). Each has its own quiet, so that a stylesheet that is being
//! written holds up no restart, and is no reason for one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::change::{Change, Look};
use crate::settle::{Progress, Settler};

/// What has changed, until it passes.
#[derive(Debug)]
pub struct Lanes {
    /// For the command.
    pub command: Settler,
    /// For browsers alone.
    pub browsers: Settler,
}

impl Lanes {
    /// Nothing has changed.
    pub fn new(debounce: Duration) -> Lanes {
        Lanes { command: Settler::new(debounce), browsers: Settler::new(debounce) }
    }

    fn each(&self) -> [&Settler; 2] {
        [&self.command, &self.browsers]
    }

    fn each_mut(&mut self) -> [&mut Settler; 2] {
        [&mut self.command, &mut self.browsers]
    }

    /// Takes a change in, or what is newly known of one.
    pub fn push(&mut self, change: Change, for_browsers: bool, progress: Progress, now: Instant) {
        let [command, browsers] = self.each_mut();
        let (lane, other) = if for_browsers { (browsers, command) } else { (command, browsers) };
        // The rules may have changed in between.
        other.withdraw(&change.path);
        lane.push(change, progress, now);
    }

    /// See [`Settler::refresh`].
    pub fn refresh(&mut self, path: &Path, seen: Look, now: Instant) {
        self.each_mut().into_iter().for_each(|lane| lane.refresh(path, seen, now));
    }

    /// See [`Settler::wait_while_busy`].
    pub fn wait_while_busy(&mut self, now: Instant) {
        self.each_mut().into_iter().for_each(|lane| lane.wait_while_busy(now));
    }

    /// See [`Settler::withdraw`].
    pub fn withdraw(&mut self, path: &Path) {
        self.each_mut().into_iter().for_each(|lane| lane.withdraw(path));
    }

    /// See [`Settler::over`].
    pub fn over(&self) -> Vec<PathBuf> {
        self.each().into_iter().flat_map(Settler::over).collect()
    }

    /// See [`Settler::closed`].
    pub fn closed(&self) -> Vec<(PathBuf, Look)> {
        self.each().into_iter().flat_map(Settler::closed).collect()
    }

    /// See [`Settler::pending`].
    pub fn pending(&self) -> impl Iterator<Item = (&Path, Progress)> {
        self.command.pending().chain(self.browsers.pending())
    }

    /// See [`Settler::saw_whole`].
    pub fn saw_whole(&self, path: &Path) -> bool {
        self.each().into_iter().any(|lane| lane.saw_whole(path))
    }

    /// See [`Settler::saw_content`].
    pub fn saw_content(&self, path: &Path) -> bool {
        self.each().into_iter().any(|lane| lane.saw_content(path))
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.each().into_iter().all(Settler::is_empty)
    }

    /// See [`Settler::holds`].
    pub fn holds(&self, path: &Path) -> bool {
        self.each().into_iter().any(|lane| lane.holds(path))
    }

    /// See [`Settler::holds_below`].
    pub fn holds_below(&self, path: &Path) -> bool {
        self.each().into_iter().any(|lane| lane.holds_below(path))
    }

    /// See [`Settler::below`].
    pub fn below(&self, path: &Path) -> Vec<PathBuf> {
        self.each().into_iter().flat_map(|lane| lane.below(path)).collect()
    }

    /// The files whose changes are pending.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.each().into_iter().flat_map(Settler::paths).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Lanes;
    use crate::change::Change;
    use crate::settle::Progress;
    use std::path::Path;
    use std::time::{Duration, Instant};

    #[test]
    fn a_change_for_browsers_is_no_reason_to_stop_and_does_not_hold_a_stop_up() {
        let (now, mut lanes) = (Instant::now(), Lanes::new(Duration::ZERO));
        lanes.push(Change::unseen("/a.css".into()), true, Progress::Open, now);
        assert!(lanes.command.is_empty() && lanes.command.due().is_none() && !lanes.is_empty());
        lanes.push(Change::unseen("/a.py".into()), false, Progress::Whole, now);
        let soon = now + Duration::from_millis(10);
        let passed = lanes.command.take(soon).expect("it is due");
        assert_eq!(passed.paths().collect::<Vec<_>>(), [Path::new("/a.py")]);
        assert!(lanes.browsers.take(soon).is_none(), "it is still being written");
        // A path is in one of them.
        lanes.push(Change::unseen("/a.css".into()), false, Progress::Whole, now);
        assert!(lanes.browsers.is_empty() && lanes.command.holds(Path::new("/a.css")));
        assert_eq!(lanes.paths(), [Path::new("/a.css")]);
        lanes.withdraw(Path::new("/a.css"));
        assert!(lanes.is_empty());
    }
}
