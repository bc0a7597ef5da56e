//! Saving to a tree that a contender watches.

use std::time::Duration;

use super::Result;
use super::contender::{Contender, DEADLINE, Running};
use super::stamps::{Stamp, StampProgram, Stamps, monotonic_ns};
use super::tree::{Save, Tree};

/// Between two measurements, so that each finds its system idle.
pub const REST: Duration = Duration::from_millis(60);
/// A peer that has not started its command by then has lost the save.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// More than any of the peers takes until it watches.
pub const UNTOLD: Duration = Duration::from_secs(3);

/// A tree that a contender watches, to be saved to.
pub struct Watched<'a> {
    pub contender: &'a Contender,
    pub tree: &'a Tree,
    pub running: Running,
    pub stamps: Stamps,
    /// Of the file that is saved. Every save has another, so that a stamp tells which one its command has seen.
    pub length: i64,
    /// Starts more than saves.
    pub extra: usize,
    /// From each start of the command until everything is watched, as reloadrun tells it.
    pub armings: Vec<i64>,
}

impl<'a> Watched<'a> {
    pub fn by(contender: &'a Contender, tree: &'a Tree, stamp: &StampProgram, tells: bool) -> Result<Watched<'a>> {
        let mut stamps = Stamps::new()?;
        let before = monotonic_ns();
        let running = contender.start(tree, stamp, &stamps, tells)?;
        if stamps.first(DEADLINE, |_| true)?.is_none() {
            return Err(format!("{} has not started the command", contender.name));
        }
        let mut watched = Watched { contender, tree, running, stamps, length: 1000, extra: 0, armings: Vec::new() };
        watched.rest(before)?;
        if contender.is_peer() {
            // They do not tell when they are ready.
            std::thread::sleep(UNTOLD);
        }
        Ok(watched)
    }

    /// Saves, and gives the nanoseconds until the first start of a command that sees the whole save.
    pub fn save(&mut self, how: Save) -> Result<Option<i64>> {
        let (before, stamp) = self.save_only(how)?;
        if stamp.is_none() && !self.contender.is_peer() {
            return Err(format!("{} has lost a save", self.contender.name));
        }
        self.rest(before)?;
        Ok(stamp.map(|stamp| stamp.at - before))
    }

    /// Saves, and gives the moment just before, and the first stamp of a command that sees the whole save.
    pub fn save_only(&mut self, how: Save) -> Result<(i64, Option<Stamp>)> {
        self.length += 1;
        let length = self.length;
        self.extra += self.stamps.read()?.len();
        let before = self.tree.save(how, length)?;
        let patience = if self.contender.is_peer() { PATIENCE } else { DEADLINE };
        Ok((before, self.stamps.first(patience, |stamp| stamp.length == length)?))
    }

    /// Until everything is watched again, if that is told, and then a little.
    pub fn rest(&mut self, before: i64) -> Result<()> {
        self.armings.extend(self.running.wait_armed(before)?);
        std::thread::sleep(REST);
        Ok(())
    }
}
