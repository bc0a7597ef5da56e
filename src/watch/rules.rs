//! Ignore files that change while we watch.
//!
//! | what a change of the rules does to a file  | then                                                            |
//! |---------------------------------------------|-----------------------------------------------------------------|
//! | it was ignored, and counts from now on      | it is known as it is; a save after the change of the rules counts |
//! | it counted, and is ignored from now on      | it is forgotten, and so is a change of it that is pending        |

use std::path::Path;
use std::time::Instant;

use tracing::debug;

use super::Watcher;
use super::backend::Entry;
use super::walk::Depth;
use crate::change::Stamp;
use crate::ignore_files::RulesChanged;
use crate::settle::{Progress, Settler};

impl Watcher {
    /// An ignore file, or a `.git`, is named by a notice.
    pub(super) fn refresh_rules(&mut self, path: &Path, what: Entry, settler: &mut Settler) {
        // Half of a file that is being written would let half of what is ignored count for a moment.
        if what == Entry::Modified && self.coverage.tells_close() {
            return;
        }
        self.filter.refresh_rules(path);
        self.take_up_rules(i64::MAX, settler);
    }

    /// Once an interval, looks at ignore files of which no notice tells: `.git/info/exclude`, those in the home directory,
    /// and those above what is watched.
    pub(super) fn look_around_for_rules(&mut self, settler: &mut Settler) {
        if self.start.walk.ahead() == 0 && self.rule_clock.is_due(Instant::now()) {
            self.filter.look_around_for_rules();
        }
        self.take_up_rules(i64::MAX, settler);
    }

    /// Goes by the rules as they are now. What was written at `unseen_ns` or later may not have been seen yet.
    pub(super) fn take_up_rules(&mut self, unseen_ns: i64, settler: &mut Settler) {
        for RulesChanged { below, since_ns } in self.filter.changed_rules() {
            debug!(below = %below.display(), "ignore rules have changed");
            self.forget_ignored(&below, settler);
            self.note_counting(&below, since_ns.unwrap_or(self.rule_clock.last_heard()).min(unseen_ns), settler);
        }
    }

    fn forget_ignored(&mut self, below: &Path, settler: &mut Settler) {
        let pending = settler.paths().into_iter().filter(|path| path.starts_with(below));
        for path in self.snapshot.below(below).into_iter().chain(pending) {
            if !self.filter.decide(&path).counts && !path.is_dir() {
                self.snapshot.set(&path, None);
                settler.withdraw(&path);
            }
        }
    }

    fn note_counting(&mut self, below: &Path, since_ns: i64, settler: &mut Settler) {
        let mut walk = self.coverage.walk();
        self.coverage.begin_roots_at(below, &mut walk);
        if self.coverage.holds(below) && self.filter.descend(below) && !walk.holds(below) {
            walk.begin(below.to_owned(), Depth::Deep);
        }
        while let Some((directory, depth)) = walk.next() {
            if self.start.walk.holds(&directory) {
                // It is looked at while arming.
                continue;
            }
            for (path, look) in self.coverage.visit(&directory, depth, &mut walk) {
                if self.snapshot.get(&path).is_some() || settler.holds(&path) {
                    continue;
                }
                if look.ctime_ns >= since_ns {
                    self.snapshot.set(&path, Some(Stamp::UNKNOWN));
                    self.consider(&path, Progress::Partial, settler);
                } else {
                    self.snapshot.set(&path, look.stamp);
                }
            }
            self.enter(&directory);
        }
    }
}
