//! Everyone who has a child. The newest one was told to start last, and it alone reads the queue. Without `--overlap` it is
//! the only one that was told to start; with it, those before may still run: one that hosts its command until the newest is
//! ready, and others that are leaving. Beside them there may be one standby.

use std::time::Instant;

use super::life::{Life, State};
use crate::generation::Generation;

/// The oldest comes first, a standby last.
#[derive(Debug, Default)]
pub struct Lives(Vec<Life>);

impl Lives {
    /// One more.
    pub fn add(&mut self, life: Life) {
        self.0.push(life);
    }

    /// Nobody has a child.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The life of this generation, unless it is gone.
    pub fn find(&mut self, generation: Generation) -> Option<&mut Life> {
        self.0.iter_mut().find(|life| life.generation == generation)
    }

    /// Takes the life of this generation out.
    pub fn remove(&mut self, generation: Generation) -> Option<Life> {
        let at = self.0.iter().position(|life| life.generation == generation)?;
        Some(self.0.remove(at))
    }

    /// Everyone, in the order of their generations.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Life> {
        self.0.iter_mut()
    }

    /// The generations of everyone.
    pub fn generations(&self) -> Vec<Generation> {
        self.0.iter().map(|life| life.generation).collect()
    }

    /// The one whose child watches: it was told to start, and neither watches another for it nor is it on its way out.
    pub fn newest(&self) -> Option<&Life> {
        self.0.iter().rfind(|life| is_newest(life))
    }

    /// The same, to be changed.
    pub fn newest_mut(&mut self) -> Option<&mut Life> {
        self.0.iter_mut().rfind(|life| is_newest(life))
    }

    /// The one whose command runs on until the newest is ready.
    pub fn host(&mut self) -> Option<&mut Life> {
        self.0.iter_mut().find(|life| life.state == State::Hosting)
    }

    /// The one that signals are for: the last good one, or else the newest.
    pub fn serving(&self) -> Option<&Life> {
        self.0.iter().find(|life| life.state == State::Hosting).or(self.newest())
    }

    /// The same, to be changed.
    pub fn serving_mut(&mut self) -> Option<&mut Life> {
        let generation = self.serving()?.generation;
        self.find(generation)
    }

    /// Whether a child waits to be told to start.
    pub fn has_standby(&self) -> bool {
        self.0.iter().any(|life| life.state == State::Standby)
    }

    /// Takes the standby out.
    pub fn take_standby(&mut self) -> Option<Life> {
        self.0.pop_if(|life| life.state == State::Standby)
    }

    /// When one of them wants a tick.
    pub fn due(&self) -> Option<Instant> {
        self.0.iter().filter_map(Life::due).min()
    }
}

fn is_newest(life: &Life) -> bool {
    !matches!(life.state, State::Standby | State::Hosting | State::Retiring(_))
}
