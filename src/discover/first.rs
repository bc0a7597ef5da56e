//! Who named a path first.

use std::time::Instant;

/// The first call that named a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct First {
    /// The number of the thread that made it.
    pub thread: i32,
    /// The name of the call.
    pub call: &'static str,
    /// When.
    pub when: Instant,
}

impl First {
    /// What an earlier generation knows.
    pub fn of_earlier() -> First {
        First { thread: 0, call: "", when: Instant::now() }
    }

    /// Whether an earlier generation knew it.
    pub fn is_of_earlier(&self) -> bool {
        self.thread == 0
    }
}
