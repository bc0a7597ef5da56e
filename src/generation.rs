//! The number of a generation.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A generation is one start of the command with its own child. Generations are numbered 1, 2, 3, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    /// Generation 1.
    pub const FIRST: Generation = Generation(1);

    /// The next generation.
    pub fn next(self) -> Generation {
        Generation(self.0 + 1)
    }

    /// The number, as in `RELOADRUN_GENERATION`.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
