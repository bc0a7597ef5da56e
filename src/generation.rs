//! The count of starts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One life of the command, with its own child: 1 for the first, then 2, 3, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    /// The first start.
    pub const FIRST: Generation = Generation(1);

    /// The one after this.
    pub fn next(self) -> Generation {
        Generation(self.0 + 1)
    }

    /// The number itself.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
