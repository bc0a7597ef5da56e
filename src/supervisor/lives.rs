//! Everyone who has a child. Today one is in charge, which was told to start, and beside it there may be one standby.

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

    /// The life of this generation, unless it is gone.
    pub fn find(&mut self, generation: Generation) -> Option<&mut Life> {
        self.0.iter_mut().find(|life| life.generation == generation)
    }

    /// Takes the life of this generation out.
    pub fn remove(&mut self, generation: Generation) -> Option<Life> {
        let at = self.0.iter().position(|life| life.generation == generation)?;
        Some(self.0.remove(at))
    }

    /// The one whose command runs or is about to, and which reads the queue.
    pub fn in_charge(&self) -> Option<&Life> {
        self.0.iter().find(|life| life.state != State::Standby)
    }

    /// The same, to be changed.
    pub fn in_charge_mut(&mut self) -> Option<&mut Life> {
        self.0.iter_mut().find(|life| life.state != State::Standby)
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
